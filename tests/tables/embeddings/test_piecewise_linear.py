"""Numbers as the shares of the bins that they have passed."""

from dataclasses import replace

import numpy as np
import pytest

from odenet._tables.embeddings.piecewise_linear import (
    BINS,
    FEWEST,
    MOST_INPUTS,
    Bins,
    fit_piecewise_linear,
)

ONE = np.array([0])
EACH = BINS.samples
COARSER = Bins(most=24, samples=50, size=1.0)


def fitted(X, weight=None, bins=BINS):
    columns = np.arange(X.shape[1])
    weight = np.ones(len(X)) if weight is None else weight
    return fit_piecewise_linear(columns, X, weight, bins=bins)


def shares(embedding, X):
    """The shares of the bins alone, without their size and their mean."""
    return embedding(X) / embedding.sizes + embedding.means


def test_a_number_has_passed_the_bins_below_it(rng):
    X = rng.normal(size=(8 * EACH, 1))
    embedding = fitted(X)
    (edges,) = embedding.edges
    assert embedding.n_inputs == len(edges) - 1 == 8
    expected = np.sort(X[:, 0])[[0, *np.arange(1, 9) * EACH - 1]]
    np.testing.assert_array_equal(edges, expected)
    np.testing.assert_array_equal(
        shares(embedding, edges[3:4, None]).round(12), [[1, 1, 1, 0, 0, 0, 0, 0]]
    )
    quarter = edges[2] + (edges[3] - edges[2]) / 4
    found = shares(embedding, np.array([[quarter]]))
    np.testing.assert_allclose(found, [[1, 1, 0.25, 0, 0, 0, 0, 0]], atol=1e-12)


@pytest.mark.parametrize("bins", [COARSER, BINS])
def test_inputs_have_mean_zero_and_the_size_that_was_chosen(rng, bins):
    X, weight = rng.exponential(size=(500, 2)), rng.uniform(size=500)
    embedding = replace(fitted(X, weight, bins), gain=3.0)
    Z = embedding(X)
    np.testing.assert_allclose(weight @ Z, 0, atol=1e-9)
    of_first = np.ptp(Z[:, embedding.sources == 0], axis=0)
    np.testing.assert_allclose(of_first, 3.0 * bins.size / len(of_first))


@pytest.mark.parametrize("bins", [COARSER, BINS])
def test_the_number_of_bins_grows_with_the_samples_to_a_bound(rng, bins):
    for n, n_bins in ((3, 2), (6 * bins.samples, 6), (10**4, bins.most)):
        assert fitted(rng.normal(size=(n, 1)), bins=bins).n_inputs == n_bins


def test_bins_keep_within_a_number_of_shares():
    assert BINS.within(1000, 3, 3000 * BINS.most) == BINS
    assert BINS.within(1000, 3, 3000 * 50) == replace(BINS, most=50)
    assert BINS.within(1000, 3, 3000 * FEWEST - 1) is None
    assert BINS.within(1000, 3, 3000 * FEWEST) == replace(BINS, most=FEWEST)
    assert BINS.within(1000, 0, BINS.most) == BINS
    few = 3 * BINS.samples
    assert BINS.within(few, 3, 3 * few * 3) == replace(BINS, most=3)
    assert BINS.within(few, 3, 3 * few * 3 - 1) is None


