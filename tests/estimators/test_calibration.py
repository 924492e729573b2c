"""Intervals and sets of estimators: what calibrates them, and how often they hold."""

import io
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.datasets import make_friedman1

from odenet import (
    ResODEClassifier,
    ResODEImageClassifier,
    ResODERegressor,
    distil,
)
from odenet._estimators import calibration
from odenet._tables.temperature import PRECISION
from odenet.solvers import AdamW

SMALL = {"depth": 4, "width": 8, "random_state": 0}


def friedman(n, n_features=5, seed=0):
    """Friedman's first function, with noise of standard deviation 3."""
    return make_friedman1(n, n_features, noise=3.0, random_state=seed)


def is_held(interval, y):
    """Whether an interval holds its target."""
    return (interval[..., 0] <= y) & (y <= interval[..., 1])


def test_intervals_hold_as_many_targets_as_they_promise():
    X, y = friedman(5200)
    train, test = slice(200), slice(200, None)
    losses = {}, {"loss": "quantile", "quantile": [0.1, 0.9], "solver": "adamw"}
    for params in losses:
        model = ResODERegressor(n_members=5, **SMALL, **params).fit(X[train], y[train])
        for level in (0.8, 0.9):
            held = is_held(model.predict_interval(X[test], level), y[test]).mean()
            # Of 200 samples, the coverage of 5000 others varies by .03; and members
            # differ, which makes intervals of all of them a little wider.
            assert level - 0.06 < held < level + 0.1, (params, level, held)


def test_sets_hold_as_many_labels_as_they_promise():
    X, y = friedman(4300)
    labels = np.array(["low", "middle", "high"])[np.digitize(y, [11, 16])]
    model = ResODEClassifier(n_members=5, **SMALL).fit(X[:300], labels[:300])
    index = np.searchsorted(model.classes_, labels[300:])
    for level in (0.7, 0.9):
        sets = model.predict_set(X[300:], level)
        assert sets.shape == (4000, 3)
        assert sets.dtype == bool
        held = sets[np.arange(4000), index].mean()
        assert level - 0.06 < held < level + 0.06


def test_members_are_calibrated_by_what_they_hold_out():
    X, y = friedman(150)
    for solver in ("flow", "adamw"):
        model = ResODERegressor(n_members=6, solver=solver, early_stopping=True)
        model.set_params(**SMALL).fit(X, y)
        scores = model._predictor.calibration.scores
        assert sum(map(len, scores)) == 150
        held_out = [
            np.isin(abs(m.predict(X) - y).round(6), s.round(6))
            for m, s in zip(model.members_, scores, strict=True)
        ]
        assert_array_equal(np.sum(held_out, axis=0), 1)  # each sample by one member
        member = model.members_[2]
        assert_array_equal(member._predictor.calibration.scores[0], scores[2])
        width = np.ptp(member.predict_interval(X, 0.5), axis=1)
        assert_allclose(width, width[0])  # split conformal: the same for all


def test_one_network_is_calibrated_by_what_did_not_train_it():
    X, y = friedman(400)
    given = {"X_val": X[200:], "y_val": y[200:]}
    for solver in ("flow", "adamw"):
        for n_members in (1, 3):
            model = ResODERegressor(solver=solver, n_members=n_members, **SMALL)
            model.fit(X[:200], y[:200], **given)
            (scores,) = model._predictor.calibration.scores
            residuals = abs(model.predict(X[200:]) - y[200:])
            assert_allclose(np.sort(scores.ravel()), np.sort(residuals))
    batches = ResODERegressor(solver="adamw", early_stopping=True, **SMALL).fit(X, y)
    assert len(batches._predictor.calibration.scores[0]) == 40  # a tenth
    for params in ({}, {"early_stopping": True}, {"flow_time": 1.0}):
        flow = ResODERegressor(solver="flow", **SMALL, **params).fit(X, y)
        with pytest.raises(ValueError, match="Fit with n_members=5"):
            flow.predict_interval(X)


