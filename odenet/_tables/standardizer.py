"""Scaling of columns, robust to constant columns, heavy tails and extreme units."""

from dataclasses import dataclass

import numpy as np

from odenet._distributed.group import ALONE
from odenet._tables.rows import slices_of_rows

# A bound before squares are taken: any number whose square is finite, and beside which
# every limit is small. An infinite z would become inf / inf.
LARGEST = 1e100
# Of the scale of a column at an end of float64: 0 and infinity would mean other things.
SMALLEST_SCALE = np.finfo(float).smallest_subnormal
LARGEST_SCALE = np.finfo(float).max
# A column whose standard deviation is within a few roundings of its largest number is
# constant: the mean of n equal numbers is off by such an amount.
ROUNDING = 10 * np.finfo(float).eps


@dataclass(frozen=True)
class Standardizer:
    """A map from x to z = (x - mean) / scale, and back.

    The scale of a constant column is infinite, so that z is zero, and the inverse map
    restores the mean. With a finite limit, z becomes z / sqrt(1 + (z / limit)^2), which
    stays within the limit. The limit may be an array with one number for every column.
    """

    mean: np.ndarray
    scale: np.ndarray
    limit: float | np.ndarray = np.inf

    @classmethod
    def identity(cls, n_columns):
        """Return the map that leaves columns as they are."""
        return cls(np.zeros(n_columns), np.ones(n_columns))

    def __call__(self, X):
        """Return standardised columns."""
        with np.errstate(over="ignore", invalid="ignore"):
            Z = (X - self.mean) / self.scale  # A limit brings infinite numbers back.
        if np.isinf(self.scale).any():  # inf / inf is no number
            Z = np.where(np.isinf(self.scale) & ~np.isnan(X), 0.0, Z)
        return Z if np.all(np.isinf(self.limit)) else _bounded(Z, self.limit)

    @property
    def keeps_zeros(self):
        """Whether zeros stay zeros."""
        return not self.mean.any()

    def of_sparse(self, X):
        """Return the standardised columns of a sparse matrix, if zeros stay zeros."""
        columns = X.indices
        limit = np.broadcast_to(self.limit, self.mean.shape)[columns]
        of_entries = Standardizer(self.mean[columns], self.scale[columns], limit)
        Z = X.copy()
        Z.data = of_entries(X.data)
        return Z

    def inverse(self, X):
        """Return columns in their own units; a limit is not undone."""
        return X * self.inverse_scale + self.mean

    @property
    def inverse_scale(self):
        """The factor of ``inverse``: a constant column has no deviations."""
        return np.where(np.isinf(self.scale), 0.0, self.scale)


def _bounded(Z, limit):
    """Return z / sqrt(1 + (z / limit)^2)."""
    Z = np.clip(Z, -LARGEST, LARGEST)
    return Z / np.hypot(1.0, Z / limit)


def side_by_side(standardizers):
    """Return one standardizer of the columns of several, in their order."""
    return Standardizer(
        mean=np.concatenate([part.mean for part in standardizers]),
        scale=np.concatenate([part.scale for part in standardizers]),
        limit=np.concatenate(
            [np.broadcast_to(part.limit, part.mean.shape) for part in standardizers]
        ),
    )


def fit_to_the_mean(X, weight, group=ALONE):
    """Fit a map to weighted mean 1 of every column, which moves no zero.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Not negative, and not all zero in any column.
    weight : ndarray of shape (n,)
    group : Alone, default=ALONE
        The processes that have the rows.

    Returns
    -------
    standardizer : Standardizer
    """
    magnitude = group.max(X.max(axis=0, initial=0.0))
    share = shares_of(weight, group)[:, None]
    mean = group.sum((share * (X / magnitude)).sum(axis=0)) * magnitude
    scale = np.clip(mean, SMALLEST_SCALE, LARGEST_SCALE)
    return Standardizer(np.zeros_like(mean), scale)


