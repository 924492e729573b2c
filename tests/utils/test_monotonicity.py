"""Signs of weights make every state monotone, at every depth and in the neural ODE."""

import numpy as np
import pytest
import torch

from odenet import NeuralODE, ResidualNetwork
from odenet._utils.monotonicity import Monotonicity, reflected
from tests.helpers import draw_all, make_network

INPUTS = (1, 0, -1, 0)
PARTS = Monotonicity(INPUTS, (0, 1, 1, 0, 1), (1, 0, 1, 0, 0, 1))


def monotone(depth, activation="tanh", **more):
    """Return a network of random weights, as large as their signs allow."""
    network = make_network(
        4, 2, depth=depth, state_dim=5, activation=activation, **more
    )
    draw_all(network).confine(PARTS)
    return network


def pairs(n, rng):
    """Return inputs, and others that are nowhere below them in the order."""
    x = rng.normal(size=(n, len(INPUTS)))
    steps = np.abs(rng.normal(size=x.shape)) * INPUTS
    return torch.tensor(x), torch.tensor(x + steps)


def test_cone_is_that_of_the_formula():
    q, m, d = 5, 6, 5
    u, units = np.array(PARTS.states), np.array(PARTS.units)
    signs = np.array([*INPUTS, 0])
    expected = {
        "embedding": lambda i, j: signs[j] * u[i] if signs[j] else None,
        "V": lambda i, j: u[i] if units[j] else None,
        "W": lambda i, j: units[i] if u[j] else None,
        "head": lambda i, j: 1 if u[j] else None,
    }
    shapes = {"embedding": (q, d), "V": (q, m), "W": (m, q), "head": (1, q)}
    bounds = {1: (0, np.inf), -1: (-np.inf, 0), 0: (0, 0), None: (-np.inf, np.inf)}
    cone = PARTS.cone(torch.zeros(1, dtype=torch.float64))
    for name, sign in expected.items():
        lower, upper = cone[name]
        for i, j in np.ndindex(*shapes[name]):
            found = lower[i, j].item(), upper[i, j].item()
            assert found == bounds[sign(i, j)], (name, i, j)


def test_networks_are_monotone_at_every_depth(rng):
    x, above = pairs(2000, rng)
    for activation in ("tanh", "softplus", "relu", "identity"):
        for depth in (1, 4, 64):
            network = monotone(depth, activation)
            served = [network, network.with_depth(2 * depth + 1)]
            if depth > 1:
                served += [
                    network.with_depth(depth // 2),
                    network.with_depth(depth // 2, imitate=True),
                    network.with_depth(max(1, depth // 3), merge=True),
                ]
            for other in served:
                change = (other(above) - other(x)).detach()
                assert change.min() >= -1e-12 * change.abs().max(), (activation, depth)
                assert change.max() > 0.1


def test_neural_ode_is_monotone(rng):
    x, above = pairs(500, rng)
    ode = NeuralODE(monotone(4), rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        both = ode(torch.cat([x, above]))
    change = both[500:] - both[:500]
    assert change.min() >= -1e-8
    # At the ends the lines through the outer layers lead out of the cone.
    for s in (0.0, 0.01, 0.99, 1.0):
        h = torch.tensor(rng.normal(size=(200, 5)))
        higher = h + torch.tensor(np.abs(rng.normal(size=h.shape)) * PARTS.states)
        moved = (ode.vector_field(s, higher) - ode.vector_field(s, h)).detach()
        assert moved[:, [1, 2, 4]].min() >= -1e-12
        assert moved[:, [0, 3]].abs().max() == 0


def test_free_networks_are_not_monotone(rng):
    x, above = pairs(500, rng)
    network = draw_all(make_network(4, 2, state_dim=5, activation="tanh"))
    assert (network(above) - network(x)).min() < -0.1


def test_reflection_changes_only_what_is_outside(generator):
    weights = torch.randn(6, 5, generator=generator)
    bounds = PARTS.cone(weights)["W"]
    confined = reflected(weights, bounds)
    sees, u = np.array(PARTS.units, bool), np.array(PARTS.states, bool)
    expected = weights.numpy().copy()
    expected[np.ix_(sees, u)] = np.abs(expected[np.ix_(sees, u)])
    expected[np.ix_(~sees, u)] = 0
    np.testing.assert_array_equal(confined.numpy(), expected)
    assert torch.equal(reflected(confined, bounds), confined)


def test_networks_refuse_what_is_not_monotone():
    network = monotone(4)
    with pytest.raises(ValueError, match=r"at most 4 for a monotone network.*got 5"):
        network.with_depth(5, imitate=True)
    with pytest.raises(ValueError, match=r"increasing.*'silu'"):
        monotone(4, "silu")
    assert monotone(4, "gelu").activation == "tanh"
    with pytest.raises(ValueError, match=r"lengths \(4, 5, 6\), got \(4, 5, 1\)"):
        network.confine(Monotonicity(INPUTS, PARTS.states, (1,)))


def test_settings_rebuild_a_network():
    network = monotone(4).with_depth(2, merge=True)
    weights = {n: p.detach().numpy().copy() for n, p in network.named_parameters()}
    again = ResidualNetwork.from_weights(weights, **network.settings())
    assert again.monotonicity == network.monotonicity
    assert len(again.monotonicity.units) == again.width == 12
    weights["head"] *= -1
    with pytest.raises(ValueError, match="wrong signs"):
        ResidualNetwork.from_weights(weights, **network.settings())


def test_weights_are_projected_wherever_they_are_set(generator):
    network = monotone(4)
    free = {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for name, p in network.named_parameters()
    }
    network.set_weights(free)
    groups = network.parameter_groups()
    parameters = [p for group in groups for p in group["params"]]
    for p, (lower, upper) in zip(parameters, network.cone(), strict=True):
        assert bool(((p >= lower) & (p <= upper)).all())
    for name, (lower, upper) in PARTS.cone(network.V).items():
        nearest = np.clip(free[name].numpy(), lower.numpy(), upper.numpy())
        np.testing.assert_array_equal(getattr(network, name).detach(), nearest)
    assert make_network().cone() is None
