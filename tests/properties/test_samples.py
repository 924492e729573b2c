"""Rows, weights, units and labels: what they mean does not depend on how they come."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from sklearn.base import clone

from odenet import ResODEClassifier, ResODERegressor
from odenet.solvers import SGD, AdamW
from tests.helpers import outputs
from tests.properties.cases import (
    generators,
    holds,
    problems,
    problems_of_labels,
    tables,
    trainings,
)

ANY_PROBLEM = problems() | problems(classes=True) | problems_of_labels()


def made(params, y):
    """An estimator for targets: labels are integers."""
    make = ResODEClassifier if y.dtype.kind == "i" else ResODERegressor
    return make(**params)


def with_a_text(X, rng):
    """A frame with a column of categories besides, some of them rare."""
    table = pd.DataFrame(X).add_prefix("x")
    table["text"] = [f"c{i}" for i in rng.geometric(0.3, size=len(X))]
    return table


@holds(30, 250, problem=ANY_PROBLEM, params=trainings(), rng=generators())
def test_rows_in_any_order_give_the_same_model(problem, params, rng):
    X, y = problem
    order = rng.permutation(len(X))
    table = with_a_text(X, rng)
    one = made(params, y).fit(table, y)
    two = clone(one).fit(table.iloc[order], y[order])
    np.testing.assert_array_equal(outputs(one, table), outputs(two, table))


@holds(30, 300, X=tables(), rng=generators())
def test_columns_in_any_order_give_the_same_inputs(X, rng):
    """Up to their order: the draw of the network decides what each of them is for."""
    X[rng.random(X.shape) < 0.1] = np.nan
    table, y = with_a_text(X, rng), rng.normal(size=len(X))
    order = rng.permutation(table.shape[1])
    params = {"flow_time": 0.01, "allow_nan": True, "random_state": 0}
    given = []
    for part in (table, table.iloc[:, order]):
        encode = ResODERegressor(1, width=1, **params).fit(part, y)._predictor.inputs
        given.append(np.sort(encode(encode.read(part)), axis=1))
    # The order of the rows differs, and sums of numbers far from zero round by 1e-9.
    np.testing.assert_allclose(given[0], given[1], rtol=1e-6, atol=1e-6)


@holds(60, 300, problem=ANY_PROBLEM, params=trainings(), rng=generators())
def test_a_weight_is_so_many_repetitions(problem, params, rng):
    """To the bit, also if some rows outweigh all others."""
    X, y = problem
    table = with_a_text(X, rng)
    weight = rng.choice([0, 1, 1, 2, 3, 40], size=len(X))
    first = np.unique(y, axis=0, return_index=True)[1]
    weight[first] += 1  # every class is there, and every set of labels
    repeated = rng.permutation(np.repeat(np.arange(len(X)), weight))
    one = made(params, y).fit(table, y, sample_weight=weight)
    two = clone(one).fit(table.iloc[repeated], y[repeated])
    np.testing.assert_array_equal(outputs(one, table), outputs(two, table))
    assert one.validation_scores_ == two.validation_scores_


@holds(
    40,
    900,
    problem=problems(),
    params=trainings(["flow", "gd"]),
    exponents=st.tuples(*[st.integers(-40, 40)] * 3),
)
def test_units_change_nothing(problem, params, exponents):
    """Powers of two are exact: units of X and of y, and of the weights.

    The order of the rows depends on the bits of X and y, so that nothing is held out.
    """
    X, y = problem
    params["early_stopping"] = False
    unit_of_X, unit_of_y, unit_of_weight = (2.0**k for k in exponents)
    weight = np.linspace(1, 2, len(X))
    one = made(params, y).fit(X, y, sample_weight=weight)
    two = clone(one).fit(
        X * unit_of_X, y * unit_of_y, sample_weight=weight * unit_of_weight
    )
    np.testing.assert_allclose(
        two.predict(X * unit_of_X),
        one.predict(X) * unit_of_y,
        rtol=1e-6,
        atol=1e-6 * unit_of_y * np.abs(y).max(),
    )


@holds(
    30,
    800,
    problem=problems(),
    params=trainings(["flow", "gd"]),
    rng=generators(),
)
def test_predictions_follow_affine_changes(problem, params, rng):
    """Up to rounding, which a choice of the flow time could magnify."""
    X, y = problem
    params["early_stopping"] = False
    a, b = rng.uniform(0.5, 3, X.shape[1]), rng.uniform(-5, 5, X.shape[1])
    one = made(params, y).fit(X, y)
    two = clone(one).fit(a * X + b, 7 * y - 3)
    scale = np.abs(y - y.mean()).max()
    np.testing.assert_allclose(
        two.predict(a * X + b), 7 * one.predict(X) - 3, rtol=1e-9, atol=1e-5 * scale
    )


@holds(30, 200, problem=problems(classes=True), params=trainings())
def test_labels_are_names(problem, params):
    X, y = problem
    one = ResODEClassifier(**params).fit(X, y)
    for labels in (np.array(["a", "bc", "d", "e"]), np.array([-7.0, 0.0, 2.0, 1e9])):
        two = clone(one).fit(X, labels[y])
        np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
        np.testing.assert_array_equal(labels[one.predict(X)], two.predict(X))


@holds(
    30, 150, problem=problems(), solver=st.sampled_from([SGD, AdamW]), rng=generators()
)
def test_a_stream_weighs_by_repetition_and_failures_leave_no_trace(
    problem, solver, rng
):
    X, y = problem
    params = {"depth": 2, "width": 4, "random_state": 0, "dtype": "float64"}
    one = ResODERegressor(solver=solver(1e-3, batch_size=5), **params)
    two = clone(one)
    for _ in range(3):
        weight = rng.choice([1, 1, 2, 3, 40], size=len(X))
        repeated = rng.permutation(np.repeat(np.arange(len(X)), weight))
        one.partial_fit(X, y, sample_weight=weight)
        two.partial_fit(X[repeated], y[repeated])
        try:
            two.partial_fit(np.full_like(X, np.nan), y)
        except ValueError:
            pass
        else:
            raise AssertionError("NaN was taken")
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
