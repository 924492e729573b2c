"""The Poisson deviance."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_poisson_deviance

from odenet._losses.poisson import Poisson
from tests.losses.problems import draw


def test_the_deviance_is_that_of_scikit_learn(rng):
    y = rng.poisson(1.0, size=(50, 1)).astype(float)
    output, _ = draw(Poisson(), n=50, n_targets=1)
    losses = Poisson().per_sample(output, torch.tensor(y))
    mu = np.exp(output.numpy())
    assert losses.mean().item() == pytest.approx(mean_poisson_deviance(y, mu))
    assert (y == 0).any()
    assert losses.isfinite().all()


def test_the_best_constant_is_the_mean(rng):
    y = torch.tensor(rng.poisson(3.0, size=(50, 1)).astype(float))
    at_mean = y.mean().log().expand(50, 1)
    assert Poisson().gradient(at_mean, y).sum().abs() < 1e-10
    torch.testing.assert_close(Poisson().decide(at_mean).mean(), y.mean())


def test_negative_targets_are_refused():
    Poisson().check(np.array([[0.0], [2.0]]))
    with pytest.raises(ValueError, match=r"not negative for loss='poisson', got -1\.0"):
        Poisson().check(np.array([[0.0], [-1.0]]))
