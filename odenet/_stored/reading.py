"""A training set that is read block by block, twice, and never held in memory.

The first pass finds what no block knows alone: the number of rows, the categories of
columns, the classes. The second one checks the rows, encodes their targets, and writes
them to a file. What else a fit learns of columns (scales, quantiles, bins, and which
categories are rare), it learns of the first rows of the file, a random sample.
"""

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier

from odenet._stored.budget import (
    COPIES_IN_MEMORY,
    COPIES_OF_A_BLOCK,
    NUMBER,
    in_bytes,
    rows_within,
)
from odenet._stored.met import Met
from odenet._stored.row_file import Folder, RowFileWriter, StoredRows
from odenet._stored.samples import training_data_of
from odenet._stored.sources import blocks_of, is_source, n_rows_of, width_of
from odenet._tables.column_checks import notices_of
from odenet._tables.columns import UNKNOWN, Columns, joined_columns, read_columns
from odenet._tables.hold_out import Validation, validation
from odenet._tables.labels import kind_of_classes
from odenet._tables.rare_categories import Pooling
from odenet._tables.reading import (
    Reading,
    Rows,
    has_scores,
    read_table,
    to_rows,
)
from odenet._tables.table_values import is_frame
from odenet._tables.targets import (
    ClassTargets,
    RegressionTargets,
    Targets,
    factors_of_classes,
    some_weight,
)

MOST_ROWS = 2**31 - 1  # of a block: Arrow takes no larger number
# Kinds and bytes of numbers that float32 holds exactly. The file of a table without
# others is about half as large.
SINGLE = {("f", 4), ("f", 2), ("i", 2), ("i", 1), ("u", 2), ("u", 1), ("b", 1)}


@dataclass(frozen=True)
class Survey:
    """What one pass over a table has found.

    Parameters
    ----------
    n_rows : int
    columns : Columns
        Not settled yet.
    notices : tuple of str
        What the user is to be warned of.
    is_single : bool
        Whether float32 is exact for all of its numbers.
    classes, mass : ndarray of shape (n_classes,) or None
        The labels, and the weight of the rows that have each; None if there are none.
    """

    n_rows: int
    columns: Columns
    notices: tuple
    is_single: bool
    classes: np.ndarray | None = None
    mass: np.ndarray | None = None


@dataclass(frozen=True)
class TableToRead:
    """A training set that may be too large for the memory that rows may use.

    Parameters
    ----------
    estimator : TableResODE
        Gets ``n_features_in_`` and ``feature_names_in_`` when rows are read.
    X, y, sample_weight
        As of ``fit``.
    """

    estimator: Any
    X: Any
    y: Any
    sample_weight: Any

    @property
    def limit(self):
        """The bytes that rows may use."""
        return in_bytes(self.estimator.memory_limit)

    def blocks(self):
        """Yield parts of X, y and the weights that memory can hold."""
        size = COPIES_OF_A_BLOCK * self._bytes_of_a_row
        parts = self.X, self.y, self.sample_weight
        return blocks_of(*parts, rows_at_once=rows_within(self.limit, size))

    @property
    def _bytes_of_a_row(self):
        return NUMBER * (width_of(self.X) + 3)  # with a target, a weight and a key

    def is_too_large(self, survey):
        """Tell whether a fit in memory would need more of it than rows may use."""
        size = COPIES_IN_MEMORY * self._bytes_of_a_row
        return survey.n_rows * size > self.limit

    def survey(self, chosen=None):
        """Go through the table once.

        ``chosen`` are columns of categories in place of those that the estimator names.
        If a column has texts in some blocks and none in others, all are gone through
        again, so that its values in the others are categories as well.
        """
        chosen = self.estimator.categorical_features if chosen is None else chosen
        n_rows, columns, is_single, is_same, has_weight = 0, None, True, True, False
        labels = _Labels() if is_classifier(self.estimator) else None
        for X, y, weight in self.blocks():
            found = read_columns(X, chosen, self.estimator.allow_nan)
            columns = found if columns is None else columns
            is_same = is_same and found.categories.keys() == columns.categories.keys()
            columns = joined_columns(columns, found)
            is_single = is_single and _is_single(X, columns)
            n_rows += len(X)
            has_weight = has_weight or weight is None or np.any(weight)
            if labels is not None:
                labels.add(y, weight)
        if not n_rows:
            raise ValueError("X must have at least one row, got none.")
        if not has_weight:
            raise ValueError("`sample_weight` must not be 0 for all rows.")
        if not is_same:
            return self.survey(sorted(columns.categories))
        notices = notices_of(columns, X, n_rows) if columns.categories else ()
        found = () if labels is None else (labels.values, labels.mass)
        return Survey(n_rows, columns, tuple(notices), is_single, *found)

    def written(self, survey, seed, folder):
        """Read all rows, and write those that are distinct into a file.

        Returns
        -------
        written : WrittenTable
        """
        estimator, targets = self.estimator, None
        writer = RowFileWriter(
            folder, survey.n_rows, seed, self.limit, is_single=survey.is_single
        )
        for X, y, weight in self.blocks():
            kind = RegressionTargets
            if is_classifier(estimator):
                kind = kind_of_classes(y)
            is_first = targets is None
            X, y = read_table(
                estimator, survey.columns, X, y, reset=is_first, **kind.checks
            )
            kind.check(y)
            if is_first:
                targets = kind.of(
                    y,
                    estimator_name=type(estimator).__name__,
                    params=estimator.get_params(deep=False),
                    classes=survey.classes,
                )
                weighing, met = _Weighing(targets, survey), Met(survey.columns)
            if weight is not None and not np.any(weight):
                continue  # to scikit-learn it is an error, as if there were no others
            rows = weighing.weighed(X, y, weight)
            writer.add(rows)
            met.add(rows)
        return WrittenTable(writer.rows(), targets, met)


