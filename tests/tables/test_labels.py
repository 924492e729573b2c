"""Several labels at once, from those of a user to those of a network, and back."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from odenet._losses.cross_entropy import MultilabelLoss
from odenet._tables.labels import FEWEST_ROWS_OF_A_SET, LabelTargets, kind_of_classes
from odenet._tables.rows import folds_of, shares_to_hold_out
from odenet._tables.targets import ClassTargets

PARAMS = {"label_smoothing": 0.1, "class_weight": None}
Y = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 0], [0, 1, 1], [1, 1, 0]])


class NoArray:
    """What can become an array, but has no shape and takes no function of NumPy."""

    __array_function__ = None

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


class Known(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose inputs are its logits."""

    def __init__(self, n_labels):
        self.classes_ = np.arange(n_labels)

    def fit(self, X, y):
        return self

    def decision_function(self, X):
        return X


def of(y=Y, params=PARAMS, **settings):
    return LabelTargets.of(y, estimator_name="Model", params=params, **settings)


def test_several_columns_are_labels_and_one_holds_classes():
    no_array = NoArray(Y)
    for y in (
        Y,
        Y.tolist(),
        list(Y),
        no_array,
        sparse.csr_matrix(Y),
        sparse.csc_array(Y),
    ):
        assert kind_of_classes(y) is LabelTargets
    for y in (Y[:, 0], Y[:, :1], Y[:, :0], [0, 1], ["a", "b"], None, 3):
        assert kind_of_classes(y) is ClassTargets


def test_each_label_has_a_logit():
    targets = of()
    assert targets.has_classes
    assert targets.longest_flow_time == ClassTargets.longest_flow_time
    assert targets.n_outputs == 3
    assert targets.loss == MultilabelLoss(0.1)
    attributes = targets.attributes()
    assert attributes.pop("classes_").tolist() == [0, 1, 2]
    assert attributes == {"n_outputs_": 3}
    assert targets.contents() == "3 labels"
    for y in (Y, Y.astype(bool), Y.astype(float), sparse.csr_array(Y)):
        targets.check(y)
        encoded = targets.encode(y)
        assert encoded.dtype == np.float64
        np.testing.assert_array_equal(encoded, Y)
    assert targets.tensor(encoded).dtype == torch.float64
    np.testing.assert_array_equal(targets.tensor(encoded), Y)
    outputs = np.array([[2.0, -1.0, 0.0], [-3.0, 0.5, 1e-9]])
    predicted = targets.decode(outputs)
    assert predicted.dtype == int
    assert predicted.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert targets.logits(outputs) is outputs
    p = targets.probabilities(outputs)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-outputs)))
    np.testing.assert_allclose(targets.log_probabilities(outputs), np.log(p))
    assert targets.log_probabilities(np.array([[-800.0]])).item() == -800


def test_shares_are_those_of_the_weight():
    """With half a sample with every label and half a one without it."""
    weight = np.array([1.0, 2.0, 1.0, 1.0, 5.0])
    fitted = of().fitted(Y.astype(float), weight, standardize=True)
    shares = (Y.T @ weight / 2 + 0.5) / (5 + 1)
    np.testing.assert_allclose(fitted.shares, shares)
    assert fitted.shares[1] == pytest.approx(5.5 / 6)  # a label that all have
    np.testing.assert_allclose(expit(fitted.outputs_at_start()), shares)
    assert fitted.loss == MultilabelLoss(0.1, fitted.shares)
    assert of().outputs_at_start().tolist() == [0, 0, 0]
    changed = fitted.under({"label_smoothing": 0.3, "class_weight": "balanced"})
    assert changed.loss == MultilabelLoss(0.3, fitted.shares)
    assert changed.class_weight == "balanced"


