"""The score by which held-out samples judge a training."""

import pickle
from math import nan

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import accuracy_score, get_scorer, make_scorer, max_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import ResODEClassifier, ResODERegressor, ResODERegressorCV
from odenet._estimators import base
from odenet._estimators.scoring import HeldOutScore, serving
from odenet.solvers import SGD, AdamW

LARGEST = make_scorer(max_error, greater_is_better=False)  # takes no weights
TINY = {"depth": 8, "width": 4, "state_dim": 6, "random_state": 0}
ADAM = AdamW(batch_size=8, max_epochs=30, patience=4)


@pytest.fixture
def X(rng):
    return rng.normal(size=(60, 3))


@pytest.fixture
def y(X, rng):
    return X[:, 0] + 2.0 * rng.normal(size=60)


@pytest.fixture
def labels(y):
    return np.where(y > 0, "up", "down")


class Watching:
    """A scorer that keeps what it was called with."""

    def __init__(self, score=None):
        self.score = score or (lambda model, X, y: model.score(X, y))
        self.calls = []

    def __call__(self, model, X, y, sample_weight=None):
        score = self.score(model, X, y)
        self.calls.append((model, X, y, sample_weight, score))
        return score

    def __sklearn_clone__(self):
        return self


def best_of(model):
    """Where the score is greatest, and among equal ones the loss lowest; the first."""
    scores = np.array(model.validation_scores_)
    losses = np.array(model.validation_loss_curve_)
    return np.lexsort((losses, -scores))[0]


def test_the_default_is_the_loss_whatever_there_is_to_score(X, y, monkeypatch):
    monkeypatch.delattr(HeldOutScore, "__call__")
    for model in (ResODERegressor(**TINY), ResODERegressor(**TINY, solver=ADAM)):
        assert model.scoring == "loss"
        model.set_params(early_stopping=True).fit(X, y)


def test_the_weights_of_the_greatest_score_are_kept(X, y, labels, rng):
    """A score that is measured again is that of the history, on all kinds of fits."""
    X_val = rng.normal(size=(40, 3))
    y_val = X_val[:, 0] + 2.0 * rng.normal(size=40)
    full = {"depth_schedule": None}
    for kind, scoring, settings in [
        (ResODEClassifier, "accuracy", full),
        (ResODEClassifier, "roc_auc", full | {"flow_time": 30.0}),
        (ResODEClassifier, None, full | {"solver": ADAM}),
        (ResODEClassifier, "accuracy", full | {"solver": ADAM, "dtype": "float64"}),
        (ResODERegressor, "neg_mean_absolute_error", full | {"solver": SGD()}),
        (ResODERegressor, LARGEST, full | {"solver": ADAM}),
        (ResODERegressor, None, full | {"loss": "absolute_error"}),
    ]:
        target, held_out = (y, y_val)
        if kind is ResODEClassifier:
            target, held_out = labels, np.where(y_val > 0, "up", "down")
        model = kind(**TINY, **settings, scoring=scoring)
        model.fit(X, target, X_val=X_val, y_val=held_out)
        best = best_of(model)
        scorer = kind.score if scoring is None else get_scorer(scoring)
        again = scorer(model, X_val, held_out)
        assert again == pytest.approx(model.validation_scores_[best], abs=1e-12)
        if model.flow_time_ is not None:
            assert model.flow_time_ == model.validation_flow_times_[best]
        assert best + 1 < len(model.validation_scores_), "it went on to see worse ones"


def test_folds_and_parts_and_depths(X, y, labels):
    """What chose a flow time says so, and the fit ends there."""
    for settings in (
        {},
        {"early_stopping": True},
        {"depth": "auto", "gap_tol": 0.05},
        {"early_stopping": True, "depth": "auto", "gap_tol": 0.05},
    ):
        for kind, target in ((ResODERegressor, y), (ResODEClassifier, labels)):
            model = kind(**TINY | settings, scoring=None).fit(X, target)
            best = best_of(model)
            assert model.flow_time_ == model.validation_flow_times_[best]
            assert model.stop_reason_ == "early_stopping"
            frame = model.history_
            assert set(frame.role[frame.valid_score.notna()]) == {"choose"}
    staged = ResODERegressor(**TINY | {"depth": 16}, solver=ADAM, scoring="r2")
    staged.set_params(early_stopping=True).fit(X, y)
    assert staged.depth_ == 16
    assert len(staged.depth_path_) == 2


