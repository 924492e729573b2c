"""The recursion over the layers, beside NumPy and beside what it converges to."""

from math import inf, sqrt

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from scipy.special import erf

from odenet._network.activations import ACTIVATIONS
from odenet._network.layers import (
    VectorField,
    advance,
    imitating_states,
    plain_stack,
    residual_states,
    scaled_layers,
    steps_ahead,
    velocity,
)
from tests.helpers import smooth_network

SHAPES = [(5, 3, 8, 6), (1, 1, 1, 1), (7, 4, 2, 3), (3, 1, 9, 2)]  # n, depth, q, m
GELU = ACTIVATIONS["gelu"]


def numpy_gelu(z):
    return z * (1 + erf(z / sqrt(2))) / 2


def numpy_velocity(h, V, W):
    q, m = V.shape
    return np.array([V @ numpy_gelu(W @ row / sqrt(q)) / sqrt(m) for row in h])


def numpy_states(h, V, W, scale, ahead):
    """The recursion with its look ahead, as the docstring of the module has it."""
    before = None
    states = [h]
    for V_k, W_k in zip(V, W, strict=True):
        if before is None:
            residual = scale * numpy_velocity(h, V[0], W[0])
        else:
            residual = h - before
        point = h + ahead * residual
        before, h = h, h + scale * numpy_velocity(point, V_k, W_k)
        states.append(h)
    return np.array(states)


def draw(n, depth, q, m, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (n, q), (depth, q, m), (depth, m, q)
    return [torch.tensor(rng.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_velocity_is_the_formula(shape):
    h, V, W = draw(*shape)
    expected = numpy_velocity(h.numpy(), V[0].numpy(), W[0].numpy())
    np.testing.assert_allclose(velocity(h, V[0], W[0], GELU), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.25, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_states_are_the_recursion(shape, scale):
    tensors = draw(*shape)
    expected = numpy_states(*(t.numpy() for t in tensors), scale, 0.0)
    states = residual_states(*tensors, GELU, scale)
    np.testing.assert_allclose(torch.stack(states), expected, rtol=1e-11)
    last = plain_stack(*tensors, GELU, scale)
    np.testing.assert_allclose(last, expected[-1], rtol=1e-11)


@pytest.mark.parametrize("imitated", [2.5, 64, inf])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_imitating_states_are_the_recursion_that_looks_ahead(shape, imitated):
    tensors, depth = draw(*shape), shape[1]
    ahead = (1 - depth / imitated) / 2
    expected = numpy_states(*(t.numpy() for t in tensors), 1 / depth, ahead)
    states = imitating_states(*tensors, GELU, 1 / depth, imitated)
    np.testing.assert_allclose(torch.stack(states), expected, rtol=1e-11)
    last = plain_stack(*tensors, GELU, 1 / depth, imitated)
    np.testing.assert_allclose(last, expected[-1], rtol=1e-11)


def test_steps_ahead():
    assert steps_ahead(8, None) == 0
    assert steps_ahead(8, 8) == 0
    assert steps_ahead(8, 32) == 0.375
    assert steps_ahead(8, inf) == 0.5


@pytest.mark.parametrize(("imitated", "order"), [(None, 1), (inf, 2)])
def test_order_beside_the_exponential(imitated, order):
    """Tied layers and the identity: the ODE's last state is exp(V W / sqrt(q m)) h."""
    h, V, W = draw(6, 1, 4, 5)
    exact = h @ torch.matrix_exp(V[0] @ W[0] / sqrt(4 * 5)).T
    errors, depths = [], [32, 64, 128]
    for depth in depths:
        weights = V.expand(depth, 4, 5), W.expand(depth, 5, 4)
        identity = ACTIVATIONS["identity"]
        last = plain_stack(h, *weights, identity, 1 / depth, imitated)
        errors.append((last - exact).norm())
    slope = np.polyfit(np.log(depths), np.log(errors), 1)[0]
    assert slope == pytest.approx(-order, abs=0.15)


def test_imitating_few_layers_is_of_second_order_beside_many():
    """A network of 256 layers, by 8, 16 and 32 that look ahead."""
    h, V, W = draw(6, 1, 4, 5)

    def last(depth, imitated=None):
        weights = V.expand(depth, 4, 5), W.expand(depth, 5, 4)
        return plain_stack(h, *weights, GELU, 1 / depth, imitated)

    depths = [8, 16, 32]
    errors = [(last(depth, 256) - last(256)).norm() for depth in depths]
    slope = np.polyfit(np.log(depths), np.log(errors), 1)[0]
    assert slope == pytest.approx(-2, abs=0.2)


def test_scalings_are_in_the_layers():
    h, V, W = draw(5, 3, 8, 6)
    for k, layer in enumerate(scaled_layers(V, W, 0.3)):
        expected = h + 0.3 * velocity(h, V[k], W[k], GELU)
        torch.testing.assert_close(advance(h, h, *layer, GELU), expected)
        moved = advance(h, 2 * h, *layer, GELU) - h
        torch.testing.assert_close(moved, 0.3 * velocity(2 * h, V[k], W[k], GELU))


@pytest.mark.parametrize("imitated", [None, 64])
def test_an_axis_of_models_is_a_loop_over_them(imitated):
    problems = [draw(5, 3, 4, 6, seed) for seed in range(2)]
    columns = zip(*problems, strict=True)
    h, V, W = map(torch.stack, columns, (0, 1, 1))  # depth stays the first axis of V, W
    last = plain_stack(h, V, W, GELU, 1 / 3, imitated)
    for i, problem in enumerate(problems):
        expected = plain_stack(*problem, GELU, 1 / 3, imitated)
        torch.testing.assert_close(last[i], expected)


@pytest.mark.parametrize("depth", [2, 5])
def test_the_field_is_piecewise_linear_through_the_middles_of_the_layers(depth):
    network = smooth_network(depth)
    field, h = VectorField(network), torch.ones(4, network.state_dim).double()
    middles = (np.arange(depth) + 0.5) / depth
    V, W = (
        interp1d(middles, Z.detach().numpy(), axis=0, fill_value="extrapolate")
        for Z in (network.V, network.W)
    )
    for s in (0.0, 0.1, 0.5, 0.77, 1.0):
        found = field(torch.tensor(s, dtype=torch.float64), h).detach().numpy()
        expected = numpy_velocity(h.numpy(), V(s), W(s))
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert field.n_evals == 5


def test_the_layers_around_a_depth_time():
    network = smooth_network(4)
    field = VectorField(network)
    for s, left in ((0.0, 0), (0.3, 0), (0.4, 1), (0.9, 2), (1.0, 2)):
        V_left, V_right, W_left, W_right = field.layers_at(s)
        assert torch.equal(V_left, network.V[left])
        assert torch.equal(V_right, network.V[left + 1])
        assert torch.equal(W_left, network.W[left])
        assert torch.equal(W_right, network.W[left + 1])
