import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.utils import get_tags

from odenet import NeuralODE, ResODEClassifier, ResODERegressor
from odenet.solvers import AdamW
from tests.helpers import outputs, slope

DATA = {
    "regressor": (ResODERegressor, load_diabetes(return_X_y=True)),
    "binary": (ResODEClassifier, load_breast_cancer(return_X_y=True)),
    "multiclass": (ResODEClassifier, load_digits(n_class=4, return_X_y=True)),
}
KINDS = list(DATA)


FITTED = {}


def fit(kind, depth=32, **settings):
    """A copy of a model, which is fitted once, and its samples."""
    estimator, (X, y) = DATA[kind]
    settings = {"flow_time": 10.0, "early_stopping": False, "width": 16} | settings
    model = estimator(depth, random_state=0, **settings)
    X, y, key = X[:200], y[:200], (kind, repr(model))
    if key not in FITTED:
        FITTED[key] = model.fit(X, y)
    return copy.deepcopy(FITTED[key]), X, y


def test_parameters_reach_the_training_and_scikit_learn():
    model, X, y = fit("regressor", alpha=0.1, smoothness_penalty=0.2)
    plan = model._plan(model.solver_, model._predictor)
    assert (plan.alpha, plan.smoothness_penalty) == (0.1, 0.2)
    assert plan.longest_flow_time == 300.0
    for chosen, is_categorical in (("from_dtype", False), (None, False), ([0], True)):
        model.set_params(categorical_features=chosen)
        assert get_tags(model).input_tags.categorical == is_categorical


def test_without_standardisation_columns_are_as_they_are():
    model, X, y = fit("regressor", 4, flow_time=1e-3, standardize=False)
    np.testing.assert_array_equal(model._predictor.inputs(X), X)
    np.testing.assert_array_equal(model._predictor.targets.tensor(y).ravel(), y)


# with_depth --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolation", ["linear", "constant"])
def test_the_model_at_another_depth(kind, interpolation):
    model, X, y = fit(kind)
    before = outputs(model, X)
    for depth in (8, 12, 128):
        other = model.with_depth(depth, interpolation)
        assert type(other) is type(model)
        assert other.depth == other.depth_ == other.module_.depth == depth
        assert other.score(X, y) == pytest.approx(model.score(X, y), abs=0.03)
        assert not np.array_equal(outputs(other, X), before)
    assert model.depth == model.depth_ == 32
    np.testing.assert_array_equal(outputs(model, X), before)


def test_fitted_attributes_are_carried_over():
    X, y = load_digits(n_class=3, return_X_y=True)
    X = pd.DataFrame(X).add_prefix("pixel")
    model = ResODEClassifier(16, width=8, flow_time=3.0, random_state=0).fit(X, y)
    other = model.with_depth(4)
    np.testing.assert_array_equal(other.classes_, model.classes_)
    np.testing.assert_array_equal(other.feature_names_in_, model.feature_names_in_)
    for name in ("loss_curve_", "flow_time_", "n_grad_evals_", "stop_reason_"):
        assert getattr(other, name) == getattr(model, name)
    assert pd.DataFrame(other.depth_path_).equals(pd.DataFrame(model.depth_path_))
    assert other.net_.history[:, "train_loss"] == model.net_.history[:, "train_loss"]
    assert other.hidden_states(X).shape == (5, len(X), model.module_.state_dim)
    other.loss_curve_.clear()
    assert model.loss_curve_


def test_a_model_of_another_depth_can_be_cloned_trained_further_and_pickled():
    model, X, y = fit("regressor", depth_schedule=[4, 32])
    other = model.with_depth(16)
    assert clone(other).fit(X, y).depth_ == 16
    loaded = pickle.loads(pickle.dumps(other))
    np.testing.assert_array_equal(loaded.predict(X), other.predict(X))
    other.set_params(warm_start=True, flow_time=12.0).fit(X, y)
    assert other.depth_ == 16
    assert other.loss_curve_[-1] < model.loss_curve_[-1]
    first = other.loss_curve_[len(model.loss_curve_)]
    assert first == pytest.approx(model.loss_curve_[-1], rel=0.05)


def test_mini_batches_go_on_at_another_depth():
    model, X, y = fit("regressor", solver=AdamW(max_epochs=20))
    other = model.with_depth(8)
    other.set_params(warm_start=True).fit(X, y)
    assert other.loss_curve_[-1] < model.loss_curve_[-1]
    assert other.depth_ == 8


def test_the_gap_is_that_of_the_network_that_was_trained():
    model, _, _ = fit("regressor")
    assert model.with_depth(32).ode_gap_ == model.ode_gap_
    assert model.with_depth(8).ode_gap_ is None
    server = model.with_depth(8, imitate=True)
    server.ode_gap_ = 0.5  # as a warm start would find
    assert server.with_depth(8).ode_gap_ is None


@pytest.mark.parametrize("depth", [0, 2.5, "auto"])
def test_a_depth_that_is_none_is_refused(depth):
    model, _, _ = fit("regressor")
    with pytest.raises(ValueError, match="`depth` must be a positive integer, got"):
        model.with_depth(depth)