def test_bins_keep_within_a_number_of_inputs():
    assert BINS.within(10**4, MOST_INPUTS // BINS.most, 2**60) == BINS
    fewer = BINS.within(10**4, 2 * MOST_INPUTS // BINS.most, 2**60)
    assert fewer == replace(BINS, most=BINS.most // 2)
    assert BINS.within(10**4, MOST_INPUTS // FEWEST, 2**60).most == FEWEST
    assert BINS.within(10**4, MOST_INPUTS // FEWEST + 1, 2**60) is None


def test_a_weight_is_a_repetition(rng):
    X = rng.integers(0, 40, size=(300, 2)).astype(float)
    weight = 1 + 3 * (X[:, 0] > 20) + 2 * (X[:, 1] < 9)
    embedding = fitted(X, weight, replace(BINS, most=6))
    where = np.repeat(np.arange(300), weight)
    values, rows = embedding.edges, X[where]
    for edges, x in zip(values, rows.T, strict=True):
        levels = np.arange(1, 6) / 6
        quantiles = np.quantile(x, levels, method="inverted_cdf")
        np.testing.assert_array_equal(edges, np.unique([x.min(), *quantiles, x.max()]))
    np.testing.assert_allclose(shares(embedding, rows).mean(axis=0), embedding.means)


def test_frequent_numbers_are_edges_and_the_others_share_the_bins_left(rng):
    others = np.arange(1.0, 1 + 4 * EACH)
    for zeros, top in ((700, 100), (5000, 60)):
        X = np.concatenate([np.zeros(zeros), others, np.full(top, 300.0)])[:, None]
        (edges,) = fitted(rng.permutation(X)).edges
        inner = np.array([1, 2, 3]) * EACH
        np.testing.assert_array_equal(edges, [0, *inner, 300])
    grades = np.repeat([1.0, 2.0, 3.0, 4.0, 9.0], [300, 200, 90, 60, 1])[:, None]
    np.testing.assert_array_equal(fitted(grades).edges[0], [1, 2, 3, 4, 9])


def test_a_column_has_two_bins_at_least():
    X = np.array([0.0] * 400 + [1.0, 2.0, 5.0])[:, None]
    (edges,) = fitted(X).edges
    np.testing.assert_array_equal(edges, [0, 1, 5])
    (edges,) = fitted(-X).edges
    np.testing.assert_array_equal(edges, [-5, -2, 0])


def test_inputs_are_monotone_and_bounded(rng):
    X = rng.standard_cauchy(size=(400, 1))
    embedding = fitted(X)
    x = np.sort(np.concatenate([X[:, 0], [-1e308, 1e308, 0.0, 1e-320]]))[:, None]
    found = shares(embedding, x)
    assert (np.diff(found, axis=0) >= 0).all()
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[-1] == pytest.approx(1)


def test_numbers_of_all_sizes_are_no_nan():
    for X in (
        [-1.7e308, 0.0, 1.7e308],
        [-1.7e308, 1.7e308, 1.75e308],
        [0.0, 5e-324, 1e-323],
        [1e308, 1.1e308, 1.2e308],
    ):
        X = np.array(X)[:, None]
        found = shares(fitted(X), np.vstack([X, [[1e300]], [[-1e300]]]))
        assert ((found >= -1e-12) & (found <= 1 + 1e-12)).all()
        np.testing.assert_allclose(found[:3], [[0, 0], [1, 0], [1, 1]], atol=1e-12)


def test_missing_numbers_do_not_count(rng):
    X = rng.normal(size=(200, 1))
    gaps = np.vstack([X, np.full((40, 1), np.nan)])
    few = replace(BINS, most=4)
    found, expected = (fitted(x, bins=few)(X) for x in (gaps, X))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_table_may_have_no_column_to_embed():
    embedding = fitted(np.zeros((5, 0)))
    assert embedding(np.zeros((3, 0))).shape == (3, 0)
    assert embedding.sources.shape == (0,)


def test_a_weight_beside_which_others_vanish_may_be_that_of_a_gap(rng):
    """Sums of what is left are finite, also where the heavy row has no number."""
    X = np.concatenate([[np.nan], np.zeros(300), rng.normal(size=300)])[:, None]
    weight = np.full(len(X), 1e-310)
    weight[0] = 1.0
    embedding, expected = fitted(X, weight), fitted(X[1:])
    np.testing.assert_array_equal(embedding.edges, fitted(X).edges)
    np.testing.assert_allclose(embedding.means, fitted(X).means)
    assert len(embedding.edges[0]) == len(expected.edges[0])
