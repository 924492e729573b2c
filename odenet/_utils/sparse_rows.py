"""Rows of a sparse matrix in the place of dense inputs, and their products.

A network meets its inputs x in few places: in the product A (x, 1), in the gradient of
A, and in inner products of inputs. The functions of this module are what it calls
there. They take a dense tensor, or rows of a sparse matrix, which nobody ever stores as
a dense one.

The products are sums over the entries of a row, as of embeddings. torch's own sparse
matrices in CSR format are not used: they warn that they are in beta state, lack
slices, and are no faster.
"""

from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

# Inner products take rows from one side in dense chunks of at most so many numbers: 32
# megabytes in float64, a round value.
LARGEST_CHUNK = 2**22


class SparseRows:
    """The rows (x, 1) of a sparse matrix, as tensors.

    Row i has the entries ``starts[i]`` to ``starts[i + 1]`` of the other two. The last
    one is the constant 1, which stands in a column behind all others.

    Parameters
    ----------
    starts : Tensor of shape (n + 1,), of int64
        Ascending from 0.
    columns : Tensor of shape (n_entries,), of int64
    values : Tensor of shape (n_entries,)
    n_columns : int
        The number of columns d, without the constant.
    """

    def __init__(self, starts, columns, values, n_columns):
        self.starts, self.columns, self.values = starts, columns, values
        self.n_columns = n_columns

    @classmethod
    def of_matrix(cls, X):
        """Take the rows of a matrix of scipy in CSR format."""
        n, n_columns = X.shape
        last = X.indptr[1:]  # where the constant goes
        columns = np.insert(X.indices.astype(np.int64), last, n_columns)
        starts = X.indptr.astype(np.int64) + np.arange(n + 1)
        parts = starts, columns, np.insert(X.data, last, 1.0)
        return cls(*map(torch.from_numpy, parts), n_columns)

    def __len__(self):
        return len(self.starts) - 1

    @property
    def shape(self):
        """Number of rows, and of columns without the constant."""
        return torch.Size((len(self), self.n_columns))

    def to(self, like):
        """Return the rows in the dtype and on the device of a tensor."""
        device = like.device
        values = self.values.to(like)
        return self._with(self.starts.to(device), self.columns.to(device), values)

    def _with(self, starts, columns, values):
        """Return other rows of as many columns."""
        return SparseRows(starts, columns, values, self.n_columns)

    def __getitem__(self, index):
        """Return the rows of a slice of step 1, of indices, or of a mask."""
        if isinstance(index, slice):
            return self.between(*index.indices(len(self))[:2])
        lengths = self.starts.diff()[index]
        starts = F.pad(lengths.cumsum(0), (1, 0))
        shifts = self.starts[:-1][index] - starts[:-1]
        chosen = torch.arange(int(starts[-1]), device=starts.device)
        chosen += shifts.repeat_interleave(lengths)
        return self._with(starts, self.columns[chosen], self.values[chosen])

    def between(self, first, last):
        """Return the rows between two, whose entries are not copied."""
        starts = self.starts[first : max(first, last) + 1]
        entries = slice(int(starts[0]), int(starts[-1]))
        return self._with(
            starts - starts[0], self.columns[entries], self.values[entries]
        )

    def split(self, size, axis=0):
        """Return the rows in parts of a size, as tensors do, along the only axis."""
        if size >= len(self):
            return (self,)
        return tuple(self[i : i + size] for i in range(0, len(self), size))

    def times(self, A):
        """Return (x, 1) A^T for every row, for A (q, d + 1), or for several of them."""
        if A.dim() == 3:
            return torch.stack([self.times(part) for part in A])
        return F.embedding_bag(
            self.columns,
            A.mT.contiguous(),
            self.starts,
            mode="sum",
            per_sample_weights=self.values,
            include_last_offset=True,
        )

    def outer(self, g):
        """Return the sum over rows of g_i (x_i, 1)^T, of shape (q, d + 1)."""
        return torch.sparse.mm(self._transposed, g).mT

    @cached_property
    def _transposed(self):
        """The transposed matrix, for products with gradients."""
        rows = torch.arange(len(self), device=self.starts.device)
        rows = rows.repeat_interleave(self.starts.diff())
        return torch.sparse_coo_tensor(
            torch.stack([self.columns, rows]),
            self.values,
            (self.n_columns + 1, len(self)),
            check_invariants=False,
        )

    def gram(self, other):
        """Return the inner products of these rows with others, constants included."""
        size = max(1, LARGEST_CHUNK // (self.n_columns + 1))
        parts = [other.times(part.outer(_eye(part))) for part in self.split(size)]
        return torch.cat([part.mT for part in parts])


def _eye(rows):
    """Return the identity of as many rows; with it ``outer`` is the dense transpose."""
    return torch.eye(len(rows), dtype=rows.values.dtype, device=rows.values.device)


class JoinedRows:
    """Sparse rows of several models, along a new first axis.

    Shorter sets repeat their last row. Products are taken model by model.

    Parameters
    ----------
    parts : list of SparseRows
    """

    def __init__(self, parts):
        longest = max(map(len, parts))
        self.parts = [_lengthened(part, longest) for part in parts]

    def __len__(self):
        return len(self.parts)

    @property
    def shape(self):
        """Number of models, of rows, and of columns without the constant."""
        return torch.Size((len(self), *self.parts[0].shape))

    def __getitem__(self, index):
        """Return the rows of a slice of the models, or ``[:, i]``: some rows of all."""
        if isinstance(index, tuple):
            return JoinedRows([part[index[1]] for part in self.parts[index[0]]])
        return JoinedRows(self.parts[index])

    def split(self, size, axis=0):
        """Return parts of so many models, or of rows along axis 1, as tensors do."""
        n = self.shape[axis]
        parts = (slice(i, i + size) for i in range(0, n, size))
        return tuple(self[part] if axis == 0 else self[:, part] for part in parts)

    def times(self, A):
        """Return (x, 1) A^T for every row, for A (n_models, q, d + 1)."""
        return torch.stack([p.times(a) for p, a in zip(self.parts, A, strict=True)])

    def outer(self, g):
        """Return the sums over rows, of shape (n_models, q, d + 1)."""
        return torch.stack([p.outer(v) for p, v in zip(self.parts, g, strict=True)])


def _lengthened(rows, n):
    """Return rows, of which the last one is repeated to make them n."""
    if len(rows) == n:
        return rows
    return rows[torch.arange(n, device=rows.starts.device).clamp(max=len(rows) - 1)]


def is_sparse(x):
    """Tell whether inputs of a network are rows of a sparse matrix."""
    return isinstance(x, SparseRows | JoinedRows)


def as_rows(X, like):
    """Return inputs as a network takes them, of the dtype and device of a tensor.

    Parameters
    ----------
    X : ndarray, Tensor, SparseRows, or matrix of scipy in CSR format
    like : Tensor

    Returns
    -------
    x : Tensor or SparseRows
    """
    if sp.issparse(X):
        X = SparseRows.of_matrix(X)
    if is_sparse(X):
        return X.to(like)
    return torch.as_tensor(X, dtype=like.dtype, device=like.device)


def cat_rows(parts):
    """Return one tensor of rows, or one set of sparse rows, of several."""
    first = parts[0]
    if not is_sparse(first):
        return torch.cat(parts)
    lengths = torch.cat([part.starts.diff() for part in parts])
    return SparseRows(
        F.pad(lengths.cumsum(0), (1, 0)),
        torch.cat([part.columns for part in parts]),
        torch.cat([part.values for part in parts]),
        first.n_columns,
    )


def join_rows(parts):
    """Return the rows of several models along a new first axis.

    Shorter sets are padded: dense ones by zeros, sparse ones by their last row.
    """
    if is_sparse(parts[0]):
        return JoinedRows(parts)
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)


