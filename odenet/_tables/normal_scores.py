"""Normal scores: columns mapped to a normal distribution by the ranks of values."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

# The most knots of the map from a column to its scores, which keep it small. For 20,000
# numbers (normal, exponential, Cauchy, or two clusters), scores by 256 knots differ
# from those by all values by at most 0.02, and by 0.001 in the mean; 32 knots, by 0.15
# and 0.01.
MOST_KNOTS = 256
# The least share of all weight below a value, which bounds scores by 6.0. Without it a
# value of almost no weight would have an infinite score.
TINY = 1e-9


@dataclass(frozen=True)
class NormalScores:
    r"""A map of every column x to :math:`\Phi^{-1}(F(x))`, F its distribution function.

    ``knots`` holds, for every column, some of its values and their scores. The map is
    linear between neighbouring knots, and constant beyond the first and the last. The
    score of a constant column is zero.
    """

    knots: tuple

    def __call__(self, X):
        """Return the scores of every column."""
        scores = np.zeros(X.shape)
        for j, (values, scores_of_values) in enumerate(self.knots):
            if len(values) > 1:
                scores[:, j] = _interpolate(X[:, j], values, scores_of_values)
        return scores


def _interpolate(x, values, scores):
    """Return scores that are piecewise linear between the values.

    Two values may be so close, or so far apart, that the slope between them is no
    number of float64. A number between them then gets the score of the lower one.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.interp(x, values, scores)
    unknown = ~np.isfinite(found) & ~np.isnan(x)
    if unknown.any():
        below = np.searchsorted(values, x[unknown], side="right") - 1
        found[unknown] = scores[below.clip(0)]
    return found


def fit_normal_scores(X, weight, gain=1.0):
    """Fit weighted normal scores, times ``gain``, to the numbers that are not missing.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float, default=1.0

    Returns
    -------
    scores : NormalScores
    """
    weight = weight / weight.max()  # so that sums of weights of any unit are finite
    known = ~np.isnan(X)
    return NormalScores(
        tuple(
            _knots(column[rows], weight[rows], gain)
            for column, rows in zip(X.T, known.T, strict=True)
        )
    )


def _knots(x, weight, gain):
    """Return the knots of a column: some of its values and their scores.

    The score of a value is the normal quantile of half its own mass and all mass below
    it. If there are many values, those are kept whose scores are about evenly spaced.
    """
    values, where = np.unique(x, return_inverse=True)
    mass = np.bincount(where, weight)
    below = (np.cumsum(mass) - mass / 2) / mass.sum()
    scores = ndtri(below.clip(TINY, 1 - TINY))
    if len(values) > MOST_KNOTS:
        evenly = np.linspace(scores[0], scores[-1], MOST_KNOTS)
        # The last of these numbers is the last score itself: no index is beyond it.
        chosen = np.unique(np.searchsorted(scores, evenly))
        values, scores = values[chosen], scores[chosen]
    return values, gain * scores