def test_the_score_of_folds_is_their_mean_by_weight(X, y):
    weight = np.random.default_rng(1).integers(1, 4, size=60)
    scorer = Watching(lambda model, X, y: -abs(model.predict(X) - y).mean())
    model = ResODERegressor(**TINY, scoring=scorer).fit(X, y, sample_weight=weight)
    calls = np.array([(score, np.sum(w)) for *_, w, score in scorer.calls])
    scores, weights = calls.reshape(-1, 5, 2).transpose(2, 0, 1)
    assert (weights.sum(axis=1) == weight.sum()).all(), "each row is held out once"
    expected = (scores * weights).sum(axis=1) / weight.sum()
    np.testing.assert_allclose(model.validation_scores_, expected)


def test_a_scorer_sees_rows_as_the_user_gave_them(rng):
    """A data frame with categories and missing values, and labels that are texts."""
    n = 80
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "kind": pd.Categorical(
                rng.choice(["a", "b", "rare"], n, p=[0.5, 0.4, 0.1])
            ),
            "gap": np.where(rng.random(n) < 0.2, nan, rng.normal(size=n)),
            "name": rng.choice(["x", "y"], n),
        },
        index=rng.permutation(n) + 1000,
    )
    noisy = frame["size"] + 3 * rng.normal(size=n)  # so that trainings end early
    labels = np.where(noisy > 0, "large", "small")
    weight = np.ones(n)
    weight[:7] = 0
    truth = pd.Series(labels, index=frame.index)
    part = {"early_stopping": True, "flow_time": 3.0}
    for settings in ({}, part, {"early_stopping": True, "solver": ADAM}):
        scorer = Watching()
        model = ResODEClassifier(**TINY, allow_nan=True, scoring=scorer, **settings)
        model.fit(frame, truth, sample_weight=weight)
        for served, table, y, w, _ in scorer.calls:
            assert type(served) is ResODEClassifier
            assert w is None
            pd.testing.assert_frame_equal(table, frame.loc[table.index])
            assert list(truth[table.index]) == list(y)
            assert not set(table.index) & set(frame.index[:7]), "of weight zero"
            assert served.predict_proba(table).shape == (len(table), 2)
        n_folds = 1 if settings else 5
        judged = {i for call in scorer.calls[:n_folds] for i in call[1].index}
        assert (len(judged) == n - 7) == (n_folds == 5)
        scorer.calls.clear()
        model.set_params(solver=ADAM).fit(
            frame, truth, X_val=frame[:9], y_val=truth[:9]
        )
        assert set(scorer.calls[-1][1].index) == set(frame.index[:9])
    plain = ResODEClassifier(**TINY, solver=ADAM, early_stopping=True)
    plain.set_params(scoring=Watching())
    numbers = frame[["size"]].to_numpy()
    for table, kind in ((numbers, np.ndarray), (numbers.tolist(), list)):
        plain.fit(table, labels)
        assert isinstance(plain.scoring.calls[-1][1], kind)


def test_targets_have_the_units_and_the_shape_of_the_user(X, y):
    for target in (y * 100, np.column_stack([y, 5 - y])):
        scorer = Watching()
        model = ResODERegressor(**TINY, early_stopping=True, scoring=scorer)
        model.set_params(solver=ADAM).fit(X, target)
        served, table, held_out, _, _ = scorer.calls[-1]
        places = [np.flatnonzero((row == X).all(axis=1))[0] for row in table]
        np.testing.assert_array_equal(held_out, target[places])
        assert served.predict(table).shape == held_out.shape


def plain_scorer(model, X, y):
    """A scorer that takes no weights."""
    return -max_error(y, model.predict(X))


