r"""Numbers as the shares of bins that are passed: the piecewise-linear encoding.

The edges :math:`b_0 < ... < b_K` of the bins of a column are its frequent numbers and
quantiles of the others in the training set, and its k-th input is

.. math::
    \min(1, \max(0, (x - b_{k-1}) / (b_k - b_{k-1}))),

that is 1 for the bins below x, 0 for those above, and in between in the bin of x
(Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep
learning", NeurIPS 2022, section 3.2). So any function of x that is linear in every bin
is linear in these inputs. Beyond the first and the last edge they stay as they are.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from odenet._distributed.group import ALONE
from odenet._distributed.selection import least_reaching, next_values
from odenet._tables.standardizer import finite_weights


@dataclass(frozen=True)
class Bins:
    """How many bins a column may have, and how large their inputs are.

    Parameters
    ----------
    most : int
        The most bins of a column.
    samples : int
        The fewest samples for each.
    size : float
        By how much the sum of the inputs of a column rises from its first edge to its
        last, where the number itself, of deviation one, rises by about 4.
    """

    most: int
    samples: int
    size: float

    def within(self, n_rows, n_columns, most_shares):
        """Return bins of which all rows together have so many shares at most.

        All columns together have no more than MOST_INPUTS. None stands for fewer than
        FEWEST of a column that has rows for more: these are of little use.
        """
        most_by_inputs = MOST_INPUTS // max(1, n_columns)
        most = min(most_by_inputs, most_shares // max(1, n_rows * n_columns))
        is_of_use = most >= min(FEWEST, n_rows // self.samples)
        return replace(self, most=min(self.most, most)) if is_of_use else None


# A choice, which `python benchmarks/numeric_embeddings.py --bins` compares with others.
# All bins that are passed move the state together in a step of AdamW, whose length does
# not depend on the size of gradients. So the larger bins are, the sooner predictions
# have steps, those of the noise as well, which the decay of their columns holds back.
BINS = Bins(most=128, samples=20, size=3.0)
FEWEST = 24  # bins of a column that are of use
# Every bin has a column of A, which takes its time in every step. A round value, which
# 64 columns with all their bins reach.
MOST_INPUTS = 2**13


@dataclass(frozen=True)
class PiecewiseLinear:
    """A map of columns of numbers to their inputs, less the means of these.

    Parameters
    ----------
    columns : ndarray of int
        The columns of the table that are embedded, ascending.
    edges : tuple of ndarray
        For every such column the edges of its bins, ascending.
    means : ndarray of shape (n_inputs,)
        The weighted means of the shares over the training set.
    gain : float, default=1.0
        The standard deviation of the numbers beside them.
    size : float, default=1.0
        As in :class:`Bins`.
    """

    columns: np.ndarray
    edges: tuple
    means: np.ndarray
    gain: float = 1.0
    size: float = 1.0

    name: ClassVar = "piecewise_linear"
    is_monotone: ClassVar = True  # an input never falls as its number rises

    @property
    def words(self):
        """What becomes of the columns, in words."""
        return f"{len(self.columns)} of them in {self.n_inputs} bins"

    @property
    def n_bins(self):
        """How many bins each column has, a list."""
        return [len(edges) - 1 for edges in self.edges]

    @property
    def n_inputs(self):
        """How many inputs all columns have together."""
        return sum(self.n_bins)

    @property
    def sources(self):
        """The column of the table that each input tells of, shape (n_inputs,)."""
        return np.repeat(self.columns, self.n_bins)

    @property
    def sizes(self):
        """What each share is multiplied by, shape (n_inputs,)."""
        return self.gain * self.size / np.repeat(self.n_bins, self.n_bins)

    def __call__(self, numbers):
        """Return the inputs of the embedded columns, whose numbers have no gap."""
        shares = _shares_of_bins(numbers, self.edges)
        return self.sizes * (shares - self.means)


def fit_piecewise_linear(columns, numbers, weight, group=ALONE, bins=BINS):
    """Fit bins to the numbers that are not missing.

    A column has a bin for every ``bins.samples`` rows, two at least and ``bins.most``
    at most. It has fewer if a few numbers have most of the rows.

    Parameters
    ----------
    columns : ndarray of int
        The columns of the table that the numbers stand in.
    numbers : ndarray of shape (n, n_columns)
        Each column has more than two distinct numbers.
    weight : ndarray of shape (n,)
    group : Alone, default=ALONE
        The processes that have the rows.
    bins : Bins, default=BINS

    Returns
    -------
    embedding : PiecewiseLinear
    """
    most = int(np.clip(group.sum(len(numbers)) // bins.samples, 2, bins.most))
    bins = replace(bins, most=most)
    edges, means = [], [np.zeros(0)]
    for x in numbers.T:
        known = ~np.isnan(x)
        x, share = x[known].astype(np.float64), weight[known]
        share = finite_weights(share, group)
        values, where = np.unique(x, return_inverse=True)
        mass = np.bincount(where, share, len(values))
        edges_of = _edges if group.size == 1 else partial(_edges_of_ranks, group=group)
        edges.append(edges_of(values, mass, group.sum(len(x)), bins))
        passed = _shares_of_bins(x[:, None], edges[-1:])
        means.append(group.sum(share @ passed) / group.sum(share.sum()))
    means = np.concatenate(means)
    return PiecewiseLinear(columns, tuple(edges), means, size=bins.size)


def _edges(values, mass, n_rows, bins):
    """Return the edges of at most so many bins, the least and the largest included.

    Numbers of more weight than a bin are edges, as the zeros of a column that is mostly
    zero. The bins that are left go to the other numbers, one for ``bins.samples`` of
    their rows, by quantiles of their own: the quantile of a share is the least number
    with this share of the weight at or below it. If none is left, the edges are the
    least number, the next one and the largest.
    """
    rest, heavy = mass.copy(), np.zeros(len(values), bool)
    rows_by_weight, n_left = n_rows / rest.sum(), bins.most
    while (found := n_left * rest > rest.sum()).any():
        heavy |= found
        rest[found] = 0.0
        most = int(rest.sum() * rows_by_weight / bins.samples)
        n_left = max(1, min(bins.most - heavy.sum(), most))
    below = np.cumsum(rest)
    inner = np.searchsorted(below, np.arange(1, n_left) / n_left * below[-1])
    chosen = np.unique([0, *np.flatnonzero(heavy), *inner, len(values) - 1])
    return values[chosen if len(chosen) > 2 else [0, 1, -1]]


def _edges_of_ranks(values, mass, n_rows, bins, group):
    """Return the edges that :func:`_edges` returns of the values of all ranks.

    A value that is heavy among those of all ranks is so among those of one of them.
    """
    rest, heavy = mass.copy(), np.zeros(0)
    rows_by_weight, n_left = n_rows / group.sum(rest.sum()), bins.most
    while True:
        mine = values[(n_left * rest > rest.sum())]
        found = np.unique(np.concatenate(group.collect(mine)))
        places = np.searchsorted(values, found)
        is_here = np.append(values, np.nan)[places] == found
        total = group.sum(np.where(is_here, np.append(rest, 0.0)[places], 0.0))
        found = found[n_left * total > group.sum(rest.sum())]
        if not len(found):
            break
        heavy = np.append(heavy, found)
        rest[np.isin(values, found)] = 0.0
        most = int(group.sum(rest.sum()) * rows_by_weight / bins.samples)
        n_left = max(1, min(bins.most - len(heavy), most))
    below = np.append(0.0, np.cumsum(rest))
    wanted = np.arange(1, n_left) / n_left * group.sum(below[-1])
    inner = least_reaching(
        group,
        wanted.shape,
        lambda t: below[np.searchsorted(values, t, side="right")],
        lambda amount: amount >= wanted,
    )
    ends = group.min(values.min(initial=np.inf)), group.max(values.max(initial=-np.inf))
    chosen = np.unique([*ends, *heavy, *inner])
    if len(chosen) > 2:
        return chosen
    after = np.nextafter(chosen[:1], np.inf)
    return np.array([chosen[0], *next_values(values, after, group), chosen[1]])


def _shares_of_bins(numbers, edges):
    """Return the shares of all bins that are passed, of shape (n, n_inputs).

    Two edges may be so far apart that their distance is no number of float64: the bin
    between them is passed at its upper edge.
    """
    parts = [np.zeros((len(numbers), 0))]
    for x, b in zip(numbers.T, edges, strict=True):
        low, high, x = b[:-1], b[1:], x[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            share = (np.clip(x, low, high) - low) / (high - low)
        parts.append(np.where(x >= high, 1.0, np.nan_to_num(share)))
    return np.hstack(parts)
