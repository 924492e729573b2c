"""Samples as tensors."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Samples:
    """Inputs, targets and weights of the loss, with one row a sample."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor

    def __len__(self):
        return len(self.y)

    def batch(self, index=slice(None)):
        """Return inputs and targets in the form that skorch hands around."""
        return {"X": self.X[index], "weight": self.weight[index]}, self.y[index]


def to_samples(predictor, rows, *, weights_have_mean_one=True):
    """Encode rows as the inputs and the targets of a network, on its device.

    Parameters
    ----------
    predictor : Predictor
    rows : Rows
        Encoded targets, and weights.
    weights_have_mean_one : bool, default=True
        Whether to divide the weights by their mean, so that the objective is a mean
        over the samples whatever the unit of the weights. A part of a stream keeps
        them: the parts are weighed against each other.

    Returns
    -------
    samples : Samples
    """
    parameter = predictor.network.V
    like = {"dtype": parameter.dtype, "device": parameter.device}
    weight = rows.weight
    if weights_have_mean_one:
        weight = weight / weight.max()  # first, for sums of huge weights overflow
        weight = weight / weight.mean()
    y = predictor.targets.tensor(rows.y)
    return Samples(
        X=torch.tensor(predictor.inputs(rows.X), **like),
        y=y.to(**like) if y.is_floating_point() else y.to(like["device"]),
        weight=torch.tensor(weight, **like),
    )