def test_a_weight_is_a_repetition(X, y, labels):
    weight = np.random.default_rng(2).integers(0, 4, size=60)
    repeated = np.random.default_rng(3).permutation(np.repeat(np.arange(60), weight))
    part = {"early_stopping": True, "flow_time": 5.0}
    for kind, scoring, settings in [
        (ResODEClassifier, "accuracy", {}),
        (ResODEClassifier, "accuracy", {"early_stopping": True, "solver": ADAM}),
        (ResODEClassifier, None, {"class_weight": "balanced", **part}),
        (ResODERegressor, LARGEST, {}),
        (ResODERegressor, plain_scorer, part),
        (ResODERegressor, "neg_mean_absolute_error", part),
    ]:
        target = labels if kind is ResODEClassifier else y
        model = kind(**TINY, scoring=scoring, **settings)
        model.fit(X, target, sample_weight=weight)
        again = clone(model).fit(X[repeated], target[repeated])
        assert model.validation_scores_ == again.validation_scores_
        np.testing.assert_array_equal(model.predict(X), again.predict(X))


def test_weights_reach_the_scorer(X, labels, rng):
    """Those of the user, times those of the classes, as the loss has them."""
    weight = rng.uniform(0.5, 2.0, size=60)
    factors = {"up": 3.0, "down": 1.0}
    scorer = Watching()
    model = ResODEClassifier(**TINY, early_stopping=True, scoring=scorer)
    model.set_params(class_weight=factors).fit(X, labels, sample_weight=weight)
    _, table, y, weights, _ = scorer.calls[-1]
    places = [np.flatnonzero((row == X).all(axis=1))[0] for row in table]
    expected = weight[places] * [factors[label] for label in y]
    np.testing.assert_allclose(weights, expected)
    by_name = clone(model).set_params(scoring="accuracy").fit(X, labels)
    X_val, y_val = table, y
    given = clone(by_name).set_params(class_weight=None, solver=ADAM)
    given.set_params(depth_schedule=None)
    given.fit(X, labels, X_val=X_val, y_val=y_val, sample_weight_val=weights)
    again = accuracy_score(y_val, given.predict(X_val), sample_weight=weights)
    assert again == pytest.approx(max(given.validation_scores_))


def test_a_scorer_without_weights_takes_counts_only(X, y, rng):
    model = ResODERegressor(**TINY, scoring=plain_scorer)
    with pytest.raises(ValueError, match="plain_scorer.* takes no sample_weight"):
        model.fit(X, y, sample_weight=rng.uniform(size=60))
    heavy = np.vstack([X, *[X[:1]] * 40])  # a row that is in all parts, with its share
    model.fit(heavy, np.append(y, [y[0]] * 40))
    assert len(model.validation_scores_) > 0


def fails(model, X, y):
    raise ZeroDivisionError("of the scorer")


def underflows(model, X, y):
    raise FloatingPointError("of the scorer")


def test_a_wrong_scorer_is_an_error_that_loses_nothing(X, y):
    kept = ResODERegressor(**TINY, flow_time=1.0).fit(X, y)
    before = kept.predict(X)
    for scoring, error, words in [
        ("acuracy", ValueError, "'scoring' parameter of ResODERegressor must be"),
        (3, ValueError, "'scoring' parameter .* Got 3"),
        (accuracy_score, ValueError, "looks like it is a metric function"),
        (fails, ZeroDivisionError, "of the scorer"),
        (underflows, ValueError, "The scorer underflows has failed: of the scorer"),
        (lambda *_: nan, ValueError, "must return a number, got nan from <lambda> for"),
        (lambda *_: np.float32(nan), ValueError, "must return a number, got nan"),
        (lambda *_: "high", ValueError, "must return a number, got 'high'"),
        (lambda *_: None, ValueError, "must return a number, got None"),
        (lambda *_: np.ones(2), ValueError, r"must return a number, got array\("),
        (lambda *_: {"a": 1}, ValueError, "must return a number, got {'a': 1}"),
    ]:
        for settings in ({"solver": ADAM}, {"solver": "flow"}):
            kept.set_params(scoring=scoring, flow_time=None, early_stopping=True)
            with pytest.raises(error, match=words):
                kept.set_params(**settings).fit(X, y)
            np.testing.assert_array_equal(kept.predict(X), before)
    for score in (1, True, np.float32(0.5), np.array(0.5)):
        model = ResODERegressor(**TINY, scoring=lambda *_, s=score: s, solver=ADAM)
        model.set_params(early_stopping=True).fit(X, y)
        assert set(model.validation_scores_) == {float(score)}


