"""The search of the classifier."""

import numpy as np
import pytest

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
