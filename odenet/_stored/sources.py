"""Tables that need not fit into memory, read from the first row to the last by blocks.

A source is an array, a memory map or anything else that is cut by slices; a data frame;
a sparse matrix; a dataset, a table or a file of Parquet of pyarrow; or a collection of
Dask. Arrow and Dask hold their rows in pieces of sizes of their own, row groups and
partitions. They are put together here to blocks that all have the same number of rows,
so that nothing depends on how a file happens to be divided.
"""

import mmap
from itertools import zip_longest
from math import isnan, prod
from numbers import Integral

import numpy as np
from scipy.sparse import issparse, vstack

from odenet._tables.table_values import is_frame
from odenet._utils.sklearn_private import safe_indexing

# A block has about so many values: 32 MB of them in float64, which is little beside
# what reads it. And it has no more rows than this, since a longer one gains nothing.
VALUES_AT_ONCE, MOST_ROWS_AT_ONCE = 2**22, 2**16
# A scan of Parquet reads this many bytes of a column at once, in place of all that a
# row group has of it. What it decodes are whole row groups, of which it holds some.
BUFFER_SIZE = 2**20
UNEQUAL = "X and what belongs to its rows must have the same number of rows"


def blocks_of(X, *others, rows_at_once):
    """Read a table by blocks of rows, and what belongs to these rows along with it.

    Parameters
    ----------
    X : array-like, data frame, sparse matrix, or source of pyarrow or Dask
        Of pyarrow, a Dataset, a Table or a ParquetFile. Of Dask, an Array or a
        DataFrame, whose partitions are computed one after the other. A row group of
        Parquet, and a partition, is in memory as a whole.
    *others : array-like, collection of Dask, str or None
        What has as many rows as X, such as targets and weights. A text is the name of a
        column of X, if X has names; it then is no column of the blocks of X. None stays
        None.
    rows_at_once : int
        The number of rows of every block but the last, which may have fewer.

    Yields
    ------
    block : tuple (X, *others)
        Of ``X`` a part of the same kind: an array, a sparse matrix, a frame, or a list
        of a list; of Arrow and Dask a frame of pandas, or an array. Columns that are
        dictionaries in Arrow are categories in the frame, those that the block has. Of
        ``others`` arrays.

    Raises
    ------
    ValueError
        If ``rows_at_once`` is no positive integer, if X lacks a column of a name, or if
        the numbers of rows differ. Some, as those of Dask, are known at the end only.
    TypeError
        If X is nothing that can be read by blocks.
    """
    check_rows_at_once(rows_at_once)
    source = _source_of(X)
    names = [other for other in others if isinstance(other, str)]
    for name in names:
        if name not in source.names:
            raise ValueError(f"X has no column {name!r}, its columns: {source.names}.")
    parts = [
        None if o is None or isinstance(o, str) else _source_of(o, is_table=False)
        for o in others
    ]
    lengths = [s.n_rows for s in (source, *parts) if s and s.n_rows is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"{UNEQUAL}, got {lengths}.")
    return _read_together(source, others, parts, int(rows_at_once))


def n_rows_of(X):
    """Return how many rows a table has, of any of the kinds that are read by blocks.

    Those of a collection of Dask that does not know it are counted, for which all of
    its partitions are computed.
    """
    source = _source_of(X)
    return source.counted() if source.n_rows is None else source.n_rows


def default_rows_at_once(X):
    """Return how many rows of a table a block has, unless a user says it."""
    n_rows = VALUES_AT_ONCE // max(1, _source_of(X).width)
    return min(max(1, n_rows), MOST_ROWS_AT_ONCE)


def width_of(X):
    """Return the number of columns of a table, of any of these kinds."""
    return _source_of(X).width


def is_source(X):
    """Tell whether X is a source of pyarrow or Dask, which is no table by itself."""
    is_arrow = hasattr(X, "to_batches") or hasattr(X, "iter_batches")
    is_arrow = is_arrow or type(X).__name__ == "RecordBatch"
    return is_arrow or is_collection(X)


def check_rows_at_once(rows_at_once):
    """Raise if a number of rows is no positive integer."""
    is_integer = isinstance(rows_at_once, Integral) and not isinstance(
        rows_at_once, bool
    )
    if not is_integer or rows_at_once < 1:
        raise ValueError(
            f"`rows_at_once` must be a positive integer, got {rows_at_once!r}."
        )


def is_collection(data):
    """Tell whether data are a collection of Dask, such as an Array or a DataFrame."""
    return hasattr(data, "__dask_graph__") and hasattr(data, "ndim")


def _read_together(source, others, parts, size):
    """Yield blocks of a table, and of what belongs to its rows.

    ``parts`` are the sources of those others that are neither None nor names.
    """
    names = [other for other in others if isinstance(other, str)]
    streams = [() if part is None else part.blocks(size) for part in parts]
    # A stream that has come to its end gives None, which has no rows.
    for block, *along in zip_longest(source.blocks(size), *streams):
        given = [block, *(b for b, s in zip(along, parts, strict=True) if s)]
        lengths = [0 if b is None else _height(b) for b in given]
        if len(set(lengths)) > 1:
            raise ValueError(f"{UNEQUAL}, but some end before the others.")
        table, columns = source.without(block, names)
        columns = iter(columns)
        yield (
            table,
            *(
                next(columns) if isinstance(other, str) else _as_array(found)
                for other, found in zip(others, along, strict=True)
            ),
        )


