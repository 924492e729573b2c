"""The deviance of the Poisson distribution, with a logarithmic link."""

from dataclasses import dataclass

import torch

from odenet._losses.base import Loss


@dataclass(frozen=True)
class Poisson(Loss):
    r"""The Poisson deviance of counts, or of other targets that are not negative.

    .. math::
        l(u, y) = 2 \left(y \log(y / \mu) - y + \mu\right), \qquad \mu = e^u,

    summed over the targets. Targets are divided by their weighted mean (not without
    ``standardize``), so that the network starts with predicting the mean, and
    predictions are positive means in the units of y. The target must have no negative
    value, and a positive sum.

    Examples
    --------
    >>> import torch
    >>> from odenet.losses import Poisson
    >>> y = torch.tensor([[0.0], [1.0]])
    >>> Poisson().per_sample(torch.zeros(2, 1), y)
    tensor([2., 0.])
    """

    name = "Poisson deviance"
    link = "log"

    @staticmethod
    def check(y):
        """Raise a ValueError for a negative target."""
        if (y < 0).any():
            raise ValueError(
                "`y` must hold counts or other numbers that are not negative for "
                f"loss='poisson', got {y.min()}."
            )

    @staticmethod
    def per_sample(output, y):
        """Compute the loss of every sample, shape (n,)."""
        losses = torch.xlogy(y, y) - y * output - y + output.exp()
        return 2 * losses.sum(dim=1)

    @staticmethod
    def gradient(output, y):
        """Compute the gradient of every sample's loss, shape (n, n_outputs)."""
        return 2 * (output.exp() - y)

    @staticmethod
    def curvature(output, y):
        """Compute the second derivatives, shape (n, n_outputs, n_outputs)."""
        return torch.diag_embed(2 * output.exp())
