"""What a fit shows while it runs, and what it tells afterwards."""

import pickle
import re
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from odenet import (
    DepthSmoothnessMonitor,
    LossCurveDisplay,
    ResODEClassifier,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet._inspection.summary import (
    facts,
    history_frame,
    summary_text,
    with_summary,
)
from odenet._losses.base import Loss
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss, MultilabelLoss
from odenet._losses.squared_error import SquaredError
from odenet.losses import Huber
from odenet.solvers import SGD, AdamW

IRIS = load_iris(return_X_y=True)
SMALL = {"depth": 16, "width": 8, "random_state": 0}


@pytest.fixture(scope="module")
def model():
    monitor = DepthSmoothnessMonitor()
    settings = {"early_stopping": True, "callbacks": [monitor]}
    return ResODEClassifier(**SMALL, **settings).fit(*IRIS)


@pytest.fixture(scope="module")
def iid():
    return ResODERegressor(**SMALL, init="iid", flow_time=1.0).fit(*IRIS)


def test_the_history_has_a_row_for_every_step(model):
    history = model.history_
    np.testing.assert_array_equal(history["epoch"], range(1, len(history) + 1))
    fits = history[history["role"] == "fit"]
    assert fits["train_loss"].tolist() == model.loss_curve_
    assert fits["flow_time"].iloc[-1] == model.flow_time_
    assert history["valid_loss"].dropna().tolist() == model.validation_loss_curve_
    assert history["n_grad_evals"].iloc[-1] == model.n_grad_evals_
    assert (history["seconds"].diff().dropna() > 0).all()


def test_the_history_of_mini_batches_counts_them():
    model = ResODEClassifier(**SMALL, solver=SGD(batch_size=30, max_epochs=3))
    history = model.fit(*IRIS).history_
    assert history["n_grad_evals"].tolist() == [5, 10, 15]
    assert history["flow_time"].isna().all()


def test_without_pandas_the_history_says_where_the_rows_are(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert not hasattr(model, "history_")  # scikit-learn asks for every attribute
    with pytest.raises(AttributeError, match=r"pip install pandas.*net_\.history"):
        _ = model.history_
    assert model._repr_mimebundle_()["text/html"]


def test_the_monitor_records_both_trainings(model):
    history = model.history_
    assert history["lipschitz"].notna().all()
    smoothness = model.depth_smoothness_
    assert history["lipschitz"].iloc[-1] == smoothness.lipschitz
    assert history["von_neumann_ratio"].iloc[-1] == smoothness.von_neumann_ratio


def test_the_monitor_can_leave_steps_out():
    callbacks = [DepthSmoothnessMonitor(every=2)]
    solver = AdamW(max_epochs=4)
    model = ResODERegressor(**SMALL, solver=solver, callbacks=callbacks).fit(*IRIS)
    assert model.history_["lipschitz"].isna().tolist() == [True, False, True, False]


def test_a_monitor_changes_nothing(model):
    alone = ResODEClassifier(**SMALL, early_stopping=True).fit(*IRIS)
    np.testing.assert_array_equal(
        alone.predict_proba(IRIS[0]), model.predict_proba(IRIS[0])
    )


def test_the_gap_of_a_fit_is_that_of_its_samples():
    X = np.unique(IRIS[0], axis=0)[:64]
    model = ResODERegressor(**SMALL, flow_time=10.0).fit(X, X.sum(axis=1))
    estimate = model.ode_gap(X, "richardson")
    assert model.ode_gap_ == pytest.approx(estimate, rel=1e-5)  # X was in float32
    assert model.ode_gap_ == pytest.approx(model.ode_gap(X), rel=0.2)


def test_rough_weights_have_no_gap(iid):
    assert np.isnan(iid.ode_gap_)
    assert "none: the weights are not smooth" in iid.summary()


def test_another_depth_has_another_gap(model):
    assert model.with_depth(8).ode_gap_ is None
    assert model.with_depth(16).ode_gap_ == model.ode_gap_
    assert "not measured" in model.with_depth(8).summary()


def test_partial_fit_measures_no_gap():
    model = ResODERegressor(**SMALL, solver=SGD()).partial_fit(*IRIS)
    assert model.ode_gap_ is None
    assert "not measured" in model.summary()


def test_a_model_from_before_the_gap_was_recorded(model):
    old = pickle.loads(pickle.dumps(model))
    del old.ode_gap_
    assert "not measured" in old.summary()
    assert "not measured" in old.with_depth(16).summary()


def test_a_bar_counts_the_epochs_of_every_part(capsys):
    model = ResODERegressor(**SMALL, solver=SGD(max_epochs=2), verbose=1)
    for _ in range(3):
        model.partial_fit(*IRIS)
    assert capsys.readouterr().err.count("100%") >= 3
    model.set_params(warm_start=True).fit(*IRIS)
    assert "2/2 epoch" in capsys.readouterr().err


def test_values_that_callbacks_record_are_in_the_history():
    class Recorder(Callback):
        def on_epoch_end(self, net, **kwargs):
            epoch = net.history[-1]["epoch"]
            net.history.record("list", [0.0] * epoch)
            net.history.record("text", f"epoch {epoch}")

    solver = SGD(max_epochs=2)
    model = ResODERegressor(**SMALL, solver=solver, callbacks=[Recorder()])
    history = model.fit(*IRIS).history_
    assert history["list"].tolist() == [[0.0], [0.0, 0.0]]
    assert history["text"].tolist() == ["epoch 1", "epoch 2"]
    assert model._repr_mimebundle_()["text/html"]


def test_a_fit_interrupted_before_its_first_step():
    class Interrupt(Callback):
        def on_epoch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    model = ResODERegressor(**SMALL, flow_time=1.0, callbacks=[Interrupt()])
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(*IRIS)
    assert model.history_["train_loss"].isna().all()
    assert "nothing was trained" in model.summary()
    with pytest.raises(ValueError, match="nothing was trained"):
        LossCurveDisplay.from_estimator(model)


def test_a_monitor_of_no_step_is_refused():
    model = ResODERegressor(**SMALL, callbacks=[DepthSmoothnessMonitor(every=0)])
    with pytest.raises(ValueError, match="`every` must be a positive integer, got 0"):
        model.fit(*IRIS)


def test_a_path_search_tells_of_its_search():
    grid = {"flow_times": [1.0, 2.0], "cv": 2, "width": 8, "random_state": 0}
    model = ResODERegressorCV([2, 4], **grid).fit(*IRIS)
    assert "4 pairs of depth and flow time on 2 folds" in model.summary()
    assert f"{model.best_score_:.4g}" in model.summary()


def test_the_summary_says_what_was_fitted(model):
    summary = model.summary()
    smoothness = model.depth_smoothness_
    chosen = model.validation_flow_times_.index(model.flow_time_)
    held_out = model.validation_loss_curve_[chosen]
    for fact in (
        "ResODEClassifier",
        "16 layers, state 16, width 8, gelu",
        f"{sum(p.numel() for p in model.module_.parameters()):,} parameters",
        f"Flow (rkc) to flow time {model.flow_time_:.4g}",
        f"{model.n_grad_evals_:,} gradients",
        f"stopped by {model.stop_reason_}",
        f"{model.loss_:.4g} (training)",
        f"{held_out:.4g} (held out, accuracy {model.validation_scores_[chosen]:.3g})",
        "samples     150 of 4 numbers, 4 of them in 28 bins\n",
        f"Lipschitz constant {smoothness.lipschitz:.3g}",
        f"von Neumann ratio {smoothness.von_neumann_ratio:.2g}",
        f"{model.ode_gap_:.2g} of the output",
    ):
        assert fact in summary
    assert max(map(len, summary.splitlines())) < 110
    assert "that imitate 16" in model.with_depth(4, imitate=True).summary()


def test_the_summary_says_what_went_in(rng, tmp_path):
    table = pd.DataFrame({"a": rng.normal(size=60), "constant": 1.0, "b": range(60)})
    table["colour"] = ["red", "green", "blue"] * 20
    table["name"] = [f"name {i // 2}" for i in range(60)]
    table["id"] = [f"{i} Ltd." for i in range(60)]
    table.loc[3, "a"] = np.nan
    weight = np.ones(60)
    weight[7] = 0.0
    model = ResODERegressor(2, width=4, flow_time=0.5, allow_nan=True, random_state=0)
    with pytest.warns(UserWarning, match="'id'"):
        model.fit(table, rng.normal(size=60), sample_weight=weight)
    expected = (
        "samples     59 of 3 numbers, 1 of them sometimes missing, 2 of them in 4 "
        "bins, 34 categories in 3 columns; ignored: constant, id\n"
    )
    assert expected in model.summary()
    model.save(tmp_path / "model")
    assert expected in ResODERegressor.load(tmp_path / "model").summary()
    stream = ResODERegressor(2, width=4, solver=SGD(), random_state=0)
    array = table[["a", "constant"]].fillna(0).to_numpy()
    with pytest.warns(UserWarning, match=r"\[1\] are constant"):
        stream.partial_fit(array, table["b"])
    stream.partial_fit(array[:7], table["b"][:7])
    assert "67 of 2 numbers, 1 of them in 3 bins; ignored: 1\n" in stream.summary()


def test_the_summary_counts_the_labels(rng):
    X = rng.normal(size=(60, 3))
    model = ResODEClassifier(**SMALL, early_stopping=True).fit(X, X[:, :2] > 0)
    assert "60 of 3 numbers, 3 of them in 9 bins; 2 labels\n" in model.summary()
    assert "held out, subset accuracy " in model.summary()
    assert "3 of them in 9 bins; 2 labels" in model._repr_html_()


def test_the_summary_names_losses_and_constraints(rng, tmp_path):
    """In so far as they are not the default ones."""
    X = rng.normal(size=(40, 3))
    X[:, 2] = X[:, 2] > 0
    y = np.exp(X[:, 0])
    own, few = {"n_members": 2}, {"flow_time": 2.0, "width": 4, "random_state": 0}
    for params, loss, constraint in [
        ({}, "", ""),
        ({"monotonic_cst": [1, 0, -1]} | own, "", ", monotone in 2 column(s)"),
        ({"monotonic_cst": [0, 1, 0]}, "", ", monotone in 1 column(s)"),
        ({"loss": "poisson"}, "Poisson deviance: ", ""),
        ({"loss": Huber(2.0)} | own, "Huber loss (delta 2): ", ""),
        ({"loss": "quantile"}, "pinball loss (quantile 0.5; smoothing 0.05): ", ""),
        (
            {"loss": "quantile", "quantile": [0.1, 0.5, 0.9]},
            "pinball loss (quantile 0.1, 0.5, 0.9; smoothing 0.05): ",
            "",
        ),
    ]:
        model = ResODERegressor(4, **few, **params).fit(X, y)
        model.save(tmp_path / "model")
        loaded = ResODERegressor.load(tmp_path / "model")
        model.set_params(loss="gamma", monotonic_cst=[1, 1, 1])  # for the next fit
        for same in (model, loaded):
            lines = [" ".join(line.split()) for line in same.summary().splitlines()]
            assert f"loss {loss}{model.loss_:.4g} (training)" in lines[4]
            assert f"{same.module_.activation}{constraint}: " in lines[2]
    classifier = ResODEClassifier(4, **few, monotonic_cst=[1, 0, 0]).fit(X, y > 1)
    assert ", monotone in 1 column(s): " in classifier.summary()
    assert f"loss        {classifier.loss_:.4g} (training)" in classifier.summary()
    assert facts_of(stub(), loss=OwnLoss())["loss"].startswith("OwnLoss: 1.75 (tr")


def test_images_have_a_summary_without_a_gap():
    X, y = load_digits(return_X_y=True)
    model = ResODEImageClassifier(2, channels=2, solver=SGD(max_epochs=1))
    summary = model.fit(X[:60], y[:60]).summary()
    assert "SGD, " in summary
    assert "60 of 8 x 8 pixels of 1 channel(s)" in summary
    assert "gap" not in summary


def test_notebooks_show_the_summary_below_the_parameters(model):
    for html in (model._repr_mimebundle_()["text/html"], model._repr_html_()):
        assert html.count('class="odenet-summary"') == 1
        assert html.rstrip().endswith("</table></body>") or "</body>" not in html
        assert f"stopped by {model.stop_reason_}" in html
    unfitted = ResODEClassifier()
    assert "odenet-summary" not in unfitted._repr_mimebundle_()["text/html"]
    with config_context(display="text"):
        assert "text/html" not in model._repr_mimebundle_()
        assert not hasattr(model, "_repr_html_")


def test_the_html_escapes_what_users_name():
    class Solver(SGD):
        pass

    Solver.__name__ = "<script>"
    model = ResODERegressor(**SMALL, solver=Solver(max_epochs=1)).fit(*IRIS)
    html = model._repr_mimebundle_()["text/html"]
    assert "<script>, " not in html[html.index("odenet-summary") :]


@pytest.mark.parametrize(
    ("solver", "shown"),
    [("flow", ["choosing t", "training", "valid=", "L=16", "Lip="])]
    + [(SGD(max_epochs=2), ["training", "2/2 epoch", "loss=", "Lip="])],
)
def test_the_bar_shows_losses_depth_and_smoothness(solver, shown, capsys):
    settings = {**SMALL, "solver": solver, "early_stopping": True, "verbose": 1}
    ResODEClassifier(**settings).fit(*IRIS)
    err = capsys.readouterr().err
    assert [text for text in shown if text not in err] == []


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_path_search_shows_its_folds(n_jobs, capfd):
    grid = {"flow_times": [1.0, 2.0], "cv": 2, "width": 8, "random_state": 0}
    ResODERegressorCV([2, 4], **grid, n_jobs=n_jobs, verbose=1).fit(*IRIS)
    err = capfd.readouterr().err
    assert "folds: 100%" in err
    assert ("choosing" in err) == (n_jobs is None)
    assert "training 100%" in err


def test_a_silent_fit_shows_nothing(capfd):
    ResODERegressor(**SMALL, flow_time=1.0).fit(*IRIS)
    ResODERegressorCV([2], flow_times=[1.0], cv=2, width=8).fit(*IRIS)
    assert capfd.readouterr() == ("", "")


# The functions alone


def stub(**attributes):
    """What the facts are read from, without a fit."""
    parameters = [np.zeros((40, 30)), np.zeros(34)]
    module = SimpleNamespace(
        depth=5,
        state_dim=3,
        width=7,
        activation="tanh",
        n_models=1,
        imitated_depth=None,
        parameters=lambda: [
            SimpleNamespace(numel=lambda Z=Z: Z.size) for Z in parameters
        ],
    )
    settings = {
        "module_": module,
        "net_": SimpleNamespace(
            history=[{"dur": 1.25}, {"dur": 2.5}, {}], loss=SquaredError()
        ),
        "scoring": "loss",
        "early_stopping": "auto",
        "solver_": SGD(),
        "flow_time_": None,
        "n_samples_fit_": 12345,
        "n_grad_evals_": 1234,
        "stop_reason_": "max_epochs",
        "loss_curve_": [3.0, 1.5, 2.0],
        "loss_": 1.75,
        "validation_loss_curve_": [4.0, 2.5, 3.5],
        "validation_scores_": [-0.1, 0.23456, 0.1],
        "validation_flow_times_": None,
        "depth_smoothness_": SimpleNamespace(lipschitz=1.2345, von_neumann_ratio=0.3),
    }
    return SimpleNamespace(**settings | attributes)


def facts_of(model, **told):
    return dict(facts(model, "2 numbers", **told))


class OwnLoss(Loss):
    """A loss without a name of its own."""


def test_the_facts_are_read_from_public_attributes():
    said = facts_of(stub())
    assert said == {
        "samples": "12,345 of 2 numbers",
        "network": "5 layers, state 3, width 7, tanh: 1,234 parameters",
        "training": "SGD, 1,234 gradients, 3.75 s; stopped by max_epochs",
        "loss": "1.75 (training), 2.5 (held out, R2 0.235)",
        "smoothness": "Lipschitz constant 1.23, von Neumann ratio 0.3 "
        "(straight line 0.25, independent layers 1)",
    }
    said = facts_of(stub(flow_time_=12.34567, validation_loss_curve_=[]))
    assert said["training"].startswith("SGD to flow time 12.35, ")
    assert said["loss"] == "1.75 (training)"
    of_an_old_file = stub()
    del of_an_old_file.loss_, of_an_old_file.n_samples_fit_
    said = facts_of(of_an_old_file)
    assert said["loss"] == "2 (training), 2.5 (held out, R2 0.235)"
    assert said["samples"] == "2 numbers"
    flow = stub(flow_time_=2.0, validation_flow_times_=[1.0, 2.0, 3.0], loss_=None)
    flow.validation_loss_curve_ = [4.0, 3.0, 2.5]
    for loss, name in (
        (LogisticLoss(), "accuracy"),
        (CrossEntropy(), "accuracy"),
        (MultilabelLoss(), "subset accuracy"),
    ):
        flow.net_.loss = loss
        assert facts_of(flow)["loss"] == f"2 (training), 3 (held out, {name} 0.235)"
    flow.temperature_ = 1.2345
    assert facts_of(flow)["loss"].endswith("accuracy 0.235), temperature 1.23")


@pytest.mark.parametrize("solver", ["flow", AdamW(max_epochs=30, patience=3)])
def test_losses_of_the_summary_are_those_of_the_model(solver, rng):
    """Not those of the last epoch, nor the least on the way."""
    X = rng.normal(size=(300, 4))
    y = X[:, 0] + 2 * rng.normal(size=300)
    A, a, B, b = X[:150], y[:150], X[150:], y[150:]
    model = ResODERegressor(8, width=16, solver=solver, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        model.fit(A, a, X_val=B, y_val=b)
    printed = re.findall(r"([\d.]+) \(", facts_of(model)["loss"])
    for loss, (X, y) in zip(printed, ((A, a), (B, b)), strict=True):
        true = np.mean((model.predict(X) - y) ** 2) / a.var()
        assert float(loss) == pytest.approx(true, rel=3e-3)


def test_two_layers_are_compared_with_nothing():
    model = stub()
    model.module_.depth = 2
    assert "straight" not in facts_of(model)["smoothness"]
    model.module_.depth = 3
    line = np.arange(3.0)
    ratio = np.mean(np.diff(line) ** 2) / (2 * np.var(line))
    assert f"straight line {ratio:.2g}," in facts_of(model)["smoothness"]


def test_the_gap_is_told_of_models_that_have_an_ode():
    for gap, text in [
        (None, "not measured: see ode_gap(X)"),
        (np.nan, "none: the weights are not smooth in depth"),
        (0.01234, "0.012 of the output, to the neural ODE (estimated)"),
    ]:
        model = stub(ode_gap=lambda X: None, ode_gap_=gap)
        assert facts_of(model)["gap"] == text
    assert "gap" not in facts_of(stub())


def test_a_text_has_a_title_and_a_line_for_every_fact():
    text = summary_text("Title", [("a", "first"), ("smoothness", "last")])
    assert text == "Title\na           first\nsmoothness  last"


def test_facts_are_a_table_at_the_end_of_a_page_or_of_a_part():
    table = with_summary("", [("a", "1 < 2"), ("b", "c")])
    assert table.startswith('<table class="odenet-summary"><tr><th')
    assert "1 &lt; 2" in table
    assert table.count("<tr>") == 2
    text = "<!-- </body> -->"  # the last one ends the page
    page = with_summary(f"{text}x</body></html>", [("a", "1 < 2"), ("b", "c")])
    assert page == f"{text}x{table}</body></html>"
    assert with_summary("<div/>", [("a", "1 < 2"), ("b", "c")]) == f"<div/>{table}"


def test_a_history_is_a_frame():
    frame = history_frame([{"epoch": 1, "dur": 0.5}, {"epoch": 2, "dur": 0.25}])
    assert frame["epoch"].tolist() == [1, 2]
    assert frame["seconds"].tolist() == [0.5, 0.75]