def test_it_is_not_used_where_nothing_is_held_out(X, y):
    model = ResODERegressor(**TINY, early_stopping=False, scoring=fails)
    model.set_params(flow_time=1.0).fit(X, y)
    model.fit(X, y, X_val=X, y_val=y)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_)
    model.set_params(early_stopping="auto").fit(X, y)  # a flow time is kept to
    model.fit(X[:9], y[:9])
    streamed = ResODERegressor(**TINY, solver=ADAM, scoring=fails)
    streamed.partial_fit(X, y).partial_fit(X, y)
    assert streamed.validation_scores_ is None


def test_a_score_that_rests_or_jumps_does_not_end_a_training(X, y):
    """As that of a constant does, by which only the loss can tell epochs apart."""
    by_loss = ResODERegressor(**TINY, solver=ADAM, early_stopping=True).fit(X, y)
    resting = clone(by_loss).set_params(scoring=lambda *_: 1.0).fit(X, y)
    assert resting.n_iter_ == by_loss.n_iter_
    np.testing.assert_array_equal(resting.predict(X), by_loss.predict(X))


def test_it_goes_where_estimators_go(X, labels, tmp_path):
    model = ResODEClassifier(**TINY, early_stopping=True, scoring="accuracy")
    model.set_params(solver=ADAM)
    pipeline = make_pipeline(StandardScaler(), model)
    choices = {"resodeclassifier__scoring": ["loss", "accuracy", None]}
    search = GridSearchCV(pipeline, choices, cv=2).fit(X, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    model.fit(X, labels)
    assert model.net_.metric is None, "it would keep samples"
    path = tmp_path / "model.safetensors"
    model.save(path)
    for copy in (ResODEClassifier.load(path), pickle.loads(pickle.dumps(model))):
        assert copy.scoring == "accuracy"
        assert copy.validation_scores_ == model.validation_scores_
        np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    shallow = model.with_depth(4)
    assert shallow.scoring == "accuracy"
    model.set_params(scoring=make_scorer(accuracy_score)).fit(X, labels)
    with pytest.raises(ValueError, match="`scoring` cannot be saved.*set_params"):
        model.save(path)


def test_it_goes_on_with_a_warm_start(X, y):
    model = ResODERegressor(**TINY, early_stopping=True, warm_start=True, scoring=None)
    model.fit(X, y)
    before = model.flow_time_
    model.fit(X, y)
    assert model.flow_time_ >= before


def test_a_search_has_a_scoring_of_another_meaning(X, y):
    search = ResODERegressorCV([4], flow_times=[1.0, 2.0], cv=2, scoring="r2")
    search.set_params(width=4, random_state=0).fit(X, y)
    assert search.validation_scores_ is None
    assert "held out" not in search.summary()


CALLS_LEFT = [10**9]  # global: what a function has closed over is part of it


def counted_score(model, X, y):
    CALLS_LEFT[0] -= 1
    if not CALLS_LEFT[0]:
        raise SystemExit
    return model.score(X, y)


def test_a_checkpoint_takes_a_callable(X, y, tmp_path, every_epoch_is_kept):
    """It need not be pickled, and a fit that was killed goes on to the same bits."""
    model = ResODERegressor(
        **TINY, early_stopping=True, scoring=lambda m, X, y: counted_score(m, X, y)
    )
    model.set_params(checkpoint=tmp_path / "fit")
    for solver in ("auto", ADAM):
        expected = clone(model).set_params(solver=solver, checkpoint=None).fit(X, y)
        model.set_params(solver=solver)
        CALLS_LEFT[0] = 8
        with pytest.raises(SystemExit):
            model.fit(X, y)
        CALLS_LEFT[0] = 10**9
        model.fit(X, y)
        assert 10**9 - CALLS_LEFT[0] < len(expected.validation_scores_), "it began anew"
        np.testing.assert_array_equal(model.predict(X), expected.predict(X))
        assert model.validation_scores_ == expected.validation_scores_


def test_a_serving_estimator_predicts_by_another_network(X, y):
    model = ResODERegressor(**TINY, flow_time=1.0).fit(X, y)
    deep = model.module_.with_depth(16)
    served = serving(model, model._predictor.around(deep), depth_=16)
    assert (served.depth_, model.depth_) == (16, 8)
    np.testing.assert_array_equal(served.predict(X), model.with_depth(16).predict(X))
    assert not hasattr(base, "serving") or base.serving is serving
