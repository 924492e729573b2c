"""The search of the classifier."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
)
from tests.search.samples import make, moons


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


def test_classifier_uses_its_own_parameters():
    X, y = moons()
    plain, weighted = (
        make(ResODEClassifierCV, class_weight=weight).fit(X, y)
        for weight in (None, {0: 1, 1: 20})
    )
    assert weighted.predict(X).mean() > plain.predict(X).mean()
    assert isinstance(weighted, ResODEClassifier)
    with pytest.raises(ValueError, match="'label_smoothing' parameter"):
        plain.set_params(label_smoothing=1.0).fit(X, y)


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


def test_parameters_are_stored_as_they_are_given():
    given = {name: object() for name in ResODEClassifierCV().get_params()}
    assert vars(ResODEClassifierCV(**given)) == given
    assert ResODEClassifierCV().solver == "flow"


def test_labels_are_chosen_for_by_their_log_loss():
    """The mean over the folds of that of a fit alone, by scikit-learn; also of two."""
    X, labels = make_multilabel_classification(90, 5, n_classes=3, random_state=0)
    settings = {"width": 8, "random_state": 0}
    for y in (labels, labels[:, :2], sparse.csr_array(labels)):
        model = ResODEClassifierCV([4], flow_times=[1.0, 20.0], cv=3, **settings)
        model.fit(X, y)
        dense = y.toarray() if sparse.issparse(y) else y
        scores = []
        for train, test in KFold(3).split(X):
            fold = ResODEClassifier(4, flow_time=20.0, **settings)
            p = fold.fit(X[train], dense[train]).predict_proba(X[test])
            losses = (log_loss(dense[test, j], p[:, j]) for j in range(p.shape[1]))
            scores.append(-sum(losses))
        found = model.cv_results_["mean_test_score"][1]
        assert found == pytest.approx(np.mean(scores), rel=0.02)
        assert model.flow_time_ == 20.0
        assert model.predict(X).shape == dense.shape
        assert model.classes_.tolist() == list(range(dense.shape[1]))
