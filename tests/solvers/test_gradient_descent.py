import pytest
import torch

from odenet import ResidualNetwork
from odenet._optim.explicit_euler import ExplicitEuler
from odenet.solvers import GradientDescent


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    euler = GradientDescent(0.5, clip=7.0).make_optimizer(network, horizon=3.0)
    assert type(euler) is ExplicitEuler
    assert (euler.learning_rate, euler.clip, euler.horizon) == (0.5, 7.0, 3.0)


def test_a_step_is_the_gradient_times_the_rates(generator):
    """``learning_rate`` for A and B, ``learning_rate * L`` for V and W."""
    network = ResidualNetwork(2, 1, depth=5, init="iid", generator=generator)
    x = torch.randn(10, 2, generator=generator)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    optimizer = GradientDescent(0.01).make_optimizer(network, horizon=3.0)
    gradients = []

    def closure():
        network.zero_grad()
        loss = (network(x) - 1).square().mean()
        loss.backward()
        gradients.append({n: p.grad.clone() for n, p in network.named_parameters()})
        return loss

    optimizer.step(closure)
    for name, p in network.named_parameters():
        rate = 0.05 if name in "VW" else 0.01
        expected = before[name] - rate * gradients[0][name]
        torch.testing.assert_close(p.detach(), expected)


def test_bad_settings():
    for name in ("learning_rate", "max_evals", "clip"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of GradientDescent"):
            GradientDescent(**{name: 0}).validate()
