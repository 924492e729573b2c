from types import SimpleNamespace

import numpy as np
import pytest
import torch

from odenet import ResidualNetwork, depth_smoothness


def make_weights(depth, rng):
    V, W = rng.normal(size=(depth, 3, 4)), rng.normal(size=(depth, 4, 3))
    return SimpleNamespace(V=torch.tensor(V), W=torch.tensor(W)), V, W


def test_every_field_against_plain_numpy(rng):
    module, V, W = make_weights(7, rng)
    smoothness = depth_smoothness(module)
    for name, Z in [("V", V), ("W", W)]:
        steps = [np.sqrt(((Z[k + 1] - Z[k]) ** 2).sum()) for k in range(6)]
        np.testing.assert_allclose(smoothness.increments[name], steps, rtol=1e-13)
        assert smoothness.per_weight[name] == pytest.approx(7 * max(steps), rel=1e-13)
    assert smoothness.lipschitz == max(smoothness.per_weight.values())
    assert float(smoothness) == smoothness.lipschitz

    both = np.concatenate([V.reshape(7, -1), W.reshape(7, -1)], axis=1)
    step = np.mean([((both[k + 1] - both[k]) ** 2).sum() for k in range(6)])
    spread = np.mean([((row - both.mean(axis=0)) ** 2).sum() for row in both])
    assert smoothness.von_neumann_ratio == pytest.approx(step / (2 * spread))


@pytest.mark.parametrize(
    ("init", "lipschitz_growth", "ratio_growth"),
    [("gaussian_process", 1, 1 / 16), ("iid", 4, 1)],
)
def test_growth_with_depth(init, lipschitz_growth, ratio_growth):
    coarse, fine = (
        depth_smoothness(
            ResidualNetwork(
                3, 1, depth=depth, init=init, generator=torch.Generator().manual_seed(0)
            )
        )
        for depth in (32, 128)
    )
    assert fine.lipschitz / coarse.lipschitz == pytest.approx(lipschitz_growth, rel=0.1)
    ratio = fine.von_neumann_ratio / coarse.von_neumann_ratio
    assert ratio == pytest.approx(ratio_growth, rel=0.15)


def test_independent_layers_have_ratio_one(rng):
    module, _, _ = make_weights(2000, rng)
    assert depth_smoothness(module).von_neumann_ratio == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_tied_layers_are_perfectly_smooth(depth, generator):
    network = ResidualNetwork(3, 1, depth=depth, init="tied", generator=generator)
    smoothness = depth_smoothness(network)
    assert smoothness.lipschitz == 0
    assert smoothness.von_neumann_ratio == 0
    assert smoothness.increments["W"].shape == (depth - 1,)


def test_result_is_frozen_and_short_to_print(generator):
    smoothness = depth_smoothness(ResidualNetwork(2, 1, depth=100, generator=generator))
    with pytest.raises(AttributeError):
        smoothness.lipschitz = 0
    assert len(repr(smoothness)) < 120
    assert smoothness in {smoothness}


def test_layers_that_differ_by_rounding_are_perfectly_smooth(rng):
    """A mean that is rounded varies no less than they do: seen as a rough network."""
    module, V, W = make_weights(3, rng)
    up = rng.integers(2, size=W.shape)
    for dtype in (torch.float32, torch.float64):
        module.V = torch.tensor(1e-30 * V).to(dtype)
        module.W = torch.tensor(W[:1] * (1 + torch.finfo(dtype).eps * up)).to(dtype)
        smoothness = depth_smoothness(module)
        assert smoothness.lipschitz > 0
        assert smoothness.von_neumann_ratio == 0


def test_the_ratio_is_free_of_scale(rng):
    module, V, W = make_weights(5, rng)
    expected = depth_smoothness(module).von_neumann_ratio
    module.V, module.W = torch.tensor(1e-200 * V), torch.tensor(1e-200 * W)
    assert depth_smoothness(module).von_neumann_ratio == pytest.approx(expected)
