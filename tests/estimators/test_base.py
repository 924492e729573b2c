import gc
import pickle
import random
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skorch.callbacks
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import odenet
from odenet import ResODEClassifier, ResODERegressor
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

SMALL = {"depth": 4, "width": 8, "random_state": 0}
BOTH = pytest.mark.parametrize("make", [ResODERegressor, ResODEClassifier])


@pytest.fixture
def X(rng):
    return rng.normal(size=(60, 3))


@pytest.fixture
def y(X):
    return (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)


def outputs(model, X):
    is_regressor = isinstance(model, ResODERegressor)
    return model.predict(X) if is_regressor else model.decision_function(X)


class TestTargets:
    def test_several_outputs_are_the_outputs_of_one_network(self, X):
        Y = np.column_stack([X[:, 0], 1000 * X[:, 1] + 5, np.ones(60)])
        model = ResODERegressor(**SMALL, flow_time=100.0).fit(X, Y)
        assert model.predict(X).shape == (60, 3)
        assert model.n_outputs_ == 3
        assert model.score(X, Y) > 0.9
        np.testing.assert_array_equal(model.predict(X)[:, 2], 1)

    def test_shape_of_one_output_is_kept(self, X):
        flat = ResODERegressor(**SMALL, flow_time=1.0).fit(X, X[:, 0])
        column = ResODERegressor(**SMALL, flow_time=1.0).fit(X, X[:, :1])
        assert flat.predict(X).shape == (60,)
        assert column.predict(X).shape == (60, 1)
        np.testing.assert_array_equal(column.predict(X).ravel(), flat.predict(X))

    def test_column_of_labels_is_flattened_with_a_warning(self, X, y):
        with pytest.warns(DataConversionWarning):
            model = ResODEClassifier(**SMALL, flow_time=1.0).fit(X, y[:, None])
        assert model.predict(X).shape == (60,)

    @pytest.mark.parametrize("labels", [["no", "yes"], [-1, 1], [False, True]])
    def test_two_classes(self, X, y, labels):
        labels = np.array(labels)
        model = ResODEClassifier(**SMALL, flow_time=200.0).fit(X, labels[y])
        np.testing.assert_array_equal(model.classes_, labels)
        assert model.score(X, labels[y]) > 0.9
        logits, probabilities = model.decision_function(X), model.predict_proba(X)
        assert logits.shape == (60,)
        np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-logits)))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities)
        chosen = labels[probabilities.argmax(axis=1)]
        np.testing.assert_array_equal(model.predict(X), chosen)

    def test_several_classes(self):
        X, y = load_iris(return_X_y=True)
        labels = np.array(["setosa", "versicolor", "virginica"])
        model = ResODEClassifier(**SMALL, flow_time=20.0).fit(X, labels[y])
        assert model.score(X, labels[y]) > 0.95
        probabilities = model.predict_proba(X)
        assert model.decision_function(X).shape == probabilities.shape == (150, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities)

    def test_loss_is_that_of_the_training_samples(self, X, y):
        model = ResODEClassifier(**SMALL, flow_time=20.0, label_smoothing=0).fit(X, y)
        loss = log_loss(y, model.predict_proba(X))
        assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-4)


class TestWeights:
    @BOTH
    @pytest.mark.parametrize("early_stopping", [True, False])
    @pytest.mark.parametrize("solver", ["flow", AdamW(batch_size=16, max_epochs=5)])
    def test_weight_is_repetition_to_the_bit(
        self, make, early_stopping, solver, X, y, rng
    ):
        settings = {**SMALL, "early_stopping": early_stopping, "solver": solver}
        if solver == "flow":
            settings["flow_time"] = 10.0
        weight = rng.integers(0, 4, size=60)
        order = rng.permutation(np.repeat(np.arange(60), weight))
        weighted = make(**settings).fit(X, y, sample_weight=weight)
        repeated = make(**settings).fit(X[order], y[order])
        np.testing.assert_array_equal(outputs(weighted, X), outputs(repeated, X))

    def test_heavier_classes_are_predicted_more_often(self):
        X, y = make_classification(300, weights=[0.9], flip_y=0.2, random_state=0)
        shares = []
        for class_weight in (None, {1: 2}, "balanced", {1: 100}):
            model = ResODEClassifier(
                **SMALL, flow_time=3.0, early_stopping=False, class_weight=class_weight
            )
            shares.append(model.fit(X, y).predict(X).mean())
        assert shares[0] < shares[1] < shares[2] < shares[3]

    def test_balanced_is_the_same_as_equal_masses(self, X, y):
        mass = np.bincount(y)
        settings = {**SMALL, "flow_time": 5.0}
        balanced = ResODEClassifier(**settings, class_weight="balanced").fit(X, y)
        by_hand = ResODEClassifier(**settings).fit(X, y, sample_weight=1 / mass[y])
        np.testing.assert_allclose(
            balanced.decision_function(X), by_hand.decision_function(X), rtol=1e-4
        )


