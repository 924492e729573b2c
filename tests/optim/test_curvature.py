import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from odenet._optim.curvature import largest_curvature, norm, stretch


def make_quadratic(curvatures):
    """A velocity -H y with a random orthonormal basis, at a point."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(len(curvatures), len(curvatures))))
    H = torch.tensor(basis * curvatures @ basis.T)
    y = torch.tensor(rng.normal(size=len(curvatures)))
    point = SimpleNamespace(y=y, velocity=-H @ y)
    return (lambda y: -H @ y), point, torch.tensor(basis)


def test_largest_curvature_of_a_quadratic():
    velocity_at, point, basis = make_quadratic(np.array([0.1, 1.0, 3.0, 50.0]))
    curvature, direction = largest_curvature(velocity_at, point, point.velocity, 10)
    assert curvature == pytest.approx(50, rel=1e-3)
    cosine = (direction @ basis[:, -1]).abs() / direction.norm()
    assert cosine == pytest.approx(1, abs=1e-3)


def test_it_goes_on_with_the_direction_that_is_known():
    velocity_at, point, basis = make_quadratic(np.array([1.0, 2.0, 48.0, 50.0]))
    curvature, _ = largest_curvature(velocity_at, point, basis[:, -1], 1)
    assert curvature == pytest.approx(50, rel=1e-6)
    curvature, _ = largest_curvature(velocity_at, point, basis[:, 0], 1)
    assert curvature == pytest.approx(1, rel=1e-6)


def test_it_ends_when_an_estimate_is_within_a_twentieth_of_the_last():
    velocity_at, point, basis = make_quadratic(np.array([1.0, 2.0, 49.0, 50.0]))
    calls = []

    def counted(y):
        calls.append(y)
        return velocity_at(y)

    largest_curvature(counted, point, basis[:, -1], 10)
    assert len(calls) == 2
    assert all((y - point.y).norm() < 1e-6 * point.y.norm() for y in calls)
    # 1, 1.5, 1.94, ...: changes of more than a twentieth go on to the last
    calls.clear()
    largest_curvature(counted, point, basis[:, 0] + 1e-3 * basis[:, -1], 3)
    assert len(calls) == 3


def test_without_a_direction_there_is_no_curvature():
    velocity_at, point, _ = make_quadratic(np.array([1.0, 2.0]))
    for nothing in (torch.zeros(2), torch.full((2,), math.inf)):
        curvature, direction = largest_curvature(velocity_at, point, nothing, 5)
        assert curvature == 0
        assert direction is nothing


def test_a_velocity_that_is_not_finite_keeps_the_direction():
    _, point, basis = make_quadratic(np.array([1.0, 2.0]))
    for value in (math.nan, math.inf):
        curvature, direction = largest_curvature(
            lambda y, v=value: torch.full_like(y, v), point, basis[:, 0], 5
        )
        assert curvature is None
        assert torch.equal(direction, basis[:, 0])


def test_norm_of_values_whose_squares_overflow():
    assert norm(torch.tensor([3e30, -4e30])) == pytest.approx(5e30)
    assert norm(torch.tensor([3e-30, 4e-30])) == pytest.approx(5e-30)
    assert norm(torch.zeros(3)) == 0
    assert norm(torch.tensor([1.0, -math.inf])) == math.inf
    assert math.isnan(norm(torch.tensor([1.0, math.nan])))


def test_stretch():
    assert stretch(torch.tensor([0.0, 6.0]), torch.tensor([2.0, 0.0])) == 3
    assert stretch(torch.ones(2), torch.zeros(2)) == 0
