"""Quantiles: how far smoothing moves them, and that they never cross."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss

from odenet._losses.quantile import SMOOTHING, Quantile
from tests.losses.problems import draw

MANY = (0.01, 0.1, 0.45, 0.6, 0.9, 0.99)


def minimiser(loss, y):
    """The constant at which the mean of a loss of one quantile is least."""
    y = torch.tensor(y)[:, None]

    def slope(u):
        return loss.gradient(torch.full_like(y, u), y).mean().item()

    return brentq(slope, y.min().item() - 1, y.max().item() + 1)


def test_it_is_the_pinball_loss_up_to_its_kink():
    for level in (0.05, 0.5, 0.9):
        output, y = draw(Quantile(level), n_targets=1)
        losses = Quantile(level, smoothing=1e-3).per_sample(output, y)
        exact = mean_pinball_loss(y, output, alpha=level)
        assert exact - 1e-12 <= losses.mean() <= exact + 1e-3 * np.log(2)


def test_the_minimiser_is_within_the_stated_distance_of_the_quantile():
    """Of a normal target: K = max |f'| = 1 / sqrt(2 pi e), f is least at the far end.

    The sample is a grid of quantiles, which has no noise of its own.
    """
    y = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    K = np.exp(-0.5) / np.sqrt(2 * np.pi)
    for level in (0.05, 0.25, 0.5, 0.9):
        for a in (SMOOTHING, 0.1, 0.3):
            u, q = minimiser(Quantile(level, a), y), norm.ppf(level)
            f = min(norm.pdf(u), norm.pdf(q))
            bound = np.pi**2 * a**2 * K / (6 * f)
            assert abs(u - q) <= bound + 1e-3, (level, a)
            if level != 0.5 and a > SMOOTHING:  # it is no empty bound
                assert abs(u - q) > 0.3 * bound, (level, a)
    assert abs(minimiser(Quantile(0.9), y) - norm.ppf(0.9)) < 0.006


def test_the_minimiser_is_the_quantile_of_the_target_plus_logistic_noise(rng):
    y = rng.exponential(size=2000)
    noise = rng.logistic(size=(500, 1))
    for level in (0.1, 0.8):
        expected = np.quantile(y + 0.2 * noise, level)
        assert minimiser(Quantile(level, 0.2), y) == pytest.approx(expected, abs=0.01)


def test_quantiles_do_not_cross(rng):
    """Not even by rounding, nor for outputs that are huge, in either number format."""
    for dtype in (torch.float32, torch.float64):
        size = 10.0 ** rng.uniform(-3, 4, size=(10_000, 1))
        output = torch.tensor(size * rng.normal(size=(10_000, len(MANY))), dtype=dtype)
        predictions = Quantile(MANY).decide(output)
        assert predictions.shape == (10_000, 1, len(MANY))
        assert (predictions.diff(dim=-1) >= 0).all()


def test_outputs_of_zero_are_normal_quantiles():
    predictions = Quantile(MANY).decide(torch.zeros(1, 2 * len(MANY)).double())
    expected = np.broadcast_to(norm.ppf(MANY), (1, 2, len(MANY)))
    np.testing.assert_allclose(predictions, expected)


def test_any_ascending_predictions_can_be_reached(rng):
    """The outputs are found from the middle outwards, by an inverse softplus."""
    loss, expected = Quantile(MANY), np.sort(rng.normal(size=len(MANY)))
    steps = np.abs(np.diff(expected)) / np.diff(norm.ppf(MANY)) * np.log(2)
    output = np.insert(np.log(np.expm1(steps)), loss.middle, 0.0)
    output[loss.middle] = expected[loss.middle] - norm.ppf(MANY[loss.middle])
    predictions = loss.decide(torch.tensor(output)[None])
    np.testing.assert_allclose(predictions[0, 0], expected)


def test_the_loss_of_several_is_the_sum_of_the_losses_of_each():
    loss = Quantile(MANY)
    output, y = draw(loss)
    predictions = loss.decide(output)
    parts = [
        Quantile(level).per_sample(predictions[..., i], y)
        for i, level in enumerate(MANY)
    ]
    torch.testing.assert_close(loss.per_sample(output, y), sum(parts))


def test_the_point_is_the_quantile_nearest_to_one_half():
    assert Quantile(MANY).middle == 2
    assert Quantile([0.4, 0.6]).middle == 0
    table = np.arange(12.0).reshape(2, 6)
    assert Quantile(MANY).point(table).tolist() == [2.0, 8.0]
    assert Quantile(0.9).point(table) is table


@pytest.mark.parametrize(
    "quantile",
    [0, 1.0, -0.1, np.nan, "0.5", None, True, [], [0.5, 0.5], [0.9, 0.1], [0.1, 1.0]]
    + [[[0.1, 0.9]], ["0.1"]],
)
def test_what_is_no_quantile_is_refused(quantile):
    with pytest.raises(ValueError, match="`quantile` must be a number between 0 and 1"):
        Quantile(quantile)
