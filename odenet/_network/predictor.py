"""What serving a fitted model needs, and nothing else."""

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import nn

from odenet._network.activations import ACTIVATIONS
from odenet._network.fast_layers import is_steady, steady_stack
from odenet._network.residual import ResidualNetwork
from odenet._utils.devices import evaluation_dtype, to_numpy, torch_threads
from odenet._utils.sparse_rows import as_rows, times, with_one

WITH_MODELS = 4  # dimensions of V if it has an axis of models, also in a neural ODE
# Of the rounding errors of predictions in float32, in standard deviations of a target:
# it is far below what a fit can tell, and leaves most rows to float32.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Predictor:
    """A network between a user's table and a user's predictions.

    The estimators own one; the neural ODE, exports and files share it.

    Parameters
    ----------
    network : nn.Module
        A network, its neural ODE, or what else maps inputs to outputs.
    inputs : TableInputs or ImageInputs
        Reads tables, and encodes them for the network.
    targets : Targets
        Decodes the outputs of the network.
    calibration : Calibration, default=None
        What held-out samples say of the errors of predictions.
    """

    network: nn.Module
    inputs: Any
    targets: Any
    calibration: Any = None

    def around(self, network):
        """Return the same around another network."""
        return replace(self, network=network)

    def outputs(self, X, *, is_read=False):
        """Return the outputs of the network at a table, shape (n, n_outputs).

        Those of several members are combined to what one network would put out.
        ``is_read`` is explained in ``evaluate``.
        """
        outputs = self.forward(X, is_read=is_read)
        return self.targets.combine(outputs) if outputs.ndim == 3 else outputs

    def predict_with_members(self, X):
        """Return what all members predict together, and what each does, stacked."""
        outputs = self.forward(X)
        decode, combine = self.targets.decode, self.targets.combine
        return decode(combine(outputs)), np.stack([decode(o) for o in outputs])

    def outputs_to_calibrate(self, X):
        """Return outputs, (1, n, n_outputs), or of every member that is calibrated."""
        if self.calibration is not None and len(self.calibration.scores) > 1:
            return self.forward(X)
        return self.outputs(X)[None]

    def states(self, X, method, *args, axis=0):
        """Return states of the network as ``evaluate``; those of members side by side.

        The members' states together are the state of one network whose layers are
        block-diagonal.
        """
        states = self.evaluate(X, method, *args, axis=axis)
        if self.network.V.dim() != WITH_MODELS:
            return states
        states = states.swapaxes(-3, -2)
        return states.reshape(*states.shape[:-2], -1)

    def predict(self, X):
        """Return what an estimator predicts at a table."""
        return self.targets.decode(self.outputs(X))

    def forward(self, X, *, is_read=False):
        """Return what the network puts out, (n, n_outputs), or every member, stacked.

        Its layers are evaluated in float32 where that is enough, else in float64, as
        in ``evaluate``.
        """
        if not has_single_layers(self.network):
            return self.evaluate(X, "forward", is_read=is_read)
        served = SingleLayers(self.network)
        like = served.embedding
        return self._in_parts(served, X, is_read, self.network.V, like, axis=-2)

    def evaluate(self, X, method, *args, axis=0, is_read=False):
        """Call a method of the network at the rows of a table.

        In float64 where the device has it: then no prediction depends on the rows
        beside it, up to its rounding.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix
        method : str
        *args
            Further arguments of the method.
        axis : int, default=0
            The axis of samples in what it returns, without an axis of models.
        is_read : bool, default=False
            Whether X is the matrix of a table that has been read, as that of a training
            set.

        Returns
        -------
        results : ndarray
            float64.
        """
        network = self.network_for_evaluation()
        V, function = network.V, getattr(network, method)
        axis += V.dim() == WITH_MODELS
        results = self._in_parts(function, X, is_read, V, V, *args, axis=axis)
        if hasattr(network, "n_evals_"):  # of an ODE, which may be a copy
            self.network.n_evals_ = network.n_evals_
        return results

    def _in_parts(self, function, X, is_read, V, like, *args, axis):
        """Return what a function returns of the inputs, part by part of the rows.

        They are in the dtype and on the device of the tensor ``like``. Results are
        written into one array at once: small ones between the large ones of the next
        part would keep the system from using memory again.
        """
        X = X if is_read else self.inputs.read(X)
        n, size, results = X.shape[0], self.inputs.rows_at_once, None
        with torch_threads(V[0].numel() * min(n, size)), torch.no_grad():
            for i in range(0, max(n, 1), size):  # a process of several may have none
                part = function(as_rows(self.inputs(X[i : i + size]), like), *args)
                if results is None:
                    shape = list(part.shape)
                    shape[axis] = n
                    results = part.new_empty(shape)
                results.narrow(axis, i, part.shape[axis]).copy_(part)
        return to_numpy(results)

    def network_for_evaluation(self):
        """Return the network in the dtype of evaluation; a copy if it has another."""
        weights = next(self.network.parameters())
        dtype = evaluation_dtype(weights.device)
        return self.network if weights.dtype == dtype else _copy_in(dtype, self.network)


def has_single_layers(network):
    """Tell whether a network predicts in float32.

    It does if its weights are of that type, and if no prediction then depends on the
    rows beside it. A monotone one predicts in float64, whose rounding makes no step
    back that anybody would see. So does one on a GPU, where sums depend on the number
    of rows.
    """
    return (
        isinstance(network, ResidualNetwork)
        and network.V.dtype == torch.float32
        and network.V.device.type == "cpu"
        and network.monotonicity is None
        and is_steady(
            network.state_dim,
            network.width,
            ACTIVATIONS[network.activation],
            torch.get_num_threads(),
        )
    )


class SingleLayers:
    r"""The function of a network whose layers are evaluated in float32.

    Its first product, which may have inputs of any size, and the last one are taken in
    float64. Between them a state of the size a is rounded L times, with a standard
    deviation of at most :math:`\epsilon a / \sqrt{12}` each. Rows with a state so large
    that this could add up to ``ROUNDING`` are evaluated in float64 altogether. Layers
    that enlarge differences, as after very long flows, enlarge these as well.

    Parameters
    ----------
    network : ResidualNetwork
        Of float32.
    """

    def __init__(self, network):
        self.network = network
        self.embedding, self.head = (
            p.detach().double() for p in (network.embedding, network.head)
        )
        epsilon = torch.finfo(torch.float32).eps
        self.largest = ROUNDING / epsilon * sqrt(12 / network.depth)

    def __call__(self, x):
        """Return the outputs, in float64, at rows x of float64."""
        first = times(with_one(x), self.embedding)
        settings = *self.network.layers(), self.network.imitated_depth
        last = steady_stack(first.float(), *settings).double()
        outputs = last @ self.head.mT
        sizes = torch.maximum(first.abs().amax(-1), last.abs().amax(-1))
        large = ~(sizes <= self.largest)  # and what is no number
        large = large.reshape(-1, len(x)).any(0)
        if large.any():
            outputs[..., large, :] = self._double(x[large])
        return outputs

    @cached_property
    def _double(self):
        """The network in float64."""
        return _copy_in(torch.float64, self.network)


def _copy_in(dtype, network):
    """Return a copy of a network in another dtype."""
    return copy.deepcopy(network).to(dtype)
