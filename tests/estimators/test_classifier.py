"""The classifier: probabilities, its loss and the weights of its classes."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_iris, make_classification
from sklearn.metrics import log_loss

from odenet import ResODEClassifier
from odenet.solvers import SGD
from tests.helpers import SMALL


@pytest.mark.parametrize("labels", [["no", "yes"], [-1, 1], [False, True]])
def test_two_classes(X, y, labels):
    labels = np.array(labels)
    model = ResODEClassifier(**SMALL, flow_time=200.0).fit(X, labels[y])
    np.testing.assert_array_equal(model.classes_, labels)
    assert model.score(X, labels[y]) > 0.9
    logits, probabilities = model.decision_function(X), model.predict_proba(X)
    assert logits.shape == (60,)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities)
    chosen = labels[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(X), chosen)


def test_several_classes():
    X, y = load_iris(return_X_y=True)
    labels = np.array(["setosa", "versicolor", "virginica"])
    model = ResODEClassifier(**SMALL, flow_time=20.0).fit(X, labels[y])
    assert model.score(X, labels[y]) > 0.95
    probabilities = model.predict_proba(X)
    assert model.decision_function(X).shape == probabilities.shape == (150, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities)


def test_loss_is_that_of_the_training_samples(X, y):
    model = ResODEClassifier(**SMALL, flow_time=20.0, label_smoothing=0).fit(X, y)
    loss = log_loss(y, model.predict_proba(X))
    assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-4)


def test_held_out_samples_judge_by_their_log_loss(X, y):
    """Their labels are not smoothed, of whatever training and number of classes."""
    three = y + (X[:, 0] > 1)
    for target in (y, three):
        for settings in ({"solver": SGD(max_epochs=5)}, {"flow_time": None}):
            model = ResODEClassifier(
                **SMALL, **settings, dtype="float64", label_smoothing=0.4
            )
            model.fit(X, target, X_val=X[::2], y_val=target[::2])
            losses = model.validation_loss_curve_
            chosen = np.argmin(losses)
            if model.flow_time_ is not None:
                chosen = model.validation_flow_times_.index(model.flow_time_)
            outputs = model.decision_function(X[::2]) * model.temperature_
            of_all = outputs if outputs.ndim == 2 else np.c_[0 * outputs, outputs]
            expected = log_loss(target[::2], softmax(of_all, axis=1))
            assert losses[chosen] == pytest.approx(expected, rel=1e-6)


def test_heavier_classes_are_predicted_more_often():
    X, y = make_classification(300, weights=[0.9], flip_y=0.2, random_state=0)
    shares = []
    for class_weight in (None, {1: 2}, "balanced", {1: 100}):
        model = ResODEClassifier(
            **SMALL, flow_time=3.0, early_stopping=False, class_weight=class_weight
        )
        shares.append(model.fit(X, y).predict(X).mean())
    assert shares[0] < shares[1] < shares[2] < shares[3]


def test_balanced_is_the_same_as_equal_masses(X, y):
    mass = np.bincount(y)
    settings = {**SMALL, "flow_time": 5.0}
    balanced = ResODEClassifier(**settings, class_weight="balanced").fit(X, y)
    by_hand = ResODEClassifier(**settings).fit(X, y, sample_weight=1 / mass[y])
    np.testing.assert_allclose(
        balanced.decision_function(X), by_hand.decision_function(X), rtol=1e-4
    )


def test_weights_count_in_every_part(X, y):
    settings = {**SMALL, "solver": SGD(max_epochs=1)}
    light = ResODEClassifier(**settings, class_weight={0: 1, 1: 1})
    heavy = ResODEClassifier(**settings, class_weight={0: 1, 1: 100})
    for part in (y == 0, y == 1):
        light.partial_fit(X[part], y[part], classes=[0, 1])
        heavy.partial_fit(X[part], y[part], classes=[0, 1])
    assert heavy.predict_proba(X)[:, 1].mean() > light.predict_proba(X)[:, 1].mean()
    with pytest.raises(ValueError, match="not the same as on last call"):
        light.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="'balanced' is not supported"):
        heavy.set_params(class_weight="balanced").partial_fit(X, y)


def test_parameters_that_are_not_allowed(X, y):
    for name, value in [
        ("class_weight", "heavy"),
        ("class_weight", {0: 0, 1: 0}),
        ("label_smoothing", 1.0),
    ]:
        with pytest.raises(ValueError, match=name):
            ResODEClassifier(**{name: value}).fit(X, y)


def test_parameters_are_stored_as_they_are_given():
    given = {name: object() for name in ResODEClassifier().get_params()}
    assert vars(ResODEClassifier(**given)) == given


@pytest.mark.parametrize("label_smoothing", [0.05, 0.0, 0.3])
@pytest.mark.parametrize("n", [300, 600], ids=["flow", "mini-batches"])
def test_mean_probability_of_a_rare_class_is_its_share(n, label_smoothing, tmp_path):
    """Also of a model that goes on from a file."""
    ratios = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 2))
        score = X[:, 0] + rng.normal(size=n)
        y = score > np.quantile(score, 0.98)
        model = ResODEClassifier(
            8, width=16, label_smoothing=label_smoothing, random_state=seed
        ).fit(X, y)
        ratios.append(model.predict_proba(X)[:, 1].mean() / y.mean())
    # Mini-batches are stopped before the optimum, where the mean is exact.
    most = 0.15 if n > 500 and label_smoothing == 0.3 else 0.1
    assert np.mean(ratios) == pytest.approx(1, abs=most)
    model.save(tmp_path / "model.safetensors")
    again = ResODEClassifier.load(tmp_path / "model.safetensors")
    assert again._predictor.targets.shares == model._predictor.targets.shares
