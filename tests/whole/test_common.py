"""scikit-learn's own checks, without a single expected failure."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet.losses import Huber
from odenet.solvers import SGD, SOAP, AdamW, Flow

SMALL = {"depth": 4, "width": 8}
PATH = {"depths": [2, 8], "flow_times": [1.0, 4.0], "cv": 2, "width": 8}
IMAGES = {"depth": 2, "channels": 3}

GRADIENT_DESCENT = {**SMALL, "solver": "gd", "flow_time": 0.5}
MINI_BATCHES = {**SMALL, "solver": SGD(max_epochs=30)}
ADAM = {**SMALL, "solver": AdamW(max_epochs=20)}
STOPPED_EARLY = {**SMALL, "early_stopping": True, "flow_time": 2.0}
REFINED = {"depth": "auto", "width": 8, "gap_tol": 0.05, "flow_time": 5.0}


class RisingRegressor(ResODERegressor):
    """A regressor that rises with all features, however many a check has."""

    def _signs_of_inputs(self, columns, embedding, targets):
        rising = np.ones(self.n_features_in_, dtype=int)
        return columns.signs_of_inputs(rising, embedding)


class RisingClassifier(ResODEClassifier):
    """A classifier of two classes that rises with the first feature."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _signs_of_inputs(self, columns, embedding, targets):
        targets.check_monotonic()
        return columns.signs_of_inputs(np.arange(self.n_features_in_) == 0, embedding)


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

# Options that cannot hide each other share a configuration: each is met with some
# solver and with some others, and not with all of them. A table with categories or
# missing values may not be sparse: each kind of solver has a configuration without.
OF_BOTH = [
    # Sparse tables of three columns, for which A has no coordinates of their own.
    {"depth": 1, "width": 8, "state_dim": 3, "flow_time": 5.0},
    {
        **SMALL,
        "dtype": "float64",
        "init": "gaussian_process",
        "alpha": 1e-3,
        "smoothness_penalty": 1e-3,
        "categorical_features": [1],
        "flow_time": 10.0,
    },
]
MORE = [
    # All defaults but the sizes; folds choose the flow time.
    ResODERegressor(8, width=8),
    # Where no error is left, as in many checks, the flow would be followed for long.
    ResODEClassifier(8, width=8, solver=Flow(max_evals=100)),
    *(
        estimator(**settings)
        for estimator in (ResODERegressor, ResODEClassifier)
        for settings in OF_BOTH
    ),
    ResODERegressor(**GRADIENT_DESCENT),
    ResODERegressor(**MINI_BATCHES, allow_nan=True),
    # R2, the default, is not defined for the one sample that few samples hold out.
    ResODERegressor(**STOPPED_EARLY, n_members=3, scoring="neg_mean_absolute_error"),
    ResODEClassifier(**STOPPED_EARLY, scoring=None, allow_nan=True),
    # Samples that are held out for good, which choose a temperature.
    ResODEClassifier(
        **SMALL, solver=SGD(schedule="cosine", max_epochs=20), early_stopping=True
    ),
    ResODEClassifier(**ADAM, n_members=3),
    ResODEClassifier(**SMALL, solver=SOAP(max_epochs=15)),
    ResODEClassifierCV(**PATH),
    ResODEImageClassifier(
        solver=SGD(schedule="cosine", max_epochs=10), early_stopping=True, **IMAGES
    ),
    RisingRegressor(**STOPPED_EARLY),
    RisingClassifier(**SMALL, solver=SGD(schedule="cosine", max_epochs=30)),
]


# The losses of the regressor, and checks that cannot be passed. Those of several
# outputs and of transformers take targets as they are, also where the tags of an
# estimator say that they must be positive: then a loss has to say that it is not made
# for them.
LOSSES = [
    {"loss": "poisson"},
    {"loss": "gamma", **REFINED},
    {"loss": "absolute_error", "solver": AdamW(max_epochs=10)},
    {"loss": Huber(0.5)},
    {"loss": "quantile", "quantile": 0.4},
    {"loss": "quantile", "quantile": [0.4, 0.6], "solver": AdamW(max_epochs=10)},
]
OWN_TARGETS = {
    "check_regressor_multioutput",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
}
# Several quantiles predict a column for each, where a check compares shapes.
SHAPES = {
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_regressor_multioutput",
    "check_regressors_train",
}


def failures(estimator):
    """The checks that an estimator fails, each with its error."""
    results = check_estimator(estimator, on_fail=None)
    assert len(results) > 40
    failed = [result for result in results if result["status"] == "failed"]
    return {result["check_name"]: result["exception"] for result in failed}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "params",
    [LOSSES[0], *(pytest.param(p, marks=pytest.mark.slow) for p in LOSSES[1:])],
    ids=lambda params: str(params["loss"]),
)
def test_scikit_learn_checks_of_losses(params):
    model = ResODERegressor(**{**SMALL, "flow_time": 3.0, **params})
    for name, error in failures(model).items():
        is_outside = "`y` must hold" in str(error) and name in OWN_TARGETS
        has_columns = isinstance(params.get("quantile"), list) and name in SHAPES
        assert is_outside or has_columns, (params, name, error)


@parametrize_with_checks(EVERY_RUN)
@pytest.mark.filterwarnings("default")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(MORE)
@pytest.mark.filterwarnings("default")
def test_scikit_learn_checks_of_more_settings(estimator, check):
    check(estimator)
