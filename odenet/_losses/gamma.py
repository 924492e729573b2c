"""The deviance of the gamma distribution, with a logarithmic link."""

from dataclasses import dataclass

import torch

from odenet._losses.base import Loss


@dataclass(frozen=True)
class Gamma(Loss):
    r"""The gamma deviance of positive targets: an error counts relative to the target.

    .. math::
        l(u, y) = 2 \left(y / \mu - \log(y / \mu) - 1\right), \qquad \mu = e^u,

    summed over the targets. Targets are divided by their weighted mean (not without
    ``standardize``), so that the network starts with predicting the mean, and
    predictions are positive means in the units of y. All targets must be positive.

    Examples
    --------
    >>> import torch
    >>> from odenet.losses import Gamma
    >>> y = torch.tensor([[1.0], [10.0]])
    >>> Gamma().per_sample(torch.zeros(2, 1), y).round(decimals=2)
    tensor([ 0.0000, 13.3900])
    """

    name = "gamma deviance"
    link = "log"

    @staticmethod
    def check(y):
        """Raise a ValueError for a target that is not positive."""
        if (y <= 0).any():
            raise ValueError(
                f"`y` must hold positive numbers for loss='gamma', got {y.min()}."
            )

    @staticmethod
    def per_sample(output, y):
        """Compute the loss of every sample, shape (n,)."""
        y = y.clamp(min=torch.finfo(y.dtype).tiny)  # of which float32 makes zero
        return 2 * (y * (-output).exp() + output - y.log() - 1).sum(dim=1)

    @staticmethod
    def gradient(output, y):
        """Compute the gradient of every sample's loss, shape (n, n_outputs)."""
        return 2 * (1 - y * (-output).exp())

    @staticmethod
    def curvature(output, y):
        """Compute the second derivatives, shape (n, n_outputs, n_outputs)."""
        return torch.diag_embed(2 * y * (-output).exp())
