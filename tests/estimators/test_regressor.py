"""The regressor: outputs, their shape and their units."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from odenet import ResODERegressor
from odenet.losses import Huber, Quantile, SquaredError
from odenet.solvers import SGD, AdamW, Flow, GradientDescent
from tests.helpers import SMALL, serve_onnx


def test_several_outputs_are_the_outputs_of_one_network(X):
    Y = np.column_stack([X[:, 0], 1000 * X[:, 1] + 5, np.ones(60)])
    model = ResODERegressor(**SMALL, flow_time=100.0).fit(X, Y)
    assert model.predict(X).shape == (60, 3)
    assert model.n_outputs_ == 3
    assert model.score(X, Y) > 0.9
    np.testing.assert_array_equal(model.predict(X)[:, 2], 1)


def test_shape_of_one_output_is_kept(X):
    flat = ResODERegressor(**SMALL, flow_time=1.0).fit(X, X[:, 0])
    column = ResODERegressor(**SMALL, flow_time=1.0).fit(X, X[:, :1])
    assert flat.predict(X).shape == (60,)
    assert column.predict(X).shape == (60, 1)
    np.testing.assert_array_equal(column.predict(X).ravel(), flat.predict(X))


def test_scikit_learn_knows_what_it_can(X, y):
    model = ResODERegressor(**SMALL)
    assert get_tags(model).target_tags.multi_output
    assert not hasattr(model, "partial_fit")
    assert hasattr(model.set_params(solver="sgd"), "partial_fit")
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_weights_count_in_every_part(X, y):
    models = []
    for weight in (np.ones(60), 1.0 + 9 * y):
        model = ResODERegressor(**SMALL, solver=SGD(max_epochs=1))
        models.append(model.partial_fit(X, y, sample_weight=weight))
    light, heavy = (model.predict(X).mean() for model in models)
    assert heavy > light + 0.01


def test_precision_of_training(X, y):
    models = {
        dtype: ResODERegressor(**SMALL, flow_time=5.0, dtype=dtype).fit(X, y)
        for dtype in ("float32", "float64")
    }
    assert models["float64"].module_.V.dtype == torch.float64
    assert all(model.predict(X).dtype == np.float64 for model in models.values())
    np.testing.assert_allclose(*(m.predict(X) for m in models.values()), atol=1e-3)


def test_noise_is_not_fitted(rng):
    X, noise = rng.normal(size=(300, 5)), rng.normal(size=300)
    stopped = ResODERegressor(**SMALL).fit(X, noise)
    assert stopped.stop_reason_ in {"early_stopping", "horizon"}
    assert stopped.score(X, noise) < 0.1
    followed = ResODERegressor(**SMALL, early_stopping=False, flow_time=200.0)
    followed.fit(X, noise)
    assert followed.score(X, noise) > 0.2


def test_constant_target(X):
    model = ResODERegressor(**SMALL).fit(X, np.full(60, 1e30))
    np.testing.assert_array_equal(model.predict(X), 1e30)
    assert model.stop_reason_ == "stationary"


def test_unscaled_extremes_fail_clearly_or_are_fitted(X, y):
    model = ResODERegressor(**SMALL, standardize=False)
    with pytest.raises(FloatingPointError, match="standardize=True"):
        model.fit(X, 1e30 * X[:, 0])
    model.fit(1e15 * X, X[:, 0])
    assert model.score(1e15 * X, X[:, 0]) > 0.99


def test_several_outputs_share_one_loss():
    X, Y = make_regression(100, 5, n_targets=2, random_state=0)
    model = ResODERegressor(**SMALL, flow_time=20.0, early_stopping=False).fit(X, Y)
    scaled = ((Y - model.predict(X)) / Y.std(axis=0)) ** 2
    assert model.loss_curve_[-1] == pytest.approx(scaled.sum(axis=1).mean(), rel=1e-4)


# Losses by name, and as objects with settings.
LOSSES = {
    "absolute error": {"loss": "absolute_error"},
    "Huber": {"loss": Huber(delta=0.5)},
    "Poisson": {"loss": "poisson"},
    "gamma": {"loss": "gamma"},
    "quantile": {"loss": "quantile", "quantile": 0.8},
    "quantiles": {"loss": "quantile", "quantile": [0.1, 0.3, 0.5, 0.9]},
}


def with_loss(name, **settings):
    return ResODERegressor(**SMALL, **LOSSES[name], **settings)


def positive(X):
    return np.exp(X[:, 0] / 2 + X[:, 1] ** 2 / 4)


def test_losses_go_wherever_a_regressor_goes(X, tmp_path):
    """Clones, pickles, files, graphs, other depths, the ODE, scores, a data frame."""
    y = positive(X)
    for name in LOSSES:
        model = clone(with_loss(name, flow_time=5.0)).fit(X, y)
        predictions = model.predict(X)
        assert predictions.shape == ((60, 4) if name == "quantiles" else (60,))
        assert predictions.dtype == np.float64
        model.save(tmp_path / "model.safetensors")
        loaded = ResODERegressor.load(tmp_path / "model.safetensors")
        for twin in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            np.testing.assert_array_equal(twin.predict(X), predictions)
            assert twin.net_.loss == model.net_.loss
        assert repr(loaded) == repr(model)
        served = serve_onnx(model, X, tmp_path / "model.onnx")
        assert served.shape == predictions.shape
        np.testing.assert_allclose(served, predictions, rtol=1e-4, atol=1e-4)
        deep, ode = model.with_depth(64), model.to_ode(rtol=1e-4)
        np.testing.assert_allclose(deep.predict(X), ode.predict(X), atol=0.05)
        of_middle = predictions[:, 2] if name == "quantiles" else predictions
        assert model.score(X, y) == r2_score(y, of_middle)
        assert ode.score(X, y) == pytest.approx(model.score(X, y), abs=0.1)
        assert model.loss_ == pytest.approx(model.loss_curve_[-1], rel=0.05)
        frame = pd.DataFrame(X).add_prefix("x").assign(c=list("ab") * 30)
        assert with_loss(name, flow_time=1.0).fit(frame, y).predict(frame).shape == (
            predictions.shape
        )


def test_losses_are_trained_by_all_solvers(X):
    """Each lowers it by far, and two integrators of one flow lead to the same."""
    X, y = X[:30], positive(X)[:30]
    solvers = [
        (Flow(), {"flow_time": 10.0}),
        (Flow(method="exponential"), {"flow_time": 10.0}),
        (AdamW(max_epochs=60), {}),
        (GradientDescent(), {"flow_time": 5.0, "dtype": "float64"}),
    ]
    for name in LOSSES:
        start = with_loss(name, flow_time=1e-3).fit(X, y).loss_
        ends = [with_loss(name, solver=s, **m).fit(X, y).loss_ for s, m in solvers]
        assert max(ends) < 0.8 * start, name
        assert ends[1] == pytest.approx(ends[0], rel=0.05), name


def test_weights_are_repetitions_for_all_losses(X):
    y, times = positive(X), np.arange(60) % 3
    again = np.repeat(np.arange(60), times)
    for name in LOSSES:
        # one by folds, of which some are padded, and the others for a given time
        settings = {} if name == "gamma" else {"flow_time": 3.0}
        weighted = with_loss(name, **settings).fit(X, y, sample_weight=times)
        repeated = with_loss(name, **settings).fit(X[again], y[again])
        np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))


def test_predictions_follow_the_units_of_the_targets(X):
    """Up to rounding: the rows are taken in an order that the targets decide."""
    y = positive(X)
    for name in LOSSES:
        base = with_loss(name, flow_time=3.0, dtype="float64").fit(X, y).predict(X)
        scaled = with_loss(name, flow_time=3.0, dtype="float64").fit(X, 1024 * y)
        np.testing.assert_allclose(scaled.predict(X), 1024 * base, rtol=1e-8)
        if name in ("Poisson", "gamma"):
            assert (base > 0).all()
            continue
        moved = with_loss(name, flow_time=3.0, dtype="float64").fit(X, 3 * y - 5)
        np.testing.assert_allclose(moved.predict(X), 3 * base - 5, atol=1e-7)


def test_training_goes_on_with_every_loss(X):
    y = positive(X)
    for name in LOSSES:
        whole = with_loss(name, flow_time=4.0, solver=Flow(rtol=1e-4)).fit(X, y)
        parts = with_loss(name, flow_time=2.0, solver=Flow(rtol=1e-4), warm_start=True)
        parts.fit(X, y).set_params(flow_time=4.0).fit(X, y)
        np.testing.assert_allclose(
            parts.predict(X), whole.predict(X), rtol=0.02, atol=0.02
        )
        stream = with_loss(name, solver="adamw")
        for _ in range(3):
            stream.partial_fit(X, y)
        assert stream.predict(X).shape == whole.predict(X).shape
    with pytest.raises(ValueError, match="`loss` and `quantile` must ask for as many"):
        parts.set_params(loss="squared_error").fit(X, y)
    others = {"loss": "quantile", "quantile": [0.2, 0.4, 0.6, 0.8]}
    parts.set_params(**others, flow_time=5.0).fit(X, y)
    assert parts.net_.loss == Quantile([0.2, 0.4, 0.6, 0.8])


def test_losses_are_searched_over(X):
    y = positive(X)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), with_loss("Poisson", flow_time=1.0)),
        {"resoderegressor__loss": ["poisson", "squared_error", Huber(2.0)]},
        cv=2,
    )
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 3


def test_targets_outside_the_domain_are_named(X):
    y = positive(X)
    y[3] = -0.5
    zeros = np.zeros(60)
    for name, targets, match in [
        ("Poisson", y, r"not negative for loss='poisson', got -0\.5"),
        ("gamma", y, r"positive numbers for loss='gamma', got -0\.5"),
        ("gamma", zeros, r"positive numbers for loss='gamma', got 0\.0"),
        ("Poisson", zeros, r"positive sum for loss='poisson'"),
    ]:
        for standardize in (True, False):
            with pytest.raises(ValueError, match=match):
                with_loss(name, standardize=standardize).fit(X, targets)
    with pytest.raises(ValueError, match="Of `X_val`.*not negative for loss='poisson'"):
        with_loss("Poisson").fit(X, np.abs(y), X_val=X, y_val=y)
    weight = np.ones(60)
    weight[3] = 0  # a row without weight is absent
    with_loss("Poisson", flow_time=0.1).fit(X, y, sample_weight=weight)


def test_bad_parameters_of_losses_are_named(X, y):
    for params, match in [
        ({"loss": "median"}, "The 'loss' parameter of ResODERegressor must be"),
        ({"loss": Huber}, "The 'loss' parameter of ResODERegressor must be"),
        ({"loss": "quantile", "quantile": 1.0}, "The 'quantile' parameter of"),
        ({"loss": "quantile", "quantile": [0.9, 0.1]}, "`quantile` must be a number"),
    ]:
        with pytest.raises(ValueError, match=match):
            ResODERegressor(**SMALL, **params).fit(X, y)


def test_quantiles_cross_nowhere(rng):
    """Of two targets, at any depth and in the ODE, and far away from all samples."""
    X = rng.normal(size=(80, 2))
    Y = np.column_stack([X[:, 0], X[:, 1] ** 2]) + rng.normal(size=(80, 2)) * X[:, :1]
    model = with_loss("quantiles", flow_time=20.0).fit(X, Y)
    assert model.n_outputs_ == 8
    far = rng.normal(size=(500, 2)) * 10.0 ** rng.uniform(-2, 3, size=(500, 1))
    for served in (model, model.with_depth(3), model.with_depth(40), model.to_ode()):
        predictions = served.predict(far)
        assert predictions.shape == (500, 2, 4)
        assert (np.diff(predictions, axis=2) >= 0).all()
    assert (np.diff(model.predict(X), axis=2) > 0).all()
    assert model.score(X, Y) == r2_score(Y, model.predict(X)[..., 2])


def test_quantiles_leave_their_share_of_the_targets_below(rng):
    """Also where the noise depends on x: quantiles by x > 0 are right on both sides."""
    X = rng.uniform(-1, 1, size=(2000, 1))
    y = 3 * X[:, 0] + np.where(X[:, 0] > 0, 2.0, 0.5) * rng.normal(size=2000)
    settings = {"solver": AdamW(max_epochs=30), "width": 16, "random_state": 0}
    levels = [0.1, 0.5, 0.9]
    several = ResODERegressor(4, loss="quantile", quantile=levels, **settings).fit(X, y)
    alone = ResODERegressor(4, loss="quantile", quantile=0.9, **settings).fit(X, y)
    median = ResODERegressor(4, loss="absolute_error", **settings).fit(X, y)
    for side in (X[:, 0] > 0, X[:, 0] <= 0):
        below = (y[side, None] <= several.predict(X[side])).mean(axis=0)
        np.testing.assert_allclose(below, levels, atol=0.05)
        for model, level in ((alone, 0.9), (median, 0.5)):
            below = (y[side] <= model.predict(X[side])).mean()
            assert below == pytest.approx(level, abs=0.05)


def test_outliers_move_robust_losses_less(rng):
    X = rng.normal(size=(200, 2))
    truth = X[:, 0] + X[:, 1] ** 2
    y = truth + 0.1 * rng.normal(size=200)
    y[::10] += 30  # on one side
    errors = {}
    for loss in ("squared_error", "absolute_error", Huber(0.1), Quantile(0.5)):
        model = ResODERegressor(**SMALL, loss=loss, flow_time=60.0)
        errors[loss] = np.abs(model.fit(X, y).predict(X) - truth).mean()
    assert errors.pop("squared_error") > 4 * max(errors.values()), errors


def test_means_of_counts_and_of_positive_targets(rng):
    """Means in the units of y, nearer to the truth than those of the squared error."""
    X = rng.uniform(-2, 2, size=(400, 1))
    mean = np.exp(1.5 * X[:, 0])
    draws = {"poisson": rng.poisson(mean), "gamma": rng.gamma(2.0, mean / 2)}
    for loss, y in draws.items():
        errors = []
        for kind in (loss, "squared_error"):
            model = ResODERegressor(**SMALL, loss=kind).fit(X, y)
            errors.append(np.abs(np.log(model.predict(X).clip(1e-3) / mean)).mean())
        assert errors[0] < 0.15, loss
        assert errors[0] < 0.5 * errors[1], loss


def test_constant_targets_of_all_losses(X):
    for name in LOSSES:
        predictions = with_loss(name).fit(X, np.full(60, 7.0)).predict(X)
        np.testing.assert_allclose(predictions, 7.0, rtol=1e-6)


def test_the_default_loss_by_name_and_as_an_object(X, y):
    models = [
        ResODERegressor(**SMALL, flow_time=2.0, **params).fit(X, y)
        for params in ({}, {"loss": "squared_error", "quantile": 0.9})
    ]
    own = ResODERegressor(**SMALL, flow_time=2.0, loss=SquaredError())
    models.append(own.fit(X, y))
    first, *others = (model.predict(X) for model in models)
    assert all(np.array_equal(first, other) for other in others)
    assert {type(model.solver_) for model in models} == {Flow}