def share_rows(x, n_models):
    """Return the rows of as many models that all have the same, which is not copied."""
    if is_sparse(x):
        return JoinedRows([x] * n_models)
    return x.expand(n_models, *x.shape)


def with_one(x):
    """Return (x, 1) for every row; rows of a sparse matrix have the 1 already."""
    return x if is_sparse(x) else F.pad(x, (0, 1), value=1.0)


def times(x, A):
    """Return x A^T, for rows x of :func:`with_one`."""
    return x.times(A) if is_sparse(x) else x @ A.mT


def outer(g, x):
    """Return the sum over rows of g_i x_i^T, for rows x of :func:`with_one`."""
    return x.outer(g) if is_sparse(x) else g.mT @ x


def gram(x, rows, y, columns):
    """Return the inner products of some rows of x with some rows of y.

    Parameters
    ----------
    x, y : Tensor, SparseRows or JoinedRows
        Rows of :func:`with_one`, or any states. With an axis of models in front, if
        there is one.
    rows, columns : slice
    """
    if isinstance(x, JoinedRows):
        pairs = zip(x.parts, y.parts, strict=True)
        return torch.stack([gram(a, rows, b, columns) for a, b in pairs])
    if is_sparse(x):
        return x[rows].gram(y[columns])
    return x[..., rows, :] @ y[..., columns, :].mT