class TestReproducibility:
    @BOTH
    def test_same_seed_same_model_in_any_order_of_rows(self, make, X, y, rng):
        settings = {**SMALL, "flow_time": 5.0, "early_stopping": True}
        order = rng.permutation(60)
        one = make(**settings).fit(X, y)
        two = make(**settings).fit(X[order], y[order])
        np.testing.assert_array_equal(outputs(one, X), outputs(two, X))
        other = make(**settings).set_params(random_state=1).fit(X, y)
        assert not np.array_equal(outputs(one, X), outputs(other, X))

    @pytest.mark.parametrize("random_state", [None, 0, np.random.RandomState(0)])
    @pytest.mark.parametrize("solver", ["flow", AdamW(batch_size=16, max_epochs=2)])
    def test_global_states_are_untouched(self, random_state, solver, X, y):
        def states():
            return (
                random.getstate(),
                np.random.get_state()[1].tobytes(),  # noqa: NPY002
                torch.get_rng_state().numpy().tobytes(),
                torch.get_num_threads(),
                torch.get_default_dtype(),
            )

        before = states()
        model = ResODERegressor(4, solver=solver, random_state=random_state)
        model.fit(X, y).predict(X)
        assert states() == before

    def test_no_seed_gives_different_models(self, X, y):
        models = [ResODERegressor(2, flow_time=1.0).fit(X, y) for _ in "ab"]
        assert not torch.equal(*(model.module_.W for model in models))

    def test_same_scores_in_two_processes(self, X, y):
        model = ResODERegressor(**SMALL, flow_time=3.0)
        one, two = (cross_val_score(model, X, y, n_jobs=n_jobs) for n_jobs in (1, 2))
        np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_prediction_does_not_depend_on_the_batch(self, dtype, rng):
        X = rng.normal(size=(5000, 3))
        model = ResODERegressor(**SMALL, flow_time=3.0, dtype=dtype)
        model.fit(X[:100], X[:100, 0])
        whole = model.predict(X)
        alone = [model.predict(X[i : i + 1])[0] for i in (0, 1, 4095, 4096, 4999)]
        np.testing.assert_allclose(alone, whole[[0, 1, 4095, 4096, 4999]], rtol=1e-12)

    def test_precision_of_training(self, X, y):
        models = {
            dtype: ResODERegressor(**SMALL, flow_time=5.0, dtype=dtype).fit(X, y)
            for dtype in ("float32", "float64")
        }
        assert models["float64"].module_.V.dtype == torch.float64
        assert all(model.predict(X).dtype == np.float64 for model in models.values())
        np.testing.assert_allclose(*(m.predict(X) for m in models.values()), atol=1e-3)


