"""Estimators with `monotonic_cst` never fall where they must rise."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODERegressor,
    ResODERegressorCV,
    distil,
)
from odenet.losses import Huber
from odenet.solvers import SGD, AdamW, Flow
from tests.helpers import BOTH, SMALL, outputs, serve_onnx

SIGNS = [1, 0, -1]


def data(make, n=120, seed=0):
    """Samples whose noise tempts a model to break the constraints."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = np.tanh(X[:, 0]) + X[:, 1] ** 2 - X[:, 2] * (X[:, 1] > 0)
    y = y + rng.normal(size=n)
    return X, y if make is ResODERegressor else (y > 0.8).astype(int)


def comparable(X, n, seed=1, signs=SIGNS):
    """Return rows, and others that differ from them by allowed steps only."""
    rng = np.random.default_rng(seed)
    low = np.column_stack([rng.choice(x, n) for x in X.T])
    other = np.column_stack([rng.choice(x, n) for x in X.T])
    rises = (other - low) * signs > 0
    return low, np.where(rises, other, low)


def violations(model, X, n=2000):
    """Count the pairs whose outputs are in the wrong order, beyond rounding.

    Both of a pair are evaluated together: an ODE takes the same steps for them.
    """
    pairs = np.stack(comparable(X, n), axis=1).reshape(2 * n, -1)
    change = np.diff(outputs(model, pairs).reshape(n, 2, -1), axis=1)
    assert change.max() > 0.01  # it is not constant
    return np.count_nonzero(change < -1e-12 * np.abs(change).max())


def served(model):
    """Return a model, and what else it is served as."""
    yield model
    yield model.to_ode()
    yield model.with_depth(2 * model.depth_ + 1)
    yield model.with_depth(3)
    yield model.with_depth(3, imitate=True)
    yield model.with_depth(3, merge=True)


@BOTH
def test_no_pair_is_in_the_wrong_order(make):
    X, y = data(make)
    free = make(**SMALL, solver="adamw").fit(X, y)
    assert violations(free, X) > 0
    for settings in (
        {"depth": 4, "flow_time": 20.0},
        {"depth": 64, "flow_time": 5.0},
        {"depth": 8, "solver": AdamW(max_epochs=30)},
        {"depth": 8, "solver": SGD(max_epochs=30), "activation": "softplus"},
        {"depth": 4, "solver": "gd", "flow_time": 1.0},
        {"depth": "auto", "flow_time": 5.0},
        {"depth": 4, "n_members": 2, "dtype": "float64", "flow_time": 5.0},
        {"depth": 4, "init": "iid", "standardize": False, "state_dim": 2, "width": 3},
    ):
        settings = {"random_state": 0, "width": 8, **settings}
        model = make(**settings, monotonic_cst=SIGNS).fit(X, y)
        for other in served(model):
            assert violations(other, X) == 0, settings


@pytest.mark.slow
@BOTH
def test_no_pair_of_many_is_in_the_wrong_order(make):
    X, y = data(make, n=300)
    for depth in (4, 64):
        settings = {"width": 16, "flow_time": 5.0, "random_state": 0}
        model = make(depth, **settings, monotonic_cst=SIGNS).fit(X, y)
        for other in served(model):
            assert violations(other, X, n=100_000) == 0


def test_a_constraint_against_the_data_gives_a_constant():
    X = np.linspace(-1, 1, 80)[:, None]
    for solver in ("flow", "adamw"):
        model = ResODERegressor(**SMALL, solver=solver, monotonic_cst=[1])
        assert np.ptp(model.fit(X, -X[:, 0]).predict(X)) < 0.05
        rising = model.fit(X, X[:, 0] ** 3).predict(X)
        assert np.abs(rising - X[:, 0] ** 3).max() < 0.2


def test_no_constraint_changes_nothing():
    X, y = data(ResODERegressor)
    free = ResODERegressor(**SMALL, flow_time=5.0).fit(X, y)
    none = ResODERegressor(**SMALL, flow_time=5.0, monotonic_cst=[0, 0, 0]).fit(X, y)
    np.testing.assert_array_equal(none.predict(X), free.predict(X))
    assert none.module_.activation == "gelu"


