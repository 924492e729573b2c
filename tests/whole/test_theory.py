"""What the theorems say of trained networks, and the controls that break it."""

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import make_friedman1

from odenet import ResODERegressor
from odenet.schemes import GaussianProcess, Independent, Tied
from odenet.solvers import Flow

SMOOTH = [Tied(scale=4.0), GaussianProcess(length_scale=0.5, scale=4.0)]
ROUGH = Independent(scale=4.0)


@cache
def train(depth, init, flow_time=10.0, **settings):
    X, y = make_friedman1(60, noise=0.5, random_state=0)
    model = ResODERegressor(
        depth,
        width=16,
        init=init,
        depth_schedule=None,
        flow_time=flow_time,
        solver=Flow(rtol=1e-4),
        dtype="float64",
        random_state=0,
        **settings,
    )
    return model.fit(X, y)


def losses(init):
    return [train(depth, init).loss_curve_[-1] for depth in (8, 16, 32, 64)]


@pytest.mark.parametrize("init", SMOOTH, ids=repr)
def test_flow_hardly_depends_on_depth(init):
    """Theorem 4: the loss at a flow time converges like 1/L."""
    differences = np.abs(np.diff(losses(init)))
    np.testing.assert_allclose(differences[:-1] / differences[1:], 2, rtol=0.2)


def test_flow_of_independent_layers_depends_on_depth():
    ratios = np.abs(np.diff(losses(ROUGH)))
    ratios = ratios[:-1] / ratios[1:]
    assert not np.allclose(ratios, 2, rtol=0.2)


@pytest.mark.parametrize("init", SMOOTH, ids=repr)
def test_trained_weights_keep_their_lipschitz_constant(init):
    """Theorem 4: L max ||Z_{k+1} - Z_k|| is bounded, whatever L."""
    coarse, fine = (train(depth, init).depth_smoothness_ for depth in (16, 64))
    assert coarse.lipschitz > 0.05
    assert fine.lipschitz == pytest.approx(coarse.lipschitz, rel=0.05)
    ratio = fine.von_neumann_ratio / coarse.von_neumann_ratio
    assert ratio == pytest.approx(1 / 16, rel=0.2)


def test_trained_independent_layers_stay_rough():
    coarse, fine = (train(depth, ROUGH).depth_smoothness_ for depth in (16, 64))
    assert fine.lipschitz / coarse.lipschitz == pytest.approx(4, rel=0.1)
    assert fine.von_neumann_ratio == pytest.approx(1, abs=0.05)


def test_smoothness_penalty_smooths():
    rough, smooth = (
        train(16, SMOOTH[0], smoothness_penalty=penalty).depth_smoothness_
        for penalty in (0.0, 0.1)
    )
    assert smooth.lipschitz < 0.5 * rough.lipschitz


def test_l2_penalty_shrinks_the_weights():
    free, shrunk = (
        train(8, SMOOTH[0], 20.0, alpha=alpha).module_.W.norm().item()
        for alpha in (0.0, 0.1)
    )
    assert shrunk < 0.2 * free  # exp(-0.1 * 20) is 0.14