class TestStopping:
    def test_automatic_early_stopping_needs_enough_samples(self, rng):
        X = rng.normal(size=(200, 2))
        model = ResODERegressor(**SMALL, flow_time=1.0)
        assert model.fit(X[:-1], X[:-1, 0]).validation_loss_curve_ is None
        model.fit(X, X[:, 0])
        assert len(model.validation_loss_curve_) == len(model.validation_flow_times_)

    def test_flow_is_followed_on_all_samples_to_the_time_chosen(self, X, y):
        model = ResODERegressor(**SMALL, early_stopping=True).fit(X, y)
        assert model.flow_time_ in model.validation_flow_times_
        horizon = {"early_stopping": False, "flow_time": model.flow_time_}
        plain = clone(model).set_params(**horizon).fit(X, y)
        np.testing.assert_array_equal(model.predict(X), plain.predict(X))
        assert model.loss_curve_ == plain.loss_curve_
        assert model.n_grad_evals_ > plain.n_grad_evals_
        roles = [row["role"] for row in model.net_.history]
        assert roles == sorted(roles)
        assert roles.count("fit") == model.n_iter_

    def test_given_validation_samples_are_used(self, X, y):
        model = ResODEClassifier(**SMALL, flow_time=5.0)
        model.fit(X, y, X_val=X, y_val=1 - y)
        assert model.flow_time_ < 5.0
        assert len(model.validation_scores_) == model.n_iter_
        model.set_params(early_stopping=False).fit(X, y, X_val=X, y_val=1 - y)
        assert model.flow_time_ == 5.0
        assert len(model.validation_loss_curve_) == model.n_iter_

    def test_noise_is_not_fitted(self, rng):
        X, noise = rng.normal(size=(300, 5)), rng.normal(size=300)
        stopped = ResODERegressor(**SMALL).fit(X, noise)
        assert stopped.stop_reason_ in {"early_stopping", "horizon"}
        assert stopped.score(X, noise) < 0.1
        followed = ResODERegressor(**SMALL, early_stopping=False, flow_time=200.0)
        followed.fit(X, noise)
        assert followed.score(X, noise) > 0.2

    @pytest.mark.parametrize("solver", ["flow", "gd"])
    def test_horizon(self, solver, X, y):
        model = ResODERegressor(**SMALL, solver=solver, flow_time=2.5).fit(X, y)
        assert model.flow_time_ == 2.5
        assert model.stop_reason_ == "horizon"
        assert model.converged_

    def test_too_few_evaluations_are_reported(self, X, y):
        model = ResODERegressor(**SMALL, solver=Flow(max_evals=20))
        with pytest.warns(ConvergenceWarning, match="max_evals"):
            model.fit(X, y)
        assert model.stop_reason_ == "max_evals"
        assert not model.converged_
        assert model.n_grad_evals_ < 60

    def test_divergence_warns_and_leaves_a_usable_model(self, X, y):
        model = ResODERegressor(**SMALL, solver=GradientDescent(learning_rate=50.0))
        with pytest.warns(ConvergenceWarning, match="diverged.*learning_rate"):
            model.fit(X, y)
        assert model.stop_reason_ == "diverged"
        assert np.isfinite(model.predict(X)).all()

    @pytest.mark.parametrize("when", [1, 12])
    @pytest.mark.parametrize("solver", ["flow", "gd", "sgd", "adamw"])
    def test_interruption_leaves_a_usable_model(self, solver, when, X, y):
        calls = []

        def interrupt(net, **kwargs):
            calls.append(1)
            if len(calls) == when:
                raise KeyboardInterrupt

        callback = skorch.callbacks.Callback()
        callback.on_grad_computed = interrupt
        model = ResODERegressor(**SMALL, solver=solver, callbacks=[callback])
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            model.fit(X, y)
        assert model.stop_reason_ == "interrupted"
        assert np.isfinite(model.predict(X)).all()
        model.callbacks = None
        twin = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))