def fit_standardizer(X, weight, gain=1.0, limit=np.inf, group=ALONE):
    """Fit a map to weighted mean 0 and standard deviation ``gain`` of every column.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float, default=1.0
    limit : float, default=inf
        The bound of the values, in standard deviations.
    group : Alone, default=ALONE
        The processes that have the rows.

    Returns
    -------
    standardizer : Standardizer
    """
    ends = -X.min(axis=0, initial=np.inf), X.max(axis=0, initial=-np.inf)
    lowest, highest = group.max(np.array(ends, dtype=np.float64)) * [[-1.0], [1.0]]
    magnitude = np.maximum(0.0, np.maximum(highest, -lowest))
    magnitude[magnitude == 0] = 1.0
    # No square overflows if it is taken of X / magnitude, whatever the units are.
    parts = X, shares_of(weight, group), slices_of_rows(X)
    mean = group.sum(_sums(*parts, lambda x, j: x / magnitude[j]))
    of_squares = _sums(*parts, lambda x, j: np.square(x / magnitude[j] - mean[j]))
    std = np.sqrt(group.sum(of_squares))
    with np.errstate(over="ignore"):
        constant = (lowest == highest) | (std <= ROUNDING)
        scale = np.clip(std * magnitude / gain, SMALLEST_SCALE, LARGEST_SCALE)
    first = next(row for rows in group.collect(X[:1]) for row in rows)
    return Standardizer(
        mean=np.where(constant, first, mean * magnitude),
        scale=np.where(constant, np.inf, scale),
        limit=limit * gain,
    )


def _sums(X, share, slices, of_numbers):
    """Return the weighted sums of a function of the numbers of every column.

    They are those of numpy for the matrix as a whole, to the last bit, without a copy
    of it: of a matrix by rows, it adds one row after the other.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    share : ndarray of shape (n,)
    slices : list of slice
        Of all rows.
    of_numbers : callable
        A function of some rows, or of a column, and of the columns that they have.
    """
    n, d = X.shape
    if d == 1 or X.strides[0] < X.strides[1]:
        columns = ((X[:, j].astype(np.float64), j) for j in range(d))
        return np.array([(share * of_numbers(x, j)).sum() for x, j in columns])
    total, every = np.zeros((0, d)), slice(None)
    for rows in slices:
        found = share[rows, None] * of_numbers(X[rows].astype(np.float64), every)
        total = np.concatenate([total, found]).sum(axis=0, keepdims=True)
    return total.sum(axis=0)


def finite_weights(weight, group=ALONE):
    """Return weights over a power of two, so that their sums are finite.

    Sums of whole numbers stay exact. So it does not depend on the order of the rows, or
    on the processes that have them, where a sum reaches a share of all.
    """
    _, exponent = np.frexp(group.max(weight.max(initial=0.0)))
    return weight / np.ldexp(1.0, int(exponent) - 1)


def shares_of(weight, group):
    """Return the share of every row in the weight of all, whatever its unit is."""
    share = weight / group.max(weight.max(initial=0.0))  # so that no sum overflows
    return share / group.sum(share.sum())


def fit_to_norm(X, weight, norm):
    """Fit one factor to all columns of a sparse matrix, which moves no zero.

    A factor for every column would take back the weights of TF-IDF. By the standard
    deviation it would even make rare words the largest of all.

    Parameters
    ----------
    X : csr_array of shape (n, d)
    weight : ndarray of shape (n,)
    norm : float
        The weighted root mean square of the norms of the rows.

    Returns
    -------
    standardizer : Standardizer
        Of a matrix without any entry, the identity.
    """
    if not X.nnz:
        return Standardizer.identity(X.shape[1])
    magnitude = np.abs(X.data).max()
    share = weight / weight.max()  # as below, no sum and no square overflows
    share = np.repeat(share / share.sum(), np.diff(X.indptr))
    size = np.sqrt((share * np.square(X.data / magnitude)).sum())
    with np.errstate(over="ignore"):
        scale = np.clip(size * magnitude / norm, SMALLEST_SCALE, LARGEST_SCALE)
    return Standardizer(np.zeros(X.shape[1]), np.full(X.shape[1], scale))
