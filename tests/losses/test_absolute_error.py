"""The absolute error, and the median that it leads to."""

import numpy as np
import pytest
import torch

from odenet._losses.absolute_error import AbsoluteError
from odenet._losses.quantile import Quantile
from tests.losses.problems import draw


def test_it_is_the_absolute_error_up_to_its_kink():
    output, y = draw(AbsoluteError())
    exact = (output - y).abs().sum(dim=1)
    above = AbsoluteError(smoothing=0.01).per_sample(output, y) - exact
    assert above.min() >= -1e-12
    assert above.max() <= 2 * 2 * 0.01 * np.log(2)  # of two targets
    assert AbsoluteError().per_sample(y, y)[0] == pytest.approx(4 * 0.05 * np.log(2))


def test_it_is_twice_the_loss_of_the_median():
    output, y = draw(AbsoluteError())
    twice = 2 * Quantile(0.5).per_sample(output, y)
    torch.testing.assert_close(AbsoluteError().per_sample(output, y), twice)


def test_outliers_do_not_move_the_median():
    y = torch.tensor([[-9.0], [-1.0], [0.1], [1.0], [1000.0]], dtype=torch.float64)
    at = torch.full_like(y, 0.1)
    assert AbsoluteError().gradient(at, y).sum().abs() < 0.01
    assert AbsoluteError().gradient(at + 0.5, y).sum() > 0.5


@pytest.mark.parametrize("smoothing", [0, -1.0, np.inf, np.nan, "wide", True])
def test_a_width_that_is_none_is_refused(smoothing):
    with pytest.raises(ValueError, match="`smoothing` must be a positive number"):
        AbsoluteError(smoothing)
