"""Labels: what they may be, and when they are known."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning

from odenet import ResODEClassifier
from odenet.solvers import AdamW
from tests.helpers import SMALL


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
