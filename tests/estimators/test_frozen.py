"""Fitted estimators: frozen for pickles, and evaluated on any rows."""

import gc
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

import odenet
from odenet import ResODEClassifier, ResODERegressor
from odenet._estimators.frozen import freeze, thaw
from odenet.solvers import AdamW
from tests.helpers import BOTH, SMALL, outputs


class TestReproducibility:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_prediction_does_not_depend_on_the_batch(self, dtype, rng):
        X = rng.normal(size=(5000, 3))
        model = ResODERegressor(**SMALL, flow_time=3.0, dtype=dtype)
        model.fit(X[:100], X[:100, 0])
        whole = model.predict(X)
        alone = [model.predict(X[i : i + 1])[0] for i in (0, 1, 4095, 4096, 4999)]
        np.testing.assert_allclose(alone, whole[[0, 1, 4095, 4096, 4999]], rtol=1e-12)


class TestPersistence:
    @BOTH
    @pytest.mark.parametrize("solver", ["flow", AdamW(max_epochs=2)])
    def test_pickle_predicts_the_same_and_can_go_on(self, make, solver, X, y):
        model = make(**SMALL, solver=solver, flow_time=2.0, warm_start=True).fit(X, y)
        twin = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(outputs(twin, X), outputs(model, X))
        assert list(twin.net_.history) == list(model.net_.history)
        assert twin.depth_smoothness_ == model.depth_smoothness_
        twin.set_params(flow_time=3.0).fit(X, y)
        assert twin.n_iter_ > model.n_iter_

    def test_pickle_holds_neither_tensors_nor_data(self, tmp_path, rng):
        X = rng.normal(size=(20_000, 3))
        model = ResODERegressor(**SMALL, solver=AdamW(max_epochs=1)).fit(X, X[:, 0])
        state = model.__getstate__()
        assert not any(isinstance(value, torch.Tensor) for value in state.values())
        joblib.dump(model, tmp_path / "model.joblib")
        n_bytes = sum(p.numel() * 4 for p in model.module_.parameters())
        n_bytes += 16 * 1000  # scores and weights of held-out samples, at most
        assert (tmp_path / "model.joblib").stat().st_size < 1.2 * n_bytes + 20_000

    @pytest.mark.skipif(
        torch.cuda.is_available(), reason="needs a machine without CUDA"
    )
    def test_model_of_a_missing_device_loads_on_the_cpu(self, X, y):
        model = ResODERegressor(**SMALL, flow_time=1.0).fit(X, y)
        model.device = "cuda"
        data = pickle.dumps(model)
        with pytest.warns(UserWarning, match="'cuda' of this model is not available"):
            twin = pickle.loads(data)
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))

    def test_what_is_frozen_is_a_copy_and_thaws_on_any_device(self, X, y):
        model = ResODERegressor(**SMALL, flow_time=1.0).fit(X, y)
        frozen = freeze(model._predictor, model.net_)
        assert thaw(frozen, "meta").network.V.is_meta
        frozen["history"][0]["train_loss"] = 7.0
        assert model.loss_curve_[0] == model.net_.history[0]["train_loss"] != 7.0

    def test_clone_is_unfitted(self, X, y):
        model = clone(ResODERegressor(**SMALL, flow_time=1.0).fit(X, y))
        with pytest.raises(NotFittedError):
            model.predict(X)


class TestFrames:
    @pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
    def test_names_are_checked(self, frame, X, y):
        table = frame(dict(zip("abc", X.T, strict=True)))
        model = ResODERegressor(**SMALL, flow_time=1.0).fit(table, y)
        assert list(model.feature_names_in_) == ["a", "b", "c"]
        assert model.predict(table).shape == (60,)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(table[["b", "a", "c"]])

    @pytest.mark.parametrize("container", ["pandas", "polars"])
    def test_states_come_out_as_a_frame(self, container, X, y):
        model = ResODEClassifier(**SMALL, flow_time=1.0).set_output(transform=container)
        states = model.fit(X, y).transform(X)
        assert states.shape == (60, model.module_.state_dim)
        assert list(states.columns)[0] == "resodeclassifier0"


class TestStates:
    def test_transform_is_the_last_hidden_state(self, X, y):
        model = ResODERegressor(**SMALL, flow_time=2.0).fit(X, y)
        states = model.hidden_states(X)
        assert states.shape == (5, 60, 16)
        np.testing.assert_allclose(states[-1], model.transform(X), rtol=1e-10)
        head = model.module_.head.detach().cpu().double().numpy()
        network_output = states[-1] @ head.T
        correlation = np.corrcoef(network_output.ravel(), model.predict(X))[0, 1]
        assert correlation == pytest.approx(1)

    def test_estimator_in_the_middle_of_a_pipeline(self, X, y):
        model = make_pipeline(
            ResODERegressor(**SMALL, flow_time=2.0), LinearRegression()
        )
        assert model.fit(X, y).score(X, y) > 0.5

    def test_smoothness_is_that_of_the_module(self, X, y):
        model = ResODERegressor(**SMALL, flow_time=2.0).fit(X, y)
        assert model.depth_smoothness_ == odenet.depth_smoothness(model.module_)
        assert model.depth_smoothness_.lipschitz > 0
        assert model.depth_ == 4


class TestBadInput:
    @BOTH
    def test_far_away_predictions_are_finite(self, make, X, y):
        model = make(**SMALL, flow_time=5.0).fit(X, y)
        assert np.isfinite(outputs(model, 1e30 * X)).all()


def test_memory_is_flat_over_many_fits(X, y):
    """No graph and no data outlives a fit: live tensors do not accumulate."""

    def n_tensors():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    model, counts = ResODERegressor(**SMALL, flow_time=1.0), []
    for _ in range(4):
        model.fit(X, y)
        counts.append(n_tensors())
    assert counts[-1] == counts[0]
