"""The gamma deviance."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_gamma_deviance

from odenet._losses.gamma import Gamma
from tests.losses.problems import draw


def test_the_deviance_is_that_of_scikit_learn():
    output, y = draw(Gamma(), n_targets=1)
    losses = Gamma().per_sample(output, y)
    expected = mean_gamma_deviance(y.numpy(), np.exp(output.numpy()))
    assert losses.mean().item() == pytest.approx(expected)


def test_the_best_constant_is_the_mean():
    _, y = draw(Gamma(), n_targets=1)
    at_mean = y.mean().log().expand_as(y)
    assert Gamma().gradient(at_mean, y).sum().abs() < 1e-10


def test_errors_count_relative_to_the_target():
    output, y = draw(Gamma())
    shifted = Gamma().per_sample(output + np.log(1000.0), 1000 * y)
    torch.testing.assert_close(shifted, Gamma().per_sample(output, y))


def test_targets_that_are_not_positive_are_refused():
    Gamma().check(np.array([[0.1], [2.0]]))
    for value in (0.0, -1.0):
        with pytest.raises(ValueError, match=f"positive .* loss='gamma', got {value}"):
            Gamma().check(np.array([[1.0], [value]]))
