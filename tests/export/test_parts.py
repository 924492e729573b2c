"""What files call the parts of a predictor."""

from dataclasses import replace

import numpy as np
import pytest

from odenet import ResODEClassifier, ResODEImageClassifier, ResODERegressor
from odenet._export.parts import parts_of_state, state_of_parts
from odenet.losses import Poisson
from odenet.solvers import SGD
from tests.export.same import assert_same

X = np.arange(12.0).reshape(6, 2)
COMMON = {"_X_encoder", "_y_standardizer", "n_features_in_", "_frozen"}


def fitted(kind):
    if kind is ResODEImageClassifier:
        model = kind(2, channels=2, image_shape=(1, 2), solver=SGD(max_epochs=1))
    else:
        model = kind(2, width=4, flow_time=0.1)
    if kind is ResODEClassifier:
        model.set_params(class_weight={0: 1.0, 1: 2.0})
    return model.fit(X, [0, 1, 0, 1, 0, 1])


def test_labels_are_told_from_as_many_classes():
    y = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0]] * 2)
    model = ResODEClassifier(2, width=4, flow_time=0.1)
    model.set_params(class_weight=[None, None, {0: 1.0, 1: 2.0}]).fit(X, y)
    state = state_of_parts(model.__getstate__())
    np.testing.assert_allclose(state["_label_shares"], [4.5 / 7, 4.5 / 7, 0.5 / 7])
    assert "_class_shares" not in state
    back = parts_of_state(state, "ResODEClassifier")
    assert back["_frozen"]["parts"].targets == model._predictor.targets
    assert set(back) == set(model.__getstate__())


@pytest.mark.parametrize(
    ("kind", "names", "foreign"),
    [
        (ResODERegressor, {"_columns", "_y_is_1d"}, {"_black", "classes_"}),
        (ResODEClassifier, {"_columns", "classes_"}, {"_y_is_1d", "_black"}),
        (ResODEImageClassifier, {"image_shape_", "_black"}, {"_columns", "_y_is_1d"}),
    ],
)
def test_names_of_files_there_and_back(kind, names, foreign):
    model = fitted(kind)
    given = model.__getstate__()
    state = state_of_parts(given)
    assert "parts" in given["_frozen"]
    written = set(state)
    assert COMMON | names <= set(state)
    assert not foreign & set(state)
    assert "parts" not in state["_frozen"]
    back = parts_of_state(state, kind.__name__)
    assert set(back) == set(model.__getstate__())
    assert set(state) == written
    assert "parts" not in state["_frozen"]
    parts = back["_frozen"]["parts"]
    assert_same(parts.inputs, model._predictor.inputs)
    assert_same(parts.targets, model._predictor.targets)
    assert parts.network is None


def test_black_and_units_are_written():
    images = state_of_parts(fitted(ResODEImageClassifier).__getstate__())
    assert images["image_shape_"] == (1, 2, 1)
    assert len(images["_black"]) == 1
    numbers = state_of_parts(fitted(ResODERegressor).__getstate__())
    assert numbers["_y_standardizer"].mean == pytest.approx([0.5])
    assert numbers["_y_is_1d"] is True


def test_a_state_without_its_parts_is_an_error():
    state = state_of_parts(fitted(ResODERegressor).__getstate__())
    for name in ("_X_encoder", "_y_standardizer", "_y_is_1d", "n_features_in_"):
        with pytest.raises(KeyError, match=name):
            parts_of_state({k: v for k, v in state.items() if k != name}, "Model")


def test_the_loss_that_was_fitted_is_in_files_of_another_than_the_default():
    """Not the parameter, which may have changed since; the default adds nothing."""
    default = fitted(ResODERegressor)
    assert "_y_loss" not in state_of_parts(default.__getstate__())
    model = ResODERegressor(2, width=4, flow_time=0.1, loss="poisson")
    model.fit(X, [0, 1, 0, 1, 0, 1]).set_params(loss="huber")
    state = state_of_parts(model.__getstate__())
    assert state["_y_loss"] == Poisson()
    back = parts_of_state(state, "ResODERegressor")
    assert back["_frozen"]["parts"].targets.loss == Poisson()


def test_a_temperature_is_in_files_of_another_than_one():
    model = fitted(ResODEClassifier)
    assert model.temperature_ == 1
    assert "_temperature" not in state_of_parts(model.__getstate__())
    parts = model._predictor
    targets = replace(parts.targets, temperature=1.5)
    model._predictor = replace(parts, targets=targets)
    state = state_of_parts(model.__getstate__())
    assert state["_temperature"] == 1.5
    back = parts_of_state(state, "ResODEClassifier")["_frozen"]["parts"]
    assert back.targets.temperature == 1.5
