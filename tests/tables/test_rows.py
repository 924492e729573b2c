import numpy as np
import pytest
import scipy.sparse as sp

from odenet._tables import rows as rows_module
from odenet._tables.rows import distinct_rows, places_of_rows, shares_to_hold_out


def merge_repeated(X, y, weight, seed):
    """Distinct rows, their targets and their weights."""
    first, total = distinct_rows(X, y, weight, seed)
    return X[first], y[first], total


@pytest.fixture
def table(rng):
    X = rng.integers(0, 3, size=(60, 2)).astype(float)
    return X, X.sum(axis=1) % 2, rng.integers(1, 5, size=60).astype(float)


def test_merging_keeps_every_distinct_row_with_its_weight(table):
    X, y, weight = table
    X_merged, y_merged, weight_merged = merge_repeated(X, y, weight, seed=0)
    merged = {tuple(row): w for row, w in zip(X_merged, weight_merged, strict=True)}
    expected = {}
    for row, w in zip(X, weight, strict=True):
        expected[tuple(row)] = expected.get(tuple(row), 0) + w
    assert merged == expected
    np.testing.assert_array_equal(y_merged, X_merged.sum(axis=1) % 2)


def test_merging_depends_neither_on_the_order_nor_on_repetition(table, rng):
    X, y, weight = table
    order = rng.permutation(60)
    repeated = np.repeat(order, weight[order].astype(int))
    once = merge_repeated(X, y, weight, seed=5)
    again = merge_repeated(X[repeated], y[repeated], np.ones(len(repeated)), seed=5)
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_distinct_row_is_where_it_is_first(table):
    X, y, weight = table
    first, total = distinct_rows(*table, seed=0)
    for i, w in zip(first, total, strict=True):
        equal = np.flatnonzero((X[i] == X).all(axis=1) & (y == y[i]))
        assert (i, w) == (equal[0], weight[equal].sum())


def test_order_depends_on_the_seed(table):
    orders = [merge_repeated(*table, seed=seed)[0] for seed in (0, 1)]
    assert not np.array_equal(*orders)


def test_targets_tell_rows_apart_and_zeros_have_no_sign():
    X = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, -0.0]])
    y = np.array([[0.0], [1.0], [0.0]])
    _, y_merged, weight = merge_repeated(X, y, np.ones(3), seed=0)
    assert sorted(zip(y_merged.ravel(), weight, strict=True)) == [
        (0.0, 2.0),
        (1.0, 1.0),
    ]


def test_validation_takes_its_share_of_the_weight_of_every_class(rng):
    strata = np.repeat([0, 1, 2], [700, 250, 50])
    weight = rng.uniform(0.5, 1.5, size=1000)
    mask = shares_to_hold_out(weight, 0.2, strata) == 1
    for stratum in range(3):
        members = strata == stratum
        share = weight[mask & members].sum() / weight[members].sum()
        assert share == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.999])
def test_every_class_keeps_a_row_to_train_on(fraction):
    strata = np.array([0, 1, 1, 2, 2, 2])
    mask = shares_to_hold_out(np.ones(6), fraction, strata) == 1
    assert set(strata[~mask]) == {0, 1, 2}
    assert set(strata[mask]) == {1, 2}


def test_missing_numbers_are_equal_whatever_their_bits():
    other = -np.abs(np.float64(np.nan))  # NaN with another sign
    X = np.array([[1.0, np.nan], [1.0, other], [np.nan, 1.0], [1.0, np.nan]])
    assert len(np.unique(X.view(np.uint64)[:2, 1])) == 2
    merged, _, weight = merge_repeated(X, np.zeros(4), np.ones(4), seed=0)
    assert sorted(zip(np.isnan(merged[:, 0]), weight, strict=True)) == [
        (False, 3.0),
        (True, 1.0),
    ]


def test_the_rows_held_out_are_the_first_of_each_stratum():
    strata = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    shares = shares_to_hold_out(np.ones(8), 0.3, strata)
    assert shares.tolist() == [1.0] * 4 + [0.0] * 4


@pytest.mark.parametrize("place", [0, 500, 999])
@pytest.mark.parametrize("heavy", [30.0, 5000.0, 1e12])
def test_a_heavy_row_is_shared_out_and_does_not_count_for_the_others(place, heavy):
    """Whatever its weight and its place, a tenth of the other rows is held out."""
    weight = np.ones(1000)
    weight[place] = heavy
    shares = shares_to_hold_out(weight, 0.1)
    assert shares[place] == 0.1
    others = np.delete(shares, place)
    assert others.tolist() == [1.0] * 100 + [0.0] * 899


