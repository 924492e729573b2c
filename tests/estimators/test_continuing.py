"""Trainings that go on: warm starts and parts of the data."""

import numpy as np
import pytest
import torch

from odenet import ResODERegressor
from odenet.solvers import SGD, AdamW, Flow
from tests.helpers import SMALL


def test_warm_start_follows_the_same_flow(X, y):
    settings = {**SMALL, "solver": Flow(rtol=1e-5), "dtype": "float64"}
    whole = ResODERegressor(**settings, flow_time=6.0).fit(X, y)
    parts = ResODERegressor(**settings, flow_time=2.0, warm_start=True).fit(X, y)
    n_iter, n_evals = parts.n_iter_, parts.n_grad_evals_
    parts.set_params(flow_time=6.0).fit(X, y)
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), atol=1e-3)
    assert parts.flow_time_ == 6.0
    assert parts.n_iter_ > n_iter
    assert parts.n_grad_evals_ > n_evals
    assert len(parts.loss_curve_) == parts.n_iter_
    assert np.all(np.diff(parts.loss_curve_) < 1e-9)


def test_warm_start_with_nothing_to_do_says_so(X, y):
    model = ResODERegressor(**SMALL, flow_time=2.0, warm_start=True).fit(X, y)
    before = model.predict(X)
    with pytest.warns(UserWarning, match="flow_time=2.0 is reached already"):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_partial_fit_where_it_means_nothing(X, y):
    assert not hasattr(ResODERegressor(solver="flow"), "partial_fit")
    model = ResODERegressor(**SMALL, solver=SGD(), early_stopping=True)
    with pytest.raises(ValueError, match="does not support early_stopping=True"):
        model.partial_fit(X, y)


def test_partial_fit_goes_on_from_a_fit_with_other_settings(rng):
    X = rng.normal(size=(220, 3))
    y = X[:, 0]
    model = ResODERegressor(**SMALL, solver=AdamW(max_epochs=3)).fit(X, y)
    n_iter = model.n_iter_
    model.partial_fit(X, y)
    assert model.n_iter_ == n_iter + 1
    model.set_params(solver=SGD(learning_rate=0.1)).partial_fit(X, y)
    assert type(model.net_.optimizer_) is torch.optim.SGD
    optimizer = model.net_.optimizer_
    assert model.partial_fit(X, y).net_.optimizer_ is optimizer


@pytest.mark.parametrize("flow_time", [None, 1.0])
def test_warm_start_with_another_solver(flow_time, X, y):
    model = ResODERegressor(**SMALL, solver=AdamW(max_epochs=2), warm_start=True)
    loss = model.fit(X, y).loss_curve_[-1]
    model.set_params(solver="flow", flow_time=flow_time).fit(X, y)
    assert model.loss_curve_[-1] < loss
    assert 0 < model.flow_time_ <= (flow_time or 100.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("depth", 8), ("width", 9), ("activation", "tanh"), ("dtype", "float64")],
)
def test_warm_start_keeps_the_structure(name, value, X, y):
    model = ResODERegressor(**SMALL, flow_time=1.0, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=f"`{name}` must stay.*got {value!r}"):
        model.set_params(**{name: value}).fit(X, y)