class WrittenTable(NamedTuple):
    """A table whose distinct rows are in a file, and what its rows have."""

    rows: StoredRows
    targets: Targets
    met: Met


class _Labels:
    """The labels of classes that blocks of targets have, and the weight of each.

    Those of rows without weight are left out.
    """

    def __init__(self):
        self.values = self.mass = None

    def add(self, y, weight):
        """Take the targets and weights of a block."""
        if kind_of_classes(y) is not ClassTargets:
            return
        y = np.asarray(y).reshape(-1)
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
        y, weight = y[weight > 0], weight[weight > 0]
        if self.values is not None:
            y = np.concatenate([self.values, y])
            weight = np.concatenate([self.mass, weight])
        self.values, where = np.unique(y, return_inverse=True)
        self.mass = np.bincount(where, weight, len(self.values))


class _Weighing:
    """Weights rows of blocks by their classes, of which no block knows all rows."""

    def __init__(self, targets, survey):
        self.targets, self.factors = targets, None
        class_weight = getattr(targets, "class_weight", None)
        if class_weight is None:
            return
        if not isinstance(targets, ClassTargets) or isinstance(class_weight, list):
            raise ValueError(
                "`class_weight` of several labels is not supported with "
                f"`memory_limit`, got {class_weight!r}: use class_weight=None."
            )
        task = np.arange(len(survey.mass)), survey.mass, survey.classes
        self.factors = factors_of_classes(*task, class_weight)
        some_weight(survey.mass * self.factors, class_weight)
        self.targets = replace(targets, class_weight=None)

    def weighed(self, X, y, weight):
        """Return the rows of a block, as ``to_rows`` does."""
        rows, _ = to_rows(X, y, weight, self.targets)
        if self.factors is None:
            return rows
        factor = self.factors[rows.y]
        return Rows(rows.X, rows.y, rows.weight * factor, rows.index, factor)


@dataclass
class StoredReading(Reading):
    """A training set whose rows are in a file, and what was learned of it by reading.

    Parameters
    ----------
    rows : StoredRows
    sample : Rows
        Those of the rows that the columns are learned from.
    """

    sample: Rows = None

    is_stored = True

    @property
    def n_rows(self):
        """The number of distinct rows."""
        return self.rows.n_rows

    def splits(self, estimator, predictor, solver):
        """Return the fields of the training data that hold out some rows, if any do.

        Parameters
        ----------
        estimator : TableResODE
        predictor : Predictor
        solver : Solver
        """
        is_auto = estimator.early_stopping == "auto"
        keeps_to_time = solver.follows_flow and estimator.flow_time is not None
        way = validation(estimator.early_stopping, self.n_rows)
        if way is Validation.NONE or (is_auto and keeps_to_time):
            return {}
        encoder, network = predictor.inputs.encoder, predictor.network
        n_numbers = encoder.n_inputs + network.state_dim + network.width
        train, held_out = self.rows.hold_out(
            estimator.validation_fraction,
            2 * self.rows.bytes_of_a_row + NUMBER * n_numbers,
            at_least_some=is_auto,
        )
        return {"train": train, "held_out": held_out}

    def training_data(self, predictor, splits):
        return training_data_of(predictor, self.rows, **splits)


