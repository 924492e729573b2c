"""From a table to a matrix: which columns hold categories, and which categories.

The matrix has the columns of the table. In place of a category it has the index in the
sorted list of all. If the list lacks it, that is the length of the list in a column
whose rare categories are pooled, else -1. So rows can be merged and held out before
:mod:`odenet._tables.encoder` makes them inputs of a network.
"""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from odenet._distributed.group import ALONE
from odenet._tables.column_checks import check_kind
from odenet._tables.rows import slices_of_rows
from odenet._tables.table_values import (
    distinct_values,
    is_frame,
    kind_of,
    known_value,
    name_of,
    values_of,
)
from odenet._utils.sklearn_private import safe_indexing

UNKNOWN = -1  # The index of a category that is not in the list.
# Names of dtypes of texts and categories: of pandas, polars and Arrow.
TEXT = re.compile(r"category|categorical|enum|dictionary|object|str(?!uct)|large_str")


@dataclass(frozen=True)
class Columns:
    """What the columns of a table hold.

    ``categories`` maps the index of a column to the tuple of its categories, where None
    stands for missing values. The other fields are None until a training set settles
    them: ``numeric`` holds the indices of all other columns, ``incomplete`` of those
    where numbers are missing, and ``scored`` of those that the network is also given by
    their normal scores. ``pooled`` maps the index of a column to one of its rare
    categories, if it has any. They are not in the tuple, and share one mark with all
    that are met later. ``fewest`` is the least number of samples of one that is in a
    tuple; None if that is unknown, as in old files.
    """

    categories: dict
    allow_nan: bool
    numeric: np.ndarray | None = None
    incomplete: np.ndarray | None = None
    scored: np.ndarray | None = None
    pooled: dict = field(default_factory=dict)
    fewest: float | None = None

    def read(self, X):
        """Return the matrix of a table, which comes from :func:`as_table`."""
        matrix = np.empty(X.shape)
        numeric = other_columns(X.shape[1], self.categories)
        if len(numeric):
            numbers = safe_indexing(X, numeric, axis=1)
            matrix[:, numeric] = check_array(
                numbers, dtype=np.float64, ensure_all_finite=False
            )
        for j, categories in self.categories.items():
            values = values_of(X, j)
            rare = [self.pooled[j]] if j in self.pooled else []
            check_kind(values, [*categories, *rare], name_of(X, j))
            other = len(categories) if rare else UNKNOWN
            matrix[:, j] = _indices(values, categories, other)
        return matrix

    def settled(self, X, scored, pooling=None, group=ALONE):
        """Return the columns as a training set settles them, and its matrix.

        The matrix is changed in place. Categories that no row has are forgotten, so
        that rows without weight leave no trace. If columns are to be scored, these are
        the columns of more than two numbers: scores of two are the numbers, scaled.
        A :class:`odenet._tables.rare_categories.Pooling` tells which categories are
        kept; None keeps all. The processes of ``group`` have the rows together.
        """
        categories, pooled = {}, {}
        for j, known in self.categories.items():
            met = np.unique(np.concatenate(group.collect(np.unique(X[:, j]))))
            indices = np.searchsorted(met, X[:, j])
            kept = np.full(len(met), True)
            if pooling:
                kept = pooling.keeps(indices, len(met))
            categories[j] = tuple(known[int(i)] for i in met[kept])
            X[:, j] = np.where(kept, np.cumsum(kept) - 1, kept.sum())[indices]
            if not kept.all():
                pooled[j] = known[int(met[~kept][0])]
        numeric = other_columns(X.shape[1], categories)
        has_gaps = self.allow_nan and group.max(np.isnan(X).any(axis=0).astype(int))
        columns = replace(
            self,
            categories=categories,
            numeric=numeric,
            scored=numeric[_are_many(X, group)[numeric]] if scored else numeric[:0],
            incomplete=np.flatnonzero(has_gaps),
            pooled=pooled,
            fewest=float(pooling.fewest) if pooling else None,
        )
        return columns, X

    @cached_property
    def are_plain(self):
        """Whether all columns hold numbers, of which none can be missing."""
        return not (self.categories or self.allow_nan)

    def n_categories(self, j):
        """Return how many categories of a column the network can tell apart."""
        return len(self.categories[j]) + (j in self.pooled)

    @property
    def inputs(self):
        """The columns that the network is given; two categories share one.

        Returns
        -------
        n_inputs : int
        marks : list of range
            Those that mark categories, for every column of categories.
        """
        marks, first = [], len(self.numeric)
        for n in map(self.n_categories, self.categories):
            marks.append(range(first, first + (n if n > 2 else 1)))
            first = marks[-1].stop
        return first + len(self.incomplete) + len(self.scored), marks

    def signs_of_inputs(self, signs, embedding=None):
        """Return the signs of the inputs that tell of columns with signs.

        An input that marks missing values has none.

        Parameters
        ----------
        signs : ndarray of shape (n_columns,)
        embedding : PiecewiseLinear or Periodic, default=None
            Of the columns that have scores.

        Returns
        -------
        signs : ndarray of shape (n_inputs,)
        """
        n_marks = self.inputs[0] - len(self.numeric) - len(self.scored)
        marks = np.zeros(n_marks, dtype=signs.dtype)
        parts = [signs[self.numeric], marks, signs[self.scored]]
        parts += [] if embedding is None else [signs[embedding.sources]]
        return np.concatenate(parts)


