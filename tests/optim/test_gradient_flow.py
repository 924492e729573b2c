import copy
from math import ceil, inf

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from odenet import GradientFlow, ResidualNetwork
from odenet._optim.chebyshev import chebyshev
from odenet._optim.explicit_euler import ExplicitEuler


def make_closure(flow, loss):
    """A closure as every torch optimizer takes it."""

    def closure():
        flow.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def follow(flow, loss, horizon):
    """The losses at the ends of the steps."""
    closure, losses = make_closure(flow, loss), []
    while flow.flow_time < horizon:
        losses.append(flow.step(closure).item())
    return losses


def quartic(start):
    """Loss |x|_4^4 / 4, whose flow is x(t) = x_0 / sqrt(1 + 2 x_0^2 t)."""
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    return x, lambda: x.pow(4).sum() / 4


def small_problem(depth=4, dtype=torch.float64, n=20):
    """A small network and its loss."""
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(
        2, 1, depth=depth, width=6, state_dim=5, generator=generator, dtype=dtype
    )
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:] ** 2
    return network, lambda: (network(x) - y).square().mean()


@pytest.mark.parametrize("n_stages", [2, 3, 5, 12])
def test_second_order_convergence_on_a_nonlinear_flow(n_stages):
    start = np.array([1.0, -0.5, 2.0])
    exact = start / np.sqrt(1 + 2 * start**2)
    errors = []
    for n_steps in (40, 80):
        x, loss = quartic(start)
        flow = GradientFlow([x])
        closure = torch.enable_grad()(make_closure(flow, loss))
        point, h = flow._start(closure), 1.0 / n_steps
        for _ in range(n_steps):
            flow._progress["spectral_radius"] = 1.0
            point = flow._integrate(point, h, chebyshev(n_stages), closure)
        errors.append(np.abs(point.y.numpy() - exact).max())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_error_follows_the_tolerance(rtol):
    """The local error is of third order, the global one of second."""
    start = np.array([1.0, -0.5, 2.0])
    x, loss = quartic(start)
    follow(GradientFlow([x], rtol=rtol, horizon=3.0), loss, 3.0)
    exact = start / np.sqrt(1 + 6 * start**2)
    np.testing.assert_allclose(x.detach(), exact, rtol=rtol ** (2 / 3))


def test_agrees_with_scipy_and_with_fine_explicit_euler():
    network, loss = small_problem()
    horizon = 5.0
    rates = np.concatenate(
        [
            np.full(p.numel(), group["lr"])
            for group in network.parameter_groups()
            for p in group["params"]
        ]
    )
    parameters = [p for g in network.parameter_groups() for p in g["params"]]
    start = [p.detach().clone() for p in parameters]

    def right_hand_side(t, theta):
        flat = torch.tensor(theta).split([p.numel() for p in parameters])
        with torch.no_grad():
            for p, values in zip(parameters, flat, strict=True):
                p.copy_(values.view_as(p))
        gradients = torch.autograd.grad(loss(), parameters)
        return -rates * torch.cat([g.flatten() for g in gradients]).numpy()

    theta = torch.cat([p.flatten() for p in start]).numpy()
    exact = solve_ivp(right_hand_side, (0, horizon), theta, rtol=1e-8, atol=1e-10)
    for make, tolerance in [
        (lambda g: GradientFlow(g, rtol=1e-5, horizon=horizon), 1e-4),
        (lambda g: ExplicitEuler(g, learning_rate=1e-3, horizon=horizon), 1e-2),
    ]:
        with torch.no_grad():
            for p, values in zip(parameters, start, strict=True):
                p.copy_(values)
        follow(make(network.parameter_groups()), loss, horizon)
        reached = torch.cat([p.detach().flatten() for p in parameters]).numpy()
        np.testing.assert_allclose(reached, exact.y[:, -1], atol=tolerance)


def test_stiff_flow_takes_few_evaluations_and_stays_stable():
    curvature = torch.logspace(-1, 4, 30, dtype=torch.float64)
    x = torch.ones(30, dtype=torch.float64, requires_grad=True)
    flow = GradientFlow([x], rtol=1e-3, horizon=1.0)
    losses = follow(flow, lambda: (curvature * x**2).sum() / 2, 1.0)
    assert np.all(np.diff(losses) <= 0)
    assert flow.spectral_radius == pytest.approx(1e4, rel=0.05)
    assert flow.n_grad_evals < 1250  # explicit Euler needs 5,000
    np.testing.assert_allclose(x[0].item(), np.exp(-0.1), rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_loss_never_rises_and_rejections_are_rare(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    network = ResidualNetwork(
        3, 1, depth=8, width=32, state_dim=8, generator=generator, dtype=dtype
    )
    x = 3 * torch.randn(60, 3, generator=generator).to(dtype)
    y = torch.sin(x.sum(dim=1, keepdim=True))
    flow = GradientFlow(network.parameter_groups(), horizon=100.0)
    losses = follow(flow, lambda: (network(x) - y).square().mean(), 100.0)
    assert np.all(np.diff(losses) <= 20 * torch.finfo(dtype).eps)
    assert losses[-1] < 0.5 * losses[0]
    assert flow.n_wasted_evals <= 0.15 * flow.n_grad_evals


def test_steps_into_a_wall_of_curvature_are_rejected_and_counted():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    flow = GradientFlow([x], rtol=0.5, horizon=20.0)
    losses = follow(flow, lambda: (x + 1e4 * torch.relu(-x) ** 2).sum(), 20.0)
    assert np.all(np.diff(losses) <= 1e-12)
    assert flow.n_rejected > 0
    assert 0 < flow.n_wasted_evals < flow.n_grad_evals
    assert x.item() == pytest.approx(-0.5e-4, rel=1e-2)


def test_loss_never_rises_even_where_no_error_is_too_large():
    """The second step, from 0.5 to -1.5, meets the wall at its end only."""
    x = torch.tensor([1.5], dtype=torch.float64, requires_grad=True)
    flow = GradientFlow([x], rtol=1e9, horizon=20.0)
    losses = follow(flow, lambda: (x + 1e2 * torch.relu(-x) ** 2).sum(), 20.0)
    assert np.all(np.diff([1.5, *losses]) <= 1e-12)
    assert flow.n_rejected > 0


def test_values_that_are_not_finite_are_stepped_around():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    flow = GradientFlow([x], rtol=0.5, horizon=0.45)
    follow(flow, lambda: x.sqrt().sum(), 0.45)  # nan for x < 0
    assert x.item() == pytest.approx((1 - 0.75 * 0.45) ** (2 / 3), rel=0.05)


def test_horizon_is_met_exactly():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x], horizon=0.7)
    follow(flow, loss, 0.7)
    assert flow.flow_time == 0.7


