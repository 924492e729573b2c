"""Tables of all kinds by blocks of rows, none of which is read as a whole."""

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import coo_array, csr_array, issparse

from odenet._stored.sources import (
    MOST_ROWS_AT_ONCE,
    VALUES_AT_ONCE,
    blocks_of,
    default_rows_at_once,
    is_collection,
    n_rows_of,
)

N = 23
VALUES = np.arange(3.0 * N).reshape(N, 3)
FRAME = pd.DataFrame(
    {
        "a": VALUES[:, 0],
        "kind": pd.Categorical(np.resize(["x", "y", "z"], N)),
        "y": np.arange(N),
    },
    index=np.arange(N)[::-1],  # slices go by places, not by labels
)
SIZES = [1, 5, N, 100]


def sizes(blocks):
    """Return the numbers of rows of the first parts of blocks."""
    return [b[0].shape[0] for b in blocks]


def expected_sizes(n, size):
    return [min(size, n - start) for start in range(0, n, size)]


def together(blocks):
    """Return frames of blocks below each other, and arrays too, by values."""
    tables, *others = zip(*blocks, strict=True)
    frame = pd.concat([table.astype({"kind": object}) for table in tables])
    return frame.reset_index(drop=True), *map(np.concatenate, others)


@pytest.fixture
def memory_map(tmp_path):
    np.save(tmp_path / "X.npy", VALUES)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


@pytest.mark.parametrize("size", SIZES)
def test_arrays_are_cut_into_blocks_of_the_same_size(memory_map, size):
    weight = list(range(N))
    for X in (VALUES, memory_map, csr_array(VALUES), coo_array(VALUES)):
        blocks = list(blocks_of(X, weight, None, rows_at_once=size))
        assert sizes(blocks) == expected_sizes(N, size) == [len(b[1]) for b in blocks]
        assert all(b[2] is None for b in blocks)
        found = [b[0].toarray() if issparse(b[0]) else b[0] for b in blocks]
        assert {type(part) for part in found} == {np.ndarray}
        np.testing.assert_array_equal(np.concatenate(found), VALUES)
        np.testing.assert_array_equal(np.concatenate([b[1] for b in blocks]), weight)
        assert n_rows_of(X) == N


def test_lists_stay_lists_and_others_become_arrays():
    rows, texts = VALUES.tolist(), pl.Series(["a", "b"] * 12)[:N]
    found = list(blocks_of(rows, texts, csr_array(VALUES), rows_at_once=20))
    assert [b[0] for b in found] == [rows[:20], rows[20:]]
    assert found[1][1].tolist() == ["a", "b", "a"]
    np.testing.assert_array_equal(found[1][2].toarray(), VALUES[20:])
    assert n_rows_of(rows) == N


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_give_columns_by_their_names(library, size):
    X = FRAME if library == "pandas" else pl.from_pandas(FRAME)
    blocks = list(blocks_of(X, "y", FRAME["y"], rows_at_once=size))
    assert sizes(blocks) == expected_sizes(N, size)
    assert {type(b[0]) for b in blocks} == {type(X)}
    assert {tuple(b[0].columns) for b in blocks} == {("a", "kind")}
    if library == "polars":
        blocks = [(b[0].to_pandas(), *b[1:]) for b in blocks]
    frame, named, given = together(blocks)
    assert frame["a"].tolist() == FRAME["a"].tolist()
    assert frame["kind"].tolist() == FRAME["kind"].tolist()
    assert named.tolist() == given.tolist() == list(range(N))


def test_what_cannot_be_read_is_refused():
    for X in ("a file.csv", 3, {"a": [1]}, iter([1]), np.array(1.0), pl.LazyFrame()):
        with pytest.raises(TypeError, match="X must be an array-like.*got"):
            blocks_of(X, rows_at_once=2)
        with pytest.raises(TypeError, match="X must be an array-like.*got"):
            n_rows_of(X)
    with pytest.raises(TypeError, match="What belongs to the rows.*got int"):
        blocks_of(VALUES, 3, rows_at_once=2)
    for size in (0, -1, 1.5, True, None, "4"):
        with pytest.raises(ValueError, match="`rows_at_once` must be a positive"):
            blocks_of(VALUES, rows_at_once=size)
    with pytest.raises(ValueError, match=r"must have the same number.*\[23, 22\]"):
        blocks_of(VALUES, None, VALUES[1:], rows_at_once=2)
    with pytest.raises(ValueError, match=r"no column 'b'.*\['a', 'kind', 'y'\]"):
        blocks_of(FRAME, "b", rows_at_once=2)
    with pytest.raises(ValueError, match=r"no column 'b'.*\[\]"):
        blocks_of(VALUES, "b", rows_at_once=2)


