"""Affine scaling of columns, robust to constant columns and to extreme magnitudes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Standardizer:
    """Maps x to (x - mean) / scale, and back.

    A scale is infinite where a column is constant and to be ignored.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def identity(cls, n_columns):
        """Leaves columns as they are."""
        return cls(np.zeros(n_columns), np.ones(n_columns))

    def __call__(self, X):
        """Standardised columns."""
        return (X - self.mean) / self.scale

    def inverse(self, X):
        """Columns in their own units."""
        return X * self.scale + self.mean


def fit_standardizer(X, weight, gain, constant_scale):
    """Weighted mean 0 and standard deviation ``gain`` for every column.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float
    constant_scale : float
        Scale of a constant column: infinite to ignore it, 1 to keep it.

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
        scale=np.where(constant, constant_scale, std * magnitude / gain),
    )
