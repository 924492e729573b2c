from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    PredefinedSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet._search.sweep import _Fold, at_depth
from odenet._training.callbacks.checkpoints import Checkpoints
from odenet.solvers import Flow

GRID = {"depths": [4, 16], "flow_times": [0.3, 1.0, 3.0]}


def diabetes(n_samples=150):
    X, y = load_diabetes(return_X_y=True)
    return X[:n_samples], y[:n_samples]


def moons():
    return make_moons(120, noise=0.25, random_state=0)


def make(estimator=ResODERegressorCV, **settings):
    return estimator(**{**GRID, "width": 16, "cv": 3, "random_state": 0, **settings})


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


def test_results_make_a_data_frame():
    X, y = diabetes()
    results = pd.DataFrame(make().fit(X, y).cv_results_)
    assert len(results) == 6
    splits = results[[f"split{i}_test_score" for i in range(3)]]
    np.testing.assert_allclose(results["mean_test_score"], splits.mean(axis=1))
    np.testing.assert_allclose(results["std_test_score"], splits.std(axis=1, ddof=0))


def test_classifier_chooses_and_predicts():
    X, y = moons()
    labels = np.array(["no", "yes"])[y]
    model = make(ResODEClassifierCV, flow_times=[1.0, 30.0]).fit(X, labels)
    scores = model.cv_results_["mean_test_score"]
    assert scores[model.best_index_] == model.best_score_ == scores.max()
    assert model.flow_time_ == model.cv_results_["param_flow_time"][model.best_index_]
    assert model.score(X, labels) > 0.8
    assert list(model.classes_) == ["no", "yes"]
    assert model.predict_proba(X).shape == (120, 2)


def test_one_standard_error_chooses_the_simplest():
    X, y = diabetes()
    model = make(flow_times=[0.5, 1.0, 2.0, 4.0, 8.0], one_standard_error=True)
    model.fit(X, y)
    results = model.cv_results_
    mean, std = results["mean_test_score"], results["std_test_score"]
    best = np.nanargmax(mean)
    good = mean >= mean[best] - std[best] / np.sqrt(2)
    assert model.flow_time_ == results["param_flow_time"][good].min()
    assert model.depth_ == 4
    assert model.flow_time_ < results["param_flow_time"][best]


def test_a_fold_ends_where_its_score_has_long_fallen(rng):
    X = rng.normal(size=(60, 8))
    y = rng.normal(size=60)
    flow_times = np.geomspace(0.1, 300.0, 16)
    model = make(flow_times=flow_times).fit(X, y)
    mean = model.cv_results_["mean_test_score"].reshape(2, -1)
    assert np.isnan(mean[:, -1]).all()
    assert np.isfinite(mean[:, 0]).all()
    assert model.flow_time_ < 10


def test_a_stationary_flow_keeps_its_score():
    X = np.arange(12.0)[:, None]
    model = make(flow_times=[1.0, 1e5, 1e6], activation="identity", alpha=0.1)
    mean = model.fit(X, X.ravel()).cv_results_["mean_test_score"].reshape(2, -1)
    assert np.isfinite(mean).all()
    assert (mean[:, 1] == mean[:, 2]).all()


@pytest.mark.parametrize(
    "cv", [4, KFold(4, shuffle=True, random_state=0), [(range(100), range(100, 150))]]
)
def test_any_splitter(cv):
    X, y = diabetes()
    model = make(cv=cv).fit(X, y)
    assert model.n_splits_ == (1 if isinstance(cv, list) else 4)


@pytest.mark.parametrize(
    "scoring",
    [
        "neg_mean_absolute_error",
        make_scorer(mean_absolute_error, greater_is_better=False),
    ],
)
def test_any_scorer(scoring):
    X, y = diabetes()
    model = make(scoring=scoring).fit(X, y)
    assert -80 < model.best_score_ < -20


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_parallel_folds_change_nothing(backend):
    X, y = diabetes()
    one = make().fit(X, y)
    with joblib.parallel_config(backend=backend):
        two = make(n_jobs=2).fit(X, y)
    for name in ("mean_test_score", "split0_test_score", "split2_test_score"):
        np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name])


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


def test_groups_go_to_the_splitter_by_metadata_routing():
    X, y = diabetes()
    groups = np.arange(150) // 50
    model = make(cv=GroupKFold(3))
    with pytest.raises(ValueError, match=r"\['groups'\] can be passed .* routing"):
        model.fit(X, y, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        model.fit(X, y, groups=groups)
        scores = model.cv_results_["split0_test_score"]
    splits = list(GroupKFold(3).split(X, y, groups))
    np.testing.assert_array_equal(
        scores, make(cv=splits).fit(X, y).cv_results_["split0_test_score"]
    )


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depths": []}, "`depths` must hold positive integers, got"),
        ({"depths": [4, 0]}, "`depths` must hold positive integers, got"),
        ({"depths": [4.5]}, "`depths` must hold positive integers, got"),
        ({"flow_times": [0.0, 1.0]}, "`flow_times` must hold positive numbers, got"),
        ({"flow_times": [np.inf]}, "`flow_times` must hold positive numbers, got"),
        ({"solver": "adamw"}, "`solver` must follow a flow, .* got 'adamw'"),
        ({"init": "iid"}, "`init` must be smooth in depth .* got init='iid'"),
        ({"depth_schedule": [4, 8]}, "The 'depth_schedule' parameter"),
        ({"scoring": "nonsense"}, "The 'scoring' parameter"),
    ],
)
def test_bad_parameters_are_named(settings, message):
    X, y = diabetes(30)
    model = make(**settings)
    before = vars(model).copy()
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert vars(model) == before


