"""The step of AdamW is as smooth in depth as the gradient, for any number of layers."""

import pytest
import torch

from odenet import ResidualNetwork, ResODERegressor, depth_smoothness
from odenet._optim.depth_adamw import DepthAdamW
from odenet._optim.depth_soap import DepthSOAP
from odenet.solvers import AdamW


def train(optimizer, network, n_steps):
    """Steps on a loss whose gradient changes its sign in depth."""
    depth_time = (torch.arange(network.depth) + 0.5) / network.depth
    target = torch.sin(6 * depth_time)[:, None, None]
    generator = torch.Generator().manual_seed(1)
    slope = torch.randn(network.W.shape[1:], generator=generator)

    def closure():
        optimizer.zero_grad()
        objective = (network.W - target * slope).square().mean(dim=0).sum()
        objective.backward()
        network.W.grad *= network.depth
        for p in (network.embedding, network.V, network.head):
            p.grad = torch.zeros_like(p)
        return objective

    return [optimizer.step(closure).item() for _ in range(n_steps)]


def make_network(depth):
    generator = torch.Generator().manual_seed(0)
    return ResidualNetwork(3, 1, depth=depth, width=4, generator=generator)


def lipschitz(depth, make_optimizer):
    network = make_network(depth)
    train(make_optimizer(network), network, 30)
    return depth_smoothness(network).lipschitz


def test_smoothness_is_bounded_in_depth():
    bounds = [
        lipschitz(depth, lambda n: DepthAdamW(n.parameter_groups(), 0.01))
        for depth in (16, 64, 256)
    ]
    assert max(bounds) == pytest.approx(min(bounds), rel=0.1)


def test_a_size_of_every_layers_own_would_jump():
    """torch's own AdamW, for comparison: its steps have a constant of order L."""
    bounds = [
        lipschitz(depth, lambda n: torch.optim.AdamW(n.parameters(), lr=0.01))
        for depth in (16, 256)
    ]
    assert bounds[1] > 1.5 * bounds[0]


def test_a_step_is_the_same_function_of_depth_time_at_every_depth():
    moved = []
    for depth in (32, 128):
        network = make_network(depth)
        before = network.W.detach().clone()
        train(DepthAdamW(network.parameter_groups(), 0.01), network, 3)
        moved.append((network.W.detach() - before).mean(dim=0))
        moved.append((network.W.detach() - before).square().mean(dim=0))
    torch.testing.assert_close(moved[0], moved[2], atol=2e-4, rtol=0)
    torch.testing.assert_close(moved[1], moved[3], atol=2e-6, rtol=0)


def test_one_layer_is_adamw():
    """With one layer the mean over depth is none; torch's AdamW is the reference."""
    ours, reference = make_network(1), make_network(1)
    settings = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    optimizer = DepthAdamW(ours.parameter_groups(), 0.01, **settings)
    torchs = torch.optim.AdamW(reference.parameters(), lr=0.01, **settings)
    assert train(optimizer, ours, 20) == pytest.approx(train(torchs, reference, 20))
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("kind", [DepthAdamW, DepthSOAP])
def test_columns_of_embedded_inputs_have_a_decay_of_their_own(kind):
    network = make_network(4)
    network.n_embedded = 2
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    ends, layers = network.parameter_groups()
    ends["embedded_decay"], layers["weight_decay"] = 0.5, 0.2
    optimizer = kind([ends, layers], 0.1)

    def closure():  # without a gradient there is nothing but decay
        for p in network.parameters():
            p.grad = torch.zeros_like(p)
        return torch.zeros(())

    for _ in range(3):
        optimizer.step(closure)
    factors = {"head": 1.0, "V": 0.98**3, "W": 0.98**3}
    factors["embedding"] = torch.tensor([1.0, 0.95**3, 0.95**3, 1.0])
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.detach(), factors[name] * before[name])


@pytest.mark.parametrize("depth", [16, 64])
def test_a_fit_on_mini_batches_stays_a_discretised_ode(depth, rng):
    X = rng.normal(size=(600, 4))
    y = X[:, 0] * X[:, 1] + X[:, 2]
    model = ResODERegressor(depth, solver=AdamW(max_epochs=60), random_state=0)
    model.set_params(depth_schedule=None, width=16).fit(X, y)
    smoothness = model.depth_smoothness_
    assert smoothness.von_neumann_ratio < (0.2, 0.02)[depth == 64]
    assert model.score(X, y) > 0.9
