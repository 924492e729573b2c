"""The cross-entropies: of two classes from one output, and of more from one each."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from odenet._losses.base import Loss


class _Classification(Loss):
    """The base of the cross-entropies: their name and their score."""

    name = "cross-entropy (nats)"

    def score(self, output, y, weight):
        """Compute the weighted accuracy."""
        right = (self.decide(output) == y).to(weight.dtype)
        return ((weight * right).sum() / weight.sum()).item()


@dataclass(frozen=True)
class LogisticLoss(_Classification):
    """The cross-entropy of two classes, from one output: the logit of class 1.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        This share of a label is spread over all classes evenly.
    """

    label_smoothing: float = 0.0

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        return F.softplus(output[:, 0]) - output[:, 0] * self._smoothed(y)

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, 1)."""
        return torch.sigmoid(output) - self._smoothed(y)[:, None]

    @staticmethod
    def decide(output):
        """Return the index of the likelier class, shape (n,)."""
        return (output[:, 0] > 0).long()

    def _smoothed(self, y):
        """Return the probability of class 1 that a label has after smoothing."""
        return y + self.label_smoothing * (0.5 - y)


@dataclass(frozen=True)
class CrossEntropy(_Classification):
    """The cross-entropy of three classes or more, from one logit each.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        This share of a label is spread over all classes evenly.
    """

    label_smoothing: float = 0.0

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        smoothing = self.label_smoothing
        return F.cross_entropy(output, y, reduction="none", label_smoothing=smoothing)

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, n_classes)."""
        one_hot = F.one_hot(y, output.shape[1]).to(output.dtype)
        uniform = 1 / output.shape[1]
        smoothed = one_hot + self.label_smoothing * (uniform - one_hot)
        return torch.softmax(output, dim=1) - smoothed

    @staticmethod
    def decide(output):
        """Return the index of the likeliest class, shape (n,)."""
        return output.argmax(dim=1)
