from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.special import ndtri

from odenet._tables.columns import Columns
from odenet._tables.encoder import fit_embedding, fit_encoder
from odenet._tables.standardizer import fit_standardizer


def columns(X, categories=(), allow_nan=False, scored=False):
    categories = {j: tuple(range(3)) for j in categories}
    return Columns(categories, allow_nan).settled(X, scored)[0]


def test_plain_numbers_are_standardised_and_no_more(rng):
    X, weight = rng.normal(size=(20, 3)), rng.uniform(size=20)
    encoder = fit_encoder(columns(X), X, weight, gain=2.0, limit=4.0)
    expected = fit_standardizer(X, weight, 2.0, 4.0)(X)
    np.testing.assert_array_equal(encoder(X), expected)
    np.testing.assert_array_equal(fit_encoder(columns(X), X, weight)(X), X)


def test_numbers_come_first_then_categories_then_missing():
    X = np.array([[0, 1, 5], [1, 2, np.nan], [2, 1, 7]])
    met = columns(X, [0, 1], allow_nan=True)
    Z = fit_encoder(met, X, np.ones(3))(X)
    assert met.inputs[0] == 6
    np.testing.assert_array_equal(
        Z, [[5, 1, 0, 0, -0.5, 0], [6, 0, 1, 0, 0.5, 1], [7, 0, 0, 1, -0.5, 0]]
    )


def test_scores_come_last_of_columns_with_more_than_two_numbers():
    X = np.array([[0, 0, 0.0, 1], [1, 0, 1.0, 9], [0, 1, 1.0, np.nan], [2, 1, 1, 4]])
    met = columns(X, [0], allow_nan=True, scored=True)
    encoder = fit_encoder(met, X, np.ones(4), gain=2.0)
    Z = encoder(X)
    assert met.scored.tolist() == [3]
    assert Z.shape[1] == met.inputs[0] == 3 + 3 + 1 + 1
    order = Z[[0, 3, 1], -1]
    np.testing.assert_allclose(order / 2, [ndtri(1 / 6), 0, ndtri(5 / 6)], atol=1e-12)


def test_the_embedding_comes_after_the_scores(rng):
    X = np.column_stack([rng.integers(3, size=90), rng.normal(size=(90, 2))])
    X[::7, 2], X[:, 1] = np.nan, X[:, 1] > 0
    met, weight = columns(X, [0], True, scored=True), rng.uniform(size=90)
    plain = fit_encoder(met, X, weight, 2.0, 4.0)
    for name in ("piecewise_linear", "periodic"):
        like = torch.Generator().manual_seed(0), 4.0
        embedding = fit_embedding(name, met, X, weight, *like)
        encoder = fit_encoder(met, X, weight, 2.0, 4.0, embedding=embedding)
        Z = encoder(X)
        filled = np.where(np.isnan(X[:, 2:]), encoder.fill[1:], X[:, 2:])
        expected = [plain(X), replace(embedding, gain=2.0)(filled)]
        np.testing.assert_array_equal(Z, np.hstack(expected))
        assert encoder.n_inputs == len(encoder.sources) == Z.shape[1]
        assert set(encoder.sources[plain.n_inputs :]) == {2}


def test_what_was_not_met_has_no_mark():
    X = np.array([[0.0, 3], [1, 4], [2, 5], [2, 5]])
    encoder = fit_encoder(columns(X, [0], allow_nan=True), X, np.ones(4), gain=3.0)
    np.testing.assert_array_equal(encoder(np.array([[-1, np.nan]])), np.zeros((1, 4)))


def test_marks_of_rare_categories_are_small():
    X = np.repeat([0.0, 1, 2], [1, 9, 990])[:, None]
    weight = np.repeat([3.0, 1.0, 1.0], [1, 9, 990])
    met = columns(X, [0])
    marks = fit_encoder(met, X, weight, gain=1.5, limit=4.0)(X).max(axis=0)
    share = np.array([3, 9, 990]) / 1002
    np.testing.assert_allclose(marks, 1.5 * np.sqrt(share / (share + 0.1)), rtol=1e-12)
    np.testing.assert_array_equal(fit_encoder(met, X, weight)(X).max(axis=0), 1.0)
    two = X.clip(1)  # they share one column, of full size
    marks = fit_encoder(columns(two, [0]), two, weight, gain=1.5)(two)
    np.testing.assert_array_equal(np.unique(marks), [-0.75, 0.75])