@dataclass
class UnreadTable(Reading):
    """A training set of which the rows are not read yet."""

    table: TableToRead = None
    survey: Survey = None
    folder: Folder = None

    def close(self):
        """Remove the file of the rows."""
        self.folder.remove()

    def distinct(self, seed):
        """Read the rows, and return their reading."""
        estimator, columns = self.table.estimator, self.survey.columns
        rows, targets, met = self.table.written(self.survey, seed, self.folder)
        sample, pooling = rows.sample(), None
        share = sample.weight.sum() / rows.weight
        sample = met.completed(sample, share)
        if columns.categories:
            least = estimator.min_frequency
            if isinstance(least, Integral):  # of all rows, of which these are some
                unit = min(1.0, sample.weight.min())
                least = min(1.0, least * unit / rows.weight)
            pooling = Pooling(sample[:3], least, estimator.max_categories)
        scored = has_scores(estimator, self.table.X)
        settled, X = columns.settled(sample.X, scored, pooling)
        recoding = {
            j: _recoded(known, settled.categories[j], j in settled.pooled)
            for j, known in columns.categories.items()
        }
        return StoredReading(
            rows=replace(rows, recoding=recoding),
            targets=targets,
            layout=settled,
            notices=self.survey.notices,
            sample=Rows(X, *sample[1:]),
            n_samples=met.n_samples,
        )


def opened(estimator, X, y, sample_weight, **task):
    """Go through a training set once, if it may be too large for the memory.

    Parameters
    ----------
    estimator : BaseResODE
    X, y, sample_weight
        As of ``fit``.
    **task : dict
        Of :func:`check_can_be_stored`.

    Returns
    -------
    X, y, sample_weight
        The same, or in memory where they were names or sources that are to be there.
    reading : UnreadTable or None
        None if the training set is to be held in memory.
    """
    if estimator.memory_limit is not None and y is not None and _has_rows(X):
        if issparse(X):
            raise ValueError(
                "A sparse X is held in memory as it is: use memory_limit=None."
            )
        if isinstance(sample_weight, Real):
            sample_weight = np.broadcast_to(float(sample_weight), n_rows_of(X))
        X = X if is_source(X) or hasattr(X, "shape") else np.asarray(X)
        table = TableToRead(estimator, X, y, sample_weight)
        survey = table.survey()
        if table.is_too_large(survey):
            check_can_be_stored(estimator, **task)
            parts = {"table": table, "survey": survey, "folder": Folder()}
            return X, y, sample_weight, UnreadTable(None, None, None, **parts)
    return *in_memory(X, y, sample_weight), None


def _has_rows(X):
    """Tell whether X is a table; if not, scikit-learn tells what is wrong with it."""
    if is_source(X):
        return True
    shape = getattr(X, "shape", None)
    return len(np.shape(X) if shape is None else shape) == 2


def in_memory(X, y, sample_weight):
    """Return a table, targets and weights as such, if they are sources or names."""
    parts = X, y, sample_weight
    if is_source(X) or any(isinstance(part, str) for part in parts[1:]):
        return next(blocks_of(*parts, rows_at_once=MOST_ROWS))
    return parts


def check_can_be_stored(estimator, *, has_judges, is_usual):
    """Raise for what a fit to rows in a file cannot do.

    Parameters
    ----------
    estimator : TableResODE
    has_judges : bool
        Whether there is an X_val.
    is_usual : bool
        Whether nothing is announced, there are no groups, and no fit goes on.
    """
    how, method = estimator.validation_split, getattr(estimator.solver, "method", None)
    unsupported = {
        "several members, `n_members`": estimator.n_members > 1,
        "`scoring`, but by the loss or with X_val": (
            estimator.scoring != "loss" and not has_judges
        ),
        "a `validation_split` that is not random": how != "random",
        "`groups`, `warm_start` and `distil`": estimator.warm_start or not is_usual,
        "`checkpoint`": estimator.checkpoint is not None,
        "`processes`": estimator.processes is not None,
        "a flow with method='exponential'": method == "exponential",
    }
    for what, is_asked in unsupported.items():
        if is_asked:
            raise ValueError(
                f"The table needs more memory than memory_limit="
                f"{estimator.memory_limit!r}, and a fit to rows in a file does not "
                f"support {what}."
            )


def _is_single(X, columns):
    """Tell whether float32 is exact for the numbers of a block of a table."""
    dtypes = X.dtypes if is_frame(X) else [X.dtype] * X.shape[1]
    dtypes = [d for j, d in enumerate(dtypes) if j not in columns.categories]
    try:
        dtypes = [np.dtype(dtype) for dtype in dtypes]
    except TypeError:  # one that numpy does not have
        return False
    return all((dtype.kind, dtype.itemsize) in SINGLE for dtype in dtypes)


def _recoded(known, kept, has_pooled):
    """Return the index of every category among those that are kept.

    All others have the index of those that are pooled, if there are any.
    """
    index = {category: i for i, category in enumerate(kept)}
    other = len(kept) if has_pooled else UNKNOWN
    return np.array([index.get(category, other) for category in known])
