"""Samples and small searches of the tests of this folder."""

from sklearn.datasets import load_diabetes, make_moons

from odenet import ResODERegressorCV

GRID = {"depths": [4, 16], "flow_times": [0.3, 1.0, 3.0]}


def diabetes(n_samples=150):
    X, y = load_diabetes(return_X_y=True)
    return X[:n_samples], y[:n_samples]


def moons():
    return make_moons(120, noise=0.25, random_state=0)


def make(estimator=ResODERegressorCV, **settings):
    return estimator(**{**GRID, "width": 16, "cv": 3, "random_state": 0, **settings})