# to_ode ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_network_comes_near_its_ode(kind):
    """The error halves as the depth doubles."""
    model, X, _ = fit(kind, depth=16)
    ode = model.with_depth(1024).to_ode()
    exact = outputs(ode, X)
    assert outputs(model, X).shape == exact.shape
    depths = [16, 32, 64]
    errors = [np.linalg.norm(outputs(model.with_depth(d), X) - exact) for d in depths]
    assert slope(depths, errors) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_ode_predicts_in_the_units_of_its_estimator(kind):
    model, X, y = fit(kind, depth=128)
    ode = model.to_ode()
    assert isinstance(ode, NeuralODE)
    weight = np.arange(len(y)) % 3
    assert ode.score(X, y, weight) == pytest.approx(model.score(X, y, weight), abs=0.01)
    assert ode.predict(X).dtype == model.predict(X).dtype
    if kind == "regressor":
        np.testing.assert_allclose(ode.predict(X), model.predict(X), rtol=0.05)
        assert not hasattr(ode, "predict_proba")
        assert not hasattr(ode, "predict_log_proba")
    else:
        probabilities = ode.predict_proba(X)
        np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=0.02)
        np.testing.assert_allclose(np.exp(ode.predict_log_proba(X)), probabilities)
        np.testing.assert_array_equal(
            ode.predict(X), model.classes_[probabilities.argmax(axis=1)]
        )
    assert ode.n_evals_ > 6


def test_trajectory_runs_from_the_first_state_to_the_last():
    model, X, _ = fit("multiclass", depth=128)
    states, ode = model.hidden_states(X), model.to_ode()
    trajectory = ode.trajectory(X, [0.0, 0.5, 1.0])
    np.testing.assert_allclose(trajectory[0], states[0], rtol=1e-6)
    scale = np.abs(states).max()
    np.testing.assert_allclose(trajectory[1], states[64], atol=0.02 * scale)
    np.testing.assert_allclose(trajectory[2], states[128], atol=0.02 * scale)
    velocity = ode.vector_field(0.0, states[0])
    np.testing.assert_allclose(
        velocity, 128 * (states[1] - states[0]), atol=0.05 * np.abs(velocity).max()
    )


def test_ode_is_pickled_with_its_estimator():
    model, X, _ = fit("binary")
    ode = model.to_ode(rtol=1e-4)
    expected = ode.predict_proba(X)
    loaded = pickle.loads(pickle.dumps(ode))
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


