"""The choice of depth and flow time: splits, scores, parallel folds, errors."""

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GroupKFold,
    KFold,
)

from odenet import ResODERegressor
from odenet._training.callbacks.visits import Visits
from tests.search.samples import diabetes, make


def test_results_make_a_data_frame():
    X, y = diabetes()
    results = pd.DataFrame(make().fit(X, y).cv_results_)
    assert len(results) == 6
    splits = results[[f"split{i}_test_score" for i in range(3)]]
    np.testing.assert_allclose(results["mean_test_score"], splits.mean(axis=1))
    np.testing.assert_allclose(results["std_test_score"], splits.std(axis=1, ddof=0))


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


def test_the_choice_is_that_of_a_table():
    """The error of the best, 0.1, leaves the pairs from a mean of 0.4 on."""
    mean = np.array([[0.1, 0.5], [0.45, np.nan]])
    for one_standard_error, best in ((False, 1), (True, 2)):
        model = make(one_standard_error=one_standard_error)
        model._choose(np.stack([mean - 0.1, mean + 0.1]), [4, 16], [1.0, 2.0], [])
        results = model.cv_results_
        assert results["param_depth"].tolist() == [4, 4, 16, 16]
        assert results["param_flow_time"].tolist() == [1.0, 2.0, 1.0, 2.0]
        np.testing.assert_allclose(results["mean_test_score"], mean.ravel())
        assert results["rank_test_score"].tolist() == [3, 1, 2, 4]
        assert (model.best_index_, model.n_splits_) == (best, 2)
        assert model.best_score_ == pytest.approx(mean.ravel()[best])


def test_weights_count_in_the_last_fit():
    X, y = diabetes(60)
    weight = np.linspace(0.1, 2, 60)
    model = make().fit(X, y, sample_weight=weight)
    best = model.cv_results_["params"][model.best_index_]
    settings = {"width": 16, "early_stopping": False, "random_state": 0}
    single = ResODERegressor(**best, **settings).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(model.predict(X), single.predict(X))
    with pytest.raises(ValueError, match="ResODERegressorCV is expecting 10 features"):
        model.predict(X[:, :9])


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


def test_groups_go_to_the_splitter():
    X, y = diabetes()
    groups = np.arange(150) // 50
    model = make(cv=GroupKFold(3))
    with pytest.raises(ValueError, match=r"\['shops'\] can be passed .* routing"):
        model.fit(X, y, shops=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        model.fit(X, y, groups=groups)
        scores = model.cv_results_["split0_test_score"]
        of_its_own = make(cv=3).fit(X, y, groups=groups).cv_results_
    np.testing.assert_array_equal(of_its_own["split0_test_score"], scores)
    splits = list(GroupKFold(3).split(X, y, groups))
    np.testing.assert_array_equal(
        scores, make(cv=splits).fit(X, y).cv_results_["split0_test_score"]
    )
    for cv in (GroupKFold(3), 3):  # without metadata routing, as in a grid search
        model = make(cv=cv).fit(X, y, groups=groups)
        np.testing.assert_array_equal(scores, model.cv_results_["split0_test_score"])


def test_bad_parameters_are_named():
    for settings, message in [
        ({"depths": []}, "`depths` must hold positive integers, got"),
        ({"depths": [4, 0]}, "`depths` must hold positive integers, got"),
        ({"depths": [4.5]}, "`depths` must hold positive integers, got"),
        ({"flow_times": [0.0, 1.0]}, "`flow_times` must hold positive numbers, got"),
        ({"flow_times": [np.inf]}, "`flow_times` must hold positive numbers, got"),
        ({"solver": "adamw"}, "`solver` must follow a flow, .* got 'adamw'"),
        ({"init": "iid"}, "`init` must be smooth in depth .* got init='iid'"),
        ({"depth_schedule": [4, 8]}, "The 'depth_schedule' parameter"),
        ({"scoring": "nonsense"}, "The 'scoring' parameter"),
    ]:
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


def test_an_interrupt_ends_the_search_and_loses_nothing(monkeypatch):
    X, y = diabetes(60)
    model = make().fit(X, y)
    before = model.predict(X)

    def interrupt(self, net, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Visits, "on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_a_function_as_scorer_needs_no_weights():
    X, y = diabetes(60)
    model = make(scoring=lambda model, X, y: -abs(model.predict(X) - y).max())
    assert model.fit(X, y, sample_weight=np.ones(60)).best_score_ < 0


@pytest.mark.skipif(not hasattr(sklearn, "callback"), reason="needs scikit-learn 1.9")
def test_callbacks_of_scikit_learn_see_the_last_fit():
    from sklearn.callback import ScoringMonitor

    X, y = diabetes(60)
    monitor = ScoringMonitor(scoring="r2")
    model = make().set_callbacks(monitor).fit(X, y)
    scores = pd.DataFrame(monitor.get_logs().data).dropna(subset=["r2"])
    assert scores["r2"].nunique() == model.n_iter_


def test_a_scorer_that_fails_is_no_end_of_the_search():
    """Its scores are NaN, which cannot be chosen, and one warning tells of them."""

    def scorer(model, X, y):
        if model.depth_ == 4 or model.flow_time_ > 5:
            raise OverflowError("too large for me")
        return model.score(X, y)

    X, y = diabetes()
    model = make(depths=[4, 8], flow_times=[1.0, 3.0, 9.0], scoring=scorer)
    with pytest.warns(UserWarning, match="3 of 3 folds.*OverflowError: too large"):
        model.fit(X, y)
    failed = np.isnan(model.cv_results_["mean_test_score"])
    results = model.cv_results_
    expected = (results["param_depth"] == 4) | (results["param_flow_time"] > 5)
    np.testing.assert_array_equal(failed, expected)
    assert (model.depth_, model.flow_time_) in [(8, 1.0), (8, 3.0)]


def test_a_scorer_that_always_fails_is_named():
    X, y = diabetes()
    with pytest.raises(ValueError, match="OverflowError: never"):
        make(scoring=fails).fit(X, y)


def fails(model, X, y):
    raise OverflowError("never")
