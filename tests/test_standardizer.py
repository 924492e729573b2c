import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from odenet._standardizer import Standardizer, fit_standardizer


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


@pytest.mark.parametrize("unit", [1e-300, 1e-30, 1.0, 1e30, 1e300])
@pytest.mark.parametrize("weight_unit", [1e-300, 1.0, 1e300])
def test_no_unit_is_too_large_or_too_small(unit, weight_unit, rng):
    X = rng.normal(size=(50, 2))
    weight = np.full(50, weight_unit)
    Z = fit_standardizer(unit * X, weight)(unit * X)
    np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_constant_column_is_ignored_and_restored(value, rng):
    X = np.full((9, 1), value)
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


def scores(X, weight=None, **settings):
    """Twice the mean of a score and of the standardised value, minus the latter."""
    weight = np.ones(len(X)) if weight is None else weight
    scored = fit_standardizer(X, weight, scored=True, **settings)(X)
    return 2 * scored - fit_standardizer(X, weight, **settings)(X)


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
    standardizer = fit_standardizer(X, np.ones(3000), limit=4.0, scored=True)
    assert len(standardizer.knots[0][0]) <= 256
    far = standardizer(np.array([[1e9], [-1e9]]))
    assert np.all(np.abs(far) < 4)
    ordered = standardizer(np.linspace(-6, 6, 500)[:, None]).ravel()
    assert np.all(np.diff(ordered) > 0)


def test_constant_columns_have_no_scores():
    X = np.column_stack([np.full(9, 3.0), np.arange(9.0)])
    standardizer = fit_standardizer(X, np.ones(9), scored=True)
    np.testing.assert_array_equal(standardizer(X + 1)[:, 0], 0)
