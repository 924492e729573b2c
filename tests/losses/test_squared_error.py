import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from odenet._losses.squared_error import SquaredError


@pytest.fixture
def weight(rng):
    return rng.uniform(0.5, 2, size=30)


def test_squared_error(rng, weight):
    y, output = rng.normal(size=(2, 30, 3))
    tensors = torch.tensor(output), torch.tensor(y)
    losses = SquaredError().per_sample(*tensors)
    np.testing.assert_allclose(losses, ((y - output) ** 2).sum(axis=1))
    score = SquaredError().score(*tensors, torch.tensor(weight))
    assert score == pytest.approx(r2_score(y, output, sample_weight=weight))
    assert torch.equal(SquaredError().decide(tensors[0]), tensors[0])


def test_score_of_a_constant_target_is_finite():
    y = torch.ones(5, 1)
    assert SquaredError().score(y + 1, y, torch.ones(5)) == 0


def test_gradient_is_twice_the_residual(rng):
    y, output = rng.normal(size=(2, 30, 3))
    gradient = SquaredError().gradient(torch.tensor(output), torch.tensor(y))
    np.testing.assert_allclose(gradient, 2 * (output - y))


def test_rounding_is_the_square_of_that_of_the_outputs():
    assert SquaredError().rounding(1e-3) == pytest.approx(0.01)


def test_score_is_the_mean_over_outputs_some_of_which_are_constant(rng, weight):
    y, output = rng.normal(size=(2, 30, 2))
    y[:, 1] = 3.0
    score = SquaredError().score(
        torch.tensor(output), torch.tensor(y), torch.tensor(weight)
    )
    expected = r2_score(y[:, 0], output[:, 0], sample_weight=weight) / 2
    assert score == pytest.approx(expected)