def test_a_single_depth_needs_no_smoothness():
    X, y = diabetes()
    model = make(depths=[8], init="iid").fit(X, y)
    assert model.depth_ == 8


def test_classifier_uses_its_own_parameters():
    X, y = moons()
    plain, weighted = (
        make(ResODEClassifierCV, class_weight=weight).fit(X, y)
        for weight in (None, {0: 1, 1: 20})
    )
    assert weighted.predict(X).mean() > plain.predict(X).mean()
    assert isinstance(weighted, ResODEClassifier)


def test_an_interrupt_ends_the_search_and_loses_nothing(monkeypatch):
    X, y = diabetes(60)
    model = make().fit(X, y)
    before = model.predict(X)

    def interrupt(self, net, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_folds_that_end_early_are_told():
    X, y = diabetes(60)
    model = make(flow_times=[0.01, 100.0], solver=Flow(max_evals=30))
    with pytest.warns(ConvergenceWarning, match=r"Of 3 folds, some .* \(max_evals\)"):
        model.fit(X, y)
    assert model.flow_time_ == 0.01
    model.set_params(flow_times=[1e3], solver=Flow(max_evals=12))
    with (
        pytest.warns(ConvergenceWarning, match="max_evals"),
        pytest.raises(ValueError, match="no fold has reached .* `flow_times`"),
    ):
        model.fit(X, y)


def test_a_class_may_be_missing_in_a_fold(rng):
    X = rng.normal(size=(40, 3))
    y = np.array(["a"] * 20 + ["b"] * 19 + ["c"])
    split = [(np.arange(39), np.r_[0:5, 20:25, 39]), (np.arange(40), np.arange(40))]
    model = make(
        ResODEClassifierCV,
        cv=split,
        scoring="neg_log_loss",
        class_weight={"a": 1, "c": 2},
    )
    assert np.isfinite(model.fit(X, y).best_score_)
    assert list(model.classes_) == ["a", "b", "c"]


def test_a_function_as_scorer_needs_no_weights():
    X, y = diabetes(60)
    model = make(scoring=lambda model, X, y: -abs(model.predict(X) - y).max())
    assert model.fit(X, y, sample_weight=np.ones(60)).best_score_ < 0


def test_sweeps_use_the_backward_that_is_asked_for(monkeypatch):
    X, y = diabetes(60)
    seen = set()
    visit = Checkpoints.on_epoch_end

    def spy(self, net, **kwargs):
        seen.add(net.module_.backward)
        visit(self, net, **kwargs)

    monkeypatch.setattr(Checkpoints, "on_epoch_end", spy)
    make(backward="rebuilt").fit(X, y)
    assert seen == {"rebuilt"}


@pytest.mark.skipif(not hasattr(sklearn, "callback"), reason="needs scikit-learn 1.9")
def test_callbacks_of_scikit_learn_see_the_last_fit():
    from sklearn.callback import ScoringMonitor

    X, y = diabetes(60)
    monitor = ScoringMonitor(scoring="r2")
    model = make().set_callbacks(monitor).fit(X, y)
    scores = pd.DataFrame(monitor.get_logs().data).dropna(subset=["r2"])
    assert scores["r2"].nunique() == model.n_iter_


def test_a_sweep_imitates_deeper_networks_to_second_order():
    X, y = diabetes()
    model = ResODERegressor(64, init="gaussian_process", flow_time=20.0, random_state=0)
    deep = model.set_params(early_stopping=False).fit(X, y)
    few = deep.with_depth(16)
    imitating = few._with_module(at_depth(few.module_, 64))
    errors = [np.std(m.predict(X) - deep.predict(X)) for m in (imitating, few)]
    assert errors[0] < errors[1] / 2
    resampled = deep._with_module(at_depth(deep.module_, 16))
    np.testing.assert_array_equal(resampled.predict(X), few.predict(X))


def test_a_plateau_ends_a_fold_but_not_at_the_start():
    fold = object.__new__(_Fold)
    fold.sweep = SimpleNamespace(flow_times=[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    flat = np.full((2, 7), 0.3)
    assert all(fold._goes_on(flat[:, :n]) for n in range(1, 6))
    assert not fold._goes_on(flat[:, :6])
    rising = np.linspace(0, 1, 14).reshape(2, 7)
    assert fold._goes_on(rising)