def test_rates_are_time_scales():
    """A rate of 3 reaches in time 1 what a rate of 1 reaches in time 3."""
    ends = []
    for rate, horizon in [(3.0, 1.0), (1.0, 3.0)]:
        x, loss = quartic([1.0, 2.0])
        follow(GradientFlow([x], lr=rate, rtol=1e-7, horizon=horizon), loss, horizon)
        ends.append(x.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("optimizer", "accuracy"),
    [(GradientFlow, {"rtol": 1e-4}), (ExplicitEuler, {"learning_rate": 1e-3})],
)
def test_clipped_flow_is_bounded(optimizer, accuracy):
    x = torch.tensor([5.0, 0.1], dtype=torch.float64, requires_grad=True)
    flow = optimizer([x], clip=0.5, horizon=2.0, **accuracy)
    follow(flow, lambda: x.square().sum() / 2, 2.0)
    assert x[0].item() == pytest.approx(5.0 - 0.5 * 2.0, abs=1e-3)
    assert x[1].item() == pytest.approx(0.1 * np.exp(-2), abs=1e-3)


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


def test_stationary_point_is_recognised():
    x = torch.zeros(3, requires_grad=True)
    flow = GradientFlow([x])
    flow.step(make_closure(flow, lambda: x.square().sum()))
    assert flow.stalled
    assert not x.any()


def test_any_module_and_changes_from_outside():
    model = torch.nn.Linear(2, 1)
    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    flow = GradientFlow(model.parameters())
    closure = make_closure(flow, lambda: (model(x) - x.sum(1, True)).square().mean())
    flow.step(closure)
    with torch.no_grad():
        model.weight.fill_(5.0)
    evals = flow.n_grad_evals
    loss = flow.step(closure)
    assert loss > 1  # the step started from the new weights
    assert flow.n_grad_evals > evals + 2


def test_interrupted_step_goes_back_to_where_it_started():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x])
    closure = make_closure(flow, loss)
    flow.step(closure)
    before, calls = x.detach().clone(), []

    def interrupted():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        flow.step(interrupted)
    assert torch.equal(x, before)


def test_state_can_be_saved_and_loaded():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x])
    closure = make_closure(flow, loss)
    for _ in range(3):
        flow.step(closure)
    twin = torch.tensor(x.tolist(), dtype=torch.float64, requires_grad=True)
    other = GradientFlow([twin])
    other.load_state_dict(flow.state_dict())
    assert other.flow_time == flow.flow_time
    assert other.n_grad_evals == flow.n_grad_evals
    flow.step(closure)
    other.step(make_closure(other, lambda: twin.pow(4).sum() / 4))
    torch.testing.assert_close(twin, x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rtol": 0.0}, "`rtol` must be positive, got 0.0"),
        ({"clip": -1.0}, "`clip` must be positive or None, got -1.0"),
        ({"horizon": 0.0}, "`horizon` must be positive, got 0.0"),
        ({"max_stages": 1}, "`max_stages` must be at least 2, got 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GradientFlow([torch.zeros(1, requires_grad=True)], **settings)


def test_a_start_that_is_not_finite_is_an_error():
    x = torch.tensor([inf], requires_grad=True)
    flow = GradientFlow([x])
    with pytest.raises(FloatingPointError, match="not finite: loss = inf"):
        flow.step(make_closure(flow, lambda: x.square().sum()))


def test_a_first_closure_that_fails_leaves_nothing_behind():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x], rtol=1e-6, horizon=1.0)

    def fails():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        flow.step(fails)
    follow(flow, loss, 1.0)
    exact = np.array([1.0, 2.0]) / np.sqrt(1 + 2 * np.array([1.0, 4.0]))
    np.testing.assert_allclose(x.detach(), exact, rtol=1e-4)


def test_horizon_can_be_moved_on():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x], horizon=0.5)
    follow(flow, loss, 0.5)
    flow.step(make_closure(flow, loss))
    assert flow.flow_time == 0.5
    flow.horizon = 0.8
    follow(flow, loss, 0.8)
    assert flow.flow_time == 0.8


def test_rate_of_zero_is_refused_before_anything_is_written():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x], lr=0.0)
    with pytest.raises(ValueError, match="`lr` must be positive, got 0.0"):
        flow.step(make_closure(flow, loss))
    assert x.tolist() == [1.0, 2.0]


def test_optimizer_can_be_copied():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x])
    flow.step(make_closure(flow, loss))
    assert copy.deepcopy(flow).flow_time == flow.flow_time


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
