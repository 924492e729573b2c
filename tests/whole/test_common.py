"""scikit-learn's own checks, without a single expected failure."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet.solvers import SGD, AdamW

SMALL = {"depth": 4, "width": 8}
CONFIGURATIONS = [
    {},
    {"depth": 1},
    {**SMALL, "solver": "gd", "flow_time": 2.0},
    {**SMALL, "solver": SGD(max_epochs=60)},
    {**SMALL, "solver": AdamW(max_epochs=30)},
    {**SMALL, "dtype": "float64", "flow_time": 20.0},
    {**SMALL, "early_stopping": True, "flow_time": 20.0},
    {
        **SMALL,
        "init": "gaussian_process",
        "alpha": 1e-3,
        "smoothness_penalty": 1e-3,
        "flow_time": 20.0,
    },
    {"depth": "auto", "width": 8, "gap_tol": 0.05, "flow_time": 5.0},
    {**SMALL, "allow_nan": True, "flow_time": 20.0},
    {**SMALL, "categorical_features": [1], "flow_time": 20.0},
]
PATH = {"depths": [2, 8], "flow_times": [1.0, 10.0], "cv": 2, "width": 8}
ESTIMATORS = [
    estimator(**configuration)
    for estimator in (ResODERegressor, ResODEClassifier)
    for configuration in CONFIGURATIONS
] + [
    estimator(**PATH, allow_nan=allow_nan)
    for estimator in (ResODERegressorCV, ResODEClassifierCV)
    for allow_nan in (False, True)
]

IMAGES = {"depth": 2, "channels": 3}
COSINE = SGD(schedule="cosine", max_epochs=20)
ESTIMATORS += [
    ResODEImageClassifier(solver=COSINE, early_stopping=True, **IMAGES),
    ResODEImageClassifier(solver=AdamW(max_epochs=10), **IMAGES),
]


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("default")
def test_scikit_learn_checks(estimator, check):
    check(estimator)
