import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from odenet import GradientFlow, ResidualNetwork
from odenet._optim.chebyshev import chebyshev
from odenet._optim.explicit_euler import ExplicitEuler
from tests.optim.flows import follow, make_closure, quartic, small_problem


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


def test_stationary_point_is_recognised():
    x = torch.zeros(3, requires_grad=True)
    flow = GradientFlow([x])
    flow.step(make_closure(flow, lambda: x.square().sum()))
    assert flow.stalled
    assert not x.any()


def test_gradients_whose_squares_overflow_are_followed():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    flow = GradientFlow([x], horizon=1e-165)

    def closure():
        flow.zero_grad()
        loss = (1e160 * x).sum()
        loss.backward()
        return loss

    flow.step(closure)
    assert flow.flow_time == 1e-165
    assert x.item() == pytest.approx(1 - 1e-5, abs=1e-12)


def test_a_loss_that_vanishes_falls_at_its_own_rate():
    """Stiff directions decay with it: an absolute tolerance would let them be."""
    curvature = torch.logspace(-1, 3, 9, dtype=torch.float64)
    x = torch.ones(9, dtype=torch.float64, requires_grad=True)
    flow = GradientFlow([x], rtol=1e-2, horizon=200.0)
    losses = follow(flow, lambda: (curvature * x.square()).sum() / 2, 200.0)
    exact = 0.05 * np.exp(-2 * 0.1 * 200)  # of the slowest direction alone
    assert exact < losses[-1] < 10 * exact
    assert flow.n_grad_evals < 6000  # explicit Euler is stable with 100,000 steps
