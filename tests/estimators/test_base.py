"""One fit: weights, seeds, the moment it stops, scikit-learn around it."""

import pickle
import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
import torch
from sklearn.base import clone
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import ResODEClassifier, ResODERegressor
from odenet.solvers import SGD, AdamW, Flow, GradientDescent
from tests.helpers import BOTH, SMALL, outputs


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

    def test_parts_of_a_stream_are_weighed_against_each_other(self, X, y):
        """The first step is as long as the weights are large."""
        steps = []
        for weight in (0, 0.25, 0.75):
            model = ResODERegressor(**SMALL, solver=SGD(1e-3, batch_size=60))
            model.partial_fit(X, y, sample_weight=np.full(60, weight + 1e-9))
            steps.append(model.module_.head.detach())
        assert not torch.equal(steps[1], steps[0])
        torch.testing.assert_close(steps[2] - steps[0], 3 * (steps[1] - steps[0]))


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


class TestStopping:
    def test_a_flow_time_of_folds_can_be_chosen_with_rebuilt_states(self, X, y):
        settings = {**SMALL, "dtype": "float64"}
        one, two = (
            ResODERegressor(**settings, backward=backward).fit(X, y)
            for backward in ("stored", "rebuilt")
        )
        assert two.module_.backward == "rebuilt"
        np.testing.assert_allclose(one.predict(X), two.predict(X), atol=1e-8)

    def test_which_samples_judge_a_training(self, rng):
        """All of few, each once in a fold; a part of many, or where it is asked for."""
        X = rng.normal(size=(520, 2))
        n_held_out = []

        class Counting(skorch.callbacks.Callback):
            def on_epoch_end(self, net, **kwargs):
                n_held_out.append(
                    0 if net.valid_weight is None else len(net.valid_weight)
                )

        def held_out(n, **settings):
            n_held_out.clear()
            model = ResODERegressor(**SMALL, callbacks=[Counting()], **settings)
            model.fit(X[:n], X[:n, 0])
            return set(n_held_out), model.validation_loss_curve_ is not None

        assert held_out(500) == ({0}, True)  # by folds, which callbacks do not see
        assert held_out(19) == ({0}, False)
        assert held_out(501, solver="flow") == ({100}, True)
        assert held_out(500, flow_time=1.0) == ({0}, False)  # it is kept to
        few = {"early_stopping": True, "flow_time": 1.0}
        assert held_out(200, **few) == ({20}, True)
        minibatches = AdamW(max_epochs=2)
        with pytest.warns(ConvergenceWarning, match="max_epochs"):
            assert held_out(200, solver=minibatches) == ({60}, True)  # 30 % of few
        assert held_out(199, solver=minibatches) == ({0}, False)

    def test_noise_of_few_samples_is_not_fitted(self, rng):
        """A linear signal with as much noise, where a long flow interpolates."""
        X = rng.normal(size=(1120, 10))
        y = X[:, :3].sum(axis=1) + np.sqrt(3) * rng.normal(size=1120)
        parts = X[:120], y[:120]
        model = ResODERegressor(8, width=32, random_state=0).fit(*parts)
        assert 0.5 < model.flow_time_ < 20
        assert model.stop_reason_ == "early_stopping"
        ridge = RidgeCV().fit(*parts).score(X[120:], y[120:])
        assert model.score(X[120:], y[120:]) > ridge - 0.05
        long = clone(model).set_params(early_stopping=False).fit(*parts)
        assert long.score(X[120:], y[120:]) < ridge - 0.3

    @BOTH
    def test_flow_time_of_folds_is_where_their_mean_loss_is_least(self, make, rng):
        """The same model comes of the flow to that time, and the same of one fold."""
        X = rng.normal(size=(90, 3))
        y = X[:, 0] > 0.5 * rng.normal(size=90)
        model = make(8, width=8, random_state=0).fit(X, y)
        times = model.validation_flow_times_
        assert model.flow_time_ == times[np.argmin(model.validation_loss_curve_)]
        plain = make(8, width=8, random_state=0, flow_time=model.flow_time_).fit(X, y)
        np.testing.assert_array_equal(outputs(model, X), outputs(plain, X))
        roles = [row["role"] for row in model.net_.history]
        assert roles == sorted(roles)
        assert roles.count("choose") == len(times)

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

    def test_errors_of_validation_samples_say_so(self, X, y):
        model = ResODEClassifier(**SMALL)
        whose = "Of `X_val`, `y_val` and `sample_weight_val`: "
        for wrong in ({"y_val": y[:-1]}, {"y_val": y + 7}):
            with pytest.raises(ValueError, match=whose):
                model.fit(X, y, **{"X_val": X, "y_val": y, **wrong})
        for weight in (np.ones(59), np.zeros(60), np.full(60, np.nan), y - 0.5):
            with pytest.raises(ValueError, match=whose):
                model.fit(X, y, X_val=X, y_val=y, sample_weight_val=weight)
        with pytest.raises(ValueError, match="`sample_weight_val` must be given with"):
            model.fit(X, y, sample_weight_val=y)

    def test_the_reason_is_that_of_the_flow_time(self, rng):
        """A horizon that was only passed while the time was chosen is no reason."""
        X = rng.normal(size=(60, 3))
        settings = {"flow_time": 30.0, "early_stopping": True, "random_state": 1}
        noise = ResODERegressor(**SMALL | settings).fit(X, rng.normal(size=60))
        assert noise.flow_time_ < 10
        assert noise.stop_reason_ == "early_stopping"
        settings["flow_time"] = 3.0
        signal = ResODERegressor(**SMALL | settings).fit(X, X[:, 0])
        assert (signal.stop_reason_, signal.flow_time_) == ("horizon", 3.0)

    def test_given_validation_samples_are_used(self, X, y):
        model = ResODEClassifier(**SMALL, flow_time=5.0)
        model.fit(X, y, X_val=X, y_val=1 - y)
        assert model.flow_time_ < 5.0
        assert len(model.validation_scores_) == model.n_iter_
        model.set_params(early_stopping=False).fit(X, y, X_val=X, y_val=1 - y)
        assert model.flow_time_ == 5.0
        assert len(model.validation_loss_curve_) == model.n_iter_

    @pytest.mark.parametrize("solver", [SGD(max_epochs=4), "flow"])
    def test_weights_of_validation_samples_are_repetitions(self, solver, X, y, rng):
        weight, order = rng.integers(0, 4, size=60), rng.permutation(60)
        weight[:3] = 0, 1, 3
        repeated = np.repeat(order, weight[order])
        model = ResODERegressor(**SMALL, solver=solver).fit(
            X, y, X_val=X, y_val=1 - y, sample_weight_val=weight
        )
        again = clone(model).fit(X, y, X_val=X[repeated], y_val=1 - y[repeated])
        assert model.validation_loss_curve_ == again.validation_loss_curve_
        assert model.validation_scores_ == again.validation_scores_
        np.testing.assert_array_equal(model.predict(X), again.predict(X))
        plain = clone(model).fit(X, y, X_val=X, y_val=1 - y)
        assert model.validation_loss_curve_ != plain.validation_loss_curve_

    @pytest.mark.parametrize("solver", ["flow", "gd"])
    def test_horizon(self, solver, X, y):
        model = ResODERegressor(**SMALL, solver=solver, flow_time=2.5).fit(X, y)
        assert model.flow_time_ == 2.5
        assert model.depth_ == 4  # whatever the gap is
        assert model.stop_reason_ == "horizon"
        assert model.converged_

    def test_a_warm_start_trains_as_far_and_as_it_is_asked_to(self, X, y):
        model = ResODERegressor(**SMALL, flow_time=2.5, warm_start=True).fit(X, y)
        n_steps = model.n_iter_
        with pytest.warns(UserWarning, match="flow_time=2.5 is reached already"):
            model.fit(X, y)
        assert model.n_iter_ == n_steps
        model.set_params(flow_time=3.0, backward="rebuilt").fit(X, y)
        assert model.n_iter_ > n_steps
        assert model.module_.backward == "rebuilt"

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
        if solver in ("flow", "gd"):
            model.set_params(flow_time=5.0)  # no folds, which callbacks do not see
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            model.fit(X, y)
        assert model.stop_reason_ == "interrupted"
        assert np.isfinite(model.predict(X)).all()
        model.callbacks = None
        twin = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))


def test_a_model_of_another_depth_has_the_parameters_of_one(X, y):
    model = ResODERegressor(**SMALL, flow_time=1.0, depth_schedule=[2, 4]).fit(X, y)
    other = model.with_depth(8)
    assert (other.depth, other.depth_, other.depth_schedule) == (8, 8, "doubling")
    assert (model.depth, model.depth_, model.depth_schedule) == (4, 4, [2, 4])
    many = np.tile(X, (80, 1))  # more than are evaluated at once
    assert other.hidden_states(many).shape == (9, 4800, 16)


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

    def test_settings_of_a_solver_need_an_object(self):
        with pytest.raises(ValueError, match=r"`solver__rtol` .*solver is 'auto'"):
            ResODERegressor().set_params(solver__rtol=0.1)
        model = ResODERegressor().set_params(solver=Flow(), solver__rtol=0.1)
        assert model.solver.rtol == 0.1

    def test_partial_fit_says_what_it_needs(self):
        with pytest.raises(AttributeError) as caught:
            _ = ResODERegressor().partial_fit
        assert "solver='adamw'" in str(caught.value.__cause__)


class TestFailures:
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
        callback.only_watches = True  # else the second run is hidden from it
        model.set_params(callbacks=[callback])
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
