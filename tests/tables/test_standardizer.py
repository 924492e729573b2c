import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.preprocessing import StandardScaler

from odenet._tables.standardizer import (
    Standardizer,
    fit_standardizer,
    fit_to_norm,
    fit_to_the_mean,
    side_by_side,
)


def test_agrees_with_scikit_learn(rng):
    X, weight = rng.normal(3, 5, size=(50, 4)), rng.uniform(size=50)
    standardizer = fit_standardizer(X, weight)
    expected = StandardScaler().fit_transform(X, sample_weight=weight)
    np.testing.assert_allclose(standardizer(X), expected, rtol=1e-10)
    np.testing.assert_allclose(standardizer.inverse(standardizer(X)), X)


def test_gain_is_the_standard_deviation_reached(rng):
    X = rng.normal(size=(50, 2))
    Z = fit_standardizer(X, np.ones(50), gain=2.5)(X)
    np.testing.assert_allclose(Z.std(axis=0), 2.5)


def test_no_unit_is_too_large_or_too_small(rng):
    for unit in [1e-300, 1e-30, 1.0, 1e30, 1e300]:
        X = rng.normal(size=(50, 2))
        for weight_unit in (1e-300, 1.0, 1e300, 1e308):
            Z = fit_standardizer(unit * X, np.full(50, weight_unit))(unit * X)
            np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_constant_column_is_ignored_and_restored(value, rng):
    X = np.full((9, 1), value)
    for _ in range(20):
        standardizer = fit_standardizer(X, rng.uniform(size=9))
        np.testing.assert_array_equal(standardizer(X + 1), 0)
        np.testing.assert_array_equal(standardizer.inverse(X + 1), X)


def test_limit_draws_far_values_in_and_leaves_near_ones(rng):
    X = rng.normal(size=(1000, 1))
    standardizer = fit_standardizer(X, np.ones(1000), 2.0, limit=4.0)
    plain = fit_standardizer(X, np.ones(1000), 2.0)
    far = np.array([[1e3], [-1e30], [1e308]])
    np.testing.assert_allclose(standardizer(far), [[8], [-8], [8]], rtol=1e-4)
    near = np.array([[0.1], [-0.2]])
    np.testing.assert_allclose(standardizer(near), plain(near), rtol=0.01)
    ordered = standardizer(np.sort(X, axis=0)).ravel()
    assert np.all(np.diff(ordered) > 0)


def test_identity(rng):
    X = rng.normal(size=(4, 3))
    np.testing.assert_array_equal(Standardizer.identity(3)(X), X)


def test_a_column_that_varies_by_roundings_is_constant():
    X = np.array([[1.0], [1.0 + 2**-52], [1.0]])
    assert np.isinf(fit_standardizer(X, np.ones(3)).scale).all()
    X = np.array([[1.0], [1.0 + 1e-12], [1.0]])
    assert np.isfinite(fit_standardizer(X, np.ones(3)).scale).all()


def test_a_limit_bounds_infinite_quotients_too():
    standardizer = Standardizer(np.zeros(1), np.full(1, 1e-10), 3.0)
    Z = standardizer(np.array([[1e308], [-1e308], [1e-10]]))
    np.testing.assert_allclose(Z.ravel(), [3, -3, 1 / np.sqrt(1 + 1 / 9)])


def test_parts_side_by_side_do_what_each_does(rng):
    X = rng.normal(size=(20, 5))
    parts = [
        fit_standardizer(X[:, :2], np.ones(20), 2.0, 3.0),
        Standardizer.identity(1),
        fit_standardizer(X[:, 3:], np.ones(20)),
    ]
    together = side_by_side(parts)(X)
    blocks = (X[:, :2], X[:, 2:3], X[:, 3:])
    alone = [part(block) for part, block in zip(parts, blocks, strict=True)]
    np.testing.assert_allclose(together, np.hstack(alone))


def test_constant_columns_are_ignored_wherever_new_values_are():
    standardizer = fit_standardizer(np.full((3, 1), -1e308), np.ones(3))
    Z = standardizer(np.array([[1e308], [0.0], [np.nan]]))
    np.testing.assert_array_equal(Z.ravel(), [0.0, 0.0, np.nan])


def test_the_unit_may_be_the_mean(rng):
    """Of any unit, and weighted; a zero stays a zero."""
    X, weight = rng.poisson(2.0, size=(50, 2)) * [1e-300, 1e300], rng.uniform(1, 2, 50)
    standardizer = fit_to_the_mean(X, weight)
    np.testing.assert_allclose(np.average(standardizer(X), axis=0, weights=weight), 1)
    assert (standardizer(X)[X == 0] == 0).all()
    np.testing.assert_allclose(standardizer.inverse(standardizer(X)), X)


def test_both_ends_of_float64_have_a_scale():
    """Whose standard deviation rounds to zero, or to infinity, is no constant."""
    least, most = np.finfo(float).smallest_subnormal, np.finfo(float).max
    X = np.array([[0.0, -most], [least, 0.0], [0.0, most], [least, 0.0]])
    Z = fit_standardizer(X, np.ones(4), gain=0.5, limit=4.0)(X)
    assert np.isfinite(Z).all()
    assert (np.ptp(Z, axis=0) > 0.1).all()


def test_one_factor_gives_sparse_rows_their_norm(rng):
    X = rng.normal(size=(40, 7)) * (rng.random((40, 7)) < 0.3)
    weight = rng.integers(1, 4, size=40).astype(float)
    for unit in (1.0, 1e-200, 1e200):
        fitted = fit_to_norm(sp.csr_array(unit * X), weight, norm=2.0)
        Z = fitted.of_sparse(sp.csr_array(unit * X)).toarray()
        np.testing.assert_allclose(Z, fitted(unit * X))
        squares = np.square(Z).sum(axis=1)
        np.testing.assert_allclose(np.average(squares, weights=weight), 4.0)
        np.testing.assert_allclose(Z * X.max(), X * Z.max())
        assert fitted.keeps_zeros
    assert not Standardizer(np.array([0.0, 1.0]), np.ones(2)).keeps_zeros


def test_entries_of_sparse_rows_have_the_scale_and_limit_of_their_column():
    columns = Standardizer(np.zeros(3), np.array([2.0, np.inf, 4.0]), 1.0)
    X = np.array([[3.0, 0.0, -8.0], [0.0, 5.0, 0.0]])
    Z = columns.of_sparse(sp.csr_array(X)).toarray()
    np.testing.assert_allclose(Z, [[1.5 / np.hypot(1, 1.5), 0, -2 / 5**0.5], [0] * 3])


def test_a_matrix_without_entries_has_no_scale():
    fitted = fit_to_norm(sp.csr_array((4, 2)), np.ones(4), norm=1.0)
    np.testing.assert_array_equal(fitted.scale, [1.0, 1.0])