def test_calibration_stays_with_the_model(tmp_path):
    X, y = friedman(120)
    model = ResODERegressor(n_members=5, **SMALL).fit(X, y)
    expected = model.predict_interval(X)
    model.save(tmp_path / "model")
    for copy in (
        ResODERegressor.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert_array_equal(copy.predict_interval(X), expected)
    served = model.with_depth(3, imitate=True).predict_interval(X)
    assert_allclose(served, expected, atol=1.0)
    with pytest.raises(ValueError, match="with_depth without imitate"):
        model.with_depth(8).predict_interval(X)
    file = io.BytesIO()
    model.save(file, share=True)
    file.seek(0)
    shared = ResODERegressor.load(file)
    with pytest.raises(ValueError, match="share=True"):
        shared.predict_interval(X)
    model.set_params(warm_start=True, flow_time=2 * model.flow_time_).fit(X, y)
    with pytest.raises(ValueError, match="warm start"):
        model.predict_interval(X)


def test_intervals_of_several_targets_and_of_counts():
    X, y = friedman(150)
    both = np.column_stack([y, 10 * y])
    model = ResODERegressor(n_members=5, **SMALL).fit(X, both)
    intervals = model.predict_interval(X, 0.5)
    assert intervals.shape == (150, 2, 2)
    assert_allclose(intervals[:, 1], 10 * intervals[:, 0], atol=5)
    counts = np.random.default_rng(0).poisson(0.5, 150)
    model = ResODERegressor(n_members=5, loss="poisson", **SMALL).fit(X, counts)
    assert (model.predict_interval(X)[:, 0] >= 0).all()


def test_weights_are_repetitions():
    X, y = friedman(60)
    weight = 1 + np.arange(60) % 3
    model = ResODERegressor(n_members=5, **SMALL)
    weighted = clone(model).fit(X, y, weight).predict_interval(X)
    repeated = clone(model).fit(X.repeat(weight, axis=0), y.repeat(weight))
    assert_array_equal(weighted, repeated.predict_interval(X))


def test_images_have_sets():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.random((120, 8, 8)) + y[:, None, None]
    model = ResODEImageClassifier(
        depth=2, channels=4, early_stopping=True, validation_fraction=0.3
    )
    model.set_params(solver="adamw", random_state=0).fit(X, y)
    sets = model.predict_set(X, 0.9)
    assert sets.shape == (120, 2)
    assert sets.any()


def test_a_level_that_is_none_is_refused():
    X, y = friedman(60)
    model = ResODERegressor(n_members=5, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="got 1.0"):
        model.predict_interval(X, 1.0)
    with pytest.raises(ValueError, match="with 60 held-out samples"):
        model.predict_interval(X, 0.99)


def three_classes(n, seed=0):
    """Noisy labels of three classes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = np.digitize(X[:, 0] + rng.normal(size=n), [-0.5, 0.5])
    return X, np.array(["a", "b", "c"])[y]


def least_cost(logits, y):
    """The temperature by NumPy, on a grid."""
    grid = np.geomspace(0.3, 3, 5001)[:, None, None]
    right = log_softmax(logits / grid, axis=2)[:, range(len(y)), y]
    costs = -right.sum(axis=1) + PRECISION / 2 * np.log(grid[:, 0, 0]) ** 2
    return grid[np.argmin(costs), 0, 0]


def test_held_out_samples_choose_the_temperature(tmp_path):
    X, y = three_classes(700)
    A, a, B, b = X[:500], y[:500], X[500:], y[500:]
    for solver in (AdamW(max_epochs=30, patience=30), "flow"):
        model = ResODEClassifier(solver=solver, **SMALL, label_smoothing=0.3)
        with warnings.catch_warnings(action="ignore"):
            model.fit(A, a, X_val=B, y_val=b)
        T = model.temperature_
        logits = T * model.decision_function(B)
        index = np.searchsorted(model.classes_, b)
        assert pytest.approx(least_cost(logits, index), rel=2e-3) == T
        assert T < 0.9  # of logits that label smoothing kept small
        assert_allclose(model.predict_proba(B), softmax(logits / T, axis=1))
        # sets are calibrated by the same probabilities
        own = model.predict_log_proba(B)[range(200), index]
        scores = model._predictor.calibration.scores[0][:, 0]
        assert_allclose(np.sort(scores), np.sort(-own), rtol=1e-6)
        ode = model.with_depth(512).to_ode()
        assert_allclose(ode.predict_proba(B), model.predict_proba(B), atol=0.05)
        for twin in (
            pickle.loads(pickle.dumps(model)),
            ResODEClassifier.load(_saved(model, tmp_path / "model.safetensors")),
            model.with_depth(4),
        ):
            assert twin.temperature_ == T
            assert_array_equal(twin.predict_proba(B), model.predict_proba(B))
        session = pytest.importorskip("onnxruntime").InferenceSession
        model.to_onnx(tmp_path / "model.onnx")
        (served,) = session(tmp_path / "model.onnx").run(["probabilities"], {"X": B})
        assert_allclose(served, model.predict_proba(B), atol=1e-5)
        assert not hasattr(clone(model), "_predictor")


def _saved(model, path):
    """Save a model, and return the path."""
    model.save(path)
    return path


def test_what_holds_out_nothing_for_good_has_no_temperature():
    X, y = three_classes(120)
    part = ResODEClassifier(**SMALL, solver=AdamW(max_epochs=2), early_stopping=True)
    with warnings.catch_warnings(action="ignore"):
        part.fit(X, y)
        assert part.temperature_ != 1
        twice = clone(part).fit(np.r_[X, X], np.r_[y, y])
        thrice = clone(part).fit(X, y, sample_weight=np.full(120, 3.0))
        assert part.temperature_ == twice.temperature_ == thrice.temperature_
        members = clone(part).set_params(n_members=2).fit(X, y, X_val=X, y_val=y)
        again = clone(part).set_params(warm_start=True).fit(X, y)
        assert again.temperature_ == part.temperature_
        again.fit(X, y)  # on rows that were trained on before
    for params in (
        {"solver": "flow", "flow_time": 2.0, "early_stopping": "auto"},
        {"solver": "flow"},
        {"solver": "flow", "early_stopping": "auto"},
        {"early_stopping": False},
    ):
        other = clone(part).set_params(**params)
        with warnings.catch_warnings(action="ignore"):
            assert other.fit(X, y).temperature_ == 1, params
    assert members.temperature_ == again.temperature_ == 1
    part.set_params(early_stopping="auto").partial_fit(X, y)
    assert part.temperature_ == 1


def test_a_student_keeps_its_temperature():
    X, y = three_classes(120)
    teacher = ResODEClassifier(**SMALL, flow_time=5.0).fit(X, y)
    student = ResODEClassifier(**SMALL, solver="adamw", early_stopping=True)
    student = distil(teacher, X, student=student, random_state=0)
    assert student.temperature_ != 1
    assert student.temperature_ == pytest.approx(1, abs=0.2)


def test_so_many_scores_are_kept_of_a_part(monkeypatch):
    X, y = friedman(300)
    monkeypatch.setattr(calibration, "MOST_SCORES", 20)
    model = ResODERegressor(solver="adamw", early_stopping=True, **SMALL).fit(X, y)
    kept = model._predictor.calibration
    assert len(kept.scores[0]) == len(kept.weights[0]) == 20
    with pytest.raises(ValueError, match="with 20 held-out samples"):
        model.predict_interval(X, 0.99)


def test_sets_hold_labels_whatever_their_weights_are():
    X, y = friedman(2300)
    labels = (y > 17).astype(int)
    train, held_out, test = slice(200), slice(200, 500), slice(500, None)
    given = {"X_val": X[held_out], "y_val": labels[held_out]}
    for class_weight in ("balanced", {0: 1, 1: 20}):
        model = ResODEClassifier(solver="adamw", class_weight=class_weight, **SMALL)
        model.fit(X[train], labels[train], **given)
        assert_allclose(model._predictor.calibration.weights[0], 1.0)
        sets = model.predict_set(X[test], 0.9)
        held = sets[np.arange(1800), labels[test]].mean()
        assert 0.9 - 0.06 < held < 0.9 + 0.06


def test_classes_of_two_rows_are_held_out_as_well():
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.repeat(np.arange(20), 2)
    for n_members in (1, 5):
        model = ResODEClassifier(n_members=n_members, **SMALL).fit(X, y)
        assert model.validation_loss_curve_
    assert sum(map(len, model._predictor.calibration.scores)) == 40