def test_ode_is_trained_further_and_predicts():
    model, X, y = fit("regressor", depth=4, flow_time=1.0, device="cpu")
    ode = model.to_ode(rtol=1e-3, atol=1e-4).float()
    x = torch.tensor(model._predictor.inputs(X), dtype=torch.float32)
    target = model._predictor.targets.tensor(y[:, None]).float()
    before = np.mean((ode.predict(X) - y) ** 2)
    optimizer = torch.optim.Adam(ode.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        (ode(x) - target).square().mean().backward()
        optimizer.step()
    assert np.mean((ode.predict(X) - y) ** 2) < before
    assert np.mean((model.to_ode().predict(X) - y) ** 2) == pytest.approx(before, 1e-3)


def test_bad_settings_of_the_ode_are_named():
    model, _, _ = fit("regressor")
    with pytest.raises(ValueError, match="`method` must be one of .* got 'euler'"):
        model.to_ode(method="euler")
    with pytest.raises(ValueError, match="`rtol` must be a positive number, got 0"):
        model.to_ode(rtol=0)


# ode_gap and richardson_predict ------------------------------------------------------


@pytest.mark.parametrize("init", ["tied", "gaussian_process"])
@pytest.mark.parametrize("kind", KINDS)
def test_gap_halves_as_the_depth_doubles(kind, init):
    depths = [128, 256, 512]
    models = [fit(kind, depth, init=init)[0] for depth in depths]
    X = DATA[kind][1][0][:60]
    gaps = [model.ode_gap(X) for model in models]
    assert slope(depths, gaps) == pytest.approx(-1, abs=0.1)
    estimates = [model.ode_gap(X, method="richardson") for model in models]
    np.testing.assert_allclose(estimates[1:], gaps[1:], rtol=0.1)


def test_richardson_predicts_to_second_order():
    depths, errors = [16, 32, 64], []
    for depth in depths:
        model, X, _ = fit("regressor", depth, init="gaussian_process")
        exact = model.to_ode(rtol=1e-9, atol=1e-11, max_steps=10**6).predict(X)
        errors.append(np.linalg.norm(model.richardson_predict(X) - exact))
    assert slope(depths, errors) == pytest.approx(-2, abs=0.25)


def test_richardson_predicts_classes():
    model, X, y = fit("multiclass")
    assert (model.richardson_predict(X) == y).mean() > 0.9


def test_gap_is_computed_in_float64():
    model, X, _ = fit("regressor", 64)
    double = model.with_depth(64)
    double.module_.double()
    assert model.ode_gap(X) == pytest.approx(double.ode_gap(X), rel=1e-9)


def test_warns_where_the_weights_are_not_smooth():
    model, X, _ = fit("regressor", init="iid")
    for evaluate in (
        model.ode_gap,
        model.richardson_predict,
        lambda X: model.ode_gap(X, method="richardson"),
    ):
        with pytest.warns(UserWarning, match="not smooth in depth"):
            evaluate(X)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shallow_server_loses_little(kind):
    model, X, y = fit(kind, depth=128)
    assert model.with_depth(8).score(X, y) == pytest.approx(model.score(X, y), abs=0.02)


@pytest.mark.parametrize(
    "method", ["with_depth", "to_ode", "ode_gap", "richardson_predict"]
)
def test_unfitted_estimators_say_so(method):
    argument = {"with_depth": (4,), "to_ode": ()}.get(method, ([[0.0]],))
    with pytest.raises(Exception, match="not fitted yet"):
        getattr(ResODERegressor(), method)(*argument)


# backward ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rebuilt_backward_trains_the_same_network(kind):
    stored, rebuilt = (
        fit(kind, 24, backward=name, depth_schedule=None, dtype="float64")[0]
        for name in ("stored", "rebuilt")
    )
    assert rebuilt.module_.backward == "rebuilt"
    np.testing.assert_allclose(stored.loss_curve_, rebuilt.loss_curve_, rtol=1e-7)


def test_rebuilt_backward_is_kept_by_copies():
    model, X, _ = fit("regressor", backward="rebuilt")
    assert model.with_depth(8).module_.backward == "rebuilt"
    assert pickle.loads(pickle.dumps(model)).module_.backward == "rebuilt"


# imitation ---------------------------------------------------------------------------


def test_an_imitating_server_is_one_order_nearer():
    model, X, _ = fit("regressor", depth=512, init="gaussian_process")
    depths, errors = [16, 32, 64], []  # finer than the first depths of the training
    for depth in depths:
        servers = [model.with_depth(depth, imitate=imitate) for imitate in (0, 1)]
        errors.append([np.std(s.predict(X) - model.predict(X)) for s in servers])
    plain, imitating = np.array(errors).T
    assert slope(depths, plain) == pytest.approx(-1, abs=0.3)
    assert slope(depths, imitating) == pytest.approx(-2, abs=0.3)
    assert (imitating < plain / 2).all()


def test_imitation_is_kept_by_copies_and_by_further_changes():
    model, X, _ = fit("regressor", 64, init="gaussian_process", flow_time=40.0)
    server = model.with_depth(8, imitate=True)
    loaded = pickle.loads(pickle.dumps(server))
    np.testing.assert_array_equal(loaded.predict(X), server.predict(X))
    np.testing.assert_allclose(server.transform(X), server.hidden_states(X)[-1])
    assert server.with_depth(4, imitate=True).module_.imitated_depth == 64
    assert server.with_depth(64, imitate=True).module_.imitated_depth is None
    assert server.with_depth(4).module_.imitated_depth is None
    server, plain = (model.with_depth(16, imitate=imitate) for imitate in (1, 0))
    assert server.ode_gap(X) < plain.ode_gap(X) / 2


def test_mini_batch_parts_use_the_backward_that_is_asked_for():
    X, y = load_diabetes(return_X_y=True)
    model = ResODERegressor(8, width=8, solver="sgd", backward="rebuilt")
    model.partial_fit(X, y)
    assert model.module_.backward == "rebuilt"
    model.set_params(backward="stored").partial_fit(X, y)
    assert model.module_.backward == "stored"


def test_evaluations_are_counted_in_every_dtype():
    model, X, _ = fit("regressor")
    ode = model.to_ode(rtol=1e-3).float()
    ode.predict(X)
    assert ode.n_evals_ > 6


def test_merged_models_are_whole_models(tmp_path, rng):
    """They predict, are saved, exported to an ODE and changed in depth again."""
    X = rng.normal(size=(60, 3))
    model = ResODERegressor(16, width=4, flow_time=5.0, random_state=0)
    model.fit(X, np.sin(X[:, 0]))
    merged = model.with_depth(8, merge=True)
    assert (merged.depth, merged.depth_, merged.width, model.width) == (8, 8, 8, 4)
    expected = model.predict(X)
    difference = np.abs(merged.predict(X) - expected).max()
    assert 0 < difference < 0.1 * np.std(expected)
    merged.save(tmp_path / "model")
    loaded = ResODERegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), merged.predict(X))
    assert np.isfinite(merged.to_ode().predict(X)).all()
    assert merged.with_depth(16).width == 8
    merged.set_params(warm_start=True, flow_time=6.0).fit(X, np.sin(X[:, 0]))
    assert merged.flow_time_ == 6.0
    with pytest.raises(ValueError, match="no `imitate`"):
        model.with_depth(tol=0.1, X=X, merge=True)