@BOTH
def test_names_stand_for_positions(make):
    X, y = data(make)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    settings = {**SMALL, "flow_time": 5.0}
    by_name = make(**settings, monotonic_cst={"c": -1, "a": 1}).fit(frame, y)
    by_place = make(**settings, monotonic_cst=np.array(SIGNS)).fit(X, y)
    np.testing.assert_array_equal(outputs(by_name, frame), outputs(by_place, X))
    transformed = by_name.set_output(transform="pandas").transform(frame)
    np.testing.assert_array_equal(transformed.to_numpy(), by_place.transform(X))


def test_columns_of_categories_and_missing_numbers_are_beside():
    X, y = data(ResODERegressor)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["b"] = np.where(X[:, 1] > 0, "up", "down")
    frame["d"] = np.array(["x", "y", "z"])[np.arange(len(X)) % 3]
    frame.loc[::5, "a"] = np.nan
    model = ResODERegressor(
        **SMALL, solver="adamw", allow_nan=True, monotonic_cst={"a": 1, "c": -1}
    ).fit(frame, y)
    rows = frame[frame["a"].notna()]
    for name, step in {"a": 1.0, "c": -1.0}.items():
        higher = rows.assign(**{name: rows[name] + step})
        assert (model.predict(higher) - model.predict(rows)).min() >= -1e-12
    with pytest.raises(ValueError, match=r"columns of categories.*\[1\] for \['d'\]"):
        clone(model).set_params(monotonic_cst={"d": 1}).fit(frame, y)


def test_wrong_constraints_are_told_and_lose_nothing():
    X, y = data(ResODERegressor)
    model = ResODERegressor(**SMALL, flow_time=2.0).fit(X, y)
    expected = model.predict(X)
    for params, message in (
        ({"monotonic_cst": [1, 0]}, "3 features"),
        ({"monotonic_cst": [1, 0, 2]}, r"-1, 0 or 1.*\[2\]"),
        ({"monotonic_cst": [[1, 0, 0]] * 3}, r"shape \(3, 3\)"),
        ({"monotonic_cst": {"a": 1}}, "feature names"),
        ({"monotonic_cst": 1}, "monotonic_cst"),
        ({"monotonic_cst": SIGNS, "activation": "silu"}, "'silu'"),
        ({"monotonic_cst": SIGNS, "loss": "quantile", "quantile": [0.1, 0.9]}, "one q"),
        ({"monotonic_cst": SIGNS, "solver": Flow(method="exponential")}, "exponential"),
    ):
        other = model.set_params(**{**clone(model).get_params(), **params})
        with pytest.raises(ValueError, match=message):
            other.fit(X, y)
        np.testing.assert_array_equal(model.predict(X), expected)
        model.set_params(monotonic_cst=None, activation="gelu", solver="auto")
        model.set_params(loss="squared_error", quantile=0.5)
    with pytest.raises(ValueError, match=r"Only binary.*with 3 classes"):
        ResODEClassifier(monotonic_cst=SIGNS).fit(X, np.arange(120) % 3)
    model = ResODERegressor(**SMALL, flow_time=2.0, monotonic_cst=SIGNS).fit(X, y)
    with pytest.raises(ValueError, match=r"to_ode\(\)\.predict"):
        model.richardson_predict(X)
    with pytest.raises(ValueError, match="at most 4 for a monotone network"):
        model.with_depth(8, imitate=True)


@BOTH
def test_files_pickles_and_graphs_keep_it(make, tmp_path):
    X, y = data(make)
    model = make(**SMALL, flow_time=10.0, monotonic_cst=SIGNS).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    for again in (
        make.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
    ):
        np.testing.assert_array_equal(outputs(again, X), outputs(model, X))
        assert again.module_.monotonicity == model.module_.monotonicity
        again.set_params(warm_start=True, flow_time=20.0).fit(X, y)
        assert again.flow_time_ == 20.0
        assert violations(again, X) == 0
    if make is ResODERegressor:
        pytest.importorskip("onnxruntime")
        rows = np.vstack(comparable(X, 500))
        low, high = np.split(serve_onnx(model, rows, tmp_path / "m.onnx").ravel(), 2)
        assert (high - low).min() > -1e-5


