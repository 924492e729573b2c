"""The pseudo-Huber loss, between the squared and the absolute error."""

import numpy as np
import pytest
import torch

from odenet._losses.huber import Huber
from odenet._losses.squared_error import SquaredError
from tests.losses.problems import draw


def test_small_errors_count_by_their_square_and_large_ones_by_their_size():
    y = torch.zeros(2, 1, dtype=torch.float64)
    small, large = Huber(0.5).per_sample(y + torch.tensor([[1e-6], [1e6]]), y)
    assert small.item() == pytest.approx(1e-12)
    assert large.item() == pytest.approx(2 * 0.5 * (1e6 - 0.5))


def test_the_formula():
    output, y = draw(Huber())
    r, delta = (output - y).numpy(), 0.7
    expected = 2 * delta**2 * (np.sqrt(1 + (r / delta) ** 2) - 1)
    losses = Huber(delta).per_sample(output, y)
    np.testing.assert_allclose(losses, expected.sum(axis=1))


def test_it_becomes_the_squared_error():
    output, y = draw(Huber())
    for method in ("per_sample", "gradient", "curvature"):
        losses = Huber(1e8), SquaredError()
        pair = (getattr(loss, method)(output, y) for loss in losses)
        torch.testing.assert_close(*pair)


def test_a_size_that_is_none_is_refused():
    for delta in (0, -1.0, np.inf, None):
        with pytest.raises(ValueError, match="`delta` must be a positive number"):
            Huber(delta)
