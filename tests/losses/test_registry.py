"""What every loss of a regression must hold."""

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian

from odenet._losses.base import Loss
from odenet._losses.quantile import Quantile
from odenet._losses.registry import LOSSES, as_given, resolve_loss
from odenet._losses.squared_error import SquaredError
from tests.losses import problems


def test_gradients_are_those_of_autograd():
    for loss in problems.LOSSES:
        output, y = problems.draw(loss)
        losses = loss.per_sample(output.requires_grad_(), y)
        assert losses.shape == (30,)
        losses.sum().backward()
        torch.testing.assert_close(loss.gradient(output.detach(), y), output.grad)
        by_default = Loss.gradient(loss, output, y)
        torch.testing.assert_close(by_default, output.grad)


def test_curvatures_are_positive_and_those_of_autograd():
    """Of several quantiles only the Gauss-Newton part is positive semi-definite."""
    for loss in problems.LOSSES:
        output, y = problems.draw(loss, n=5)
        curvature = loss.curvature(output, y)
        k = output.shape[1]
        assert curvature.shape == (5, k, k)
        assert torch.linalg.eigvalsh(curvature).min() > -1e-12
        whole = hessian(lambda u, loss=loss, y=y: loss.per_sample(u, y).sum(), output)
        own = torch.stack([whole[i, :, i] for i in range(5)])
        if loss.n_predictions in (None, 1):
            torch.testing.assert_close(curvature, own)
        torch.testing.assert_close(Loss.curvature(loss, output, y), own)


def test_the_gauss_newton_part_is_that_of_the_predictions():
    loss = problems.LOSSES[-2]
    output, y = problems.draw(loss, n=5)
    at = loss.decide(output)
    for i in range(5):
        row = (i, slice(None))
        J = torch.autograd.functional.jacobian(
            lambda u: loss.decide(u[None]).flatten(), output[row]
        )
        H = hessian(
            lambda p, i=i: loss.of_predictions(p[None], y[i : i + 1]).sum(), at[i]
        ).reshape(len(J), len(J))
        torch.testing.assert_close(loss.curvature(output, y)[i], J.T @ H @ J)


def test_losses_of_predictions_are_those_of_their_outputs():
    for loss in problems.LOSSES:
        output, y = problems.draw(loss)
        losses = loss.of_predictions(loss.decide(output), y)
        torch.testing.assert_close(losses, loss.per_sample(output, y))


def test_a_loss_is_least_where_its_gradient_vanishes():
    for loss in problems.LOSSES:
        output, y = problems.draw(loss)
        best = output.clone().requires_grad_()
        settings = {"max_iter": 200, "line_search_fn": "strong_wolfe"}
        optimizer = torch.optim.LBFGS([best], **settings)

        def closure(optimizer=optimizer, loss=loss, best=best, y=y):
            optimizer.zero_grad()
            total = loss.per_sample(best, y).sum()
            total.backward()
            return total

        optimizer.step(closure)
        least = loss.per_sample(best.detach(), y)
        assert (least <= loss.per_sample(output, y) + 1e-6).all()
        middle = loss.point(loss.decide(best.detach()))
        # of one sample: the noise of the smoothing has its quantile a few widths away
        assert (middle - y).abs().max() < 5 * getattr(loss, "smoothing", 0.01)
        ones = torch.ones(30, dtype=y.dtype)
        score = loss.score(best.detach(), y, ones)
        assert 0.5 < score <= 1
        assert score > loss.score(output, y, ones)


def test_losses_are_equal_if_their_parameters_are():
    for i, loss in enumerate(problems.LOSSES):
        twin = type(loss)(**vars(loss))
        assert twin == loss
        assert hash(twin) == hash(loss)
        assert loss not in problems.LOSSES[i + 1 :]


def test_names():
    assert LOSSES["squared_error"] is SquaredError
    for name, kind in LOSSES.items():
        assert issubclass(kind, Loss)
        assert isinstance(kind.name, str)
        assert kind.name != Loss.name
        assert isinstance(resolve_loss(name), kind)
        assert as_given(kind()) == repr(name)
    assert {type(loss) for loss in problems.LOSSES} == set(LOSSES.values())
    loss = Loss()
    assert resolve_loss(loss) is loss
    assert as_given(loss) == repr(loss)
    assert resolve_loss("quantile", np.array([0.1, 0.9])) == Quantile((0.1, 0.9))
    with pytest.raises(ValueError, match=r"`loss` must be .* got 'mean'"):
        resolve_loss("mean")
