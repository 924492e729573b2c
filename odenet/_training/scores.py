"""The score of held-out samples, which the history records."""

import torch

from odenet._losses.base import Loss


def score_of(loss, output, y, weight, group):
    """Return the score of a loss over the samples of all processes.

    Parameters
    ----------
    loss : Loss
    output, y, weight : Tensor
        Of the samples that this process has, as ``loss.score`` takes them.
    group : Alone

    Returns
    -------
    score : float
        Of several processes it is R2 where that is the loss's own score, from sums over
        all samples. Other scores, as the accuracy, are means over the samples, and so
        is that of several processes.
    """
    if group.size == 1:
        return loss.score(output, y, weight)
    if type(loss).score is Loss.score:
        return _r2_of_all(loss.point(loss.decide(output)), y, weight, group)
    total = weight.sum().item()
    own = loss.score(output, y, weight) * total if total else 0.0
    return float(group.sum(own) / group.sum(total))


def _r2_of_all(predictions, y, weight, group):
    """Compute the weighted R2, averaged over targets; that of a constant y is 0."""
    weight = weight[:, None]
    residual = group.sum((weight * (y - predictions).square()).sum(dim=0))
    mean = group.sum((weight * y).sum(dim=0)) / group.sum(weight.sum())
    total = group.sum((weight * (y - mean).square()).sum(dim=0))
    bound = y.new_full((1, y.shape[1]), torch.inf)
    lowest = group.min(torch.cat([y, bound]).amin(dim=0))
    highest = group.max(torch.cat([y, -bound]).amax(dim=0))
    varies = (total > 0) & (lowest < highest)
    r2 = 1 - residual / total
    return torch.where(varies, r2, torch.zeros_like(r2)).mean().item()
