import numpy as np
import pytest
import scipy.sparse as sp
import torch

from odenet._utils import sparse_rows
from odenet._utils.sparse_rows import (
    SparseRows,
    as_rows,
    cat_rows,
    gram,
    is_sparse,
    join_rows,
    outer,
    times,
    with_one,
)

LIKE = torch.zeros(0, dtype=torch.float64)


@pytest.fixture
def X(rng):
    """Fourteen rows, of which some are empty, and so are some columns."""
    X = rng.normal(size=(14, 9)) * (rng.random((14, 9)) < 0.3)
    X[[0, 5, 13]] = 0.0
    X[:, [0, 8]] = 0.0
    return X


def augmented(X):
    return np.column_stack([X, np.ones(len(X))])


def dense(rows):
    """The rows (x, 1) of sparse ones, one entry after the other."""
    matrix = np.zeros((len(rows), rows.n_columns + 1))
    for i in range(len(rows)):
        for k in range(int(rows.starts[i]), int(rows.starts[i + 1])):
            matrix[i, int(rows.columns[k])] += float(rows.values[k])
    return matrix


def test_rows_are_those_of_the_matrix_with_a_constant(X):
    for container in (sp.csr_array, sp.csr_matrix):
        rows = as_rows(container(X), LIKE)
        assert is_sparse(rows)
        assert with_one(rows) is rows
        assert rows.shape == X.shape
        assert len(rows) == 14
        np.testing.assert_array_equal(dense(rows), augmented(X))


def test_rows_can_be_chosen_split_and_put_together(X):
    rows, expected = as_rows(sp.csr_array(X), LIKE), augmented(X)
    slices = slice(None), slice(3, 7), slice(5), slice(9, 40), slice(4, 4), slice(7, 2)
    for index in slices:
        np.testing.assert_array_equal(dense(rows[index]), expected[index])
    for index in ([3], [13, 0, 3, 3, 7], [5, 5], list(range(13, -1, -1))):
        np.testing.assert_array_equal(dense(rows[torch.tensor(index)]), expected[index])
    mask = torch.arange(14) % 3 == 0
    np.testing.assert_array_equal(dense(rows[mask]), expected[mask])
    parts = rows.split(5)
    assert [len(part) for part in parts] == [5, 5, 4]
    np.testing.assert_array_equal(dense(cat_rows(parts)), expected)
    assert [len(part) for part in rows.split(14)] == [14]


def test_products_are_those_of_the_dense_matrix(X, rng, monkeypatch):
    monkeypatch.setattr(sparse_rows, "LARGEST_CHUNK", 30)  # three rows at once
    A, g = (
        torch.tensor(rng.normal(size=(4, 10))),
        torch.tensor(rng.normal(size=(14, 4))),
    )
    for x in (as_rows(sp.csr_array(X), LIKE), torch.tensor(X)):
        x = with_one(x)
        for weights in (A, A.mT.contiguous().mT):
            np.testing.assert_allclose(times(x, weights), augmented(X) @ A.numpy().T)
        np.testing.assert_allclose(outer(g, x), g.numpy().T @ augmented(X))
        inner = gram(x, slice(2, 9), x, slice(0, 9))
        np.testing.assert_allclose(inner, augmented(X)[2:9] @ augmented(X)[:9].T)


def test_gradients_flow_into_the_matrix(X):
    A = torch.ones(2, 10, dtype=torch.float64, requires_grad=True)
    times(as_rows(sp.csr_array(X), LIKE), A).square().sum().backward()
    expected = 2 * (augmented(X) @ np.ones((10, 2))).T @ augmented(X)
    np.testing.assert_allclose(A.grad, expected)


def test_joined_rows_are_those_of_every_model(X, rng):
    parts = [sp.csr_array(X), sp.csr_array(X[:6])]
    joined = join_rows([as_rows(part, LIKE) for part in parts])
    assert joined.shape == (2, 14, 9)
    assert len(joined) == 2
    rows = np.stack([augmented(X), augmented(X)[[*range(6), *[5] * 8]]])
    A, g = rng.normal(size=(2, 3, 10)), rng.normal(size=(2, 14, 3))
    np.testing.assert_allclose(times(joined, torch.tensor(A)), rows @ A.swapaxes(1, 2))
    np.testing.assert_allclose(outer(torch.tensor(g), joined), g.swapaxes(1, 2) @ rows)
    np.testing.assert_allclose(
        gram(joined, slice(4), joined, slice(2)),
        rows[:, :4] @ rows[:, :2].swapaxes(1, 2),
    )
    np.testing.assert_allclose(
        times(as_rows(parts[0], LIKE), torch.tensor(A)), rows[0] @ A.swapaxes(1, 2)
    )
    index = torch.tensor([9, 2, 2])
    for part, expected in zip(joined[:, index].parts, rows, strict=True):
        np.testing.assert_array_equal(dense(part), expected[index])
    assert [len(part) for part in joined.split(1)] == [1, 1]
    assert len(joined[:2048]) == 2
    assert join_rows([torch.ones(2, 3), torch.ones(1, 3)]).shape == (2, 2, 3)


def test_dtype_and_indices_are_converted(X):
    matrix = sp.csr_array(X)
    matrix.indices = matrix.indices.astype(np.int64)
    rows = as_rows(matrix, torch.zeros(0))
    assert rows.values.dtype == torch.float32
    assert rows.columns.dtype == torch.int64
    again = as_rows(rows, LIKE)
    assert isinstance(again, SparseRows)
    assert again.values.dtype == torch.float64


def test_a_dense_array_stays_dense(X):
    x = as_rows(X, torch.zeros(0))
    assert torch.is_tensor(x)
    assert x.dtype == torch.float32
    assert not is_sparse(x)