def test_what_is_no_label_is_an_error():
    several = "several columns must hold 0 and 1.*got {}.*MultiOutputClassifier"
    for y, message in [
        (Y + 1, several.format(r"\[1, 2\]")),
        (2 * Y, several.format(r"\[0, 2\]")),
        (Y * [1, 2, 1], several.format(r"\[0, 1, 2\]")),
        (np.arange(15).reshape(5, 3), several.format(r"\[0, 1, 2, 3, 4\] and more")),
        (np.where(Y, "a", "b"), several.format(r"\['a', 'b'\]")),
        (sparse.csr_array(-Y), several.format(r"\[-1\]")),
        (Y + 0.5, "Unknown label type: continuous-multioutput"),
        (Y[:, 0], r"a column for each of the labels, got shape \(5,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            LabelTargets.check(y)
    with pytest.raises(ValueError, match="`y` has 2 labels, but 3 were fitted"):
        of().encode(Y[:, :2])


def test_announced_classes_are_the_columns():
    assert of(classes=[2, 0, 1]) == of()
    for classes in ([0, 1], ["a", "b", "c"], [1, 2, 3]):
        with pytest.raises(ValueError, match=r"numbers of the 3 columns.*\[0, 1, 2\]"):
            of(classes=classes)


def test_class_weights_are_those_of_the_trees_of_scikit_learn():
    for given in (
        None,
        "balanced",
        [{0: 1, 1: 5}, {0: 2.0, 1: 0.5}, {0: 1, 1: 1}],
        [None, "balanced", {1: 3}],
    ):
        targets = of(params=PARAMS | {"class_weight": given})
        each = given if isinstance(given, list) else [given] * 3
        factors = [compute_sample_weight(w, c) for w, c in zip(each, Y.T, strict=True)]
        expected = np.prod(factors, axis=0)
        if given == "balanced":
            np.testing.assert_allclose(compute_sample_weight(given, Y), expected)
        np.testing.assert_allclose(targets.weigh(Y.astype(float), np.ones(5)), expected)


def test_balanced_weights_count_the_weights_of_samples():
    y, weight = np.array([[0.0, 1], [1, 1], [1, 1]]), np.array([4.0, 1.0, 1.0])
    weighed = of(y, PARAMS | {"class_weight": "balanced"}).weigh(y, weight)
    np.testing.assert_allclose(weighed, [3, 1.5, 1.5])


def test_wrong_class_weights_are_an_error():
    for given, message in [
        ({0: 1, 1: 2}, r"or a list of 3 dicts.* got \{0: 1, 1: 2\}"),
        ([{0: 1}], "or a list of 3 dicts"),
        ([1, 2, 3], r"or a list of 3 dicts.* got \[1, 2, 3\]"),
        ([{0: -1}, None, None], "`class_weight` must map labels to finite numbers"),
        ([None, {1: 0}, None], "must leave some samples of positive weight"),
    ]:
        targets = of(params=PARAMS | {"class_weight": given})
        with pytest.raises(ValueError, match=message):
            targets.weigh(Y.astype(float), np.ones(5))
    one = ClassTargets(np.arange(2), class_weight=[{0: 1}])
    with pytest.raises(ValueError, match="can be a list only if y has a column"):
        one.weigh(np.array([0, 1]), np.ones(2))


def test_sets_of_labels_are_kept_in_proportion_where_rows_are_enough(rng):
    n = FEWEST_ROWS_OF_A_SET
    sets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat([8 * n, n, n - 1, 3], 0)
    y = rng.permutation(sets).astype(float)
    strata = LabelTargets(2).strata(y)
    assert strata.shape == (len(y),)
    is_rare = y[:, 0] == 1
    assert len(np.unique(strata)) == 3
    assert len(np.unique(strata[is_rare])) == 1
    assert len(np.unique(strata[~is_rare])) == 2
    weight = np.ones(len(y))
    held_out = shares_to_hold_out(weight, 0.1, strata) > 0
    folds = folds_of(weight, 5, strata) > 0
    with_one = (y == [0, 1]).all(axis=1)
    assert held_out[with_one].sum() in (1, 2)
    assert (folds[:, with_one].sum(axis=1) == n / 5).all()


def test_the_scorer_is_minus_the_log_loss_summed_over_the_labels(rng):
    """Also of two labels, of which scikit-learn thinks as of two classes."""
    weight = rng.uniform(0.5, 2, size=20)
    for n_labels in (2, 3):
        y = rng.integers(0, 2, size=(20, n_labels))
        logits = rng.normal(size=(20, n_labels))
        expected = -sum(
            log_loss(y[:, j], expit(logits[:, j]), sample_weight=weight)
            for j in range(n_labels)
        )
        scorer = LabelTargets(n_labels, label_smoothing=0.2).scorer()
        for given in (y, y.tolist(), sparse.csr_array(y)):
            score = scorer(Known(n_labels), logits, given, sample_weight=weight)
            assert score == pytest.approx(expected)
