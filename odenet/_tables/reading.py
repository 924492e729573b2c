"""From a user's table to rows of numbers, in ``fit`` and in ``predict``."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_X_y
from sklearn.utils.validation import validate_data

from odenet._distributed.group import ALONE, Alone
from odenet._tables.column_checks import check_numbers, column_of_texts
from odenet._tables.columns import Columns, as_table
from odenet._tables.encoder import Encoder
from odenet._tables.rows import distinct_rows, gathered_by_key
from odenet._tables.samples import training_data
from odenet._tables.targets import Targets
from odenet._utils.sklearn_private import check_sample_weight

NO_Y = "no_validation"  # what scikit-learn calls the absence of targets
# Numbers of float32 stay so, since a copy in float64 would take twice the memory of the
# table. All that is computed of them is computed in float64, some rows or a column at a
# time, so that the results are those of the same numbers in float64, to the last bit.
FLOATS = [np.float64, np.float32]


class Rows(NamedTuple):
    """Rows of a training set: a matrix, encoded targets, and weights.

    ``index`` says which row of the user's table each one was; of equal rows that were
    merged, the first. Rows that come from no table have none. ``factor`` is the part of
    the weights that is due to the classes; None is 1 for all.
    """

    X: np.ndarray | csr_array
    y: np.ndarray
    weight: np.ndarray
    index: np.ndarray | None = None
    factor: np.ndarray | None = None

    def taken(self, which, weight):
        """Return rows by a mask or by their positions, with new weights."""
        rest = (None if a is None else a[which] for a in (self.index, self.factor))
        return Rows(self.X[which], self.y[which], weight, *rest)

    def drawn_from(self, table):
        """Return these rows, whose X is not a copy but drawn from that of a table.

        Parameters
        ----------
        table : Rows
            The rows that these were taken from. Those that come from no table, but from
            other processes, stay as they are.
        """
        if self.index is None:
            return self
        places = np.searchsorted(table.index, self.index)
        return Rows(DrawnRows(table.X, places), self.y, self.weight)

    @property
    def sample_weight(self):
        """The weights of the rows without the factors of their classes.

        It is zero for a class of weight zero. Whole numbers stay whole.
        """
        if self.factor is None:
            return self.weight
        weight = np.divide(
            self.weight,
            self.factor,
            out=np.zeros_like(self.weight),
            where=self.factor > 0,
        )
        whole = np.rint(weight)
        return np.where(np.isclose(weight, whole, rtol=1e-12), whole, weight)


@dataclass(frozen=True)
class DrawnRows:
    """Rows of a matrix in another order, of which slices are copies."""

    X: np.ndarray | csr_array
    places: np.ndarray

    @property
    def shape(self):
        """Number of rows and of columns."""
        return len(self.places), self.X.shape[1]

    def __getitem__(self, rows):
        """Return the rows of a slice."""
        return self.X[self.places[rows]]


class Announced(NamedTuple):
    """What a training set is known to have, of which its rows may lack some."""

    classes: np.ndarray | None = None  # labels
    columns: Columns | None = None  # categories
    targets: type | None = None  # their kind, if it is not that of the estimator
    embedding: Any = None  # of numbers, as fit_embedding returns it


@dataclass
class Reading:
    """A training set as it was read, and what was learned of it by reading.

    Parameters
    ----------
    rows : Rows or None
        None after samples have been made of them.
    targets : Targets
    layout : Columns or tuple
        What the columns of a table hold; of images, their shape.
    notices : tuple of str, default=()
        What the user is to be warned of.
    embedding : PiecewiseLinear, Periodic or None, default=None
        Of the numbers of a table, if it was announced.
    group : Alone, default=ALONE
        The processes that have the rows together.
    n_samples : int, default=None
        Of distinct rows, how many there were before equal ones were merged.
    source : Reading, default=None
        Of distinct rows, the reading that they were taken from.
    """

    rows: Rows | None
    targets: Targets
    layout: Any
    notices: tuple = ()
    embedding: Any = None
    group: Alone = ALONE
    n_samples: int | None = None
    source: Any = None

    is_stored: ClassVar = False  # in a file, in place of memory

    @property
    def n_rows(self):
        """The number of rows of all processes."""
        return self.group.sum(len(self.rows.y))

    @property
    def sample(self):
        """The rows that tell of the columns and of the targets: all."""
        return self.rows

    def distinct(self, seed):
        """Return the reading with repeated rows merged, in an order of the seed."""
        rows = merged(self.rows, seed, self.group)
        return replace(self, rows=rows, n_samples=int(self.n_rows), source=self)

    def close(self):
        """Let go of what memory does not hold: nothing."""

    def training_data(self, predictor, splits):
        """Return the samples of the rows, and those of splits of them.

        The distinct rows are let go of, and those of the table that they are encoded
        from: they may be a copy of it, which training does not need.

        Parameters
        ----------
        predictor : Predictor
        splits : dict
            Parameters of :func:`odenet._tables.samples.training_data`.
        """
        rows = self.rows.drawn_from(self.source.rows)
        self.rows = self.source.rows = None
        return training_data(predictor, rows, **splits, group=self.group)


def merged(rows, seed, group=ALONE):
    """Merge repeated rows, and put them in an order that the seed decides.

    Of several processes each gets a part of the rows of all, and the order goes on from
    one process to the next.
    """
    if group.size > 1:
        X, y, weight, factor = gathered_by_key(
            rows.X, rows.y, rows.weight, rows.factor, seed, group
        )
        rows = Rows(X, y, weight, None, factor)
    return rows.taken(*distinct_rows(rows.X, rows.y, rows.weight, seed))


@dataclass(frozen=True)
class TableInputs:
    """How a table becomes the inputs of a network.

    Parameters
    ----------
    estimator_name : str
        Whom errors speak of.
    n_features : int
        Number of columns of the training table.
    feature_names : ndarray of str or None
        Names of these columns, if they had any.
    encoder : Encoder
    """

    estimator_name: str
    n_features: int
    feature_names: np.ndarray | None
    encoder: Encoder

    rows_at_once: ClassVar = 4096  # in one evaluation, which bounds its memory

    @property
    def columns(self):
        """What the columns hold."""
        return self.encoder.columns

    def notices(self):
        """Return what a user is to know who trains further on other data."""
        texts = {
            "The columns {} are constant in the first training data. They are ignored "
            "from now on, also where they vary in later data.": self.ignored,
            "Of the columns {} some categories are rare in the first training data. "
            "They share one embedding from now on, with all that come later: set "
            "`min_frequency=1` to tell them apart.": self.columns.pooled,
        }
        return [text.format(self._names(c)) for text, c in texts.items() if len(c)]

    def contents(self):
        """Return words for the columns, and which of them are ignored."""
        columns = self.columns
        categories = [columns.n_categories(j) for j in columns.categories]
        gaps, embedding = len(columns.incomplete), self.encoder.embedding
        parts = [
            _counted(len(columns.numeric), "number") if len(columns.numeric) else "",
            f"{gaps} of them sometimes missing" if gaps else "",
            embedding.words if embedding is not None and embedding.n_inputs else "",
            _counted(sum(categories), "category", "categories")
            + f" in {_counted(len(categories), 'column')}"
            if categories
            else "",
        ]
        ignored = self._names(self.ignored)
        text = ", ".join(part for part in parts if part)
        return f"{text}; ignored: {', '.join(map(str, ignored))}" if ignored else text

    @property
    def ignored(self):
        """The indices of the columns that were constant in training."""
        columns = self.columns
        single = [j for j in columns.categories if columns.n_categories(j) == 1]
        return sorted([*self.encoder.ignored.tolist(), *single])

    def _names(self, columns):
        """Return the names of columns, or their indices where they have none."""
        names = self.feature_names
        return [int(j) if names is None else str(names[j]) for j in columns]

    def read(self, X, y=NO_Y, **checks):
        """Check a table against the training table, and return its matrix; and y."""
        owner = stand_in(self.estimator_name, self.n_features, self.feature_names)
        return read_table(owner, self.columns, X, y, **checks)

    def __call__(self, X):
        """Return the inputs of every row of a matrix."""
        return self.encoder(X)


def _counted(n, noun, nouns=None):
    """Return a number and a noun, which is in the plural unless the number is 1."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def stand_in(estimator_name, n_features, feature_names):
    """Make an estimator with features and a name, for scikit-learn's checks.

    They compare a table with the attributes of an estimator, and their messages name
    its class.
    """
    owner = type(estimator_name, (BaseEstimator,), {})()
    owner.n_features_in_ = n_features
    if feature_names is not None:
        owner.feature_names_in_ = feature_names
    return owner


