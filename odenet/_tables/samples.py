"""The samples of a training, as tensors."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Samples:
    """Inputs, targets and weights in the loss, with one row for every sample."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor

    def __len__(self):
        return len(self.y)

    def batch(self, index=slice(None)):
        """Return inputs and targets, of the rows of an index, in the form of skorch."""
        return {"X": self.X[index], "weight": self.weight[index]}, self.y[index]


def to_samples(predictor, rows, *, weights_have_mean_one=True):
    """Encode rows as the inputs and the targets of a network, on its device.

    Parameters
    ----------
    predictor : Predictor
    rows : Rows
        Rows of a table, with encoded targets, and weights.
    weights_have_mean_one : bool, default=True
        Whether to divide the weights by their mean, so that the objective is a mean
        over the samples, whatever the unit of the weights is. The parts of a stream
        keep their weights, by which they are weighed against each other.

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