def test_a_table_without_rows_has_no_blocks():
    assert list(blocks_of(VALUES[:0], [], rows_at_once=2)) == []
    assert n_rows_of(FRAME[:0]) == n_rows_of([]) == 0


def test_blocks_have_about_as_many_values():
    assert default_rows_at_once(np.empty((2, 3))) == MOST_ROWS_AT_ONCE
    assert default_rows_at_once(np.empty((2, 256, 256))) == VALUES_AT_ONCE // 2**16
    wide = csr_array((2, 10 * VALUES_AT_ONCE))
    assert default_rows_at_once(wide) == 1
    assert default_rows_at_once(FRAME) == default_rows_at_once([[1, 2]])
    assert default_rows_at_once(np.empty((2, 0))) == MOST_ROWS_AT_ONCE


def test_a_memory_map_is_not_read_as_a_whole(tmp_path):
    n = 2**20
    np.save(tmp_path / "X.npy", np.zeros((n, 4)))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    tracemalloc.start()
    total = sum(np.array(b).sum() for b, _ in blocks_of(X, X[:, 0], rows_at_once=1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 0.0
    assert peak < X.nbytes / 50


def test_a_batch_of_arrow_is_a_table():
    pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    batch = pa.RecordBatch.from_pydict({"a": [1.0, 2.0, 3.0], "t": [4, 5, 6]})
    (X, t), (X_last, t_last) = blocks_of(batch, "t", rows_at_once=2)
    assert X["a"].tolist() + X_last["a"].tolist() == [1.0, 2.0, 3.0]
    assert [*t, *t_last] == [4, 5, 6]


class TestArrow:
    """Files of Arrow, divided into row groups and batches of other sizes."""

    @pytest.fixture(autouse=True)
    def _needs_pyarrow(self):
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")

    @pytest.fixture(params=["dataset", "file", "table", "feather", "batches"])
    def source(self, request, tmp_path):
        """FRAME in two parts, whose categories are numbered in ways of their own."""
        from pyarrow import Table, concat_tables, dataset, feather, parquet

        halves = [FRAME[:9].copy(), FRAME[9:].copy()]
        halves[1]["kind"] = halves[1]["kind"].cat.reorder_categories(["z", "y", "x"])
        tables = [Table.from_pandas(half, preserve_index=False) for half in halves]
        kind = request.param
        if kind == "table":
            return concat_tables(tables)
        if kind == "batches":
            return dataset.dataset(tables)
        if kind == "file":
            whole = concat_tables(tables).unify_dictionaries()
            parquet.write_table(whole, tmp_path / "a.parquet", row_group_size=4)
            return parquet.ParquetFile(tmp_path / "a.parquet")
        for name, table in zip("ab", tables, strict=True):
            if kind == "feather":
                feather.write_feather(table, tmp_path / name, chunksize=4)
            else:
                parquet.write_table(table, tmp_path / name, row_group_size=4)
        form = "feather" if kind == "feather" else "parquet"
        return dataset.dataset(tmp_path, format=form)

    @pytest.mark.parametrize("size", SIZES)
    def test_blocks_do_not_depend_on_row_groups(self, source, size):
        blocks = list(blocks_of(source, "y", VALUES[:, 1], rows_at_once=size))
        assert sizes(blocks) == expected_sizes(N, size)
        assert {str(b[0].dtypes["kind"]) for b in blocks} == {"category"}
        frame, y, beside = together(blocks)
        assert list(frame.columns) == ["a", "kind"]
        assert frame["a"].tolist() == FRAME["a"].tolist()
        assert frame["kind"].tolist() == FRAME["kind"].tolist()
        assert y.tolist() == list(range(N))
        np.testing.assert_array_equal(beside, VALUES[:, 1])
        assert n_rows_of(source) == N
        assert default_rows_at_once(source) == MOST_ROWS_AT_ONCE

    def test_an_index_of_pandas_is_no_column(self, tmp_path):
        from pyarrow import dataset

        FRAME.to_parquet(tmp_path / "a.parquet")
        source = dataset.dataset(tmp_path / "a.parquet")
        ((block,),) = blocks_of(source, rows_at_once=100)
        pd.testing.assert_frame_equal(block, FRAME)

    def test_columns_of_a_name_are_asked_for(self, source):
        with pytest.raises(ValueError, match="no column 'target'.*'kind'"):
            blocks_of(source, "target", rows_at_once=2)

    def test_unequal_numbers_of_rows_are_told(self, source):
        with pytest.raises(ValueError, match="must have the same number of rows"):
            list(blocks_of(source, VALUES[:, 0][:-1], rows_at_once=4))

    @pytest.mark.parametrize("kind", ["dataset", "file"])
    def test_a_file_is_not_read_as_a_whole(self, tmp_path, kind):
        import pyarrow as pa
        from pyarrow import dataset, parquet

        n, path = 2**21, tmp_path / "a.parquet"
        numbers = np.random.default_rng(0).normal(size=n)
        table = pa.table(dict.fromkeys("abcd", numbers))
        parquet.write_table(table, path, row_group_size=2**14)
        nbytes = table.nbytes
        del table
        source = {"dataset": dataset.dataset, "file": parquet.ParquetFile}[kind](path)
        before, most = pa.total_allocated_bytes(), 0
        for _ in blocks_of(source, rows_at_once=2**13):
            most = max(most, pa.total_allocated_bytes() - before)
        assert 0 < most < nbytes / 8


@pytest.mark.cluster
class TestDask:
    """Collections of Dask, in partitions of other sizes."""

    @pytest.fixture(autouse=True)
    def _needs_dask(self):
        pytest.importorskip("dask.dataframe", reason="needs the extra `dask`")

    @pytest.mark.parametrize("size", SIZES)
    def test_arrays(self, size):
        from dask import array

        X = array.from_array(VALUES, chunks=(7, 2))
        weight = array.from_array(VALUES[:, 0], chunks=4)
        unknown = X[X[:, 0] >= 0]
        for source in (X, unknown):
            blocks = list(blocks_of(source, weight, rows_at_once=size))
            assert sizes(blocks) == expected_sizes(N, size)
            found, beside = map(np.concatenate, zip(*blocks, strict=True))
            np.testing.assert_array_equal(found, VALUES)
            np.testing.assert_array_equal(beside, VALUES[:, 0])
            assert n_rows_of(source) == N

    @pytest.mark.parametrize("size", SIZES)
    def test_frames_with_categories_of_each_partition(self, size):
        from dask import dataframe

        X = dataframe.from_pandas(FRAME, npartitions=4, sort=False)
        parts = [part.compute() for part in X.to_delayed()]
        for part in parts:
            part["kind"] = part["kind"].cat.remove_unused_categories()
            part["kind"] = part["kind"].cat.set_categories(part["kind"].unique())
        X = dataframe.from_map(lambda part: part, parts, meta=parts[0].iloc[:0])
        blocks = list(blocks_of(X, "y", X["y"], X[["a"]], rows_at_once=size))
        assert sizes(blocks) == expected_sizes(N, size)
        assert {str(b[0].dtypes["kind"]) for b in blocks} == {"category"}
        frame, y, series, a = together(blocks)
        assert list(frame.columns) == ["a", "kind"]
        assert frame["kind"].tolist() == FRAME["kind"].tolist()
        assert y.tolist() == series.tolist() == list(range(N))
        assert a.shape == (N, 1)
        assert n_rows_of(X) == N

    def test_parts_of_other_lengths_are_told_in_the_end(self):
        from dask import array

        X = array.from_array(VALUES, chunks=(7, 3))
        short = X[X[:, 0] > 0]
        with pytest.raises(ValueError, match="but some end before the others"):
            list(blocks_of(X, short[:, 0], rows_at_once=4))
        with pytest.raises(ValueError, match="must have the same number of rows"):
            blocks_of(X, VALUES[1:], rows_at_once=4)

    def test_collections_are_known(self):
        from dask import array

        assert is_collection(array.zeros(3))
        assert not is_collection(np.zeros(3))
