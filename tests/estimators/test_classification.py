"""Labels: what they may be, and when they are known."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier

from odenet import ResODEClassifier, ResODEImageClassifier
from odenet.solvers import AdamW, Flow
from tests.helpers import SMALL, slope

SAMPLES, LABELS = make_multilabel_classification(120, 6, n_classes=3, random_state=0)
SHORT = {**SMALL, "flow_time": 3.0}


def loss_of(model, X=SAMPLES, y=LABELS):
    """The log loss, summed over the labels, by scikit-learn."""
    p = model.predict_proba(X)
    return sum(log_loss(y[:, j], p[:, j]) for j in range(y.shape[1]))


def test_column_of_labels_is_flattened_with_a_warning(X, y):
    with pytest.warns(DataConversionWarning):
        model = ResODEClassifier(**SMALL, flow_time=1.0).fit(X, y[:, None])
    assert model.predict(X).shape == (60,)


def test_partial_fit_learns_from_parts(rng):
    X = rng.normal(size=(400, 3))
    y = np.where(X[:, 0] > 0, "b", np.where(X[:, 1] > 0, "a", "c"))
    model = ResODEClassifier(**SMALL, solver=AdamW(learning_rate=0.02))
    for _ in range(10):
        for part in range(0, 400, 100):
            rows = slice(part, part + 100)
            model.partial_fit(X[rows], y[rows], classes=["b", "a", "c"])
    assert model.score(X, y) > 0.9
    assert model.n_iter_ == 40


def test_partial_fit_with_classes_to_come(X, y):
    model = ResODEClassifier(**SMALL, solver="sgd", class_weight={0: 1, 1: 2})
    model.partial_fit(X[y == 0], y[y == 0], classes=[0, 1])
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="'balanced' is not supported"):
        clone(model).set_params(class_weight="balanced").partial_fit(X, y)
    with pytest.raises(ValueError, match=r"labels that are not among.*\[2\]"):
        model.partial_fit(X, y + 1)


def test_the_logit_of_two_classes_is_that_of_the_second(X, y):
    model = ResODEClassifier(**SMALL, flow_time=1.0).fit(X, y)
    odds = np.exp(model.decision_function(X))
    assert odds.shape == (60,)
    shares = np.column_stack([1 / (1 + odds), odds / (1 + odds)])
    np.testing.assert_allclose(model.predict_proba(X), shares)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(shares))


def test_one_class(X):
    with pytest.raises(ValueError, match="at least two classes, got one class"):
        ResODEClassifier(**SMALL).fit(X, np.ones(60))


def test_validation_samples_that_do_not_fit(X, y):
    model = ResODEClassifier(**SMALL)
    with pytest.raises(ValueError, match="must be given together"):
        model.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="3 features"):
        model.fit(X, y, X_val=X[:, :2], y_val=y)
    with pytest.raises(ValueError, match="labels that are not among the classes"):
        model.fit(X, y, X_val=X, y_val=y + 5)


# several labels at once ---------------------------------------------------------------


def test_labels_are_told_as_by_the_perceptron_of_scikit_learn():
    """What comes back has its shapes and types, and its kinds of y are taken."""
    model = ResODEClassifier(**SMALL, flow_time=30.0).fit(SAMPLES, LABELS)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        rival = MLPClassifier(8, max_iter=1, random_state=0).fit(SAMPLES, LABELS)
    for name in ("predict", "predict_proba", "predict_log_proba"):
        mine, theirs = (getattr(m, name)(SAMPLES) for m in (model, rival))
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
    assert model.classes_.tolist() == rival.classes_.tolist()
    assert model.n_outputs_ == rival.n_outputs_
    logits, p = model.decision_function(SAMPLES), model.predict_proba(SAMPLES)
    np.testing.assert_allclose(p, expit(logits))
    np.testing.assert_allclose(model.predict_log_proba(SAMPLES), np.log(p))
    np.testing.assert_array_equal(model.predict(SAMPLES), (p > 0.5).astype(int))
    assert model.score(SAMPLES, LABELS) == accuracy_score(LABELS, p > 0.5) > 0.5
    for y in (
        LABELS.astype(bool),
        LABELS.astype(np.float32),
        LABELS.tolist(),
        sparse.csr_matrix(LABELS),
        sparse.coo_array(LABELS),
        pd.DataFrame(LABELS, columns=list("abc")),
    ):
        twin = clone(model).fit(SAMPLES, y)
        np.testing.assert_array_equal(twin.decision_function(SAMPLES), logits)
        assert twin.score(SAMPLES, y) == model.score(SAMPLES, LABELS)


def test_every_way_of_training_learns_labels():
    start = loss_of(ResODEClassifier(**SMALL, flow_time=1e-6).fit(SAMPLES, LABELS))
    for settings in (
        {},
        {"flow_time": 5.0, "solver": "gd"},
        {"flow_time": 30.0, "solver": Flow(method="exponential")},
        {"flow_time": 30.0, "depth": "auto", "dtype": "float64"},
        {"solver": AdamW(learning_rate=0.02)},
        {"early_stopping": False, "alpha": 1e-3, "flow_time": 30.0},
    ):
        model = ResODEClassifier(**{**SMALL, **settings}).fit(SAMPLES, LABELS)
        assert loss_of(model) < 0.85 * start, settings
        if settings == {}:  # judged by folds
            least = min(model.validation_loss_curve_)
            assert 0.7 * loss_of(model) < least < start
            assert 0.4 < max(model.validation_scores_) < 0.7  # of all labels


def test_integrators_follow_the_same_flow_of_labels():
    settings = {**SMALL, "flow_time": 5.0, "dtype": "float64"}
    one, other = (
        ResODEClassifier(**settings, solver=Flow(method=method, rtol=1e-4))
        .fit(SAMPLES[:40], LABELS[:40])
        .predict_proba(SAMPLES)
        for method in ("rkc", "exponential")
    )
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_weight_is_a_number_of_repetitions_of_labels():
    n = np.arange(120) % 3
    X, y = SAMPLES.repeat(n, axis=0), LABELS.repeat(n, axis=0)
    for settings in ({}, {"class_weight": "balanced"}, {"early_stopping": True}):
        model = ResODEClassifier(**SHORT, **settings)
        weighted = clone(model).fit(SAMPLES, LABELS, n).predict_proba(SAMPLES)
        repeated = model.fit(X, y).predict_proba(SAMPLES)
        np.testing.assert_array_equal(weighted, repeated)


def test_weights_of_labels_draw_towards_them():
    """Twice the weight of the samples with a label is twice its odds at the start."""
    model = ResODEClassifier(**SMALL, flow_time=1e-9, label_smoothing=0.0)
    model.set_params(class_weight=[{1: 1000}, None, {0: 2.0}]).fit(SAMPLES, LABELS)
    weight = np.where(LABELS[:, 0], 1000, 1) * np.where(LABELS[:, 2], 1, 2)
    shares = (120 * np.average(LABELS, axis=0, weights=weight) + 0.5) / 121
    expected = np.broadcast_to(shares, (120, 3))
    np.testing.assert_allclose(model.predict_proba(SAMPLES), expected, rtol=1e-5)


def test_a_label_that_all_have_or_none_is_learnt():
    y = LABELS.copy()
    y[:, 0], y[:, 2] = 0, 1
    for settings in ({}, {"solver": "adamw"}, {"class_weight": "balanced"}):
        model = ResODEClassifier(**{**SHORT, **settings})
        if "solver" in settings:
            model.set_params(flow_time=None)
        p = model.fit(SAMPLES, y).predict_proba(SAMPLES)
        assert p[:, 0].max() < 0.05
        assert p[:, 2].min() > 0.95
        assert model.predict(SAMPLES)[:, 1].any()
    nobody = ResODEClassifier(**SHORT).fit(SAMPLES, 0 * y)
    assert not nobody.predict(SAMPLES).any()


def test_labels_come_back_from_files_and_checkpoints(tmp_path, every_epoch_is_kept):
    """To the last bit, and can be trained further."""
    path = tmp_path / "model"
    kept = ResODEClassifier(**SHORT, checkpoint=path)
    kept.fit(SAMPLES, LABELS, X_val=SAMPLES, y_val=sparse.csr_array(LABELS))
    model = ResODEClassifier(**{**SHORT, "warm_start": True})
    model.set_params(class_weight=[{0: 1, 1: 3}, None, "balanced"])
    model.fit(SAMPLES, LABELS, X_val=SAMPLES, y_val=LABELS)
    np.testing.assert_array_equal(
        clone(model)
        .set_params(class_weight=None)
        .fit(SAMPLES, LABELS, X_val=SAMPLES, y_val=LABELS)
        .decision_function(SAMPLES),
        kept.decision_function(SAMPLES),
    )
    model.save(path)
    twins = [ResODEClassifier.load(path), pickle.loads(pickle.dumps(model))]
    p = model.predict_proba(SAMPLES)
    further = model.set_params(flow_time=5.0).fit(SAMPLES, LABELS)
    for twin in twins:
        assert twin.classes_.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(twin.predict_proba(SAMPLES), p)
        twin.set_params(flow_time=5.0).fit(SAMPLES, LABELS)
        np.testing.assert_array_equal(
            twin.predict_proba(SAMPLES), further.predict_proba(SAMPLES)
        )


def test_parts_of_labels():
    model = ResODEClassifier(**SMALL, solver=AdamW(learning_rate=0.02))
    start = clone(model).partial_fit(SAMPLES[:40], LABELS[:40])
    for _ in range(20):
        for rows in np.split(np.arange(120), 3):
            model.partial_fit(SAMPLES[rows], LABELS[rows], classes=[0, 1, 2])
    assert loss_of(model) < 0.7 * loss_of(start)
    before = pickle.dumps(model.predict_proba(SAMPLES))
    with pytest.raises(ValueError, match="`classes=.0, 1.` is not the same as on last"):
        model.partial_fit(SAMPLES, LABELS, classes=[0, 1])
    with pytest.raises(ValueError, match="`y` has 2 labels, but 3 were fitted"):
        model.partial_fit(SAMPLES, LABELS[:, :2])
    with pytest.raises(ValueError, match="for each of the labels, got shape"):
        model.partial_fit(SAMPLES, LABELS[:, 0])
    assert pickle.dumps(model.predict_proba(SAMPLES)) == before
    with pytest.raises(ValueError, match=r"`classes` must be the numbers of the 3 col"):
        ResODEClassifier(solver="sgd").partial_fit(SAMPLES, LABELS, classes=["a", "b"])


def test_a_warm_start_keeps_to_its_labels():
    model = ResODEClassifier(**{**SHORT, "warm_start": True}).fit(SAMPLES, LABELS)
    p = model.predict_proba(SAMPLES)
    model.set_params(flow_time=20.0)
    for y, message in [
        (LABELS[:, :2], "`y` has 2 labels, but 3 were fitted"),
        (LABELS[:, 0], "a column for each of the labels"),
        (2 * LABELS, "must hold 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(SAMPLES, y)
        np.testing.assert_array_equal(model.predict_proba(SAMPLES), p)
    further = loss_of(model.fit(SAMPLES, sparse.csr_array(LABELS)))
    assert further < loss_of(ResODEClassifier(**SHORT).fit(SAMPLES, LABELS))
    with pytest.raises(ValueError, match="should be a 1d array, got an array of shape"):
        ResODEClassifier(**{**SHORT, "warm_start": True}).fit(
            SAMPLES, LABELS[:, 0]
        ).fit(SAMPLES, LABELS)


def test_labels_of_validation_samples():
    model = ResODEClassifier(**SMALL).fit(
        *(SAMPLES[:80], LABELS[:80]),
        X_val=SAMPLES[80:],
        y_val=sparse.csr_array(LABELS[80:]),
    )
    held_out, last = (SAMPLES[80:], LABELS[80:]), model.flow_time_
    row = model.validation_flow_times_.index(last)
    loss, score = model.validation_loss_curve_[row], model.validation_scores_[row]
    assert loss == pytest.approx(loss_of(model, *held_out), rel=1e-3)
    assert score == pytest.approx(model.score(*held_out))
    with pytest.raises(ValueError, match="`y_val`.*has 2 labels, but 3 were fitted"):
        model.fit(SAMPLES, LABELS, X_val=SAMPLES, y_val=LABELS[:, :2])


def test_labels_at_other_depths_and_in_the_ode():
    model = ResODEClassifier(16, width=8, flow_time=20.0, random_state=0)
    model.fit(SAMPLES, LABELS)
    ode = model.to_ode()
    exact = ode.decision_function(SAMPLES)
    depths = [16, 32, 64]
    errors = [
        np.linalg.norm(model.with_depth(d).decision_function(SAMPLES) - exact)
        for d in depths
    ]
    assert slope(depths, errors) == pytest.approx(-1, abs=0.1)
    np.testing.assert_allclose(ode.predict_proba(SAMPLES), expit(exact))
    np.testing.assert_allclose(np.exp(ode.predict_log_proba(SAMPLES)), expit(exact))
    np.testing.assert_array_equal(ode.predict(SAMPLES), exact > 0)
    assert ode.score(SAMPLES, LABELS) == accuracy_score(LABELS, exact > 0)
    assert model.richardson_predict(SAMPLES).shape == (120, 3)
    assert (model.with_depth(tol=0.05, X=SAMPLES).predict(SAMPLES) >= 0).all()


def test_labels_of_images(rng):
    X = rng.normal(size=(60, 4, 4))
    y = np.column_stack([X.mean(axis=(1, 2)) > 0, np.ones(60)])
    settings = {"channels": 3, "solver": AdamW(max_epochs=30), "random_state": 0}
    model = ResODEImageClassifier(2, **settings).fit(X, y)
    assert model.predict(X).shape == (60, 2)
    assert model.score(X, y) > 0.8


def test_several_targets_of_classes_name_another_way():
    for y in (LABELS + 1, LABELS * [1, 2, 1], np.where(LABELS, "a", "b")):
        with pytest.raises(ValueError, match="sklearn.multioutput.MultiOutputClassif"):
            ResODEClassifier(**SHORT).fit(SAMPLES, y)
    y = LABELS[:, 0] + LABELS[:, 1]
    for given in ([None] * 3, [{0: 1, 1: 1, 2: 1}]):
        with pytest.raises(ValueError, match="`class_weight` can be a list only if"):
            ResODEClassifier(**SHORT, class_weight=given).fit(SAMPLES, y)
