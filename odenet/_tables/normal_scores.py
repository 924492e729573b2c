"""Normal scores: columns by the ranks of their values, whatever their distribution."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

MOST_KNOTS = 256  # of the map from a column to its scores
TINY = 1e-9  # share of all mass: the scores are within 6


@dataclass(frozen=True)
class NormalScores:
    r"""Maps every column x to :math:`\Phi^{-1}(F(x))`, F its distribution function.

    The map is piecewise linear between ``knots``, for every column its values and their
    scores, and constant beyond them. A constant column has no scores but zero.
    """

    knots: tuple

    def __call__(self, X):
        """Scores of every column."""
        scores = np.zeros(X.shape)
        for j, (values, scores_of_values) in enumerate(self.knots):
            if len(values) > 1:
                scores[:, j] = np.interp(X[:, j], values, scores_of_values)
        return scores


def fit_normal_scores(X, weight, gain=1.0):
    """Weighted normal scores, times ``gain``, of the numbers that are not missing.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float, default=1.0

    Returns
    -------
    scores : NormalScores
    """
    weight = weight / weight.max()
    known = ~np.isnan(X)
    return NormalScores(
        tuple(
            _knots(column[rows], weight[rows], gain)
            for column, rows in zip(X.T, known.T, strict=True)
        )
    )


def _knots(x, weight, gain):
    """Values and their scores: of half their own mass and all that is below them."""
    values, where = np.unique(x, return_inverse=True)
    mass = np.bincount(where, weight)
    below = (np.cumsum(mass) - mass / 2) / mass.sum()
    scores = ndtri(below.clip(TINY, 1 - TINY))
    if len(values) > MOST_KNOTS:
        evenly = np.linspace(scores[0], scores[-1], MOST_KNOTS)
        chosen = np.unique(np.searchsorted(scores, evenly).clip(max=len(values) - 1))
        values, scores = values[chosen], scores[chosen]
    return values, gain * scores
