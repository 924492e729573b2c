"""One walk through the depths and flow times of a fold."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring

from odenet import ResODERegressor
from odenet._estimators.base import around
from odenet._search.sweep import Fold, Sweep, at_depth
from odenet._tables.reading import Announced
from odenet._training.callbacks.visits import Visits
from odenet._training.stop_reason import StopReason
from odenet.solvers import Flow, GradientDescent
from tests.search.samples import diabetes, make


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


def test_folds_that_end_early_are_told():
    X, y = diabetes(60)
    model = make(flow_times=[0.01, 100.0], solver=Flow(max_evals=30))
    with pytest.warns(ConvergenceWarning, match=r"Of 3 folds, some .* \(max_evals\)"):
        model.fit(X, y)
    assert model.flow_time_ == 0.01
    model.set_params(flow_times=[1e3], solver=Flow(max_evals=12))
    match = r"some fold has not reached .* `flow_times`.* Of 3 folds, .* \(max_evals\)"
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)


def test_sweeps_use_the_backward_that_is_asked_for(monkeypatch):
    X, y = diabetes(60)
    seen = set()
    visit = Visits.on_epoch_end

    def spy(self, net, **kwargs):
        seen.add(net.module_.backward)
        visit(self, net, **kwargs)

    monkeypatch.setattr(Visits, "on_epoch_end", spy)
    make(backward="rebuilt").fit(X, y)
    assert seen == {"rebuilt"}


def test_a_sweep_imitates_deeper_networks_to_second_order():
    X, y = diabetes()
    model = ResODERegressor(64, init="gaussian_process", flow_time=20.0, random_state=0)
    deep = model.set_params(early_stopping=False).fit(X, y)
    few = deep.with_depth(16)
    imitating = around(few, at_depth(few.module_, 64))
    errors = [np.std(m.predict(X) - deep.predict(X)) for m in (imitating, few)]
    assert errors[0] < errors[1] / 2
    resampled = around(deep, at_depth(deep.module_, 16))
    np.testing.assert_array_equal(resampled.predict(X), few.predict(X))


def test_a_plateau_ends_a_fold_but_not_at_the_start():
    fold = object.__new__(Fold)
    fold.sweep = SimpleNamespace(flow_times=[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    flat = np.full((2, 7), 0.3)
    assert all(fold._goes_on(flat[:, :n]) for n in range(1, 6))
    assert not fold._goes_on(flat[:, :6])
    rising = np.linspace(0, 1, 14).reshape(2, 7)
    assert fold._goes_on(rising)
    assert fold._goes_on(flat + np.eye(7)[4])  # two flow times ago, four times shorter
    fold.sweep.flow_times = [30.0, 32.0, 34.0, 36.0, 38.0, 40.0, 42.0]
    assert fold._goes_on(flat)  # six flow times ago, but nearly as long


def test_a_fold_that_has_ended_is_left_alone(monkeypatch):
    X, y = diabetes(60)
    visits, visit = [], Fold.visit

    def end_the_first(fold, network, index):
        visit(fold, network, index)
        visits.append(fold)
        if fold is visits[0]:
            fold.stop_reason = StopReason.CALLBACK

    monkeypatch.setattr(Fold, "visit", end_the_first)
    results = make().fit(X, y).cv_results_
    ended, other = (
        np.isnan(results[f"split{i}_test_score"].reshape(2, 3)) for i in (0, 1)
    )
    assert (ended == [False, True, True]).all()
    assert not other.any()


def test_what_the_scorer_takes_is_of_the_samples_it_sees():
    X, y = diabetes(30)
    seen = []

    def score(model, X, y, numbers):
        seen.append((y, numbers))
        return 0.0

    estimator = ResODERegressor(4, width=4, early_stopping=False)
    sweep = Sweep(estimator, [4], [0.1], score, Announced())
    split = np.arange(10, 30), np.arange(10)
    sweep.run(X, y, [split], None, {"numbers": np.arange(30)})
    np.testing.assert_array_equal(seen[0], (y[:10], np.arange(10)))


def test_a_fold_that_fails_does_not_end_the_others():
    """Then each is trained alone."""
    X, y = make_friedman1(40, random_state=0)
    y = y.copy()
    estimator = ResODERegressor(
        4,
        width=8,
        solver=GradientDescent(learning_rate=0.2, max_evals=200),
        standardize=False,
        early_stopping=False,
        random_state=0,
    )
    y[:10] *= 1e3  # in all folds but the one that tests on them
    splits = [(np.arange(10, 40), np.arange(10)), (np.arange(30), np.arange(30, 40))]
    sweep = Sweep(estimator, [4], [0.2, 1.0], check_scoring(estimator), Announced())
    results = sweep.run(X / 10, y / 20, splits, None, {})
    (good, reason, _), (bad, reason_of_bad, _) = results
    assert (reason, reason_of_bad) == ("horizon", "diverged")
    assert np.isfinite(good).all()
    assert np.isnan(bad[:, -1]).all()


def test_thin_folds_are_trained_as_one_whatever_the_number_of_jobs():
    sweep = Sweep(ResODERegressor(width=16), [4], [1.0], None, Announced())
    thin = [(np.arange(100), np.arange(9))] * 3
    thick = [(np.arange(10_000), np.arange(9))] * 3
    assert sweep.parts(thin, 5) == [thin]
    assert [len(part) for part in sweep.parts(9 * thin, 5)] == [16, 11]
    assert len(sweep.parts(thick, 5)) == 3
    sweep.estimator.backward = "rebuilt"
    assert len(sweep.parts(thin, 5)) == 3
