"""Scaling of columns, robust to constant columns, heavy tails and extreme units."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Standardizer:
    """Maps x to z = (x - mean) / scale, and back.

    The scale of a constant column is infinite: it is ignored, and restored. With a
    finite limit, z becomes z / sqrt(1 + (z / limit)^2), which stays within the limit;
    it may be an array of one for every column.
    """

    mean: np.ndarray
    scale: np.ndarray
    limit: float | np.ndarray = np.inf

    @classmethod
    def identity(cls, n_columns):
        """Leaves columns as they are."""
        return cls(np.zeros(n_columns), np.ones(n_columns))

    def __call__(self, X):
        """Standardised columns."""
        with np.errstate(over="ignore"):
            Z = (X - self.mean) / self.scale
        return Z if np.all(np.isinf(self.limit)) else _bounded(Z, self.limit)

    def inverse(self, X):
        """Columns in their own units, where there is no limit."""
        return X * self.inverse_scale + self.mean

    @property
    def inverse_scale(self):
        """What ``inverse`` multiplies by."""
        return np.where(np.isinf(self.scale), 0.0, self.scale)


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
    )


def fit_standardizer(X, weight, gain=1.0, limit=np.inf):
    """Weighted mean 0 and standard deviation ``gain`` for every column.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float, default=1.0
    limit : float, default=inf
        Bound of the values, in standard deviations.

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
    return Standardizer(
        mean=np.where(constant, X[0], mean * magnitude),
        scale=np.where(constant, np.inf, std * magnitude / gain),
        limit=limit * gain,
    )
