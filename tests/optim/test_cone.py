"""The flow optimizers follow the projected flow where weights must stay in a cone."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from odenet._optim.cone import keep_inside
from odenet._optim.explicit_euler import ExplicitEuler
from odenet._optim.gradient_flow import GradientFlow

OPTIMIZERS = {
    "rkc": lambda p, **s: GradientFlow([p], rtol=1e-6, **s),
    "euler": lambda p, **s: ExplicitEuler([p], learning_rate=1e-3, **s),
}


def follow(make, A, b, start, horizon, *, is_free=False, **settings):
    """Follow the projected flow of |A x - b|^2 / 2 on x >= 0; return x and the flow."""
    x = torch.tensor(start, requires_grad=True)
    A, b = torch.tensor(A), torch.tensor(b)
    cone = None if is_free else [(torch.zeros_like(x), torch.full_like(x, torch.inf))]
    flow = make(x, horizon=horizon, cone=cone, **settings)

    def closure():
        flow.zero_grad()
        loss = 0.5 * (A @ x - b).square().sum()
        loss.backward()
        return loss

    while flow.flow_time < horizon and not flow.stalled:
        assert flow.n_grad_evals < 100_000
        flow.step(closure)
        assert is_free or bool((x >= 0).all())
    return x.detach().numpy(), flow


def test_velocity_stays_inside():
    inf = torch.inf
    bounds = (
        torch.tensor([0, 0, 0, -inf, -inf, 0]),
        torch.tensor([inf] * 3 + [0, inf, 0]),
    )
    weights = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    velocity = torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    keep_inside(velocity, weights, bounds)
    assert velocity.tolist() == [0.0, 1.0, -1.0, 0.0, -1.0, 0.0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_uncoupled_weights_stop_at_the_border(name):
    a, target = np.array([1.0, 2.0, 0.5, 3.0]), np.array([-1.0, 1.0, -0.2, -2.0])
    start = np.array([1.0, 0.0, 2.0, 0.0])
    for lr in (1.0, 4.0):
        found, _ = follow(OPTIMIZERS[name], np.diag(a), a * target, start, 1.5, lr=lr)
        free = target + (start - target) * np.exp(-lr * a**2 * 1.5)
        np.testing.assert_allclose(found, np.maximum(free, 0), atol=4e-3)


def test_a_weight_that_barely_stands_still_is_not_stiff():
    """The curvature is 1 of the weight that moves, and 10^4 of the one that does not.

    A hundred-millionth of a step back, the latter would leave the border.
    """
    A = np.array([[1.0, -10.0], [0.0, 100.0]])
    b = np.array([0.0, -0.1 - 1e-12])
    flow = follow(OPTIMIZERS["rkc"], A, b, np.array([1.0, 0.0]), 1e-3)[1]
    assert flow.spectral_radius == pytest.approx(1.0, rel=1e-3)
    found, _ = follow(OPTIMIZERS["rkc"], A, b, np.array([1.0, 0.0]), 1.0)
    np.testing.assert_allclose(found, [np.exp(-1.0), 0.0], rtol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_flow_ends_at_non_negative_least_squares(name, rng):
    A, b = rng.normal(size=(8, 5)), rng.normal(size=8)
    solution, _ = nnls(A, b)
    assert 0 < np.count_nonzero(solution) < 5
    found, _ = follow(OPTIMIZERS[name], A, b, np.full(5, 0.5), 30.0)
    np.testing.assert_allclose(found, solution, atol=1e-5)


def test_the_border_costs_few_steps(rng):
    A = rng.normal(size=(40, 20))
    b, start = A @ rng.normal(size=20), np.full(20, 0.5)
    make = partial(GradientFlow, rtol=1e-2)
    _, flow = follow(lambda p, **s: make([p], **s), A, b, start, 5.0)
    _, free = follow(lambda p, **s: make([p], **s), A, b, start, 5.0, is_free=True)
    assert flow.spectral_radius < 1.05 * np.linalg.eigvalsh(A.T @ A)[-1]
    assert flow.n_grad_evals < 1.5 * free.n_grad_evals
