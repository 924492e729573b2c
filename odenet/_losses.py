"""Losses, the score that goes with each, and the penalties on the weights."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


class SquaredError:
    """Squared error, summed over the outputs."""

    name = "squared error"

    @staticmethod
    def per_sample(output, y):
        """Loss of every sample, shape (n,)."""
        return (output - y).square().sum(dim=1)

    @staticmethod
    def gradient(output, y):
        """Gradient of the loss of every sample, shape (n, n_outputs)."""
        return 2 * (output - y)

    @staticmethod
    def score(output, y, weight):
        """Weighted R2, the mean over the outputs; 0 where y is constant."""
        weight = weight[:, None]
        residual = (weight * (y - output).square()).sum(dim=0)
        mean = (weight * y).sum(dim=0) / weight.sum()
        total = (weight * (y - mean).square()).sum(dim=0)
        r2 = 1 - residual / total
        return torch.where(total > 0, r2, torch.zeros_like(r2)).mean().item()

    @staticmethod
    def decide(output):
        """The prediction."""
        return output


class _Classification:
    name = "cross-entropy (nats)"

    def score(self, output, y, weight):
        """Weighted accuracy."""
        right = (self.decide(output) == y).to(weight.dtype)
        return ((weight * right).sum() / weight.sum()).item()


@dataclass(frozen=True)
class LogisticLoss(_Classification):
    """Cross-entropy of two classes, from one output: the logit of class 1."""

    label_smoothing: float = 0.0

    def per_sample(self, output, y):
        """Loss of every sample, shape (n,)."""
        return F.softplus(output[:, 0]) - output[:, 0] * self._smoothed(y)

    def gradient(self, output, y):
        """Gradient of the loss of every sample, shape (n, 1)."""
        return torch.sigmoid(output) - self._smoothed(y)[:, None]

    @staticmethod
    def decide(output):
        """Index of the likelier class."""
        return (output[:, 0] > 0).long()

    def _smoothed(self, y):
        return y + self.label_smoothing * (0.5 - y)


@dataclass(frozen=True)
class CrossEntropy(_Classification):
    """Cross-entropy of three classes or more, from one logit each."""

    label_smoothing: float = 0.0

    def per_sample(self, output, y):
        """Loss of every sample, shape (n,)."""
        smoothing = self.label_smoothing
        return F.cross_entropy(output, y, reduction="none", label_smoothing=smoothing)

    def gradient(self, output, y):
        """Gradient of the loss of every sample, shape (n, n_classes)."""
        one_hot = F.one_hot(y, output.shape[1]).to(output.dtype)
        uniform = 1 / output.shape[1]
        smoothed = one_hot + self.label_smoothing * (uniform - one_hot)
        return torch.softmax(output, dim=1) - smoothed

    @staticmethod
    def decide(output):
        """Index of the likeliest class."""
        return output.argmax(dim=1)


def penalty(module, alpha, smoothness_penalty):
    r"""L2 and smoothness penalties, integrals over depth time as L grows.

    .. math::
        \frac{\alpha}{2} \Big(\|A\|^2 + \|B\|^2 + \frac{1}{L} \sum_k \|Z_k\|^2\Big)
        + \lambda L \sum_k \|Z_{k+1} - Z_k\|^2.

    The second follows the bound of Marion, *Generalization bounds for neural ODEs and
    deep residual networks* (NeurIPS 2023).
    """
    total = 0.0
    if alpha > 0:
        ends = module.embedding.square().sum() + module.head.square().sum()
        layers = module.V.square().sum() + module.W.square().sum()
        total = total + alpha / 2 * (ends + layers / module.depth)
    if smoothness_penalty > 0 and module.depth > 1:
        factor = module.depth * _share_of_depth(module.imitated_depth, module.depth)
        for weights in (module.V, module.W):
            steps = weights.diff(dim=0).square().sum()
            total = total + smoothness_penalty * factor * steps
    return total


def _share_of_depth(imitated_depth, depth):
    """L - 1 increments span the depth times up to 1 - 1/L: as of the depth imitated."""
    return (1 - 1 / (imitated_depth or depth)) / (1 - 1 / depth)
