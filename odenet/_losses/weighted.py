"""The weighted sum of the losses of samples, as a function of the outputs."""

from dataclasses import dataclass

import torch

from odenet._losses.base import Loss


@dataclass(frozen=True)
class WeightedLoss:
    """The sum of the losses of all samples, each times its share.

    Parameters
    ----------
    loss : Loss
    y : Tensor of shape (n,) or (n, n_outputs)
        With an axis of models in front if ``loss`` is that of joined networks, as all.
    share : Tensor of shape (n,)
        The factors of the samples, not negative.
    """

    loss: Loss
    y: torch.Tensor
    share: torch.Tensor

    @property
    def constant_curvature(self):
        """The curvature of a loss without its share, if it is a constant, or None."""
        return self.loss.constant_curvature

    def __call__(self, outputs):
        """Compute the sum, a tensor of one number."""
        return (self.share * self.loss.per_sample(outputs, self.y)).sum()

    def gradient(self, outputs):
        """Compute the gradient by the outputs, of their shape (n, n_outputs)."""
        return self.share[..., None] * self.loss.gradient(outputs, self.y)

    def curvature(self, outputs):
        """Compute the second derivatives, shape (n, n_outputs, n_outputs)."""
        return self.share[..., None, None] * self.loss.curvature(outputs, self.y)

    def models(self):
        """Return the sums of the models apart, where there is an axis of models."""
        parts = zip(self.loss.losses, self.y, self.share, strict=True)
        return [WeightedLoss(*part) for part in parts]