class TestContinuing:
    def test_warm_start_follows_the_same_flow(self, X, y):
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

    def test_warm_start_with_nothing_to_do_says_so(self, X, y):
        model = ResODERegressor(**SMALL, flow_time=2.0, warm_start=True).fit(X, y)
        before = model.predict(X)
        with pytest.warns(UserWarning, match="flow_time=2.0 is reached already"):
            model.fit(X, y)
        np.testing.assert_array_equal(model.predict(X), before)

    def test_partial_fit_learns_from_parts(self, rng):
        X = rng.normal(size=(400, 3))
        y = np.where(X[:, 0] > 0, "b", np.where(X[:, 1] > 0, "a", "c"))
        model = ResODEClassifier(**SMALL, solver=AdamW(learning_rate=0.02))
        for _ in range(10):
            for part in range(0, 400, 100):
                rows = slice(part, part + 100)
                model.partial_fit(X[rows], y[rows], classes=["a", "b", "c"])
        assert model.score(X, y) > 0.9
        assert model.n_iter_ == 40

    def test_partial_fit_with_classes_to_come(self, X, y):
        model = ResODEClassifier(**SMALL, solver="sgd")
        model.partial_fit(X[y == 0], y[y == 0], classes=[0, 1])
        model.partial_fit(X, y)
        with pytest.raises(ValueError, match=r"labels that are not among.*\[2\]"):
            model.partial_fit(X, y + 1)

    def test_partial_fit_where_it_means_nothing(self, X, y):
        assert not hasattr(ResODERegressor(solver="flow"), "partial_fit")
        model = ResODERegressor(**SMALL, solver=SGD(), early_stopping=True)
        with pytest.raises(ValueError, match="does not support early_stopping=True"):
            model.partial_fit(X, y)

    def test_partial_fit_goes_on_from_a_fit_with_other_settings(self, rng):
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

    def test_weights_count_in_every_part(self, X, y):
        settings = {**SMALL, "solver": SGD(max_epochs=1)}
        light = ResODEClassifier(**settings, class_weight={0: 1, 1: 1})
        heavy = ResODEClassifier(**settings, class_weight={0: 1, 1: 100})
        for part in (y == 0, y == 1):
            light.partial_fit(X[part], y[part], classes=[0, 1])
            heavy.partial_fit(X[part], y[part], classes=[0, 1])
        assert heavy.predict_proba(X)[:, 1].mean() > light.predict_proba(X)[:, 1].mean()
        with pytest.raises(ValueError, match="not the same as on last call"):
            light.partial_fit(X, y, classes=[0, 1, 2])
        with pytest.raises(ValueError, match="'balanced' is not supported"):
            heavy.set_params(class_weight="balanced").partial_fit(X, y)

    @pytest.mark.parametrize("flow_time", [None, 1.0])
    def test_warm_start_with_another_solver(self, flow_time, X, y):
        model = ResODERegressor(**SMALL, solver=AdamW(max_epochs=2), warm_start=True)
        loss = model.fit(X, y).loss_curve_[-1]
        model.set_params(solver="flow", flow_time=flow_time).fit(X, y)
        assert model.loss_curve_[-1] < loss
        assert 0 < model.flow_time_ <= (flow_time or 100.0)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("depth", 8), ("width", 9), ("activation", "tanh"), ("dtype", "float64")],
    )
    def test_warm_start_keeps_the_structure(self, name, value, X, y):
        model = ResODERegressor(**SMALL, flow_time=1.0, warm_start=True).fit(X, y)
        with pytest.raises(ValueError, match=f"`{name}` must stay.*got {value!r}"):
            model.set_params(**{name: value}).fit(X, y)


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
        head = model.module_.head.detach().double().numpy()
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