def test_rows_are_heavy_by_comparison_with_many():
    """A few rows of the same weights are all light, whatever their part of a few is."""
    assert shares_to_hold_out(np.array([1.0, 3, 1, 2]), 0.1).tolist() == [1, 0, 0, 0]
    levels = np.repeat([1.0, 100.0, 1e4], [700, 20, 10])  # each heavy for the last
    shares = shares_to_hold_out(levels, 0.3)
    assert set(shares[700:]) == {0.3}
    assert set(shares[:700]) == {0.0, 1.0}


def test_the_order_is_independent_of_what_the_rows_hold(rng):
    """Counting numbers, and their negatives, come as if they were shuffled."""
    X = np.arange(-500.0, 500)[:, None]
    for seed in range(5):
        merged = merge_repeated(X, np.zeros(1000), np.ones(1000), seed=seed)[0].ravel()
        ranks = np.corrcoef(merged, np.arange(1000))[0, 1]
        neighbours = np.corrcoef(merged[1:], merged[:-1])[0, 1]
        assert abs(ranks) < 0.12
        assert abs(neighbours) < 0.12


def test_rows_of_the_same_key_are_told_apart():
    """Two bits that the keys of these rows see in both columns cancel in each seed."""
    flipped = np.float64(1.0).view(np.uint64) ^ np.uint64((1 << 63) | (1 << 34))
    A, B = [1.0, 1.0, 0.5], [-1.0, flipped.view(np.float64), 0.5]
    rows = np.array([A, B, A, [0.0, 0.0, 0.0]])
    for seed in range(3):
        found = [
            merge_repeated(part[:, :2], part[:, 2], np.ones(4), seed)
            for part in (rows, rows[::-1])
        ]
        assert sorted(found[0][2]) == [1.0, 1.0, 2.0]
        for one, other in zip(*found, strict=True):
            np.testing.assert_array_equal(one, other)


def sparse_table(rng):
    X = rng.integers(0, 3, size=(60, 2)) * rng.integers(0, 2, size=(60, 2))
    y = rng.integers(0, 2, size=60)
    return X.astype(float), y, rng.integers(1, 5, size=60).astype(float)


def as_dict(X, y, weight):
    X = X.toarray() if sp.issparse(X) else X
    rows = zip(map(tuple, X), y, strict=True)
    return dict(zip(rows, weight, strict=True))


def test_sparse_rows_are_merged_like_dense_ones(rng):
    X, y, weight = sparse_table(rng)
    merged = merge_repeated(sp.csr_array(X), y, weight, seed=0)
    assert as_dict(*merged) == as_dict(*merge_repeated(X, y, weight, seed=0))
    assert len(merged[1]) == len(as_dict(*merged)) < 60
    single = merge_repeated(sp.csr_array(X[:1]), y[:1], weight[:1], seed=0)
    assert as_dict(*single) == as_dict(X[:1], y[:1], weight[:1])


def test_merging_sparse_rows_depends_neither_on_order_nor_on_repetition(rng):
    X, y, weight = sparse_table(rng)
    repeated = np.repeat(rng.permutation(60), 2)
    once = merge_repeated(sp.csr_array(X), y, 2 * np.ones(60), seed=5)
    again = merge_repeated(sp.csr_array(X[repeated]), y[repeated], np.ones(120), seed=5)
    np.testing.assert_array_equal(once[0].toarray(), again[0].toarray())
    for a, b in zip(once[1:], again[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    other = merge_repeated(sp.csr_array(X), y, weight, seed=6)
    assert not np.array_equal(once[1], other[1])


def test_sparse_rows_of_equal_keys_are_told_apart(rng, monkeypatch):
    X, y, weight = sparse_table(rng)
    keys_of = rows_module._sparse_row_keys
    tried = []

    def few_keys(X, seed):
        tried.append(seed)
        return keys_of(X, seed) if seed > 1 else np.zeros(X.shape[0], dtype=np.uint64)

    monkeypatch.setattr(rows_module, "_sparse_row_keys", few_keys)
    merged = merge_repeated(sp.csr_array(X), y, weight, seed=0)
    assert tried == [0, 1, 2]
    assert as_dict(*merged) == as_dict(*merge_repeated(X, y, weight, seed=0))


def test_every_row_finds_its_place_among_the_distinct_ones():
    rng = np.random.default_rng(0)
    X = rng.integers(3, size=(50, 2)).astype(float)
    y = rng.integers(2, size=50).astype(float)
    for table in (X, sp.csr_array(X)):
        first, weight = distinct_rows(table, y, np.ones(50), seed=3)
        places = places_of_rows(table, y, seed=3)
        np.testing.assert_array_equal(X[first][places], X)
        np.testing.assert_array_equal(y[first][places], y)
        np.testing.assert_array_equal(np.bincount(places), weight)
