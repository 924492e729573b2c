"""What the rows of a table have, so that a sample of them lacks none of it."""

import numpy as np

from odenet._tables.columns import other_columns
from odenet._tables.reading import Rows


class Met:
    """Collects what rows have: categories, gaps, extremes of numbers and of targets.

    Parameters
    ----------
    columns : Columns
        Not settled yet: categories are indices in their lists.

    Attributes
    ----------
    n_samples : int
        The number of rows.
    """

    def __init__(self, columns):
        self.columns = columns
        self.n_samples = 0
        self.mass = {j: np.zeros(len(c)) for j, c in columns.categories.items()}

    def add(self, rows):
        """Take the rows of a block."""
        numbers = np.column_stack([rows.X, rows.y])
        if not self.n_samples:
            self.lowest, self.highest = np.full((2, numbers.shape[1]), np.nan)
            self.gaps = np.zeros(numbers.shape[1])
        self.n_samples += len(numbers)
        self.lowest = np.fmin(self.lowest, np.fmin.reduce(numbers, axis=0))
        self.highest = np.fmax(self.highest, np.fmax.reduce(numbers, axis=0))
        self.gaps += rows.weight @ np.isnan(numbers)
        for j, mass in self.mass.items():
            mass += np.bincount(rows.X[:, j].astype(int), rows.weight, len(mass))

    def completed(self, sample, share):
        """Return a sample with rows for all that it lacks and others have.

        Such a row is one of the sample in all but one column. Its weight is that of all
        rows that have what it has, times the share of the sample in the weight of all.

        Parameters
        ----------
        sample : Rows
        share : float

        Returns
        -------
        sample : Rows
        """
        X, n_columns = sample.X, sample.X.shape[1]
        y = sample.y.reshape(len(X), -1)
        found = [*self._lacking_categories(X), *self._lacking_numbers(X, y)]
        if not found:
            return sample
        found = found[: len(X)]  # no more than memory has room for
        extra = np.column_stack([X[: len(found)], y[: len(found)]])
        for row, (j, value, _) in zip(extra, found, strict=True):
            row[j] = value
        y_extra = extra[:, n_columns:].reshape(-1, *sample.y.shape[1:])
        weight = share * np.array([mass for *_, mass in found])
        factor = sample.factor
        return Rows(
            np.concatenate([X, extra[:, :n_columns]]),
            np.concatenate([sample.y, y_extra.astype(sample.y.dtype)]),
            np.concatenate([sample.weight, weight]),
            None,
            None if factor is None else np.append(factor, factor[: len(found)]),
        )

    def _lacking_categories(self, X):
        """Yield column, index and mass of categories that a sample lacks."""
        for j, mass in self.mass.items():
            here = np.bincount(X[:, j].astype(int), minlength=len(mass))
            for index in np.flatnonzero((mass > 0) & (here == 0)):
                yield j, index, mass[index]

    def _lacking_numbers(self, X, y):
        """Yield column, number and mass of gaps, and of extremes of constant columns.

        Targets follow the columns of X.
        """
        n_columns = X.shape[1]
        numeric = other_columns(n_columns, self.columns.categories)
        one = 1.0  # the weight of a row whose number may be an extreme of many
        for j in [*numeric, *range(n_columns, n_columns + y.shape[1])]:
            values = X[:, j] if j < n_columns else y[:, j - n_columns]
            known = values[~np.isnan(values)]
            if self.gaps[j] and len(known) == len(values):
                yield j, np.nan, self.gaps[j]
            ends = self.lowest[j], self.highest[j]
            if ends[0] < ends[1] and len(np.unique(known)) < 2:
                yield from ((j, end, one) for end in ends if end not in known)