class TestAroundScikitLearn:
    def test_grid_search_over_depth_and_solver_settings(self, X, y):
        model = ResODEClassifier(width=8, random_state=0, flow_time=2.0, solver=Flow())
        grid = {
            "resodeclassifier__depth": [2, 4],
            "resodeclassifier__solver__rtol": [0.1],
        }
        pipeline = make_pipeline(StandardScaler(), model)
        search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3).fit(X, y)
        assert search.best_estimator_[-1].depth_ in (2, 4)
        assert search.best_estimator_[-1].solver.rtol == 0.1

    def test_bagging(self, X, y):
        model = BaggingRegressor(ResODERegressor(**SMALL, flow_time=2.0), 3).fit(X, y)
        assert model.predict(X).shape == (60,)

    def test_callbacks_of_scikit_learn(self, X, y):
        pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")
        from sklearn.callback import ScoringMonitor

        monitor = ScoringMonitor(scoring="r2")
        model = ResODERegressor(**SMALL, flow_time=2.0).set_callbacks(monitor)
        model.fit(X, y)
        log = monitor.get_logs()
        log = log[0] if isinstance(log, list) else log
        scores = pd.DataFrame(log.data)
        epochs = scores.dropna(subset=["r2"]).drop_duplicates("r2")["r2"]
        assert len(epochs) == model.n_iter_
        assert epochs.max() == pytest.approx(model.score(X, y), rel=1e-6)

    def test_verbose_shows_a_bar(self, X, y, capsys):
        ResODERegressor(**SMALL, flow_time=2.0, verbose=1).fit(X, y)
        assert "2/2 t" in capsys.readouterr().err

    def test_fit_does_not_import_matplotlib(self):
        code = (
            "import sys, numpy as np, odenet;"
            "X = np.eye(4);"
            "odenet.ResODERegressor(2, flow_time=1.0).fit(X, X[0]).predict(X);"
            "sys.exit('matplotlib' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestBadInput:
    def test_missing_numbers_are_told_how_to_be_taken(self, X, y):
        holes = np.array(X, dtype=float)
        holes[0, 0] = np.nan
        model = ResODERegressor(2, width=4, flow_time=0.5)
        with pytest.raises(ValueError, match=r"contains NaN.*allow_nan=True"):
            model.fit(holes, y)
        with pytest.raises(ValueError, match=r"contains NaN.*allow_nan=True"):
            model.fit(X, y).predict(holes)

    def test_settings_of_a_solver_need_an_object(self):
        with pytest.raises(ValueError, match=r"`solver__rtol` .*solver is 'auto'"):
            ResODERegressor().set_params(solver__rtol=0.1)
        model = ResODERegressor().set_params(solver=Flow(), solver__rtol=0.1)
        assert model.solver.rtol == 0.1

    def test_partial_fit_says_what_it_needs(self):
        with pytest.raises(AttributeError) as caught:
            _ = ResODERegressor().partial_fit
        assert "solver='adamw'" in str(caught.value.__cause__)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("depth", 0),
            ("depth", 2.5),
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
        ],
    )
    @BOTH
    def test_parameter_that_is_not_allowed(self, make, name, value, X, y):
        named = r"rtol|momentum" if name == "solver" and value != "lbfgs" else name
        with pytest.raises(ValueError, match=named):
            make(**{name: value}).fit(X, y)

    def test_class_weight_that_is_not_allowed(self, X, y):
        for class_weight in ("heavy", {0: 0, 1: 0}):
            with pytest.raises(ValueError, match="class_weight"):
                ResODEClassifier(class_weight=class_weight).fit(X, y)

    @BOTH
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, make, bad, X, y):
        X[3, 1] = bad
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            make(**SMALL).fit(X, y)

    @BOTH
    @pytest.mark.parametrize(
        ("X_bad", "y_bad", "message"),
        [
            (np.zeros((0, 3)), np.zeros(0), "0 sample"),
            (np.zeros(3), np.zeros(3), "Expected 2D array"),
            (np.zeros((3, 2)), np.zeros(4), "inconsistent numbers of samples"),
            (np.array([["a"], ["b"]]), np.zeros(2), "could not convert string"),
            (np.zeros((3, 2)), None, "y"),
        ],
    )
    def test_arrays_that_are_not_a_table(self, make, X_bad, y_bad, message):
        with pytest.raises(ValueError, match=message):
            make(**SMALL).fit(X_bad, y_bad)

    def test_one_class(self, X):
        with pytest.raises(ValueError, match="at least two classes, got one class"):
            ResODEClassifier(**SMALL).fit(X, np.ones(60))

    @pytest.mark.parametrize(
        ("weight", "message"),
        [
            (np.zeros(60), "at least one non-zero"),
            (np.full(60, -1.0), "Negative values"),
            (np.ones(59), "shape"),
            (np.full(60, np.nan), "NaN"),
        ],
    )
    def test_weights(self, weight, message, X, y):
        with pytest.raises(ValueError, match=message):
            ResODERegressor(**SMALL).fit(X, y, sample_weight=weight)

    def test_validation_samples(self, X, y):
        model = ResODEClassifier(**SMALL)
        with pytest.raises(ValueError, match="must be given together"):
            model.fit(X, y, X_val=X)
        with pytest.raises(ValueError, match="3 features"):
            model.fit(X, y, X_val=X[:, :2], y_val=y)
        with pytest.raises(ValueError, match="labels that are not among the classes"):
            model.fit(X, y, X_val=X, y_val=y + 5)

    @BOTH
    def test_one_sample_or_feature_is_a_sane_fit_or_a_clear_error(self, make, X, y):
        model = make(**SMALL, flow_time=1.0).fit(X[:, :1], y)
        assert np.isfinite(outputs(model, X[:, :1])).all()
        if make is ResODERegressor:
            assert make(**SMALL).fit(X[:1], [7.0]).predict(X[:1]) == 7.0

    @BOTH
    @pytest.mark.parametrize("unit", [1e-30, 1e-8, 1e8, 1e30])
    @pytest.mark.parametrize("early_stopping", [True, False])
    def test_units_do_not_matter(self, make, unit, early_stopping, X, y):
        settings = {**SMALL, "flow_time": 5.0, "early_stopping": early_stopping}
        target = unit * y if make is ResODERegressor else y
        model = make(**settings).fit(unit * X, target)
        assert model.score(unit * X, target) > 0.1
        plain = make(**settings).fit(X, y)
        scale = unit if make is ResODERegressor else 1
        if not early_stopping:  # the rows held out depend on their digits
            np.testing.assert_allclose(
                outputs(model, unit * X) / scale,
                outputs(plain, X),
                rtol=0.05,
                atol=0.05,
            )

    @BOTH
    def test_constant_features_are_ignored(self, make, X, y):
        constant = np.column_stack([X, np.full(60, 3.7)])
        model = make(**SMALL, flow_time=5.0).fit(constant, y)
        before = outputs(model, constant)
        constant[:, 3] = -1e10
        np.testing.assert_array_equal(outputs(model, constant), before)

    def test_constant_target(self, X):
        model = ResODERegressor(**SMALL).fit(X, np.full(60, 1e30))
        np.testing.assert_array_equal(model.predict(X), 1e30)
        assert model.stop_reason_ == "stationary"

    def test_unscaled_extremes_fail_clearly_or_are_fitted(self, X, y):
        model = ResODERegressor(**SMALL, standardize=False)
        with pytest.raises(FloatingPointError, match="standardize=True"):
            model.fit(X, 1e30 * X[:, 0])
        model.fit(1e15 * X, X[:, 0])
        assert model.score(1e15 * X, X[:, 0]) > 0.99

    @BOTH
    def test_far_away_predictions_are_finite(self, make, X, y):
        model = make(**SMALL, flow_time=5.0).fit(X, y)
        assert np.isfinite(outputs(model, 1e30 * X)).all()

    def test_failed_fit_loses_nothing(self, X, y):
        model = ResODEClassifier(**SMALL, flow_time=2.0).fit(X, y)
        before = model.predict_proba(X)
        with pytest.raises(ValueError, match="NaN"):
            model.fit(np.full_like(X, np.nan), y)
        with pytest.raises(ValueError, match="got one class"):
            model.fit(X, np.ones(60))
        with pytest.raises(ValueError, match="given together"):
            model.fit(X, np.arange(60) % 3, X_val=X)
        np.testing.assert_array_equal(model.predict_proba(X), before)

    def test_estimator_whose_first_fit_failed_is_not_fitted(self, X):
        model = ResODEClassifier(**SMALL)
        with pytest.raises(ValueError, match="got one class"):
            model.fit(X, np.ones(60))
        with pytest.raises(NotFittedError):
            model.predict(X)

    def test_validation_loss_that_is_not_finite(self, X, y):
        model = ResODERegressor(**SMALL, standardize=False, early_stopping=True)
        with pytest.raises(FloatingPointError, match="validation samples"):
            model.fit(X, y, X_val=X, y_val=np.full(60, 1e30))

    def test_diverging_mini_batches_go_back_to_good_weights(self, X, y):
        solver = SGD(learning_rate=1.0, batch_size=1000, max_epochs=200)
        model = ResODERegressor(**SMALL, solver=solver)
        with pytest.warns(ConvergenceWarning, match="diverged"):
            model.fit(X, X[:, 0])
        assert model.score(X, X[:, 0]) >= 0

    def test_interrupted_second_run_keeps_the_weights_chosen(self, X):
        model = ResODERegressor(**SMALL, early_stopping=True, flow_time=20.0)
        whole = clone(model).fit(X, X[:, 0])
        n_choosing = [row["role"] for row in whole.net_.history].count("choose")

        def interrupt(net, **kwargs):
            if len(net.history) == n_choosing + 3:
                raise KeyboardInterrupt

        callback = skorch.callbacks.Callback()
        callback.on_grad_computed = interrupt
        make_net = model._make_net
        model._make_net = lambda *args, **kwargs: make_net(
            *args, **{**kwargs, "callbacks": [callback]}
        )
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            model.fit(X, X[:, 0])
        assert model.stop_reason_ == "interrupted"
        assert model.flow_time_ == whole.flow_time_
        assert model.score(X, X[:, 0]) > 0.5 * whole.score(X, X[:, 0])

    def test_scheme_may_return_the_same_tensor_again(self, X, y):
        fixed = torch.ones(4, 8, 16, dtype=torch.float64)
        model = ResODERegressor(
            **SMALL, init=lambda *args: fixed, dtype="float64", flow_time=1.0
        )
        one, two = (model.fit(X, y).predict(X) for _ in "ab")
        np.testing.assert_array_equal(one, two)
        model.set_params(init=lambda *args: fixed[:1].expand(4, 8, 16)).fit(X, y)


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


def test_several_outputs_share_one_loss():
    X, Y = make_regression(100, 5, n_targets=2, random_state=0)
    model = ResODERegressor(**SMALL, flow_time=20.0, early_stopping=False).fit(X, Y)
    scaled = ((Y - model.predict(X)) / Y.std(axis=0)) ** 2
    assert model.loss_curve_[-1] == pytest.approx(scaled.sum(axis=1).mean(), rel=1e-4)
