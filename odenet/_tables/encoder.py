"""From a matrix to the inputs of a network: numbers are scaled, the rest is marked.

The inputs come in this order: the columns of numbers; a column for every category,
which marks its rows by a positive number and is 0 elsewhere (two categories share one
column, of two numbers that differ by their sign); a column for every column of numbers
of which some are missing, which marks the rows where they are; the normal scores of the
numbers; and what these numbers are embedded by, see :mod:`odenet._tables.embeddings`.
What training has not met has no mark: the columns of an unknown category are all zero,
unless rare categories are pooled, and a missing number becomes the mean.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import issparse

from odenet._distributed.group import ALONE
from odenet._tables.columns import UNKNOWN, Columns
from odenet._tables.embeddings.periodic import Periodic, fit_periodic
from odenet._tables.embeddings.piecewise_linear import (
    BINS,
    PiecewiseLinear,
    fit_piecewise_linear,
)
from odenet._tables.normal_scores import NormalScores, fit_normal_scores
from odenet._tables.rare_categories import sizes_of_marks
from odenet._tables.standardizer import (
    Standardizer,
    fit_standardizer,
    fit_to_norm,
    side_by_side,
)


@dataclass(frozen=True)
class Encoder:
    """A map from a matrix to inputs; ``fill`` takes the place of missing numbers.

    ``embedding`` gives further inputs of the columns that have scores.
    """

    columns: Columns
    fill: np.ndarray
    standardizer: Standardizer
    scores: NormalScores
    embedding: PiecewiseLinear | Periodic | None = None

    def __call__(self, X):
        """Return the inputs of every row, as a sparse matrix if they can be one.

        They can if X is sparse and zeros stay zeros, as after a fit to a sparse table.
        """
        if issparse(X):
            if self._keeps_zeros:
                return self.standardizer.of_sparse(X)
            X = X.toarray()
        X = np.asarray(X, dtype=np.float64)  # rows of float32 are kept as they are
        numbers = inputs = self._filled_numbers(X)
        scored = _scored(self.columns, numbers)
        if not self.columns.are_plain:
            inputs = np.hstack([numbers, _marks_of_rows(self.columns, X)])
        parts = [self.standardizer(inputs), self.scores(scored)]
        if self.embedding is not None:
            parts.append(self.embedding(scored))
        return np.hstack(parts)

    @property
    def _keeps_zeros(self):
        """Whether a row of zeros is encoded as a row of zeros."""
        columns = self.columns
        is_linear = columns.are_plain and not len(columns.scored)
        return is_linear and self.standardizer.keeps_zeros

    @property
    def ignored(self):
        """The indices of the columns of numbers that were constant in training."""
        return self.columns.numeric[np.isinf(self.standardizer.scale[: len(self.fill)])]

    @property
    def n_inputs(self):
        """How many inputs the network has."""
        n_embedded = 0 if self.embedding is None else self.embedding.n_inputs
        return self.columns.inputs[0] + n_embedded

    @property
    def sources(self):
        """The index of the column that each input tells of, shape (n_inputs,)."""
        columns = self.columns
        marks = zip(columns.categories, columns.inputs[1], strict=True)
        parts = [columns.numeric, *(np.full(len(inputs), j) for j, inputs in marks)]
        parts += [columns.incomplete, columns.scored]
        parts += [] if self.embedding is None else [self.embedding.sources]
        return np.concatenate(parts).astype(int)

    @property
    def neutral_row(self):
        """A row of the mean of every number, and of no category, shape (1, d)."""
        numeric = self.columns.numeric
        row = np.full((1, len(numeric) + len(self.columns.categories)), float(UNKNOWN))
        row[:, numeric] = self.fill
        return row

    def _filled_numbers(self, X):
        """Return the columns of numbers, without a gap."""
        numbers = _numeric(self.columns, X)
        if not self.columns.allow_nan:
            return numbers
        return np.where(np.isnan(numbers), self.fill, numbers)


def fit_embedding(name, columns, X, weight, generator, limit, group=ALONE, bins=BINS):
    """Fit the embedding of the columns that have scores, beside numbers of deviation 1.

    Parameters
    ----------
    name : {"piecewise_linear", "periodic"}
    columns : Columns
        The columns of a training set, as :meth:`Columns.settled` returns them.
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    generator : torch.Generator
        Source of what is drawn.
    limit : float
        The bound of numbers that are bounded, in standard deviations.
    group : Alone, default=ALONE
        The processes that have the rows.
    bins : Bins, default=BINS

    Returns
    -------
    embedding : PiecewiseLinear or Periodic
    """
    numbers = _scored(columns, _numeric(columns, X))
    if name == "piecewise_linear":
        return fit_piecewise_linear(columns.scored, numbers, weight, group, bins)
    standardizer = _fit_to_known(numbers, weight, 1.0, limit, group)
    return fit_periodic(columns.scored, standardizer, generator)


def fit_encoder(
    columns,
    X,
    weight,
    gain=None,
    limit=np.inf,
    norm=None,
    embedding=None,
    group=ALONE,
):
    """Fit a map to numbers of mean 0 and deviation ``gain``, and marks of ``gain``.

    If a column has more than two categories, their marks are the smaller, the rarer
    they are: see :func:`odenet._tables.rare_categories.sizes_of_marks`.

    Parameters
    ----------
    columns : Columns
        The columns of a training set, as :meth:`Columns.settled` returns them.
    X : ndarray or csr_array of shape (n, d)
    weight : ndarray of shape (n,)
    gain : float, default=None
        None leaves numbers as they are, and marks by 1.
    limit : float, default=inf
        The bound of the numbers, in standard deviations.
    norm : float, default=None
        Of a sparse matrix, whose zeros stay zeros, in place of these: the root mean
        square of the norms of the rows. None leaves it as it is.
    embedding : PiecewiseLinear or Periodic, default=None
        As :func:`fit_embedding` returns it.
    group : Alone, default=ALONE
        The processes that have the rows.

    Returns
    -------
    encoder : Encoder
    """
    if issparse(X):
        identity = Standardizer.identity(X.shape[1])
        scaled = identity if norm is None else fit_to_norm(X, weight, norm)
        return Encoder(columns, identity.mean, scaled, NormalScores(()))
    numbers = _numeric(columns, X)
    unit = 1.0 if gain is None else gain
    scaled = _fit_to_known(numbers, weight, unit, limit, group)
    fill = scaled.mean
    if gain is None:
        scaled = Standardizer.identity(numbers.shape[1])
    if not columns.are_plain:
        scaled = side_by_side([scaled, _fit_to_marks(columns, X, weight, gain, group)])
    chosen = _places_of_scored(columns)
    scores = fit_normal_scores(numbers, weight, unit, group, chosen)
    if embedding is not None:
        embedding = replace(embedding, gain=unit)
    return Encoder(columns, fill, scaled, scores, embedding)


def _numeric(columns, X):
    """Return the columns of numbers of a matrix."""
    return X if columns.are_plain else X.take(columns.numeric, axis=1)


def _scored(columns, numbers):
    """Return those columns of numbers that have scores."""
    return numbers[:, _places_of_scored(columns)]


def _places_of_scored(columns):
    """Return where among the numbers the columns of scores are; both lists ascend."""
    return np.searchsorted(columns.numeric, columns.scored)


def _fit_to_marks(columns, X, weight, gain, group):
    """Return a map of marks to their sizes, and of constant ones to zero."""
    sizes = [np.zeros(0)]
    for j in columns.categories:
        mass = np.bincount(X[:, j].astype(int), weight, columns.n_categories(j))
        mass = group.sum(mass)
        varies = (mass > 0) & (mass < mass.sum())
        if len(mass) == 2:
            sizes.append(varies[:1])
        else:
            sizes.append(varies if gain is None else varies * sizes_of_marks(mass))
    missing = np.isnan(X[:, columns.incomplete])
    some, every = missing.any(axis=0).astype(int), missing.all(axis=0).astype(int)
    sizes.append((group.max(some) == 1) & (group.min(every) == 0))
    with np.errstate(divide="ignore"):
        scale = 1.0 / np.concatenate(sizes, dtype=float)
    return Standardizer(np.zeros(len(scale)), scale / (gain or 1.0))


def _fit_to_known(numbers, weight, gain, limit, group):
    """Fit every column to the numbers that it has; one without a number is constant."""
    known = ~np.isnan(numbers)
    settings = gain, limit, group
    if group.min(int(known.all())):
        return fit_standardizer(numbers, weight, *settings)
    columns = []
    for column, rows in zip(numbers.T, known.T, strict=True):
        if not group.max(int(rows.any())):
            columns.append(Standardizer(np.zeros(1), np.full(1, np.inf)))
            continue
        column = column[rows, None]
        columns.append(fit_standardizer(column, weight[rows], *settings))
    return side_by_side(columns)


def _marks_of_rows(columns, X):
    """Return columns that tell the category of a row, and where numbers are missing."""
    marks = [_one_hot(X[:, j], columns.n_categories(j)) for j in columns.categories]
    return np.hstack([*marks, np.isnan(X[:, columns.incomplete])], dtype=float)


def _one_hot(indices, n_categories):
    """Return a column of 0 and 1 for every category, or one of -1/2 and 1/2 for two."""
    hot = (indices[:, None] == np.arange(n_categories)).astype(float)
    return (hot[:, 1:] - hot[:, :1]) / 2 if n_categories == 2 else hot
