"""What serving a fitted model needs, and nothing else."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from odenet._utils.devices import evaluation_dtype, to_numpy, torch_threads
from odenet._utils.sparse_rows import as_rows

WITH_MODELS = 4  # dimensions of V if it has an axis of models, also in a neural ODE


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
        outputs = self.evaluate(X, "forward", is_read=is_read)
        return self.targets.combine(outputs) if outputs.ndim == 3 else outputs

    def predict_with_members(self, X):
        """Return what all members predict together, and what each does, stacked."""
        outputs = self.evaluate(X, "forward")
        decode, combine = self.targets.decode, self.targets.combine
        return decode(combine(outputs)), np.stack([decode(o) for o in outputs])

    def outputs_to_calibrate(self, X):
        """Return outputs, (1, n, n_outputs), or of every member that is calibrated."""
        if self.calibration is not None and len(self.calibration.scores) > 1:
            return self.evaluate(X, "forward")
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

    def evaluate(self, X, method, *args, axis=0, is_read=False):
        """Call a method of the network at the rows of a table.

        In float64 where the device has it: then no prediction depends on the rows
        beside it.

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
        X = X if is_read else self.inputs.read(X)
        n, size, results = X.shape[0], self.inputs.rows_at_once, []
        with torch_threads(V[0].numel() * min(n, size)), torch.no_grad():
            for i in range(0, n, size):
                x = as_rows(self.inputs(X[i : i + size]), V)
                results.append(function(x, *args))
        if hasattr(network, "n_evals_"):  # of an ODE, which may be a copy
            self.network.n_evals_ = network.n_evals_
        return to_numpy(torch.cat(results, dim=axis))

    def network_for_evaluation(self):
        """Return the network in the dtype of evaluation; a copy if it has another."""
        weights = next(self.network.parameters())
        dtype = evaluation_dtype(weights.device)
        if weights.dtype == dtype:
            return self.network
        return copy.deepcopy(self.network).to(dtype)
