"""The distinct rows of a training set in a file.

They are in the order in which :func:`odenet._tables.rows.distinct_rows` puts rows that
are in memory: that of their keys, which are pseudo-random and equal for equal rows. So
all rows are dealt out, by the first bits of their keys, to parts that memory can hold.
Each part is merged and sorted by itself, and the parts follow each other in one file.
Its first rows are then a random sample of all.
"""

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

import numpy as np

from odenet._stored.budget import (
    COPIES_OF_A_PART,
    COPIES_OF_A_SAMPLE,
    NUMBER,
    SHARE_OF_HELD_OUT,
    rows_within,
)
from odenet._tables.hold_out import share_to_hold_out
from odenet._tables.reading import Rows
from odenet._tables.rows import (
    LARGEST_PART_OF_HOLD_OUT,
    TIMES_THE_MEDIAN,
    distinct_rows,
    keys_of_rows,
    ranges_of_keys,
)

# Parts are made smaller than what memory can hold, since chance makes some larger.
MARGIN = 1.25
MOST_PARTS = 4096  # files in one folder: a round value


class Folder:
    """A temporary folder, removed at the latest when nothing knows it any more.

    It is where :mod:`tempfile` puts it, as the variable TMPDIR says.
    """

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="odenet-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, True)


@dataclass(frozen=True)
class StoredRows:
    """Distinct rows in a file, or those between two of them.

    Parameters
    ----------
    folder : Folder
        Where the file is.
    record : dtype
        The type of a row in the file.
    first, last : int
        The first of the rows, and the one behind the last.
    weight : float
        Their total weight.
    limit : int
        The bytes that a fit may use for rows.
    recoding : dict, default={}
        By the index of a column of categories, the new index of each of them.
    n_shared : int, default=0
        The number of rows, the first ones, that are held out with a share of their
        weight.
    share : float, default=1.0
        What is left of their weight here.
    """

    folder: Folder
    record: np.dtype
    first: int
    last: int
    weight: float
    limit: int
    recoding: dict = field(default_factory=dict)
    n_shared: int = 0
    share: float = 1.0

    @property
    def n_rows(self):
        """How many rows they are."""
        return self.last - self.first

    @property
    def bytes_of_a_row(self):
        """The bytes that a row takes in float64."""
        return _bytes_of(self.record)

    def read(self, first, last):
        """Return the rows from one on, up to another, with their whole weights."""
        rows = _rows_of(self._records(first, last))
        for j, index in self.recoding.items():
            rows.X[:, j] = index[rows.X[:, j].astype(int)]
        return rows

    def sample(self):
        """Return as many of the rows as memory can hold, which are a random sample."""
        size = COPIES_OF_A_SAMPLE * self.bytes_of_a_row
        return self.read(0, rows_within(self.limit, size))

    def hold_out(self, fraction, bytes_of_a_row, *, at_least_some):
        """Split the rows into those to train on, and others that are held out.

        These are about a fraction of the weight, but no more than memory can hold. A
        row that outweighs many others, as of many equal ones, is in both parts, as
        :func:`odenet._tables.rows.shares_to_hold_out` says.

        Parameters
        ----------
        fraction : float
        bytes_of_a_row : int
            What a held-out row takes.
        at_least_some : bool
            As of :func:`odenet._tables.hold_out.hold_out`.

        Returns
        -------
        train : StoredRows
        held_out : Rows
        """
        fraction = share_to_hold_out(fraction, self.n_rows, at_least_some=at_least_some)
        most = rows_within(SHARE_OF_HELD_OUT * self.limit, bytes_of_a_row)
        weight = self._records(0, min(most, self.n_rows))["weight"]
        least = LARGEST_PART_OF_HOLD_OUT * fraction * self.weight
        is_heavy = weight > max(least, TIMES_THE_MEDIAN * np.median(weight))
        light, heavy = np.flatnonzero(~is_heavy), np.flatnonzero(is_heavy)
        mass = np.cumsum(weight[light])
        of_light = fraction * (self.weight - weight[heavy].sum())
        n = 1 + int(np.searchsorted(mass, of_light))
        n = min(n, len(light), self.n_rows - len(heavy) - 1)
        self._put_first(np.concatenate([light[:n], heavy, light[n:]]))
        held_out = self.read(0, n + len(heavy))
        shares = np.repeat([1.0, fraction], [n, len(heavy)])
        held_out = held_out.taken(slice(None), held_out.weight * shares)
        whole, in_part = weight[light[:n]].sum(), weight[heavy].sum()
        train = replace(
            self,
            first=self.first + n,
            weight=self.weight - whole - fraction * in_part,
            n_shared=len(heavy),
            share=1 - fraction,
        )
        return train, held_out

    def weights(self):
        """Yield the weights of the rows, some at a time."""
        size = rows_within(self.limit, COPIES_OF_A_PART * self.bytes_of_a_row)
        for first in range(0, self.n_rows, size):
            last = min(first + size, self.n_rows)
            weight = self._records(first, last)["weight"].copy()
            weight[: max(0, self.n_shared - first)] *= self.share
            yield weight

    def _put_first(self, order):
        """Put the first rows in the file into another order."""
        if (np.diff(order) == 1).all():
            return
        records = self._records(0, len(order))[order]
        with _file_in(self.folder).open("r+b") as file:
            file.seek(self.first * self.record.itemsize)
            records.tofile(file)

    def _records(self, first, last):
        """Return rows as they are in the file."""
        first, last = (self.first + min(i, self.n_rows) for i in (first, last))
        return _records_between(_file_in(self.folder), self.record, first, last)