def read_columns(X, categorical_features, allow_nan, group=ALONE):
    """Find the columns of categories of a table, and their categories.

    Parameters
    ----------
    X : data frame, array-like or sparse matrix
    categorical_features : "from_dtype", array-like of bool, int or str, or None
    allow_nan : bool
    group : Alone, default=ALONE
        The processes that have the rows.

    Returns
    -------
    columns : Columns
    """
    chosen = []
    if issparse(X):
        _check_for_sparse(categorical_features, allow_nan)
        return Columns({}, allow_nan)
    if isinstance(categorical_features, str):
        chosen = _columns_of_text(X) if is_frame(X) else []
    elif categorical_features is not None and len(categorical_features):
        X = as_table(X)
        chosen = _indices_of(np.asarray(categorical_features), X)
    group.check_same("columns of categories", f"{list(map(int, chosen))}")
    found = group.collect([_categories(values_of(X, j)) for j in chosen])
    of_all = (
        _categories(chain.from_iterable(parts)) for parts in zip(*found, strict=True)
    )
    return Columns(dict(zip(chosen, of_all, strict=True)), allow_nan)


def joined_columns(*parts):
    """Return the columns of a table whose blocks of rows have these.

    Parameters
    ----------
    *parts : Columns
        As :func:`read_columns` returns them.
    """
    chosen = sorted(set().union(*(part.categories for part in parts)))
    of_all = (
        _categories(chain.from_iterable(part.categories.get(j, ()) for part in parts))
        for j in chosen
    )
    return Columns(dict(zip(chosen, of_all, strict=True)), parts[0].allow_nan)


def _check_for_sparse(categorical_features, allow_nan):
    """Raise for what a sparse table cannot have: categories and missing numbers."""
    chosen = categorical_features
    if chosen is not None and not isinstance(chosen, str) and len(chosen):
        raise ValueError(
            "X is sparse, and a sparse table has no columns of categories: pass a "
            f"dense table, or leave out categorical_features={chosen!r}."
        )
    if allow_nan:
        raise ValueError(
            "X is sparse, and a sparse table has no missing numbers: pass a dense "
            "table, or allow_nan=False."
        )


def as_table(X):
    """Return a frame as it is, or an array that keeps numbers and texts as they are."""
    if is_frame(X):
        return X
    dtype = None if hasattr(X, "dtype") else object
    return check_array(X, dtype=dtype, ensure_all_finite=False)


def other_columns(n_columns, chosen):
    """Return the indices of the columns that are not chosen, ascending."""
    return np.array([j for j in range(n_columns) if j not in chosen], dtype=int)


def _are_many(X, group):
    """Return for every column whether it has more than two distinct numbers.

    It has if a number lies between the least and the largest. Comparisons with NaN are
    false.
    """
    lowest, highest = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
    slices = slices_of_rows(X)
    for rows in slices:  # fmin and fmax leave NaN out
        lowest = np.fmin(lowest, np.fmin.reduce(X[rows]))
        highest = np.fmax(highest, np.fmax.reduce(X[rows]))
    lowest, highest = group.min(lowest), group.max(highest)
    between = np.zeros(X.shape[1], dtype=bool)
    for rows in slices:
        between |= ((lowest < X[rows]) & (highest > X[rows])).any(axis=0)
    return group.max(between.astype(int)).astype(bool)


def _columns_of_text(X):
    """Return the columns of a frame that hold categories or texts by their dtype."""
    return [
        j
        for j, dtype in enumerate(map(str, X.dtypes))
        if TEXT.match(dtype.lower())
        and (dtype.lower() != "object" or _holds_text(values_of(X, j)))
    ]


def _holds_text(values):
    """Return whether any value is a text: the dtype object tells nothing."""
    return any(isinstance(value, str) for value in values)


def _indices_of(features, X):
    """Return the indices of the columns that a user has chosen, ascending."""
    n_columns = X.shape[1]
    if features.dtype.kind == "b":
        if features.shape != (n_columns,):
            raise ValueError(
                "`categorical_features` must have one entry for each of the "
                f"{n_columns} features if it is a boolean mask, got shape "
                f"{features.shape}."
            )
        return np.flatnonzero(features).tolist()
    features = sorted(set(features.tolist()), key=str)
    if all(isinstance(feature, str) for feature in features):
        return _indices_of_names(features, X)
    if not all(isinstance(feature, int) for feature in features):
        raise ValueError(
            "`categorical_features` must hold either booleans, integers or strings, "
            f"got {features}."
        )
    wrong = [index for index in features if not 0 <= index < n_columns]
    if wrong:
        raise ValueError(
            f"`categorical_features` must hold indices of the {n_columns} feature(s), "
            f"from 0 to {n_columns - 1}, got {wrong}."
        )
    return sorted(features)


def _indices_of_names(names, X):
    """Return the indices of the columns that a user has chosen by their names."""
    if not is_frame(X):
        raise ValueError(
            "`categorical_features` can hold names only if X is a data frame, got "
            f"{names}: pass indices or a boolean mask."
        )
    columns = list(X.columns)
    unknown = [name for name in names if name not in columns]
    if unknown:
        raise ValueError(
            f"`categorical_features` must hold names of features, got {unknown}; the "
            f"features are {columns}."
        )
    return [j for j, name in enumerate(columns) if name in names]


def _categories(values):
    """Return distinct values in order: numbers, texts, others, None if any is missing.

    Equal numbers of several types are one category, as in Python: 1, 1.0 and True.
    """
    distinct = {known_value(value) for value in distinct_values(values)}
    known = sorted(distinct - {None}, key=lambda value: (kind_of(value), value))
    return (*known, None) if None in distinct else tuple(known)


def _indices(values, categories, other):
    """Return the index of every value in the categories, or ``other``."""
    index = {category: i for i, category in enumerate(categories)}
    met = {v: index.get(known_value(v), other) for v in distinct_values(values)}
    return np.array([met[value] for value in values], dtype=np.float64)
