"""What a fitted estimator does with its network: evaluate it, and be pickled."""

import copy

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from odenet._diagnostics.smoothness import depth_smoothness
from odenet._network.residual import ResidualNetwork
from odenet._training.net import Progress
from odenet._utils.devices import (
    evaluation_dtype,
    resolve_device_or_cpu,
    to_numpy,
    torch_threads,
)

ROWS_AT_ONCE = 4096


class FittedNetworkMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Evaluation in float64, in chunks of rows; pickles that hold arrays only."""

    _network = ResidualNetwork
    _rows_at_once = ROWS_AT_ONCE

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_")

    @property
    def depth_smoothness_(self):
        """Smoothness of the weights in depth, a :class:`odenet.DepthSmoothness`."""
        check_is_fitted(self)
        return depth_smoothness(self.module_)

    def transform(self, X):
        """Last hidden state of every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        h : ndarray of shape (n_samples, state_dim)
            The state h_L, float64.
        """
        check_is_fitted(self)
        return self._evaluate(X, "last_state")

    def hidden_states(self, X):
        """All hidden states of every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        h : ndarray of shape (depth + 1, n_samples, state_dim)
            The states h_0, ..., h_L, float64.
        """
        check_is_fitted(self)
        return self._evaluate(X, "hidden_states", axis=1)

    @property
    def _n_features_out(self):
        return self.module_.state_dim

    def _evaluate(self, X, method, *args, axis=0):
        """A method of the network at the rows of X, as an array."""
        X = self._read(X)
        module = self._module_for_evaluation()
        like = {"dtype": module.V.dtype, "device": module.V.device}
        size = self._rows_at_once
        parts = np.split(X, range(size, len(X), size))
        with torch_threads(module.V[0].numel() * len(parts[0])), torch.no_grad():
            results = [
                getattr(module, method)(
                    torch.tensor(self._X_encoder(part), **like), *args
                )
                for part in parts
            ]
        if hasattr(module, "n_evals_"):
            self.module_.n_evals_ = module.n_evals_
        return to_numpy(torch.cat(results, dim=axis))

    def _module_for_evaluation(self):
        """The network in the dtype of evaluation; a copy if it has another."""
        dtype = evaluation_dtype(self.module_.V.device)
        if self.module_.V.dtype == dtype:
            return self.module_
        return copy.deepcopy(self.module_).to(dtype)

    def __getstate__(self):
        """Arrays and plain values: no tensor, no device, no samples.

        Values of the columns are there as knots of their normal scores.
        """
        state = super().__getstate__().copy()
        if state.get("module_") is not None:
            module, net = state.pop("module_"), state.pop("net_")
            state["_frozen"] = {
                "weights": {k: v.cpu().numpy() for k, v in module.state_dict().items()},
                "settings": module.settings(),
                "solver": net.solver,
                "history": [dict(row) for row in net.progress.history],
            }
        return state

    def __setstate__(self, state):
        """Rebuild the network on the device that the estimator asks for."""
        frozen = state.pop("_frozen", None)
        super().__setstate__(state)
        if frozen is not None:
            module = self._network.from_weights(frozen["weights"], **frozen["settings"])
            module = module.to(resolve_device_or_cpu(self.device))
            self._attach(module, frozen["solver"], frozen["history"])

    def _attach(self, module, solver, history):
        """Take a network, and a net that could train it further."""
        self.module_ = module.eval()
        self.net_ = self._make_net(module, callbacks=[], solver=solver)
        self.net_.resume(Progress(history, self.flow_time_, self.n_grad_evals_))

    def _with_module(self, module):
        """This estimator around another network, to evaluate it."""
        model = type(self).__new__(type(self))
        vars(model).update(vars(self), module_=module, net_=None)
        return model

    def _around(self, network):
        """A fitted copy of this estimator around a network of another depth."""
        model = copy.deepcopy(self._with_module(None))
        history = [dict(row) for row in self.net_.history]
        model._attach(network, self.net_.solver, history)
        model.depth = model.depth_ = network.depth
        if model.depth_schedule is not None:
            model.depth_schedule = "doubling"
        return model
