"""Samples of the tests of the estimators."""

import pytest


@pytest.fixture
def X(rng):
    return rng.normal(size=(60, 3))


@pytest.fixture
def y(X):
    return (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
