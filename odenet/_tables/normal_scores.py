"""Normal scores: columns mapped to a normal distribution by the ranks of values."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from odenet._distributed.group import ALONE
from odenet._distributed.selection import least_reaching, next_values
from odenet._tables.standardizer import finite_weights

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


def fit_normal_scores(X, weight, gain=1.0, group=ALONE, chosen=slice(None)):
    """Fit weighted normal scores, times ``gain``, to the numbers that are not missing.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float, default=1.0
    chosen : slice or ndarray of int, default=slice(None)
        The columns of X that are to have scores.
    group : Alone, default=ALONE
        The processes that have the rows.

    Returns
    -------
    scores : NormalScores
    """
    weight = finite_weights(weight, group)
    # One after the other, which together may be larger than X.
    columns = (_distinct(X[:, j], weight) for j in np.arange(X.shape[1])[chosen])
    if group.size > 1:
        knots = _knots_of_ranks(list(columns), group)
    else:
        knots = [_thinned(values, _scores_of(mass)) for values, mass in columns]
    return NormalScores(tuple((values, gain * scores) for values, scores in knots))


def _distinct(x, weight):
    """Return the distinct numbers of a column, ascending, and the mass of each."""
    if (missing := np.isnan(x)).any():
        x, weight = x[~missing], weight[~missing]
    x = x.astype(np.float64)
    values, where = np.unique(x, return_inverse=True)
    return values, np.bincount(where, weight, len(values))


def _scores_of(mass):
    """Return the scores of values in order, of which each has a mass.

    The score of a value is the normal quantile of half its own mass and all mass below
    it.
    """
    return _quantiles((np.cumsum(mass) - mass / 2) / mass.sum())


def _quantiles(below):
    """Return normal quantiles, which are bounded."""
    return ndtri(below.clip(TINY, 1 - TINY))


def _thinned(values, scores):
    """Return the knots of a column: all of its values, or some if they are many.

    Of many values, those are kept whose scores are about evenly spaced.
    """
    if len(values) > MOST_KNOTS:
        evenly = np.linspace(scores[0], scores[-1], MOST_KNOTS)
        # The last of these numbers is the last score itself: no index is beyond it.
        chosen = np.unique(np.searchsorted(scores, evenly))
        values, scores = values[chosen], scores[chosen]
    return values, scores


def _knots_of_ranks(columns, group):
    """Return the knots of all columns, the same as if one process had all values.

    Those of a column of few values are all of them. The others are found by bisections,
    of all such columns at once.

    Parameters
    ----------
    columns : list of tuple (values, mass)
        What this rank has of every column.
    group : Alone

    Returns
    -------
    knots : list of tuple (values, scores)
    """
    if not columns:
        return []
    few = [values if len(values) <= MOST_KNOTS else None for values, _ in columns]
    few = [_union(parts) for parts in zip(*group.collect(few), strict=True)]
    masses = [
        np.zeros(0) if known is None else _mass_at(known, *column)
        for known, column in zip(few, columns, strict=True)
    ]
    ends = np.cumsum([len(mass) for mass in masses])[:-1]
    masses = np.split(group.sum(np.concatenate([np.zeros(0), *masses])), ends)
    many = [c for c, known in zip(columns, few, strict=True) if known is None]
    found = iter(_found_knots(many, group) if many else ())
    return [
        next(found) if known is None else (known, _scores_of(mass))
        for known, mass in zip(few, masses, strict=True)
    ]


def _union(parts):
    """Return the distinct values of a column; None if they are too many for knots."""
    if any(part is None for part in parts):
        return None
    values = np.unique(np.concatenate(parts))
    return values if len(values) <= MOST_KNOTS else None


def _mass_at(known, values, mass):
    """Return the mass that this rank has of values, of which it may lack some."""
    of_known = np.zeros(len(known))
    of_known[np.searchsorted(known, values)] = mass
    return of_known


def _found_knots(columns, group):
    """Find the knots of columns of many values by bisections, see ``_thinned``."""
    sums = [np.append(0.0, np.cumsum(mass)) for _, mass in columns]
    total = group.sum(np.array([s[-1] for s in sums]))[:, None]

    def below(t):
        """Return this rank's mass below numbers t, and half of that at t, by column."""
        rows = []
        for numbers, (values, _), s in zip(t, columns, sums, strict=True):
            ends = (
                np.searchsorted(values, numbers, side) for side in ("left", "right")
            )
            rows.append(sum(s[end] for end in ends) / 2)
        return np.stack(rows)

    def scores(amount):
        return _quantiles(amount / total)

    lowest = group.min(np.array([v[0] if len(v) else np.inf for v, _ in columns]))
    highest = group.max(np.array([v[-1] if len(v) else -np.inf for v, _ in columns]))
    first, last = scores(group.sum(below(np.stack([lowest, highest], axis=1)))).T
    evenly = np.linspace(first, last, MOST_KNOTS, axis=1)
    t = least_reaching(
        group, evenly.shape, below, lambda amount: scores(amount) >= evenly
    )
    pairs = zip(columns, t, strict=True)
    knots = np.stack([next_values(values, row, group) for (values, _), row in pairs])
    of_knots = scores(group.sum(below(knots)))
    firsts = [np.unique(row, return_index=True)[1] for row in knots]
    return [(k[i], s[i]) for k, s, i in zip(knots, of_knots, firsts, strict=True)]
