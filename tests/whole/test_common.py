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
PATH = {"depths": [2, 8], "flow_times": [1.0, 10.0], "cv": 2, "width": 8}
IMAGES = {"depth": 2, "channels": 3}

GRADIENT_DESCENT = {**SMALL, "solver": "gd", "flow_time": 0.5}
MINI_BATCHES = {**SMALL, "solver": SGD(max_epochs=60)}
ADAM = {**SMALL, "solver": AdamW(max_epochs=30)}
STOPPED_EARLY = {**SMALL, "early_stopping": True, "flow_time": 5.0}
REFINED = {"depth": "auto", "width": 8, "gap_tol": 0.05, "flow_time": 5.0}

# Every class and every solver, early stopping, refinement and missing values.
EVERY_RUN = [
    ResODERegressor(**STOPPED_EARLY),
    ResODERegressor(**ADAM),
    ResODEClassifier(**GRADIENT_DESCENT),
    ResODEClassifier(**MINI_BATCHES),
    ResODEClassifier(**REFINED),
    ResODERegressorCV(**PATH),
    ResODEClassifierCV(**PATH, allow_nan=True),
    ResODEImageClassifier(solver=AdamW(max_epochs=10), **IMAGES),
]

OF_BOTH = [
    {},
    {"depth": 1},
    {**SMALL, "dtype": "float64", "flow_time": 20.0},
    {
        **SMALL,
        "init": "gaussian_process",
        "alpha": 1e-3,
        "smoothness_penalty": 1e-3,
        "flow_time": 20.0,
    },
    {**SMALL, "allow_nan": True, "flow_time": 20.0},
    {**SMALL, "categorical_features": [1], "flow_time": 20.0},
]
MORE = [
    *(
        estimator(**settings)
        for estimator in (ResODERegressor, ResODEClassifier)
        for settings in OF_BOTH
    ),
    ResODERegressor(**GRADIENT_DESCENT),
    ResODERegressor(**MINI_BATCHES),
    ResODERegressor(**REFINED),
    ResODEClassifier(**ADAM),
    ResODEClassifier(**STOPPED_EARLY),
    ResODERegressorCV(**PATH, allow_nan=True),
    ResODEClassifierCV(**PATH),
    ResODEImageClassifier(
        solver=SGD(schedule="cosine", max_epochs=20), early_stopping=True, **IMAGES
    ),
]


@parametrize_with_checks(EVERY_RUN)
@pytest.mark.filterwarnings("default")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(MORE)
@pytest.mark.filterwarnings("default")
def test_scikit_learn_checks_of_more_settings(estimator, check):
    check(estimator)
