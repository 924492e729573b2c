"""Categories of few samples: which are pooled, and the size of the marks of others."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from odenet._distributed.group import ALONE, Alone
from odenet._tables.rows import smallest_weight

# A category with such a share of all samples has marks of 1/sqrt(2) times the size of
# a number, so that a column of k categories moves samples apart about as far as k / 10
# do. With marks of full size samples of many categories are far from each other in
# everything, and each category is learnt by heart. `python benchmarks/categories.py`
# compares shares.
SHARE_OF_HALF = 0.1


@dataclass
class Pooling:
    """The rule by which rare categories of a column become one, as in OneHotEncoder.

    A row of weight w counts as w samples, as if it were repeated. Weights below 1
    cannot be meant so: then one sample is the smallest weight of a distinct row.

    Parameters
    ----------
    rows : tuple (X, y, weight) of ndarray
        The rows whose categories are counted.
    min_frequency : int, float or None
        A category of fewer samples is rare; a float is a share of all. None is 1.
    max_categories : int or None
        If there are more categories, with the one of the rare ones, the least frequent
        are rare as well. None sets no limit.
    group : Alone, default=ALONE
        The processes that have the rows.

    Attributes
    ----------
    weight : ndarray
        The weights of the rows, as numbers of samples.
    fewest : int or float
        The least number of samples of a category that is not rare.
    """

    rows: tuple
    min_frequency: int | float | None = None
    max_categories: int | None = None
    group: Alone = ALONE

    def __post_init__(self):
        unit = min(1.0, smallest_weight(*self.rows, self.group))
        self.weight = self.rows[-1] / unit
        least = 1 if self.min_frequency is None else self.min_frequency
        if not isinstance(least, Integral):
            least = least * self.group.sum(self.weight.sum())
        self.fewest = least

    def keeps(self, indices, n_categories=0):
        """Tell which categories are not rare, by the index of every row's.

        There are as many as the largest index says, or ``n_categories`` if these are
        more: other processes may have rows of others.

        Returns
        -------
        kept : ndarray of shape (n_categories,), of bool
        """
        count = self.group.sum(np.bincount(indices, self.weight, n_categories))
        # Sums of weights such as 1/3 may be below an integer by a rounding.
        kept = count >= self.fewest * (1 - 1e-12)
        most = self.max_categories
        if most is not None and kept.sum() + (not kept.all()) > most:
            order = np.argsort(np.where(kept, -count, 0.0), kind="stable")
            kept[order[most - 1 :]] = False
        return kept


def sizes_of_marks(mass):
    """Return the size of the mark of every category of a column, between 0 and 1.

    Parameters
    ----------
    mass : ndarray of shape (n_categories,)
        The weight of the samples of a category.

    Returns
    -------
    size : ndarray of shape (n_categories,)
        The square root of p / (p + SHARE_OF_HALF), p the category's share.
    """
    share = mass / mass.sum()
    return np.sqrt(share / (share + SHARE_OF_HALF))
