"""Estimators of several members: one fit, one file, one graph, averaged predictions."""

import io
import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.datasets import (
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import (
    ResODEClassifier,
    ResODERegressor,
    ResODERegressorCV,
    depth_smoothness,
    distil,
    tangent_kernel,
)
from odenet._network.model_axis import network_at

SMALL = {"depth": 8, "width": 8, "n_members": 3, "random_state": 0}
LOSSES = [
    {},
    {"loss": "poisson"},
    {"loss": "quantile", "quantile": [0.1, 0.5, 0.8]},
    {"loss": "quantile", "quantile": 0.3},
]


def counts(n=60):
    """A table with positive targets, for all losses."""
    X, y = make_regression(n, 3, noise=5.0, random_state=0)
    return X, np.exp(y / 100)


def fitted(kind=ResODERegressor, X=None, y=None, **params):
    """A small estimator of three members after a flow of a given time."""
    if X is None:
        X, y = counts()
    return kind(**{**SMALL, "flow_time": 5.0, **params}).fit(X, y), X


def labels(n_classes, n=60):
    """A table of so many classes."""
    return make_classification(
        n, 4, n_informative=3, n_redundant=0, n_classes=n_classes, random_state=0
    )


def served(model, X, *names):
    """What onnxruntime makes of the exported model."""
    file = io.BytesIO()
    model.to_onnx(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    return session.run(list(names), {"X": X})


def test_predictions_are_means_of_the_members():
    for params in LOSSES:
        model, X = fitted(**params)
        members = np.stack([member.predict(X) for member in model.members_])
        assert members.std(axis=0).max() > 1e-3, params
        mean, std = model.predict(X, return_std=True)
        assert_allclose(mean, members.mean(axis=0), rtol=1e-10)
        assert_array_equal(mean, model.predict(X))
        assert_allclose(std, members.std(axis=0), rtol=1e-10)
        (y,) = served(model, X, "y")
        assert_allclose(y, mean, rtol=1e-4, atol=1e-5)


def test_probabilities_are_means_of_the_members():
    for n_classes in (2, 3):
        X, y = labels(n_classes)
        model, _ = fitted(ResODEClassifier, X, y)
        mean = np.mean([m.predict_proba(X) for m in model.members_], axis=0)
        assert_allclose(model.predict_proba(X), mean, rtol=1e-10)
        assert_allclose(model.predict_log_proba(X), np.log(mean), rtol=1e-10)
        assert_array_equal(model.predict(X), model.classes_[mean.argmax(axis=1)])
        logits = model.decision_function(X)
        again = softmax(logits, axis=1) if n_classes > 2 else expit(logits)
        assert_allclose(again, mean if n_classes > 2 else mean[:, 1], rtol=1e-10)
        label, probabilities = served(model, X, "label", "probabilities")
        assert_array_equal(label, model.predict(X))
        assert_allclose(probabilities, mean, atol=1e-5)


def test_probabilities_of_labels_are_means_of_the_members(tmp_path):
    X, y = make_multilabel_classification(80, 5, n_classes=3, random_state=0)
    for params in ({}, {"flow_time": None, "scoring": None}):
        model, _ = fitted(ResODEClassifier, X, y, **params)
        mean = np.mean([m.predict_proba(X) for m in model.members_], axis=0)
        assert_allclose(model.predict_proba(X), mean, rtol=1e-10)
        assert_array_equal(model.predict(X), mean > 0.5)
        label, probabilities = served(model, X, "label", "probabilities")
        assert_array_equal(label, model.predict(X))
        assert_allclose(probabilities, mean, atol=1e-5)
        model.save(tmp_path / "model")
        copy = ResODEClassifier.load(tmp_path / "model")
        assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
        assert "3 members" in model.summary()
        with pytest.raises(ValueError, match="several labels"):
            model.predict_set(X)


def test_a_member_is_trained_as_it_would_be_alone():
    # With all samples, nothing joins the members but the steps of the solver.
    model, X = fitted(solver="gd", dtype="float64")
    _, y = counts()
    alone = ResODERegressor(**{**SMALL, "n_members": 1}, flow_time=5.0, dtype="float64")
    first = alone.set_params(solver="gd").fit(X, y)
    assert_allclose(model.members_[0].predict(X), first.predict(X), atol=2e-2)
    assert_array_equal(  # the first member starts where a single network does
        clone(alone).set_params(flow_time=1e-9).fit(X, y).module_.W.detach(),
        fitted(flow_time=1e-9, solver="gd", dtype="float64")[0]
        .members_[0]
        .module_.W.detach(),
    )


def test_the_depth_of_all_members_is_changed_at_once():
    model, X = fitted()
    for settings in ({"imitate": True}, {"merge": True}, {"interpolation": "constant"}):
        shallow = model.with_depth(4, **settings)
        members = [m.with_depth(4, **settings).predict(X) for m in model.members_]
        assert_allclose(shallow.predict(X), np.mean(members, axis=0), rtol=1e-9)
    ode = model.to_ode(rtol=1e-8, atol=1e-10)
    of_members = [m.to_ode(rtol=1e-8, atol=1e-10).predict(X) for m in model.members_]
    assert_allclose(ode.predict(X), np.mean(of_members, axis=0), atol=1e-5)
    assert ode.trajectory(X, [0.0, 1.0]).shape == (2, 60, 3 * model.module_.state_dim)
    assert 0 < model.ode_gap(X) < 0.1


def test_smoothness_is_that_of_the_worst_member():
    model, _ = fitted()
    smoothness = model.depth_smoothness_
    each = [depth_smoothness(network_at(model.module_, i)) for i in range(3)]
    assert smoothness.lipschitz == max(s.lipschitz for s in each)
    assert smoothness.von_neumann_ratio == max(s.von_neumann_ratio for s in each)
    assert_array_equal(
        smoothness.increments["V"], np.max([s.increments["V"] for s in each], axis=0)
    )
    assert [s.lipschitz for s in smoothness.members] == [s.lipschitz for s in each]
    assert each[0].members == ()


def test_states_are_side_by_side():
    model, X = fitted()
    q = model.module_.state_dim
    last = np.hstack([member.transform(X) for member in model.members_])
    assert_allclose(model.transform(X), last, rtol=1e-12)
    assert_allclose(model.hidden_states(X)[-1], last, rtol=1e-12)
    assert len(model.get_feature_names_out()) == 3 * q


def test_a_file_holds_all_members(tmp_path):
    for kind, data in ((ResODERegressor, counts()), (ResODEClassifier, labels(3))):
        model, X = fitted(kind, *data)
        model.save(tmp_path / "model")
        for copy in (
            kind.load(tmp_path / "model"),
            pickle.loads(pickle.dumps(model)),
        ):
            assert_array_equal(copy.predict(X), model.predict(X))
            assert len(copy.members_) == 3
        assert "3 members of 8 layers" in model.summary()


def test_parameters_of_the_next_fit_change_nothing_of_this_one(tmp_path):
    """Not what is predicted, nor files, pickles, graphs, members and other depths."""
    changes = [
        {"n_members": 1, "width": 5, "activation": "tanh", "depth": "auto"}
        | {"loss": "poisson", "monotonic_cst": [0, 1, 0], "dtype": "float64"},
        {"n_members": 5, "state_dim": 7, "solver": "adamw", "depth_schedule": None}
        | {"loss": "quantile", "quantile": [0.2, 0.7], "standardize": False},
        {"backward": "rebuilt"},
    ]
    X, y = counts()
    single = ResODERegressor(
        8, width=8, flow_time=3.0, monotonic_cst=[1, 0, 0], random_state=0
    )
    search = ResODERegressorCV(
        depths=[4], flow_times=[1.0], cv=2, n_members=2, width=8, random_state=0
    )
    for first in (ResODERegressor(**SMALL), single, search):
        content = pickle.dumps(first.fit(X, y))
        expected, n_members = first.predict(X), first.module_.n_models
        for params in changes:
            names = params.keys() & first.get_params().keys()
            model = pickle.loads(content).set_params(**{n: params[n] for n in names})
            model.save(tmp_path / "model")
            loaded = model.load(tmp_path / "model")
            for same in (model, loaded, pickle.loads(pickle.dumps(model))):
                assert_array_equal(same.predict(X), expected)
                assert len(same.members_) == n_members
                assert {n: same.get_params()[n] for n in names} == {
                    n: params[n] for n in names
                }
            if n_members == 3:
                interval = first.predict_interval(X, 0.5)
                assert_array_equal(loaded.predict_interval(X, 0.5), interval)
            (y_served,) = served(model, X, "y")
            assert_allclose(y_served, expected, rtol=1e-4, atol=1e-5)
            shallow, expected_shallow = model.with_depth(2), first.with_depth(2)
            shallow.save(tmp_path / "shallow")
            for same in (shallow, model.load(tmp_path / "shallow")):
                assert_array_equal(same.predict(X), expected_shallow.predict(X))


def test_weights_are_repetitions():
    X, y = counts(40)
    weight = np.arange(40) % 3
    for params in ({"flow_time": 3.0}, {}, {"solver": "adamw"}):
        model = ResODERegressor(**SMALL, **params)
        weighted = clone(model).fit(X, y, weight).predict(X)
        repeated = clone(model).fit(X.repeat(weight, axis=0), y.repeat(weight))
        assert_array_equal(weighted, repeated.predict(X))


def test_a_score_judges_all_members():
    X, y = labels(2, n=150)
    for solver in ("flow", "adamw"):
        model = ResODEClassifier(**SMALL, solver=solver, early_stopping=True)
        model.set_params(scoring="accuracy").fit(X, y)
        scores = np.array(model.validation_scores_)
        accuracies = scores * 150 * 3 / 5  # of the three folds out of five
        assert 0.8 < scores.max() <= 1
        assert_allclose(accuracies, accuracies.round(), atol=1e-6)


def test_training_goes_on():
    model, X = fitted(warm_start=True, dtype="float64")
    _, y = counts()
    before = model.loss_
    assert model.set_params(flow_time=10.0).fit(X, y).flow_time_ == 10.0
    assert model.loss_ < before
    with pytest.raises(ValueError, match="`n_members` must stay 3"):
        model.set_params(n_members=2).fit(X, y)
    parts = ResODERegressor(**SMALL, solver="adamw")
    for _ in range(20):
        parts.partial_fit(X, y)
    assert parts.score(X, y) > 0.5
    assert len(parts.members_) == 3


def test_samples_of_the_user_judge_all_members():
    X, y = counts(80)
    for solver in ("flow", "adamw"):
        model = ResODERegressor(**SMALL, solver=solver)
        model.fit(X[:50], y[:50], X_val=X[50:], y_val=y[50:])
        assert model.validation_loss_curve_
        assert model.score(X[50:], y[50:]) > 0.5


def test_depth_is_found_for_all_members():
    X, y = counts()
    for solver in ("flow", "adamw"):
        params = {**SMALL, "depth": "auto", "solver": solver, "gap_tol": 0.02}
        model = ResODERegressor(**params, early_stopping=True).fit(X, y)
        assert model.depth_ == model.module_.depth >= 4
        assert model.ode_gap(X) < 0.04


def test_members_in_searches_and_pipelines():
    X, y = counts()
    grid = GridSearchCV(
        make_pipeline(StandardScaler(), ResODERegressor(**SMALL, flow_time=3.0)),
        {"resoderegressor__n_members": [1, 2]},
        cv=2,
    ).fit(X, y)
    assert len(grid.best_estimator_[-1].members_) in (1, 2)
    search = ResODERegressorCV((4, 8), flow_times=(1.0, 5.0), n_members=3, cv=2)
    search.set_params(random_state=0, width=8).fit(X, y)
    assert len(search.members_) == 3
    assert search.score(X, y) > 0.3


def test_attributions_are_means_of_the_members():
    model, X = fitted()
    contributions = model.attribution(X[:5])
    members = [member.attribution(X[:5]) for member in model.members_]
    assert_allclose(contributions, np.mean(members, axis=0))
    change = model.predict(X[:5]) - model.predict(X.mean(axis=0, keepdims=True))
    assert_allclose(contributions.sum(axis=1), change, rtol=1e-3, atol=1e-3)
    assert model.attribution(X[:5], by_depth=True).shape == (9, 5, 3)


def test_several_students_learn_of_one_teacher():
    for n_classes in (2, 3):
        X, y = labels(n_classes, n=120)
        teacher = RandomForestClassifier(random_state=0).fit(X, y)
        student = ResODEClassifier(**SMALL, early_stopping=True)
        for params in ({}, {"solver": "adamw", "scoring": "accuracy"}):
            student.set_params(**params)
            taught = distil(teacher, X, student=student, random_state=0)
            assert (taught.predict(X) == teacher.predict(X)).mean() > 0.8
            with pytest.raises(ValueError, match="no held-out samples"):
                taught.predict_set(X)


def test_bad_input_is_refused():
    X, y = counts()
    for value in (0, 1.5, None):
        with pytest.raises(ValueError, match="n_members"):
            ResODERegressor(n_members=value).fit(X, y)
    with pytest.raises(ValueError, match="`backward` must be 'stored'"):
        ResODERegressor(n_members=2, backward="rebuilt", flow_time=1.0).fit(X, y)
    rebuilt, _ = fitted(warm_start=True)
    rebuilt.set_params(backward="rebuilt", flow_time=9.0)
    with pytest.raises(ValueError, match="`backward` must be 'stored'"):
        rebuilt.fit(X, y)
    single, _ = fitted(n_members=1)
    with pytest.raises(ValueError, match="n_members=5"):
        single.predict(X, return_std=True)
    assert len(single.members_) == 1
    model, _ = fitted()
    with pytest.raises(ValueError, match="got 3 members"):
        tangent_kernel(model.module_, torch.ones(2, 3))