def test_column_that_lacks_numbers_is_scaled_by_those_it_has(rng):
    X, weight = rng.normal(3, 2, size=(50, 2)), rng.uniform(size=50)
    X[::3, 0] = np.nan
    known = ~np.isnan(X[:, 0])
    Z = fit_encoder(columns(X, allow_nan=True), X, weight, 2.0, 4.0)(X)
    expected = fit_standardizer(X[known], weight[known], 2.0, 4.0)(X[known])
    np.testing.assert_allclose(Z[known, 0], expected[:, 0])
    np.testing.assert_array_equal(Z[~known, 0], 0)
    np.testing.assert_array_equal(Z[:, 2], np.where(known, 0.0, 2.0))


@pytest.mark.parametrize("gain", [None, 2.0])
def test_an_only_category_has_a_column_that_says_nothing(gain):
    X = np.zeros((4, 1))
    met = Columns({0: ("a",)}, False).settled(X, True)[0]
    encoder = fit_encoder(met, X, np.ones(4), gain, limit=4.0)
    for index in (0, -1):
        Z = encoder(np.full((4, 1), float(index)))
        np.testing.assert_array_equal(Z, np.zeros((4, 1)))


def test_every_input_has_the_column_as_its_source_that_moves_it():
    X = np.array([[0, 0, 0.0, 1], [1, 0, 1.0, 9], [0, 1, 2.0, np.nan], [2, 1, 1, 4]])
    met = columns(X, [0, 1], allow_nan=True, scored=True)
    encoder = fit_encoder(met, X, np.ones(4), gain=2.0)
    other = np.array([[1, 1, 5.0, np.nan]])
    assert encoder.sources.tolist() == [2, 3, 0, 0, 0, 1, 3, 2, 3]
    for j in range(4):
        row = X[:1].copy()
        row[0, j] = other[0, j]
        moved = (encoder(row) != encoder(X[:1]))[0]
        assert moved.any()
        assert set(encoder.sources[moved]) == {j}


def test_the_neutral_row_has_the_means_and_no_mark(rng):
    X, weight = rng.normal(3, 2, size=(20, 3)), rng.uniform(size=20)
    X[:, 1] = rng.integers(3, size=20)
    X[0, 2] = np.nan
    for gain in (None, 2.0):
        met = columns(X, [1], allow_nan=True)
        encoder = fit_encoder(met, X, weight, gain)
        row = encoder.neutral_row
        assert row.shape == (1, 3)
        mean = np.average(X[:, 0], weights=weight)
        assert row[0, 0] == pytest.approx(mean, rel=1e-12)
        assert row[0, 2] == pytest.approx(np.average(X[1:, 2], weights=weight[1:]))
        np.testing.assert_array_equal(encoder(row)[:, 2:], np.zeros((1, 4)))


def test_sparse_rows_stay_sparse_if_zeros_stay_zeros(rng):
    X = rng.normal(size=(20, 5)) * (rng.random((20, 5)) < 0.4)
    matrix, weight = sp.csr_array(X), np.ones(20)
    for norm, factor in ((None, 1.0), (3.0, 3.0 / np.sqrt((X**2).sum() / 20))):
        encoder = fit_encoder(columns(X), matrix, weight, norm=norm)
        Z = encoder(matrix)
        assert sp.issparse(Z)
        assert Z.nnz == matrix.nnz
        np.testing.assert_allclose(Z.toarray(), factor * X)
        np.testing.assert_allclose(encoder(X), factor * X)
    unscaled, scaled = (fit_encoder(columns(X), X, weight, gain) for gain in (None, 1))
    assert sp.issparse(unscaled(matrix))
    np.testing.assert_array_equal(scaled(matrix), scaled(X))  # has means
