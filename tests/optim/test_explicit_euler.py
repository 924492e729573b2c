from math import ceil

import pytest
import torch

from odenet._optim.explicit_euler import ExplicitEuler
from tests.optim.flows import make_closure, small_problem


def test_explicit_euler_is_gradient_descent():
    network, loss = small_problem()
    twin, twin_loss = small_problem()
    flow = ExplicitEuler(network.parameter_groups(), learning_rate=0.01)
    groups = [
        {"params": g["params"], "lr": 0.01 * g["lr"]} for g in twin.parameter_groups()
    ]
    descent = torch.optim.SGD(groups)
    for _ in range(5):
        flow.step(make_closure(flow, loss))
        descent.step(make_closure(descent, twin_loss))
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert flow.flow_time == pytest.approx(0.05)


def test_explicit_euler_keeps_the_last_finite_point():
    x = torch.tensor([1.0], requires_grad=True)
    flow = ExplicitEuler([x], learning_rate=100.0)
    closure = make_closure(flow, lambda: x.pow(4).sum())
    for _ in range(10):
        flow.step(closure)
    assert flow.diverged
    assert torch.isfinite(x).all()


@pytest.mark.parametrize(("rate", "horizon"), [(0.1, 1.0), (0.05, 5.0), (0.1, 0.25)])
def test_explicit_euler_takes_no_step_for_what_rounding_has_left(rate, horizon):
    x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    flow = ExplicitEuler([x], learning_rate=rate, horizon=horizon)

    def closure():
        flow.zero_grad()
        loss = x.square().sum() / 2
        loss.backward()
        return loss

    n_steps = 0
    while flow.flow_time < horizon:
        flow.step(closure)
        n_steps += 1
    assert flow.flow_time == horizon
    assert n_steps == ceil(horizon / rate - 1e-9)
