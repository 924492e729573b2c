"""Targets, from those of a user to those of a network, and back to predictions."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import norm
from sklearn.utils.class_weight import compute_sample_weight

from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._losses.huber import Huber
from odenet._losses.poisson import Poisson
from odenet._losses.squared_error import SquaredError
from odenet._tables.targets import ClassTargets, RegressionTargets, SoftClassTargets

PARAMS = {
    "label_smoothing": 0.1,
    "class_weight": None,
    "loss": "squared_error",
    "quantile": 0.5,
}


def of(kind, y, params=PARAMS, **settings):
    return kind.of(np.asarray(y), estimator_name="Model", params=params, **settings)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
def test_predictions_of_a_regression_have_the_units_and_the_shape_of_y(shape, rng):
    y = 100 + 5 * rng.normal(size=shape)
    targets = of(RegressionTargets, y)
    columns = targets.encode(y)
    assert columns.shape == (6, targets.n_outputs)
    assert targets.attributes() == {"n_outputs_": columns.shape[1]}
    fitted = targets.fitted(columns, np.ones(6), standardize=True)
    seen = fitted.tensor(columns)
    np.testing.assert_allclose(seen.mean(dim=0), 0, atol=1e-12)
    np.testing.assert_allclose(seen.square().mean(dim=0), 1)
    np.testing.assert_allclose(fitted.decode(seen.numpy()), y)
    raw = targets.fitted(columns, np.ones(6), standardize=False)
    np.testing.assert_array_equal(raw.tensor(columns), columns)
    assert isinstance(targets.loss, SquaredError)
    assert targets.strata(columns) is None
    assert targets.under(PARAMS) is targets


def test_the_scale_of_targets_is_weighted():
    y, weight = np.array([[0.0], [4.0]]), np.array([3.0, 1.0])
    seen = of(RegressionTargets, y).fitted(y, weight, standardize=True).tensor(y)
    mean = (seen.ravel() * torch.tensor(weight)).sum() / 4
    assert mean.item() == pytest.approx(0)


def test_a_logarithmic_link_has_the_mean_as_its_unit():
    y, weight = np.array([[0.0], [4.0]]), np.array([3.0, 1.0])
    targets = of(RegressionTargets, y, PARAMS | {"loss": "poisson"})
    assert targets.loss == Poisson()
    fitted = targets.fitted(y, weight, standardize=True)
    assert fitted.tensor(y).ravel().tolist() == [0, 4]  # the weighted mean is 1
    assert fitted.decode(np.array([[0.0]])).tolist() == [[1.0]]
    np.testing.assert_allclose(fitted.decode(np.array([[2.0]])), np.exp(2.0))
    raw = targets.fitted(8 * y, weight, standardize=False)
    np.testing.assert_allclose(raw.decode(np.log([[5.0]])), 5.0)
    for standardize in (True, False):
        with pytest.raises(ValueError, match="positive sum for loss='poisson'"):
            targets.fitted(0 * y, weight, standardize)
    with pytest.raises(ValueError, match=r"loss='poisson', got -1\.0"):
        targets.encode(y - 1)


@pytest.mark.parametrize("shape", [(6,), (6, 2)])
def test_several_quantiles_have_an_axis_of_their_own(shape, rng):
    y = 100 + 5 * rng.normal(size=shape)
    params = PARAMS | {"loss": "quantile", "quantile": [0.1, 0.5, 0.9]}
    targets = of(RegressionTargets, y, params)
    columns = targets.encode(y)
    fitted = targets.fitted(columns, np.ones(6), standardize=True)
    assert fitted.n_outputs == 3 * columns.shape[1]
    predictions = fitted.decode(np.zeros((6, fitted.n_outputs)))
    assert predictions.shape == (*shape, 3)
    mean, std = columns.mean(axis=0), columns.std(axis=0)
    expected = mean[:, None] + std[:, None] * norm.ppf([0.1, 0.5, 0.9])
    for row in predictions.reshape(6, -1, 3):
        np.testing.assert_allclose(row, expected)
    np.testing.assert_array_equal(fitted.point(predictions), predictions[..., 1])


def test_mean_losses_of_predictions_are_those_of_the_outputs(rng):
    """Whatever the shape of the predictions is, and with weights."""
    weight = rng.uniform(0.5, 2, size=8)
    for loss, quantile in [("quantile", 0.3), ("quantile", [0.3, 0.6]), ("poisson", 0)]:
        for shape in [(8,), (8, 2)]:
            y = rng.poisson(3.0, size=shape) + 1.0
            params = PARAMS | {"loss": loss, "quantile": quantile}
            targets = of(RegressionTargets, y, params)
            columns = targets.encode(y)
            fitted = targets.fitted(columns, weight, standardize=True)
            outputs = rng.normal(size=(8, fitted.n_outputs))
            losses = fitted.loss.per_sample(
                torch.tensor(outputs), fitted.tensor(columns)
            )
            found = fitted.mean_loss(y, fitted.decode(outputs), sample_weight=weight)
            assert found == pytest.approx(np.average(losses, weights=weight))


def test_a_training_goes_on_with_a_loss_that_fits():
    targets = of(RegressionTargets, np.zeros(3))
    changed = targets.under(PARAMS | {"loss": "huber"})
    assert changed.loss == Huber()
    assert changed.under(PARAMS | {"loss": Huber()}) is changed
    for loss, quantile in (("poisson", 0.5), ("quantile", [0.1, 0.9])):
        with pytest.raises(ValueError, match="must ask for as many outputs of"):
            changed.under(PARAMS | {"loss": loss, "quantile": quantile})


def test_another_number_of_outputs_is_an_error():
    targets = of(RegressionTargets, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="`y` has 1 outputs, but 2 were fitted"):
        targets.encode(np.zeros(3))


def test_encoded_targets_are_decoded_again():
    for y in (np.array([3.0, 1.0]), np.array([[3.0], [1.0]]), np.eye(2)):
        targets = RegressionTargets.of(y, estimator_name="Model", params={})
        np.testing.assert_array_equal(targets.decoded(targets.encode(y)), y)
    labels = np.array(["b", "a", "c", "b"])
    targets = ClassTargets(np.array(["a", "b", "c"]))
    assert targets.decoded(targets.encode(labels)).tolist() == labels.tolist()


def test_two_classes_share_one_logit():
    targets = of(ClassTargets, ["no", "yes", "no"])
    assert targets.loss == LogisticLoss(0.1)
    assert targets.attributes()["classes_"].tolist() == ["no", "yes"]
    assert targets.n_outputs == 1
    index = targets.encode(np.array(["yes", "no"]))
    assert targets.tensor(index).tolist() == [1.0, 0.0]
    assert targets.tensor(index).dtype == torch.float64
    outputs = np.array([[2.0], [-1.0], [0.0]])
    assert targets.decode(outputs).tolist() == ["yes", "no", "no"]
    np.testing.assert_array_equal(targets.logits(outputs), [2.0, -1.0, 0.0])
    p = targets.probabilities(outputs)
    np.testing.assert_allclose(p[:, 1], expit([2.0, -1.0, 0.0]))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(targets.log_probabilities(outputs), np.log(p))


def test_three_classes_have_a_logit_each():
    targets = of(ClassTargets, [5, 1, 3, 3])
    assert targets.loss == CrossEntropy(0.1)
    assert targets.n_outputs == 3
    index = targets.encode(np.array([3, 5, 1]))
    assert targets.tensor(index).tolist() == [1, 2, 0]
    assert targets.strata(index) is index
    outputs = np.array([[0.0, 1.0, -1.0], [3.0, 1.0, 2.0]])
    assert targets.decode(outputs).tolist() == [3, 1]
    np.testing.assert_array_equal(targets.logits(outputs), outputs)
    p = targets.probabilities(outputs)
    np.testing.assert_allclose(p, softmax(outputs, axis=1))
    np.testing.assert_allclose(targets.log_probabilities(outputs), np.log(p))


def test_logits_are_outputs_over_the_temperature(rng):
    outputs = rng.normal(size=(40, 3))
    two, three = (
        dataclasses.replace(of(ClassTargets, np.arange(n)), temperature=2.5)
        for n in (2, 3)
    )
    p = expit(outputs[:, 0] / 2.5)
    np.testing.assert_allclose(two.probabilities(outputs[:, :1])[:, 1], p)
    np.testing.assert_allclose(two.log_probabilities(outputs[:, :1])[:, 1], np.log(p))
    np.testing.assert_allclose(
        three.probabilities(outputs), softmax(outputs / 2.5, axis=1)
    )
    np.testing.assert_allclose(three.logits(outputs), outputs / 2.5)
    assert (three.decode(outputs) == outputs.argmax(axis=1)).all()
    params = {"label_smoothing": 0.1, "class_weight": None}
    assert three.under(params).temperature == 1  # of a network that is trained anew


def test_held_out_samples_give_classes_a_temperature_and_numbers_none(rng):
    """That of labels, which are not smoothed: doubled outputs, doubled temperature."""
    y = rng.integers(3, size=5000)
    outputs = np.log(np.where(np.eye(3)[y] > 0, 0.6, 0.2))
    wrong = rng.random(5000) < 0.4
    y = np.where(wrong, (y + rng.integers(1, 3, size=5000)) % 3, y)
    targets, weight = of(ClassTargets, np.arange(3)), np.ones(5000)
    assert targets.loss.label_smoothing > 0
    for factor in (1, 2):
        found = targets.calibrated(factor * outputs, y, weight)
        assert found.temperature == pytest.approx(factor, rel=0.06)
        assert dataclasses.replace(found, temperature=1.0) == targets
    numbers = of(RegressionTargets, np.arange(3.0))
    assert numbers.calibrated(outputs, outputs, weight) is numbers


def test_logarithms_are_exact_where_probabilities_round_to_zero():
    two, three = (of(ClassTargets, np.arange(n)) for n in (2, 3))
    assert two.log_probabilities(np.array([[800.0]]))[0, 0] == pytest.approx(-800)
    outputs = np.array([[0.0, 900.0, 0.0]])
    assert three.log_probabilities(outputs)[0, 0] == pytest.approx(-900)


def test_announced_classes_count():
    targets = of(ClassTargets, [1, 1], classes=[3, 1, 2])
    assert targets.classes.tolist() == [1, 2, 3]
    assert targets.encode(np.array([1, 3])).tolist() == [0, 2]


@pytest.mark.parametrize("y", [[1, 1], ["a"]])
def test_one_class_is_an_error(y):
    with pytest.raises(ValueError, match="Model needs samples of at least two classes"):
        of(ClassTargets, y)


def test_unknown_labels_are_an_error():
    with pytest.raises(ValueError, match=r"not among the classes \[0 1\]: \[7\]"):
        of(ClassTargets, [0, 1]).encode(np.array([0, 7]))


def test_numbers_are_no_labels():
    with pytest.raises(ValueError, match="Unknown label type"):
        ClassTargets.check(np.array([0.5, 1.5]))
    ClassTargets.check(np.array([0, 1]))


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0, 1: 0.5}])
def test_class_weights_are_those_of_scikit_learn(class_weight):
    y = np.array([0, 0, 0, 1, 1, 2])
    targets = of(ClassTargets, y, PARAMS | {"class_weight": class_weight})
    expected = compute_sample_weight(class_weight, y)
    np.testing.assert_allclose(targets.weigh(y, np.ones(6)), expected)


def test_balanced_weights_count_the_weights_of_samples():
    y, weight = np.array([0, 1, 1]), np.array([4.0, 1.0, 1.0])
    targets = of(ClassTargets, y, PARAMS | {"class_weight": "balanced"})
    weighed = targets.weigh(y, weight)
    assert weighed[0] == pytest.approx(weighed[1:].sum())
    announced = of(ClassTargets, [0, 1, 2], PARAMS | {"class_weight": "balanced"})
    np.testing.assert_allclose(announced.weigh(y, weight), weighed)


def test_classes_are_followed_for_longer_than_numbers():
    assert of(ClassTargets, [0, 1]).longest_flow_time == 1200.0
    assert of(RegressionTargets, [0.0, 1.0]).longest_flow_time == 300.0


def test_weights_of_classes_are_finite_numbers():
    for wrong in (-1.0, None, np.nan, np.inf, "1", True):
        targets = of(ClassTargets, [0, 1], PARAMS | {"class_weight": {0: wrong}})
        with pytest.raises(ValueError, match=f"`class_weight` .* got {wrong!r} for"):
            targets.weigh(np.array([0, 1]), np.ones(2))


def test_weights_of_zero_for_all_classes_are_an_error():
    targets = of(ClassTargets, [0, 1], PARAMS | {"class_weight": {0: 0.0, 1: 0.0}})
    with pytest.raises(ValueError, match="must leave some samples of positive weight"):
        targets.weigh(np.array([0, 1]), np.ones(2))


def test_other_parameters_change_smoothing_and_weights_but_no_classes():
    targets = of(ClassTargets, [0, 1])
    changed = targets.under({"label_smoothing": 0.3, "class_weight": "balanced"})
    assert changed.loss == LogisticLoss(0.3)
    assert changed.class_weight == "balanced"
    assert changed.classes is targets.classes


def test_shares_of_the_classes_are_those_of_the_weight():
    """With half a sample for each class, so that a share of 0 is met by none."""
    targets = ClassTargets(np.array(["a", "b", "c"]), label_smoothing=0.1)
    y, weight = np.array([0, 1, 1, 2, 2, 2]), np.array([6.0, 3, 3, 2, 2, 2])
    fitted = targets.fitted(y, weight, standardize=True)
    assert fitted.shares == pytest.approx((2.5 / 7.5,) * 3)
    assert fitted.outputs_at_start() == pytest.approx([0, 0, 0])
    assert fitted.loss.shares == fitted.shares
    assert fitted.under({"label_smoothing": 0, "class_weight": None}).shares
    lacking = targets.fitted(y[:3], weight[:3], standardize=True)
    assert lacking.shares is None
    assert lacking.outputs_at_start().tolist() == [0, 0, 0]


def test_a_training_of_two_classes_starts_at_their_log_odds():
    y = np.repeat([0, 1], [89, 9])
    fitted = ClassTargets(np.arange(2)).fitted(y, np.ones(98), standardize=True)
    assert fitted.outputs_at_start() == pytest.approx([np.log(9.5 / 89.5)])
    assert fitted.probabilities(fitted.outputs_at_start())[0, 1] == pytest.approx(
        fitted.shares[1]
    )


def test_what_is_explained_changes_as_predictions_do(rng):
    """In the units and the shape of y; logarithms and logits as they are."""
    outputs = rng.normal(size=(5, 6))
    for loss, quantile in [("squared_error", 0.5), ("quantile", [0.2, 0.5, 0.8])]:
        for shape in [(6,), (6, 2)]:
            y = 100 + 5 * rng.normal(size=shape)
            params = PARAMS | {"loss": loss, "quantile": quantile}
            targets = of(RegressionTargets, y, params)
            targets = targets.fitted(targets.encode(y), np.ones(6), standardize=True)
            some = outputs[:, : targets.n_outputs]
            explained = targets.explained(torch.tensor(some)).numpy()
            change = np.diff(targets.decode(some), axis=0)
            np.testing.assert_allclose(np.diff(explained, axis=0), change, atol=1e-12)
    counts = of(RegressionTargets, np.ones(6), PARAMS | {"loss": "poisson"})
    some = torch.tensor(outputs[:, :1])
    assert np.array_equal(counts.explained(some), outputs[:, 0])
    two = of(ClassTargets, ["a", "b"])
    assert np.array_equal(two.explained(some), outputs[:, 0])
    three = of(ClassTargets, ["a", "b", "c"])
    some = torch.tensor(outputs[:, :3])
    assert np.array_equal(three.explained(some), outputs[:, :3])


def test_probabilities_are_targets_that_are_neither_smoothed_nor_weighed(rng):
    for n in (2, 3):
        p, weight = rng.dirichlet(np.ones(n), size=20), rng.uniform(0.5, 2, size=20)
        params = PARAMS | {"class_weight": {0: 5.0}}
        names = np.array(["c", "a", "b"])[:n]
        targets = of(SoftClassTargets, p, params, classes=names)
        assert targets.classes.tolist() == sorted(names)
        encoded = targets.encode(p.astype(np.float32))
        np.testing.assert_allclose(encoded.sum(axis=1), 1, rtol=1e-15)
        np.testing.assert_allclose(encoded, p, atol=1e-6)
        assert targets.weigh(p, weight) is weight
        np.testing.assert_array_equal(targets.strata(p), p.argmax(axis=1))
        seen = targets.tensor(p).numpy()
        np.testing.assert_array_equal(seen, p if n == 3 else p[:, 1])
        fitted = targets.fitted(p, weight, standardize=True)
        mass = (p * weight[:, None]).sum(axis=0) / weight.mean() + 0.5
        np.testing.assert_allclose(fitted.shares, mass / mass.sum())
        assert fitted.loss.label_smoothing == 0
        of_labels = fitted.of_labels(params)
        assert type(of_labels) is ClassTargets
        assert of_labels.shares == fitted.shares
        assert of_labels.label_smoothing == 0.1
        assert of_labels.class_weight == {0: 5.0}


def test_what_are_no_probabilities_is_refused():
    SoftClassTargets.check(np.array([[0.2, 0.8], [0.0, 1.0]]))
    for wrong in ([[0.5, 0.6]], [[1.5, -0.5]], [0.5, 0.5], [[np.nan, 1.0]]):
        with pytest.raises(ValueError, match="must not be negative, and have a sum"):
            SoftClassTargets.check(np.array(wrong))