class RowFileWriter:
    """Writes the distinct rows of a training set into a file.

    Parameters
    ----------
    folder : Folder
        Where the file is to be.
    n_rows : int
        How many rows will come, at most.
    is_single : bool
        Whether float32 is exact for all numbers of the matrix.
    seed : int
        The seed of the random order.
    limit : int
        The bytes that it may use for rows.
    """

    def __init__(self, folder, n_rows, seed, limit, *, is_single=False):
        self.folder, self.n_rows = folder, n_rows
        self.seed, self.limit, self.is_single = seed, limit, is_single
        self.record = None

    def add(self, rows):
        """Deal rows out to the parts."""
        if self.record is None:
            self.record = _record_of(rows, np.float32 if self.is_single else np.float64)
            size = COPIES_OF_A_PART * _bytes_of(self.record)
            self.most = rows_within(self.limit, size)
            self.n_parts = ceil(MARGIN * self.n_rows / self.most)
            if self.n_parts > MOST_PARTS:
                least = ceil(10 * self.n_parts / MOST_PARTS) / 10
                raise ValueError(
                    f"`memory_limit` is too small for {self.n_rows} rows: it must be "
                    f"at least {least} times as large."
                )
        keys = keys_of_rows(rows.X, rows.y, self.seed)
        parts = ranges_of_keys(keys, self.n_parts)
        records = _records_of(rows, self.record)[np.argsort(parts, kind="stable")]
        ends = np.cumsum(np.bincount(parts, minlength=self.n_parts))
        for i, part in enumerate(np.split(records, ends[:-1])):
            if len(part):
                with self._path_of(i).open("ab") as file:
                    part.tofile(file)

    def rows(self):
        """Merge and sort the parts, and return the rows of all."""
        n, weight = 0, 0.0
        with _file_in(self.folder).open("wb") as file:
            for i in range(self.n_parts):
                if not self._path_of(i).exists():
                    continue
                rows = self._merged_part(self._path_of(i))
                _records_of(rows, self.record).tofile(file)
                n, weight = n + len(rows.y), weight + rows.weight.sum()
                self._path_of(i).unlink()
        return StoredRows(self.folder, self.record, 0, n, float(weight), self.limit)

    def _path_of(self, i):
        return self.folder.path / f"part{i}"

    def _merged_part(self, path):
        """Return the distinct rows of a part.

        It may have more rows than memory can hold, if many of them are equal: so a few
        are added at a time to those that are distinct so far.
        """
        n = path.stat().st_size // self.record.itemsize
        found = None
        for first in range(0, n, self.most):
            rows = _rows_of(
                _records_between(path, self.record, first, first + self.most)
            )
            if found is not None:
                rows = _one_after_another(found, rows)
            found = rows.taken(*distinct_rows(rows.X, rows.y, rows.weight, self.seed))
        return found


def _file_in(folder):
    return folder.path / "rows"


def _one_after_another(*parts):
    """Return the rows of several parts."""
    fields = zip(*parts, strict=True)
    return Rows(*(None if f[0] is None else np.concatenate(f) for f in fields))


def _record_of(rows, dtype):
    """Return the type of a row in a file."""
    fields = [
        ("X", dtype, rows.X.shape[1:]),
        ("y", rows.y.dtype, rows.y.shape[1:]),
        ("weight", np.float64),
    ]
    return np.dtype(fields + [("factor", np.float64)] * (rows.factor is not None))


def _bytes_of(record):
    """Return the bytes of all numbers of a row, as if each were a float64."""
    n_numbers = sum(
        int(np.prod(record[name].shape, dtype=int)) for name in record.names
    )
    return NUMBER * n_numbers


def _records_of(rows, record):
    """Return rows as an array of the type of a row in a file."""
    records = np.empty(len(rows.y), record)
    for name in record.names:
        records[name] = getattr(rows, name)
    return records


def _records_between(path, record, first, last):
    """Return rows of a file as an array of their type."""
    offset = first * record.itemsize
    return np.fromfile(path, record, count=last - first, offset=offset)


def _rows_of(records):
    """Return records as rows, whose numbers are float64."""
    factor = records["factor"] if "factor" in records.dtype.names else None
    X, y, weight = (np.ascontiguousarray(records[n]) for n in ("X", "y", "weight"))
    return Rows(X.astype(np.float64), y, weight, None, factor)
