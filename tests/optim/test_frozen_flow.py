"""Flows of outputs with a frozen kernel, against SciPy's solver at 1e-12."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from odenet._losses.cross_entropy import CrossEntropy
from odenet._losses.squared_error import SquaredError
from odenet._losses.weighted import WeightedLoss
from odenet._optim.frozen_flow import frozen, reach
from odenet._training.many_networks import JointLoss

N, N_OUTPUTS = 5, 2
TIMES = 1e-3, 0.5, 4.0


def draw(generator, loss):
    """A kernel that is not regular, outputs, a drift, and the loss."""
    root = torch.randn(10, 8, generator=generator, dtype=torch.float64)
    u, v, y = torch.randn(3, N, N_OUTPUTS, generator=generator, dtype=torch.float64)
    share = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    y = y if isinstance(loss, SquaredError) else (y[:, 0] > 0).long()
    return root @ root.mT / 4, u, v, WeightedLoss(loss, y, share)


def follow_by_scipy(kernel, u, v, loss, decay):
    """The integrals p and the outputs at the times, both followed by SciPy."""
    start, K = u.flatten().numpy(), kernel.numpy()

    def velocity(t, state):
        p, outputs = np.split(state, 2)
        gradient = loss.gradient(torch.tensor(outputs).view_as(u)).flatten().numpy()
        change = v.flatten().numpy() - decay * (outputs - start)
        return np.concatenate([gradient - decay * p, change - K @ gradient])

    state = np.concatenate([np.zeros_like(start), start])
    solution = solve_ivp(
        velocity, (0, TIMES[-1]), state, "DOP853", TIMES, rtol=1e-12, atol=1e-13
    )
    return [np.split(y, 2) for y in solution.y.T]


@pytest.mark.parametrize(
    "loss", [SquaredError(), CrossEntropy(0.1)], ids=lambda loss: type(loss).__name__
)
def test_integrals_and_outputs(loss, generator):
    kernel, u, v, loss = draw(generator, loss)
    is_exact = loss.constant_curvature is not None
    for drift, decay in product((v, torch.zeros_like(v)), (0.0, 1e-7, 0.3, 30.0)):
        pairs = frozen(kernel, loss, 1e-7).follow(u, TIMES, drift, decay)
        expected = follow_by_scipy(kernel, u, drift, loss, decay)
        atol = 1e-11 if is_exact else 2e-6
        for ours, reference in zip(pairs, expected, strict=True):
            for value, exact in zip(ours, reference, strict=True):
                np.testing.assert_allclose(value.flatten(), exact, atol=atol)


def test_several_models_at_once(generator):
    for loss in (SquaredError(), CrossEntropy()):
        models = [draw(generator, loss) for _ in range(2)]
        kernels, u, v = (torch.stack([m[part] for m in models]) for part in range(3))
        y, share = (
            torch.stack([getattr(m[3], name) for m in models])
            for name in ("y", "share")
        )
        joint = WeightedLoss(JointLoss([loss, loss]), y, share)
        together = frozen(kernels, joint).follow(u, TIMES, v, 0.1)
        for i, (kernel, start, drift, own) in enumerate(models):
            alone = frozen(kernel, own).follow(start, TIMES, drift, 0.1)
            for both, one in zip(together, alone, strict=True):
                for value, exact in zip(both, one, strict=True):
                    np.testing.assert_allclose(value[i], exact, atol=1e-12)


def test_curvature_bounds_that_of_the_loss(generator):
    for loss in (SquaredError(), CrossEntropy()):
        kernel, u, _, weighted = draw(generator, loss)
        blocks = torch.block_diag(*weighted.curvature(u))
        largest = torch.linalg.eigvals(kernel @ blocks).real.max().item()
        bound = frozen(kernel, weighted).curvature(u)
        assert largest <= bound <= 10 * largest


def test_reach_of_a_rate():
    rates = torch.tensor([0.0, 1e-300, 0.5], dtype=torch.float64)
    expected = [2.0, 2.0, (1 - np.exp(-1)) / 0.5]
    np.testing.assert_allclose(reach(2.0, rates), expected)
    assert [reach(2.0, rate) for rate in (0.0, 0.5)] == pytest.approx(expected[::2])
