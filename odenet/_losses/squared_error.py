"""The squared error."""

import torch

from odenet._losses.base import Loss

# A residual is known up to about so many units of rounding of the targets: a choice. An
# output is a sum over some tens of layers.
ROUNDINGS = 100


class SquaredError(Loss):
    """The squared error, summed over the outputs."""

    name = "squared error"
    constant_curvature = 2.0

    @staticmethod
    def per_sample(output, y):
        """Compute the loss of every sample, shape (n,)."""
        return (output - y).square().sum(dim=1)

    @staticmethod
    def gradient(output, y):
        """Compute the gradient of every sample's loss, shape (n, n_outputs)."""
        return 2 * (output - y)

    @staticmethod
    def curvature(output, y):
        """Compute the second derivative of every sample's loss: twice the identity."""
        return torch.diag_embed(2 * torch.ones_like(output))

    @staticmethod
    def rounding(eps):
        """Return the share of the loss at the start that is the square of rounding."""
        return (ROUNDINGS * eps) ** 2

    @staticmethod
    def score(output, y, weight):
        """Compute the weighted R2, averaged over outputs; that of a constant y is 0."""
        weight = weight[:, None]
        residual = (weight * (y - output).square()).sum(dim=0)
        mean = (weight * y).sum(dim=0) / weight.sum()
        total = (weight * (y - mean).square()).sum(dim=0)
        r2 = 1 - residual / total
        # The mean of equal values is rounded, so that their total may not be zero.
        varies = (total > 0) & (y != y[:1]).any(dim=0)
        return torch.where(varies, r2, torch.zeros_like(r2)).mean().item()

    @staticmethod
    def decide(output):
        """Return the output, which is the prediction itself."""
        return output
