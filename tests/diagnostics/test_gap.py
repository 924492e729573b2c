"""The gap to the neural ODE: its order, what it is, and when it cannot be trusted."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch

from odenet import ResidualNetwork
from odenet._diagnostics.gap import (
    DEEPEST_DOUBLED,
    ExtrapolatedNetwork,
    extrapolated_from_half,
    gap_after_fit,
    is_rough,
    ode_gap,
    warn_if_rough,
)
from odenet.schemes import SCHEMES, GaussianProcess
from tests.helpers import draw_all, make_network, slope, smooth_network
from tests.network.test_ode import inputs, precise

DEPTHS = [16, 32, 64, 128, 256]


def rough_network(depth):
    """Make a network of independent layers."""
    return draw_all(make_network(3, 2, depth=depth, width=8, state_dim=6))


@pytest.mark.parametrize("depth_scaling", [1.0, 0.5])
def test_gap_is_of_first_order(depth_scaling):
    networks = [smooth_network(depth, depth_scaling=depth_scaling) for depth in DEPTHS]
    gaps = [ode_gap(network, inputs()) for network in networks]
    estimates = [ode_gap(network, inputs(), "richardson") for network in networks]
    assert slope(DEPTHS, gaps) == pytest.approx(-1, abs=0.1)
    np.testing.assert_allclose(estimates, gaps, rtol=0.05)


def test_the_gap_of_a_fit_by_doubling_and_by_halving():
    for depth in (DEEPEST_DOUBLED, DEEPEST_DOUBLED + 1, 2 * DEEPEST_DOUBLED):
        network = smooth_network(depth)
        gap = gap_after_fit(network, inputs())
        assert gap == pytest.approx(ode_gap(network, inputs()), rel=0.04)


@dataclass
class HyperbolaInDepth:
    """Stands for a network whose output is exactly a + b / L."""

    depth: int

    def with_depth(self, depth):
        return HyperbolaInDepth(depth)

    def __call__(self, x):
        return 3.0 + x / self.depth


def test_extrapolation_from_half_the_layers_is_exact_to_first_order():
    for depth in (2, 9, 129):
        network = HyperbolaInDepth(depth)
        limit = extrapolated_from_half(network, 5.0, network(5.0))
        assert limit == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize("depth", [5, 40])
def test_gap_is_the_relative_distance_of_the_outputs(depth):
    network = smooth_network(depth, dtype=torch.float32)
    before = {name: weights.clone() for name, weights in network.state_dict().items()}
    gap = ode_gap(network, inputs().numpy())
    for name, weights in network.state_dict().items():
        assert torch.equal(weights, before[name])
    assert network.V.dtype == torch.float32
    network = network.double()
    F, limit = network(inputs()), precise(network)(inputs())
    assert gap == pytest.approx(((F - limit).norm() / limit.norm()).item(), abs=1e-9)


def test_layers_that_are_independent_have_a_gap_of_no_order_and_a_warning():
    networks = [rough_network(depth) for depth in (16, 64)]
    with pytest.warns(UserWarning, match="not smooth in depth"):
        gaps = [ode_gap(network, inputs()) for network in networks]
    with pytest.warns(UserWarning, match="not smooth in depth"):
        estimates = [ode_gap(network, inputs(), "richardson") for network in networks]
    assert slope((16, 64), gaps) > -0.6
    assert min(abs(np.log(np.divide(estimates, gaps)))) > 0.2


@pytest.mark.parametrize("method", ["solver", "richardson"])
def test_gap_of_a_network_that_is_zero(method):
    network = ResidualNetwork(3, 2, depth=8)
    assert ode_gap(network, inputs(), method) == 0.0


def test_extrapolation_is_of_second_order():
    errors = []
    for depth in DEPTHS:
        network = smooth_network(depth)
        with torch.no_grad():
            limit = precise(network).integrate(inputs(), [1.0], by_layer=True)[0]
            error = ExtrapolatedNetwork(network)(inputs()) - limit @ network.head.T
        errors.append(error.norm().item())
    assert slope(DEPTHS, errors) == pytest.approx(-2, abs=0.1)


@pytest.mark.parametrize("init", [*SCHEMES, GaussianProcess(draws_V=True)])
def test_independent_layers_are_rough_and_no_others(init):
    for depth, seed in product([1, 2, 3, 4, 6, 8, 32, 128], range(5)):
        generator = torch.Generator().manual_seed(seed)
        network = ResidualNetwork(3, 2, depth=depth, init=init, generator=generator)
        assert is_rough(network) == (init == "iid" and depth > 2), (depth, seed)


def test_unknown_method_of_the_gap_is_refused():
    with pytest.raises(ValueError, match="`method` must be one of .*'exact'"):
        ode_gap(smooth_network(2), inputs(), "exact")


@pytest.mark.gpu
def test_gap_on_cuda_is_that_on_the_cpu():
    gaps = [
        ode_gap(smooth_network(6).to(device), inputs()) for device in ("cpu", "cuda")
    ]
    assert gaps[1] == pytest.approx(gaps[0], rel=1e-5)


def test_extrapolation_is_the_formula_and_keeps_the_network():
    network = smooth_network(8)
    extrapolated = ExtrapolatedNetwork(network)
    expected = 2 * network.with_depth(16)(inputs()) - network(inputs())
    torch.testing.assert_close(extrapolated(inputs()), expected)
    assert torch.equal(extrapolated.V, network.V)
    assert extrapolated.V is not network.V


def test_only_rough_weights_are_warned_of(recwarn):
    warn_if_rough(smooth_network(8))
    assert not recwarn
    with pytest.warns(UserWarning, match="no discretised ODE"):
        warn_if_rough(rough_network(8))


@pytest.mark.parametrize("depth", [3, 4, 40])
def test_a_line_in_depth_is_not_rough(depth):
    """Its von Neumann ratio, 6 / (L^2 - 1), is 0.75 for three layers."""
    network = smooth_network(depth)
    s = torch.arange(depth, dtype=torch.float64)[:, None, None]
    network.set_weights({"V": s * network.V[:1], "W": s * network.W[:1]})
    assert not is_rough(network)