def _height(block):
    """Return the number of rows of a list, or of what has a shape."""
    return block.shape[0] if hasattr(block, "shape") else len(block)


def _as_array(values):
    """Return values as an array, but None as None and a sparse matrix as one."""
    return values if values is None or issparse(values) else np.asarray(values)


def _source_of(X, *, is_table=True):
    """Return what reads X, or what belongs to its rows, by blocks."""
    is_text = isinstance(X, str | bytes | dict | set)
    if hasattr(X, "to_batches") and hasattr(X, "schema"):
        return _ArrowTable(X) if hasattr(X, "num_rows") else _ArrowDataset(X)
    if hasattr(X, "iter_batches") and hasattr(X, "schema_arrow"):
        return _ArrowFile(X)
    if type(X).__name__ == "RecordBatch":
        return _ArrowTable(next(iter(_tables([X]))))
    if is_collection(X):
        return _DaskArray(X) if hasattr(X, "chunks") else _DaskFrame(X)
    shape = getattr(X, "shape", None)
    if is_text or shape == () or not (shape or hasattr(X, "__len__")):
        expected = "a Dataset, Table or ParquetFile of pyarrow"
        if not is_table:
            expected = "the name of a column of X"
        raise TypeError(
            f"{'X' if is_table else 'What belongs to the rows of X'} must be an "
            f"array-like, a data frame, a collection of Dask, or {expected}, got "
            f"{type(X).__name__}."
        )
    return _Sliced(X)


class _Sliced:
    """Whatever is cut by slices: an array, a memory map, a frame, a list, a matrix."""

    def __init__(self, X):
        if issparse(X):
            X = X.tocsr()  # of which rows can be taken
        elif not hasattr(X, "__getitem__") or isinstance(X, tuple):
            X = np.asarray(X)
        self.X = X
        self.names = list(X.columns) if is_frame(X) else []
        self.n_rows = _height(X)
        self.width = prod(getattr(X, "shape", np.shape(X[:1]))[1:])

    def blocks(self, size):
        """Yield parts of so many rows."""
        # pandas would take the numbers of a slice as labels.
        by_place = is_frame(self.X) or hasattr(self.X, "iloc")
        for start in range(0, self.n_rows, size):
            rows = slice(start, min(start + size, self.n_rows))
            block = safe_indexing(self.X, rows, axis=0) if by_place else self.X[rows]
            yield np.asarray(block) if isinstance(block, np.memmap) else block
            _forget_pages(self.X)

    def without(self, block, names):
        """Return a block without some columns, and these columns as arrays."""
        columns = [np.asarray(block[name]) for name in names]
        return _less(block, names) if names else block, columns


def _forget_pages(X):
    """Let the system take back the pages of a memory map that have been read.

    They count as memory of the process until it needs that for something else. Those of
    a map that is copied on writing hold what was written, and are kept.
    """
    is_shared = isinstance(X, np.memmap) and X.mode in ("r", "r+")
    if is_shared and hasattr(mmap, "MADV_DONTNEED"):  # which not all systems have
        X._mmap.madvise(mmap.MADV_DONTNEED)


def _less(frame, names):
    """Return a frame of pandas or polars without some columns."""
    return frame.drop(columns=names) if hasattr(frame, "iloc") else frame.drop(names)


class _Pieces:
    """A source whose rows come in pieces of any sizes.

    A subclass says how to yield ``pieces`` of about so many rows or of a size of its
    own, to ``cut`` some rows out of one, and to join several to one.
    """

    n_rows = None  # where only reading would tell
    names = []

    def blocks(self, size):
        """Yield parts of so many rows, put together of pieces."""
        held, n_held = [], 0
        for piece in self.pieces(size):
            start, n_piece = 0, len(piece)
            while start < n_piece:
                stop = min(n_piece, start + size - n_held)
                held.append(self.cut(piece, start, stop))
                start, n_held = stop, n_held + stop - start
                if n_held == size:
                    yield self.joined(held)
                    held, n_held = [], 0
        if held:
            yield self.joined(held)

    def cut(self, piece, start, stop):
        """Return some rows of a piece."""
        return piece[start:stop]

    def counted(self):
        """Return the number of rows, for which the source is read."""
        return sum(len(piece) for piece in self.pieces(MOST_ROWS_AT_ONCE))


