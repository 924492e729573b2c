"""Inputs and parameters: what is accepted, and what bad ones get."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from odenet import ResODEImageClassifier, ResODERegressor
from odenet._estimators.preparation import (
    check_same_network,
    losing_nothing,
    seed_and_generator,
)
from odenet._network.convolutional import ConvResidualNetwork
from odenet.solvers import SGD, Flow
from tests.helpers import BOTH, SMALL, outputs


def test_a_seed_is_drawn_once_for_all_that_is_random():
    for random_state in (7, None):
        seed, generator = seed_and_generator(random_state)
        assert generator.initial_seed() == seed
    assert seed_and_generator(7)[0] == seed_and_generator(7)[0] != seed


def test_training_goes_on_with_the_same_network_only():
    network = ConvResidualNetwork((2, 3, 1), 2, depth=4, channels=5)
    params = {"depth": 4, "channels": 5, "image_shape": [2, 3], "dtype": "float32"}
    check_same_network(ResODEImageClassifier(**params), network)
    check_same_network(ResODEImageClassifier(4, channels=5), network)
    for name, value in [
        ("depth", 5),
        ("channels", 4),
        ("image_shape", (3, 2)),
        ("dtype", "float64"),
    ]:
        model = ResODEImageClassifier(**{**params, name: value})
        with pytest.raises(ValueError, match=f"`{name}` must stay"):
            check_same_network(model, network)


def test_a_failure_leaves_all_but_what_callbacks_have_set():
    owner = SimpleNamespace(kept=1, lost=2, _skl_kept=3, _skl_lost=4)

    def fail():
        owner.kept, owner.new, owner._skl_kept, owner._callback_new = 5, 6, 7, 8
        del owner.lost, owner._skl_lost
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), losing_nothing(owner):
        fail()
    assert vars(owner) == {"kept": 1, "lost": 2, "_skl_kept": 7, "_callback_new": 8}


def test_a_failure_loses_no_names_of_features(X, y):
    table = pd.DataFrame(X, columns=list("abc"))
    model = ResODERegressor(**SMALL, flow_time=0.5).fit(table, y)
    with pytest.raises(ValueError, match="Negative values"):
        model.fit(X, y, sample_weight=-np.ones(60))
    assert list(model.feature_names_in_) == list("abc")


def test_missing_numbers_are_told_how_to_be_taken(X, y):
    holes = np.array(X, dtype=float)
    holes[0, 0] = np.nan
    model = ResODERegressor(2, width=4, flow_time=0.5)
    with pytest.raises(ValueError, match=r"contains NaN.*allow_nan=True"):
        model.fit(holes, y)
    with pytest.raises(ValueError, match=r"contains NaN.*allow_nan=True"):
        model.fit(X, y).predict(holes)


@BOTH
def test_parameter_that_is_not_allowed(make, X, y):
    for name, value in [
        ("depth", 0),
        ("depth", 2.5),
        ("depth", True),
        ("width", -1),
        ("state_dim", 0),
        ("activation", "swish"),
        ("init", "orthogonal"),
        ("solver", "lbfgs"),
        ("solver", Flow(rtol=-1.0)),
        ("solver", SGD(momentum=1.0)),
        ("flow_time", 0.0),
        ("flow_time", np.nan),
        ("alpha", -1.0),
        ("smoothness_penalty", -1.0),
        ("early_stopping", "yes"),
        ("validation_fraction", 1.0),
        ("dtype", "float16"),
        ("device", "gpu"),
        ("random_state", "seed"),
    ]:
        named = r"rtol|momentum" if name == "solver" and value != "lbfgs" else name
        with pytest.raises(ValueError, match=named):
            make(**{name: value}).fit(X, y)


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(make, bad, X, y):
    X[3, 1] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        make(**SMALL).fit(X, y)


@BOTH
def test_arrays_that_are_not_a_table(make):
    for X, y, message in [
        (np.zeros((0, 3)), np.zeros(0), "0 sample"),
        (np.zeros(3), np.zeros(3), "Expected 2D array"),
        (np.zeros((3, 2)), np.zeros(4), "inconsistent numbers of samples"),
        (np.array([["a"], ["b"]]), np.zeros(2), "could not convert string"),
        (np.zeros((3, 2)), None, "y"),
    ]:
        with pytest.raises(ValueError, match=message):
            make(**SMALL).fit(X, y)


def test_weights_that_are_not_allowed(X, y):
    for weight, message in [
        (np.zeros(60), "at least one non-zero"),
        (np.full(60, -1.0), "Negative values"),
        (np.ones(59), "shape"),
        (np.full(60, np.nan), "NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            ResODERegressor(**SMALL).fit(X, y, sample_weight=weight)


@BOTH
def test_one_sample_or_feature_is_a_sane_fit_or_a_clear_error(make, X, y):
    model = make(**SMALL, flow_time=1.0).fit(X[:, :1], y)
    assert np.isfinite(outputs(model, X[:, :1])).all()
    if make is ResODERegressor:
        assert make(**SMALL).fit(X[:1], [7.0]).predict(X[:1]) == 7.0


@BOTH
@pytest.mark.parametrize("early_stopping", [True, False])
def test_units_do_not_matter(make, early_stopping, X, y):
    settings = {**SMALL, "flow_time": 5.0, "early_stopping": early_stopping}
    plain = outputs(make(**settings).fit(X, y), X)
    for unit in (1e-30, 1e-8, 1e8, 1e30):
        scale = unit if make is ResODERegressor else 1
        model = make(**settings).fit(unit * X, scale * y)
        assert model.score(unit * X, scale * y) > 0.1
        if not early_stopping:  # the rows held out depend on their digits
            found = outputs(model, unit * X) / scale
            np.testing.assert_allclose(found, plain, rtol=0.05, atol=0.05)


@BOTH
def test_a_misspelt_parameter_is_told_of_the_class_that_is_called(make, X, y):
    for kind in (make, type("Mine", (make,), {})):
        with pytest.raises(
            TypeError, match=rf"^{kind.__name__}\.__init__\(\) got .*'depht'"
        ):
            kind(depht=3)
        assert kind(3).depth == 3


def test_what_later_data_cannot_change_is_told_of(X, y):
    """Columns and targets that are constant where other data are to follow."""
    constant = np.column_stack([X, np.full(60, 3.7)])
    model = ResODERegressor(solver="adamw", **SMALL)
    with pytest.warns(UserWarning, match=r"columns \[3\] are constant in the first"):
        model.partial_fit(constant, y)
    model.partial_fit(constant, y)  # told once
    with pytest.warns(UserWarning, match="target is constant in the first"):
        clone(model).partial_fit(X, np.ones(60))
    model = ResODERegressor(**SMALL, flow_time=0.5, warm_start=True)
    with pytest.warns(UserWarning, match=r"columns \['x3'\] are constant"):
        model.fit(pd.DataFrame(constant, columns=["x0", "x1", "x2", "x3"]), y)


@BOTH
def test_constant_features_are_ignored(make, X, y):
    constant = np.column_stack([X, np.full(60, 3.7)])
    model = make(**SMALL, flow_time=5.0).fit(constant, y)
    before = outputs(model, constant)
    constant[:, 3] = -1e10
    np.testing.assert_array_equal(outputs(model, constant), before)
