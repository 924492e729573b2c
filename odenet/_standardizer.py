"""Scaling of columns, robust to constant columns, heavy tails and extreme units."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

MOST_KNOTS = 256  # of the map from a column to its normal scores


@dataclass(frozen=True)
class Standardizer:
    """Maps x to z = (x - mean) / scale, and back.

    The scale of a constant column is infinite: it is ignored, and restored. With a
    finite limit, z becomes z / sqrt(1 + (z / limit)^2), which stays within the limit;
    it may be an array of one for every column. Where a column has knots, values x and
    their scores, the result is the mean of z and of the score interpolated at x.
    """

    mean: np.ndarray
    scale: np.ndarray
    limit: float | np.ndarray = np.inf
    knots: tuple = ()

    @classmethod
    def identity(cls, n_columns):
        """Leaves columns as they are."""
        return cls(np.zeros(n_columns), np.ones(n_columns))

    def __call__(self, X):
        """Standardised columns."""
        with np.errstate(over="ignore"):
            Z = (X - self.mean) / self.scale
        if not np.all(np.isinf(self.limit)):
            Z = _bounded(Z, self.limit)
        for j, knots in enumerate(self.knots):
            if knots is not None:
                Z[:, j] = (Z[:, j] + np.interp(X[:, j], *knots)) / 2
        return Z

    def inverse(self, X):
        """Columns in their own units, where there is no limit."""
        scale = np.where(np.isinf(self.scale), 0.0, self.scale)
        return X * scale + self.mean


def _bounded(Z, limit):
    Z = np.clip(Z, -1e100, 1e100)
    return Z / np.hypot(1.0, Z / limit)


def side_by_side(standardizers):
    """The standardizer of columns of which each has a part."""
    return Standardizer(
        mean=np.concatenate([part.mean for part in standardizers]),
        scale=np.concatenate([part.scale for part in standardizers]),
        limit=np.concatenate(
            [np.broadcast_to(part.limit, part.mean.shape) for part in standardizers]
        ),
        knots=sum(
            (part.knots or (None,) * len(part.mean) for part in standardizers), ()
        ),
    )


def fit_standardizer(X, weight, gain=1.0, limit=np.inf, scored=False):
    r"""Weighted mean 0 and standard deviation ``gain`` for every column.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float, default=1.0
    limit : float, default=inf
        Bound of the values, in standard deviations.
    scored : bool, default=False
        Whether the result is to be the mean of this and of ``gain`` times the normal
        scores of a column, :math:`\Phi^{-1}` of its distribution function.

    Returns
    -------
    standardizer : Standardizer
    """
    magnitude = np.abs(X).max(axis=0)
    magnitude[magnitude == 0] = 1.0
    unit = X / magnitude  # no square below overflows, whatever the units
    share = weight / weight.max()
    share = (share / share.sum())[:, None]
    mean = (share * unit).sum(axis=0)
    std = np.sqrt((share * np.square(unit - mean)).sum(axis=0))
    constant = (np.ptp(X, axis=0) == 0) | (std <= 10 * np.finfo(float).eps)
    knots = ()
    if scored:
        knots = tuple(
            None if is_constant else _normal_scores(column, share[:, 0], gain)
            for column, is_constant in zip(X.T, constant, strict=True)
        )
    return Standardizer(
        mean=np.where(constant, X[0], mean * magnitude),
        scale=np.where(constant, np.inf, std * magnitude / gain),
        limit=limit * gain,
        knots=knots,
    )


def _normal_scores(x, share, gain):
    """Values and their scores: of half their own mass and all that is below them."""
    values, where = np.unique(x, return_inverse=True)
    mass = np.bincount(where, share)
    scores = ndtri(np.cumsum(mass) - mass / 2)
    if len(values) > MOST_KNOTS:
        evenly = np.linspace(scores[0], scores[-1], MOST_KNOTS)
        chosen = np.unique(np.searchsorted(scores, evenly).clip(max=len(values) - 1))
        values, scores = values[chosen], scores[chosen]
    return values, gain * scores
