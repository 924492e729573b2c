"""What serving a fitted model needs, and nothing else."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from odenet._utils.devices import evaluation_dtype, to_numpy, torch_threads


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
    """

    network: nn.Module
    inputs: Any
    targets: Any

    def around(self, network):
        """Return the same around another network."""
        return replace(self, network=network)

    def outputs(self, X):
        """Return the outputs of the network at a table, shape (n, n_outputs)."""
        return self.evaluate(X, "forward")

    def predict(self, X):
        """Return what an estimator predicts at a table."""
        return self.targets.decode(self.outputs(X))

    def evaluate(self, X, method, *args, axis=0):
        """Call a method of the network at the rows of a table.

        In float64 where the device has it: then no prediction depends on the rows
        beside it.

        Parameters
        ----------
        X : data frame or array-like
        method : str
        *args
            Further arguments of the method.
        axis : int, default=0
            The axis of samples in what it returns.

        Returns
        -------
        results : ndarray
            float64.
        """
        network = self.network_for_evaluation()
        V, function = network.V, getattr(network, method)
        X, size = self.inputs.read(X), self.inputs.rows_at_once
        parts, results = np.split(X, range(size, len(X), size)), []
        with torch_threads(V[0].numel() * len(parts[0])), torch.no_grad():
            for part in parts:
                x = torch.tensor(self.inputs(part), dtype=V.dtype, device=V.device)
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