def has_scores(estimator, X):
    """Tell whether columns of numbers are given to a network by their scores as well.

    Parameters
    ----------
    estimator : TableResODE
    X : data frame, array-like or sparse matrix
    """
    name = estimator.numeric_embedding
    if name == "auto":
        return estimator.standardize and not issparse(X)
    if name is not None and issparse(X):
        raise ValueError(
            "X is sparse, and the numbers of a sparse table are not embedded: pass a "
            "dense table, or numeric_embedding='auto' or None, got "
            f"numeric_embedding={name!r}."
        )
    return name is not None


def read_table(owner, columns, X, y=NO_Y, *, reset=False, **checks):
    """Return the matrix of a table, and y if there is one, both checked.

    Parameters
    ----------
    owner : estimator
        Gets ``n_features_in_`` and ``feature_names_in_`` if ``reset``; otherwise the
        table must agree with them.
    columns : Columns
    X : data frame, array-like or sparse matrix
    y : array-like, default=NO_Y
    reset : bool, default=False
    **checks : dict
        For scikit-learn's check of y.

    Returns
    -------
    X : ndarray or csr_array of shape (n, d)
        Categories are indices; a missing number is NaN. An array of floats without
        categories may share its memory. What was sparse still is, in canonical format
        and without explicit zeros.
    y : ndarray
        Only if it was given.
    """
    checks["ensure_all_finite"] = "allow-nan" if columns.allow_nan else True
    if issparse(X):
        return _read_sparse(owner, columns, X, y, reset=reset, **checks)
    checks["dtype"] = FLOATS
    if not _has_numbers_only(X):
        check_numbers(columns, X)
    if not columns.categories:
        with _telling_the_remedy(columns, X):
            return validate_data(owner, X, y, reset=reset, **checks)
    X = as_table(X)
    validate_data(owner, X, y, reset=reset, skip_check_array=True)
    with _telling_the_remedy(columns, X):
        X = columns.read(X)
    with _telling_the_remedy(columns, X):
        if isinstance(y, str):
            return check_array(X, estimator=owner, input_name="X", **checks)
        return check_X_y(X, y, estimator=owner, **checks)


