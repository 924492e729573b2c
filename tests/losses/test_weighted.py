import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss, MultilabelLoss
from odenet._losses.squared_error import SquaredError
from odenet._losses.weighted import WeightedLoss
from odenet._training.many_networks import JointLoss

N = 6
CASES = {  # number of outputs of every loss
    SquaredError(): 3,
    LogisticLoss(0.1): 1,
    CrossEntropy(0.2): 3,
    CrossEntropy(): 4,
    MultilabelLoss(0.2, (0.1, 0.6, 0.9)): 3,
}


def draw(loss, n_outputs, generator):
    """Draw outputs, targets and shares, one of which is zero."""
    u = torch.randn(N, n_outputs, generator=generator, dtype=torch.float64)
    if isinstance(loss, SquaredError):
        y = torch.randn(N, n_outputs, generator=generator, dtype=torch.float64)
    elif isinstance(loss, MultilabelLoss):
        y = torch.randint(2, (N, n_outputs), generator=generator).double()
    else:
        y = torch.randint(max(2, n_outputs), (N,), generator=generator)
        y = y.double() if n_outputs == 1 else y
    share = torch.rand(N, generator=generator, dtype=torch.float64)
    share[0] = 0
    return u, y, share


@pytest.mark.parametrize("loss", CASES, ids=lambda loss: type(loss).__name__)
def test_derivatives_are_those_of_autograd(loss, generator):
    u, y, share = draw(loss, CASES[loss], generator)
    weighted = WeightedLoss(loss, y, share)
    assert weighted(u).item() == pytest.approx((share * loss.per_sample(u, y)).sum())
    np.testing.assert_allclose(weighted.gradient(u), jacobian(weighted, u), atol=1e-14)
    whole = hessian(weighted, u)  # of shape (n, d', n, d')
    own = torch.stack([whole[i, :, i] for i in range(N)])
    np.testing.assert_allclose(weighted.curvature(u), own, atol=1e-14)
    assert whole.abs().sum() == pytest.approx(own.abs().sum())  # samples are apart


def test_a_constant_curvature_is_that_of_every_sample(generator):
    for loss, n_outputs in CASES.items():
        u, y, share = draw(loss, n_outputs, generator)
        c = WeightedLoss(loss, y, share).constant_curvature
        curvature = loss.curvature(u, y)
        eye = torch.eye(n_outputs, dtype=torch.float64).expand_as(curvature)
        assert (c is not None) == isinstance(loss, SquaredError)
        if c is not None:
            np.testing.assert_array_equal(curvature, c * eye)


def test_the_models_of_a_joint_loss_apart(generator):
    for loss, n_outputs in CASES.items():
        drawn = [draw(loss, n_outputs, generator) for _ in range(2)]
        u, y, share = (torch.stack(column) for column in zip(*drawn, strict=True))
        joint = WeightedLoss(JointLoss([loss, loss]), y, share)
        assert joint.constant_curvature == loss.constant_curvature
        for i, model in enumerate(joint.models()):
            np.testing.assert_array_equal(joint.gradient(u)[i], model.gradient(u[i]))
            np.testing.assert_array_equal(joint.curvature(u)[i], model.curvature(u[i]))
        total = sum(model(u[i]).item() for i, model in enumerate(joint.models()))
        assert joint(u).item() == pytest.approx(total)
