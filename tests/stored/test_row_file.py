import numpy as np
import pytest

from odenet._stored import row_file
from odenet._stored.row_file import Folder, RowFileWriter
from odenet._tables.hold_out import hold_out
from odenet._tables.reading import Rows, merged

LIMIT = 40_000  # bytes: about 200 rows of three numbers in a part


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(1500, 2)).round(1)  # some are equal
    return Rows(X, X.sum(axis=1, keepdims=True), rng.integers(1, 4, 1500).astype(float))


def written(rows, limit=LIMIT, seed=3, size=100, **settings):
    writer = RowFileWriter(Folder(), len(rows.y), seed, limit, **settings)
    for i in range(0, len(rows.y), size):
        here = slice(i, i + size)
        writer.add(rows.taken(here, rows.weight[here]))
    return writer.rows()


def assert_equal(found, expected):
    for name in ("X", "y", "weight", "factor"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_file_has_the_distinct_rows_in_their_order_in_memory(rows):
    stored = written(rows)
    expected = merged(rows, seed=3)
    assert stored.n_rows == len(expected.y) < 1500
    assert stored.weight == rows.weight.sum()
    assert_equal(stored.read(0, stored.n_rows), expected)
    assert_equal(stored.read(7, 9), expected.taken(slice(7, 9), expected.weight[7:9]))


def test_rows_are_dealt_out_to_parts_that_memory_holds(rows, monkeypatch):
    sizes = []

    def seen(X, *rest):
        sizes.append(len(X))
        return distinct_rows(X, *rest)

    distinct_rows = row_file.distinct_rows
    monkeypatch.setattr(row_file, "distinct_rows", seen)
    written(rows)
    most = LIMIT // (row_file.COPIES_OF_A_PART * 8 * 4)
    assert len(sizes) > 5
    assert max(sizes) <= 2 * most


def test_equal_rows_may_be_more_than_memory_holds(monkeypatch):
    rows = Rows(np.ones((5000, 2)), np.zeros((5000, 1)), np.ones(5000))
    stored = written(rows)
    assert_equal(
        stored.read(0, 9), Rows(np.ones((1, 2)), np.zeros((1, 1)), np.array([5000.0]))
    )


def test_numbers_of_float32_take_half_the_bytes(rows):
    X = rows.X.astype(np.float32)
    rows = Rows(X.astype(np.float64), rows.y, rows.weight)
    single, double = written(rows, is_single=True), written(rows)
    assert single.record["X"].itemsize == double.record["X"].itemsize / 2
    assert_equal(single.read(0, 1500), double.read(0, 1500))


def test_factors_of_classes_stay_with_their_rows(rows):
    y = rows.X[:, 0] > 0
    rows = Rows(rows.X, y.astype(int), rows.weight, None, 1.0 + y)
    stored = written(rows)
    found = stored.read(0, stored.n_rows)
    assert found.y.dtype == int
    np.testing.assert_array_equal(found.factor, 1.0 + found.y)


def test_what_is_held_out_is_what_memory_holds_out(rows):
    rows = Rows(rows.X, rows.y, np.ones(1500))
    stored = written(rows)
    rows = merged(rows, seed=3)
    parts = hold_out(rows, None, 0.1, at_least_some=True)
    expected = [part.of(rows) for part in parts]
    train, held_out = stored.hold_out(0.1, 10, at_least_some=True)
    assert_equal(train.read(0, train.n_rows), expected[0])
    assert_equal(held_out, expected[1])
    assert train.weight == expected[0].weight.sum()


def test_no_more_is_held_out_than_memory_has_room_for(rows):
    train, held_out = written(rows).hold_out(0.5, 50, at_least_some=False)
    assert len(held_out.y) == LIMIT / 8 / 50
    assert train.n_rows + len(held_out.y) == len(merged(rows, seed=3).y)


def test_categories_are_recoded(rows):
    codes = np.floor(3 * (rows.X[:, :1] % 1))  # 0, 1 or 2
    rows = Rows(np.hstack([codes, rows.X[:, 1:]]), rows.y, rows.weight)
    stored = written(rows)
    recoded = row_file.replace(stored, recoding={0: np.array([1, -1, 0])})
    before, after = (s.read(0, 1500).X for s in (stored, recoded))
    np.testing.assert_array_equal(
        after[:, 0], np.array([1, -1, 0])[before[:, 0].astype(int)]
    )
    np.testing.assert_array_equal(after[:, 1], before[:, 1])


def test_the_folder_goes_with_the_last_rows(rows):
    stored = written(rows)
    path = stored.folder.path
    assert [file.name for file in path.iterdir()] == ["rows"]
    train, _ = stored.hold_out(0.1, 10, at_least_some=True)
    del stored
    assert path.exists()
    del train
    assert not path.exists()


def test_too_many_parts_are_told(rows, monkeypatch):
    monkeypatch.setattr(row_file, "MOST_PARTS", 4)
    with pytest.raises(
        ValueError, match="too small for 1500 rows: it must be at least"
    ):
        written(rows)
