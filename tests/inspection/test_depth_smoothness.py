"""The rates are steps between layers, and the reference is what chance would give."""

from itertools import permutations

import numpy as np
import pytest

from odenet import DepthSmoothnessDisplay, ResODERegressor
from odenet.schemes import GaussianProcess


def test_the_largest_rate_is_the_lipschitz_constant(classifier):
    display = DepthSmoothnessDisplay.from_estimator(classifier)
    largest = max(rates.max() for rates in display.rates.values())
    assert largest == classifier.depth_smoothness_.lipschitz
    ratio = classifier.depth_smoothness_.von_neumann_ratio
    assert f"{ratio:.2g}" in display.ax_.get_title()


def test_the_reference_is_what_layers_in_random_order_have(classifier, rng):
    display = DepthSmoothnessDisplay.from_estimator(classifier)
    for name in ("V", "W"):
        Z = getattr(classifier.module_, name).detach().cpu().double().numpy()
        squares = [
            np.square(np.diff(rng.permutation(Z), axis=0)).sum(axis=(1, 2)).mean()
            for _ in range(300)
        ]
        rate = 32 * np.sqrt(np.mean(squares))
        assert display.shuffled[name] == pytest.approx(rate, rel=0.02)


def test_independent_layers_are_on_their_reference(iris):
    scheme = GaussianProcess(length_scale=0.02, draws_V=True)
    settings = {"init": scheme, "flow_time": 0.1, "random_state": 0, "width": 16}
    model = ResODERegressor(16, **settings).fit(*iris)
    display = DepthSmoothnessDisplay.from_estimator(model)
    for name, rates in display.rates.items():
        assert np.sqrt(np.mean(rates**2)) == pytest.approx(
            display.shuffled[name], rel=0.1
        )


def test_one_layer_has_no_steps(classifier):
    with pytest.raises(ValueError, match="one layer"):
        DepthSmoothnessDisplay.from_estimator(classifier.with_depth(1))


def test_layers_without_any_step_are_drawn_on_a_linear_scale(regressor):
    network = regressor.module_.with_depth(4)
    network.set_weights({"W": network.W.mean(dim=0, keepdim=True).expand_as(network.W)})
    display = DepthSmoothnessDisplay.from_estimator(network)
    assert display.ax_.get_yscale() == "linear"


def test_the_rates_are_those_of_the_weights_at_the_ends_of_layers(classifier):
    display = DepthSmoothnessDisplay.from_estimator(classifier)
    W = classifier.module_.W.detach().cpu().double().numpy()
    rates = 32 * np.sqrt(np.square(np.diff(W, axis=0)).sum(axis=(1, 2)))
    frame = display.frame()
    rows = frame[frame["weight"] == "W"]
    np.testing.assert_allclose(rows["rate"], rates)
    np.testing.assert_allclose(rows["depth_time"], np.arange(1, 32) / 32)
    assert rows["layer"].tolist() == list(range(1, 32))
    assert (rows["rate_when_shuffled"] == display.shuffled["W"]).all()
    drawn = {line.get_label(): line for line in display.ax_.lines}["W"]
    np.testing.assert_allclose(drawn.get_ydata(), rates)
    np.testing.assert_allclose(drawn.get_xdata(), np.arange(1, 32) / 32)


def test_the_reference_lines_are_where_they_say(classifier):
    display = DepthSmoothnessDisplay.from_estimator(classifier)
    dashed = [line for line in display.ax_.lines if line.get_linestyle() == "--"]
    levels = [line.get_ydata()[0] for line in dashed]
    assert levels == [display.shuffled["V"], display.shuffled["W"]]
    assert display.ax_.get_yscale() == "log"


def test_images_have_rates(images):
    assert DepthSmoothnessDisplay.from_estimator(images).ax_.lines


def test_the_reference_is_the_mean_over_all_orders_of_the_layers(regressor):
    network = regressor.module_.with_depth(4)
    display = DepthSmoothnessDisplay.from_estimator(network)
    for name in ("V", "W"):
        Z = getattr(network, name).detach().cpu().double().numpy()
        squares = [
            np.square(np.diff(Z[list(order)], axis=0)).sum() / 3
            for order in permutations(range(4))
        ]
        assert display.shuffled[name] == pytest.approx(4 * np.sqrt(np.mean(squares)))
