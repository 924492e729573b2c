"""Intervals and sets of estimators: what calibrates them, and how often they hold."""

import io
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_friedman1

from odenet import ResODEClassifier, ResODEImageClassifier, ResODERegressor

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
        with pytest.raises(ValueError, match="fit with n_members=5"):
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
    assert_allclose(model.with_depth(8).predict_interval(X), expected, atol=1.0)
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