@BOTH
def test_training_goes_on_with_the_same_constraints_only(make):
    X, y = data(make)
    model = make(**SMALL, flow_time=5.0, monotonic_cst=SIGNS, warm_start=True)
    model.fit(X, y).set_params(flow_time=10.0, monotonic_cst=[1, 0, 0])
    with pytest.raises(ValueError, match=r"must stay the same.*\[1, 0, 0\]"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="must stay the same"):
        model.set_params(monotonic_cst=None).fit(X, y)
    assert violations(model.set_params(monotonic_cst=SIGNS).fit(X, y), X) == 0
    parts = make(**SMALL, solver="adamw", monotonic_cst=SIGNS)
    for _ in range(10):
        parts.partial_fit(X, y)
    assert violations(parts, X) == 0


def test_weights_of_samples_are_repetitions():
    X, y = data(ResODERegressor, n=40)
    times = np.arange(40) % 3
    settings = {**SMALL, "flow_time": 5.0, "monotonic_cst": SIGNS}
    by_weight = ResODERegressor(**settings).fit(X, y, sample_weight=times)
    repeated = ResODERegressor(**settings).fit(X.repeat(times, 0), y.repeat(times))
    np.testing.assert_array_equal(by_weight.predict(X), repeated.predict(X))


def test_losses_of_one_output_and_several_targets_are_monotone():
    X, y = data(ResODERegressor)
    for params, target in (
        ({"loss": "poisson"}, np.round(np.exp(y))),
        ({"loss": "gamma"}, np.exp(y)),
        ({"loss": Huber()}, y),
        ({"loss": "quantile", "quantile": 0.9}, y),
        ({}, np.column_stack([y, y + X[:, 0]])),
    ):
        model = ResODERegressor(**SMALL, flow_time=5.0, monotonic_cst=SIGNS, **params)
        assert violations(model.fit(X, target), X) == 0


@pytest.mark.parametrize(
    "search", [ResODERegressorCV, ResODEClassifierCV], ids=["regressor", "classifier"]
)
def test_searches_and_compositions_are_monotone(search):
    make = ResODERegressor if search is ResODERegressorCV else ResODEClassifier
    X, y = data(make)
    path = {"flow_times": [1.0, 5.0], "cv": 2, "width": 8, "random_state": 0}
    model = search([2, 4], **path, monotonic_cst=SIGNS).fit(X, y)
    assert violations(model, X) == 0
    model = make(**SMALL, flow_time=5.0, monotonic_cst=SIGNS)
    name = make.__name__.lower()
    grid = GridSearchCV(
        make_pipeline(StandardScaler(), model),
        {f"{name}__monotonic_cst": [None, SIGNS], f"{name}__depth": [2]},
        cv=2,
    ).fit(X, y)
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()
    assert violations(grid.best_estimator_.set_params(), X) >= 0
    assert violations(distil(model.fit(X, y), X, student=clone(model)), X) == 0


def test_members_are_monotone_alone():
    X, y = data(ResODERegressor)
    settings = {**SMALL, "n_members": 3, "flow_time": 5.0, "early_stopping": True}
    model = ResODERegressor(**settings, monotonic_cst=SIGNS).fit(X, y)
    for member in model.members_:
        assert violations(member, X) == 0
    low, high = comparable(X, 500)
    rise = model.predict_interval(high) - model.predict_interval(low)
    assert rise.min() >= -1e-12


def test_an_interrupted_fit_goes_on_to_the_same_weights(tmp_path, every_epoch_is_kept):
    class Interrupts(Callback):
        only_watches = True

        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 5:
                raise KeyboardInterrupt

    X, y = data(ResODERegressor)
    for more in ({"flow_time": 10.0}, {"solver": AdamW(max_epochs=10)}):
        settings = {**SMALL, **more, "monotonic_cst": SIGNS}
        whole = ResODERegressor(**settings).fit(X, y)
        kept = ResODERegressor(**settings, checkpoint=tmp_path / "fit")
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            clone(kept).set_params(callbacks=[Interrupts()]).fit(X, y)
        kept.fit(X, y)
        for name, p in whole.module_.state_dict().items():
            assert torch.equal(p, kept.module_.state_dict()[name])
