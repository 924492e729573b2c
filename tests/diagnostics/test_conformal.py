"""Conformal intervals and sets hold the truth as often as they promise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from odenet._diagnostics.conformal import Calibration


def calibration(*scores, weights=None):
    """Scores of one target, of as many members."""
    scores = tuple(np.asarray(s, dtype=float)[:, None] for s in scores)
    return Calibration(scores, weights or tuple(np.ones(len(s)) for s in scores))


def test_split_intervals_are_the_order_statistic():
    rng = np.random.default_rng(0)
    for n, level in ((9, 0.9), (10, 0.9), (99, 0.95), (19, 0.5)):
        scores = rng.standard_normal(n) ** 2
        predictions = rng.standard_normal((1, 7, 1))
        bounds = calibration(scores).interval(predictions, predictions, level)
        k = int(np.ceil(round(level * (n + 1), 9)))
        expected = np.sort(scores)[k - 1]
        assert_allclose(bounds[:, 0, 1] - predictions[0, :, 0], expected, rtol=1e-9)
        assert_allclose(predictions[0, :, 0] - bounds[:, 0, 0], expected, rtol=1e-9)


def test_intervals_of_members_are_those_of_cv_plus():
    rng = np.random.default_rng(1)
    scores = [rng.random(n) for n in (5, 8, 7)]
    low, high = rng.standard_normal((2, 3, 11, 1))
    level = 0.8
    bounds = calibration(*scores).interval(low, low + high**2, level)
    k = int(np.ceil(level * 21))  # Barber et al. 2021, section 3
    for x in range(11):
        pairs = [(m, s) for m in range(3) for s in scores[m]]
        lows = sorted((low[m, x, 0] - s for m, s in pairs), reverse=True)
        highs = sorted((low + high**2)[m, x, 0] + s for m, s in pairs)
        assert_allclose(bounds[x, 0], [lows[k - 1], highs[k - 1]], rtol=1e-9)


def test_weights_are_repetitions():
    scores, weight = np.arange(1.0, 8.0), np.array([1, 3, 2, 1, 2, 4, 1.0])
    zero = np.zeros((1, 1, 1))
    repeated = calibration(scores.repeat(weight.astype(int)))
    weighted = calibration(scores, weights=(weight,))
    for level in (0.3, 0.5, 0.8, 0.9):
        both = weighted, repeated
        bounds, expected = (c.interval(zero, zero, level) for c in both)
        assert_allclose(bounds, expected)
        values = np.linspace(0, 9, 50)[None, :, None]
        assert_array_equal(
            weighted.contains(values, level), repeated.contains(values, level)
        )


def test_the_new_sample_has_the_mean_weight_of_others():
    scores, zero = np.arange(5.0), np.zeros((1, 1, 1))
    for weight in (np.full(5, 0.2), np.array([1e-9, 1.0, 1.0, 1.0, 1.0])):
        weighted = calibration(scores, weights=(weight,))
        with pytest.raises(ValueError, match="at most 0.833 with 5"):
            weighted.interval(zero, zero, 0.84)
        assert weighted.interval(zero, zero, 0.8)[0, 0, 1] >= 3.0


def test_coverage_is_what_is_promised():
    rng = np.random.default_rng(2)
    n_trials, n = 4000, 30
    for level in (0.5, 0.8, 0.9):
        held_y = held_set = 0
        for _ in range(n_trials):
            y, new = rng.standard_normal(n), rng.standard_normal()
            zero = np.zeros((1, 1, 1))
            ((low, high),) = calibration(abs(y)).interval(zero, zero, level)[0]
            held_y += low <= new <= high
            held_set += calibration(y).contains(np.full((1, 1, 1), new), level)[0, 0]
        error = 3 * np.sqrt(level * (1 - level) / n_trials)
        for held in (held_y, held_set):
            assert level - error < held / n_trials < level + 1 / (n + 1) + error


def test_bounds_that_cross_meet_in_the_middle():
    scores = -np.ones(20)  # quantiles that are far too wide
    low, high = np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    assert_allclose(calibration(scores).interval(low, high, 0.9), [[[0.5, 0.5]]])


def test_a_member_has_the_scores_of_its_own_fold():
    both = calibration([1.0, 2.0], [3.0])
    assert_array_equal(both.of_member(1).scores[0], [[3.0]])
    assert calibration([1.0, 2.0]).of_member(1) is None  # of all members together


def test_what_cannot_be_promised_is_refused():
    zero = np.zeros((1, 1, 1))
    for level in (0, 1, 1.5, -0.1, "high", None):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibration(np.arange(20.0)).interval(zero, zero, level)
    with pytest.raises(ValueError, match="which needs 99"):
        calibration(np.arange(98.0)).interval(zero, zero, 0.99)
    calibration(np.arange(99.0)).interval(zero, zero, 0.99)
    with pytest.raises(ValueError, match="at most 0.888 with 8 .* needs 9"):
        calibration(np.arange(8.0)).interval(zero, zero, 0.9)
    calibration(np.arange(9.0)).interval(zero, zero, 0.9)
