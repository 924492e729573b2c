"""What every loss of a regression must hold."""

import torch

from odenet._losses.base import Loss
from odenet._losses.registry import LOSSES
from odenet._losses.squared_error import SquaredError


def make_output(rng):
    output, y = torch.tensor(rng.normal(size=(2, 30, 3)))
    return output.requires_grad_(), y


def test_gradients_are_those_of_autograd(rng):
    for kind in LOSSES.values():
        loss, (output, y) = kind(), make_output(rng)
        losses = loss.per_sample(output, y)
        assert losses.shape == (30,)
        losses.sum().backward()
        torch.testing.assert_close(loss.gradient(output.detach(), y), output.grad)


def test_the_target_is_the_best_output(rng):
    for kind in LOSSES.values():
        loss, (output, y) = kind(), make_output(rng)
        assert (loss.per_sample(y, y) <= loss.per_sample(output.detach(), y)).all()
        ones = torch.ones(30, dtype=y.dtype)
        assert loss.score(y, y, ones) > loss.score(output.detach(), y, ones)
        assert loss.decide(y).shape == y.shape


def test_names():
    assert LOSSES["squared_error"] is SquaredError
    for kind in LOSSES.values():
        assert issubclass(kind, Loss)
        assert isinstance(kind.name, str)
