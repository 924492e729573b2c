"""Small fitted estimators that the displays draw, fitted once."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from sklearn.datasets import load_digits, load_iris

from odenet import ResODEClassifier, ResODEImageClassifier, ResODERegressor
from odenet.solvers import SGD


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="session")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="session")
def classifier(iris):
    settings = {"width": 16, "early_stopping": True, "random_state": 0}
    return ResODEClassifier(32, **settings).fit(*iris)


@pytest.fixture(scope="session")
def regressor(iris):
    settings = {"width": 16, "flow_time": 20.0, "random_state": 0}
    return ResODERegressor(16, **settings).fit(*iris)


@pytest.fixture(scope="session")
def images():
    X, y = load_digits(return_X_y=True)
    solver = SGD(max_epochs=2)
    model = ResODEImageClassifier(4, channels=2, solver=solver, random_state=0)
    return model.fit(X[:100], y[:100])


@pytest.fixture(scope="session")
def luminance():
    """The function that gives the grey that a colour is printed in."""
    return lambda color: np.dot(to_rgb(color), [0.299, 0.587, 0.114])
