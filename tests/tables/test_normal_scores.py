import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import kstest
from sklearn.preprocessing import QuantileTransformer

from odenet._tables.normal_scores import fit_normal_scores


def scores(X, weight=None, gain=1.0):
    return fit_normal_scores(X, np.ones(len(X)) if weight is None else weight, gain)(X)


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, lambda x: x**7])
def test_normal_scores_do_not_depend_on_the_units_of_a_column(transform, rng):
    X = rng.normal(size=(1000, 1))
    np.testing.assert_allclose(scores(transform(X)), scores(X), atol=0.02)


def test_normal_scores_are_normal(rng):
    z = scores(rng.exponential(size=(2000, 1)), gain=3.0).ravel() / 3.0
    assert kstest(z, "norm").statistic < 0.01


def test_normal_scores_against_scikit_learn(rng):
    X = rng.exponential(size=(200, 1))
    transformer = QuantileTransformer(n_quantiles=200, output_distribution="normal")
    expected = transformer.fit_transform(X)
    inner = np.abs(expected) < 2
    np.testing.assert_allclose(scores(X)[inner], expected[inner], atol=0.05)


def test_weights_of_normal_scores_are_repetitions(rng):
    X, weight = rng.integers(0, 9, size=(30, 2)).astype(float), rng.integers(1, 4, 30)
    repeated = scores(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(np.repeat(scores(X, weight), weight, axis=0), repeated)


def test_scores_of_new_values_are_interpolated_and_go_no_further(rng):
    X = rng.normal(size=(3000, 1))
    fitted = fit_normal_scores(X, np.ones(3000))
    assert len(fitted.knots[0][0]) <= 256
    ends = fitted(np.array([[1e9], [-1e9]]))
    np.testing.assert_array_equal(ends.ravel(), [scores(X).max(), scores(X).min()])
    assert np.all(np.diff(fitted(np.linspace(-3, 3, 500)[:, None]).ravel()) > 0)


def test_missing_numbers_do_not_count(rng):
    X = rng.normal(size=(40, 1))
    known = X[np.arange(40) % 4 > 0]
    X[::4] = np.nan
    fitted = fit_normal_scores(X, np.ones(40))
    np.testing.assert_array_equal(fitted(known), scores(known))


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_columns_without_two_numbers_have_no_scores(value):
    X = np.full((9, 1), value)
    fitted = fit_normal_scores(X, np.ones(9))
    np.testing.assert_array_equal(fitted(np.arange(9.0)[:, None]), 0)


def test_tiny_weights_have_finite_scores(rng):
    X, weight = rng.normal(size=(50, 1)), np.ones(50)
    weight[[X.argmin(), X.argmax()]] = 1e-18
    z = scores(X, weight)
    assert np.abs(z).max() < 6.1
    assert np.all(np.diff(z[np.argsort(X[:, 0]), 0]) > 0)


def test_no_weight_is_too_large(rng):
    X = rng.normal(size=(50, 1))
    for unit in (1e-300, 1e300, 1e308):
        np.testing.assert_allclose(scores(X, np.full(50, unit)), scores(X))


def test_scores_are_quantiles_of_the_middle_of_each_mass():
    X, weight = np.array([[3.0], [1.0], [2.0]]), np.array([1.0, 2.0, 5.0])
    middles = np.array([7.5, 1.0, 4.5]) / 8
    np.testing.assert_allclose(scores(X, weight, 2.0).ravel(), 2 * ndtri(middles))


def test_few_values_keep_all_their_knots_and_many_keep_both_ends(rng):
    for n, n_knots in [(255, 255), (256, 256), (257, None), (5000, None)]:
        x = np.sort(rng.normal(size=n))
        values, _ = fit_normal_scores(x[:, None], np.ones(n)).knots[0]
        assert len(values) == n_knots if n_knots else len(values) <= 256
        assert (values[0], values[-1]) == (x[0], x[-1])
    assert len(values) > 200


def test_the_last_value_keeps_its_knot_whatever_is_rounded():
    for seed in range(50):
        x = np.sort(np.random.default_rng(seed).standard_cauchy(size=400))
        knots = fit_normal_scores(x[:, None], np.ones(400), 1.0).knots[0]
        assert knots[0][-1] == x[-1]
        assert (np.diff(knots[1]) > 0).all()


def test_scores_between_values_of_any_distance_are_finite():
    """The slope between values is infinite in the one column, and 0 in the other."""
    most = np.finfo(float).max
    X = np.array([[0.0, -most], [1e-310, 0.0], [2e-310, most]])
    fitted = fit_normal_scores(X, np.ones(3))
    between = np.array([[5e-311, -most / 2], [1.5e-310, most / 2], [1.0, most]])
    found = fitted(between)
    (_, first), (_, second) = fitted.knots
    assert ((first[0] <= found[:2, 0]) & (found[:2, 0] <= first[2])).all()
    assert found[2].tolist() == [first[2], second[2]]
    assert np.isfinite(found).all()
