"""The search of the regressor beside fits of its own."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    PredefinedSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import (
    ResODEClassifierCV,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet.losses import Huber
from tests.search.samples import GRID, diabetes, make


def test_scores_are_those_of_separate_fits():
    """What GridSearchCV finds, fitting every pair of depth and flow time anew."""
    X, y = diabetes()
    path = make().fit(X, y)
    single = ResODERegressor(width=16, early_stopping=False, random_state=0)
    grid = GridSearchCV(
        single, {"depth": GRID["depths"], "flow_time": GRID["flow_times"]}, cv=3
    ).fit(X, y)
    for name in ("param_depth", "param_flow_time"):
        np.testing.assert_array_equal(path.cv_results_[name], grid.cv_results_[name])
    for name in ("mean_test_score", *(f"split{i}_test_score" for i in range(3))):
        np.testing.assert_allclose(
            path.cv_results_[name], grid.cv_results_[name], atol=2e-3
        )
    best = grid.cv_results_["mean_test_score"].max()
    chosen = grid.cv_results_["mean_test_score"][path.best_index_]
    assert chosen > best - 2e-3


def test_refit_is_the_single_estimator_with_the_choice():
    X, y = diabetes()
    path = make().fit(X, y)
    best = path.cv_results_["params"][path.best_index_]
    assert (path.depth_, path.flow_time_) == (best["depth"], best["flow_time"])
    assert path.best_score_ == path.cv_results_["mean_test_score"].max()
    assert path.cv_results_["rank_test_score"][path.best_index_] == 1
    single = ResODERegressor(
        **best, width=16, early_stopping=False, random_state=0
    ).fit(X, y)
    np.testing.assert_array_equal(path.predict(X), single.predict(X))


def test_weight_zero_is_absence_in_folds_and_scores():
    X, y = diabetes(100)
    fold = np.arange(100) % 3
    weight = np.ones(100)
    weight[::5] = 0.0
    weighted = make(cv=PredefinedSplit(fold)).fit(X, y, sample_weight=weight)
    kept = weight > 0
    absent = make(cv=PredefinedSplit(fold[kept])).fit(X[kept], y[kept])
    np.testing.assert_allclose(
        weighted.cv_results_["mean_test_score"],
        absent.cv_results_["mean_test_score"],
    )
    np.testing.assert_array_equal(weighted.predict(X), absent.predict(X))


def test_weights_go_to_the_scorer_where_it_asks_for_them():
    X, y = diabetes()
    weight = np.linspace(0.1, 2, 150)
    with sklearn.config_context(enable_metadata_routing=True):
        weighted, plain = (
            make(
                scoring=make_scorer(
                    mean_absolute_error, greater_is_better=False
                ).set_score_request(sample_weight=asks)
            )
            .set_fit_request(sample_weight=True)
            .fit(X, y, sample_weight=weight)
            .best_score_
            for asks in (True, False)
        )
    assert weighted != plain


def test_another_loss_chooses_by_itself():
    """The best score is minus the loss of predictions, in the scale of all targets."""
    X, y = diabetes()
    train, test = next(KFold(3).split(X))
    for params in (
        {"loss": "poisson"},
        {"loss": "quantile", "quantile": [0.2, 0.6]},
        {"loss": Huber(0.5)},
    ):
        path = make(depths=[4], **params).fit(X, y)
        scores = path.cv_results_["mean_test_score"]
        assert scores[path.best_index_] == scores.max() < 0
        assert path.score(X, y) > 0.2
        best = path.cv_results_["params"][path.best_index_]
        single = ResODERegressor(
            **best, **params, width=16, early_stopping=False, random_state=0
        ).fit(X[train], y[train])
        targets = path._predictor.targets
        assert targets.loss == single._predictor.targets.loss
        expected = -targets.mean_loss(y[test], single.predict(X[test]))
        found = path.cv_results_["split0_test_score"][path.best_index_]
        assert found == pytest.approx(expected, rel=0.01)


def test_in_a_pipeline_and_under_cross_validation():
    X, y = diabetes()
    pipeline = make_pipeline(StandardScaler(), make())
    assert cross_val_score(pipeline, X, y, cv=2).mean() > 0.2
    assert pipeline.fit(X, y)[-1].with_depth(2).depth_ == 2


def test_nothing_of_a_single_estimator_is_asked_for():
    names = set(make().get_params())
    assert {"depth", "flow_time", "early_stopping", "warm_start"} & names == set()
    assert set(ResODEClassifierCV().get_params()) - names == {
        "class_weight",
        "label_smoothing",
    }
    assert clone(make()).get_params() == make().get_params()
    assert not hasattr(make(), "partial_fit")


def test_parameters_are_stored_as_they_are_given():
    given = {name: object() for name in ResODERegressorCV().get_params()}
    assert vars(ResODERegressorCV(**given)) == given
    assert ResODERegressorCV().solver == "flow"