class _ArrowTable(_Pieces):
    """A table of Arrow. Its blocks are tables too, and become frames in the end."""

    def __init__(self, X):
        self.X, self.schema, self.n_rows = X, X.schema, X.num_rows
        self.names = self.schema.names
        self.width = len(self.names)

    def pieces(self, size):
        """Yield tables of at most so many rows, in the order of the rows."""
        yield self.X

    def cut(self, piece, start, stop):
        """Return some rows of a piece."""
        return piece.slice(start, stop - start)

    def joined(self, pieces):
        """Return one table, in which a category has one number.

        Every batch may have numbered its categories in a way of its own.
        """
        from pyarrow import concat_tables

        return concat_tables(pieces).unify_dictionaries()

    def without(self, block, names):
        """Return a frame without some columns, and these columns as arrays."""
        columns = [np.asarray(block[name].to_pandas()) for name in names]
        return block.drop_columns(list({*names})).to_pandas(), columns


class _ArrowFile(_ArrowTable):
    """An open file of Parquet."""

    def __init__(self, X):
        self.X, self.schema = X, X.schema_arrow
        self.n_rows = X.metadata.num_rows
        self.names = self.schema.names
        self.width = len(self.names)

    def pieces(self, size):
        """Yield tables of at most so many rows, in the order of the rows.

        Row groups are asked for one by one: all at once, Arrow would keep those that
        are behind, until it holds the whole file.
        """
        for group in range(self.X.num_row_groups):
            yield from _tables(
                self.X.iter_batches(size, row_groups=[group], use_threads=False)
            )


class _ArrowDataset(_ArrowTable):
    """The files of a dataset, one after the other."""

    def __init__(self, X):
        from pyarrow import dataset

        self.X, self.schema = X, X.schema
        is_parquet = isinstance(
            getattr(X, "format", None), getattr(dataset, "ParquetFileFormat", ())
        )
        # Files of Parquet say how many rows they have. Others would be read for it.
        self.n_rows = X.count_rows() if is_parquet else None
        self.options = {}
        if is_parquet:
            self.options["fragment_scan_options"] = dataset.ParquetFragmentScanOptions(
                pre_buffer=False, use_buffered_stream=True, buffer_size=BUFFER_SIZE
            )
        self.names = self.schema.names
        self.width = len(self.names)

    def counted(self):
        """Return the number of rows, for which the columns need not be read."""
        return self.X.count_rows()

    def pieces(self, size):
        """Yield tables of at most so many rows, in the order of the rows.

        As little is read ahead as can be. By default it is 16 batches of 4 files.
        """
        batches = self.X.to_batches(
            batch_size=size,
            batch_readahead=1,
            fragment_readahead=1,
            use_threads=False,
            **self.options,
        )
        return _tables(batches)


def _tables(batches):
    """Return batches of Arrow as tables, of which several can be put together."""
    from pyarrow import Table

    return (Table.from_batches([batch]) for batch in batches)


class _DaskArray(_Pieces):
    """An Array of Dask."""

    def __init__(self, X):
        self.X = X.rechunk({axis: -1 for axis in range(1, X.ndim)})
        rows = sum(X.chunks[0])
        self.n_rows = None if isnan(rows) else int(rows)
        self.width = prod(X.shape[1:])

    def pieces(self, size):
        """Yield the parts of the Array, whatever size they have."""
        for block in np.ravel(self.X.to_delayed()):
            yield block.compute()

    def joined(self, pieces):
        """Return one array, or one sparse matrix."""
        if len(pieces) == 1:
            return pieces[0]
        return vstack(pieces, "csr") if issparse(pieces[0]) else np.concatenate(pieces)

    def without(self, block, names):
        """Return a block, which has no names."""
        return block, []


class _DaskFrame(_Pieces):
    """A DataFrame or a Series of Dask."""

    def __init__(self, X):
        self.X = X
        self.names = list(X.columns) if X.ndim == 2 else []
        self.width = len(self.names)

    def counted(self):
        """Return the number of rows, which the columns need not be read for."""
        return len(self.X)

    def pieces(self, size):
        """Yield the partitions, whatever size they have."""
        for part in self.X.to_delayed():
            yield part.compute()

    def cut(self, piece, start, stop):
        """Return some rows of a piece."""
        return piece.iloc[start:stop]

    def joined(self, pieces):
        """Return one frame, with the categories of all pieces."""
        from pandas import concat

        return concat(_with_common_categories(pieces) if self.names else pieces)

    def without(self, block, names):
        """Return a block without some columns, and these columns as arrays."""
        columns = [np.asarray(block[name]) for name in names]
        return _less(block, names) if names else block, columns


def _with_common_categories(frames):
    """Return frames whose columns of categories have the categories of all frames.

    Without it, pandas would make columns of objects of them.
    """
    from pandas import CategoricalDtype
    from pandas.api.types import union_categoricals

    frames = [frame.copy(deep=False) for frame in frames]
    for name, dtype in frames[0].dtypes.items():
        columns = [frame[name] for frame in frames]
        if isinstance(dtype, CategoricalDtype) and any(
            column.dtype != dtype for column in columns
        ):
            known = union_categoricals(columns, ignore_order=True).categories
            for frame, column in zip(frames, columns, strict=True):
                frame[name] = column.cat.set_categories(known)
    return frames