def _read_sparse(owner, columns, X, y, **checks):
    """Return the matrix of a sparse table, as a copy, and y if there is one."""
    if columns.categories:
        raise ValueError(
            f"X is sparse, but the columns {sorted(columns.categories)} hold "
            "categories: pass a dense table."
        )
    checks.update(accept_sparse="csr", dtype=np.float64)
    checked = validate_data(owner, X, y, **checks)
    X, *rest = (checked,) if isinstance(y, str) else checked
    X = csr_array(X, copy=True)
    X.sum_duplicates()
    X.eliminate_zeros()
    return (X, *rest) if rest else X


def _has_numbers_only(X):
    """Tell whether X is an array of numbers, or no table at all as it stands."""
    is_table = hasattr(X, "shape") and len(X.shape) == 2
    return not is_table or (hasattr(X, "dtype") and X.dtype.kind in "fiub")


def to_rows(X, y, sample_weight, targets, group=ALONE):
    """Drop the rows without weight, encode the targets, and weigh the rows.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n, d)
    y : ndarray of shape (n,) or (n, k)
        As it was passed to ``fit``.
    sample_weight : array-like of shape (n,) or None
    targets : Targets or callable
        A callable finds the targets in the y that is left.
    group : Alone, default=ALONE
        The processes that have the rows together.

    Returns
    -------
    rows : Rows
    targets : Targets
    """
    weight = check_sample_weight(sample_weight, X)
    kept = weight > 0
    if not kept.all():
        X, y, weight = X[kept], y[kept], weight[kept]
    if callable(targets):
        targets = targets(y)
    encoded = targets.encode(y)
    weighed = targets.weigh(encoded, weight, group)
    factor = None if weighed is weight else weighed / weight
    return Rows(X, encoded, weighed, np.flatnonzero(kept), factor), targets


@contextmanager
def _telling_the_remedy(columns, X):
    """Name the remedy where X has missing numbers, or texts in place of numbers.

    scikit-learn's own messages recommend other estimators, and name no column.
    """
    try:
        yield
    except ValueError as error:
        if "could not convert string to float" in str(error):
            raise ValueError(
                f"The column {column_of_texts(columns, X)} holds texts: {error}. If "
                "they are categories, name the column in `categorical_features`."
            ) from error
        if "Input X contains NaN" not in str(error):
            raise
        raise ValueError(
            "Input X contains NaN. Missing numbers are taken by an estimator that is "
            "fitted with `allow_nan=True`."
        ) from error
