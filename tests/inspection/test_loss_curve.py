"""The loss curves are those of the fit, with the depths where they begin."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from odenet import LossCurveDisplay, ResODEClassifier
from odenet.solvers import AdamW


def test_curves_that_are_labelled_differ_in_more_than_colour(classifier):
    lines = LossCurveDisplay.from_estimator(classifier).lines_
    assert len({line.get_linestyle() for line in lines}) == len(lines) == 3


def test_the_losses_drawn_are_the_fitted_curves(classifier):
    display = LossCurveDisplay.from_estimator(classifier)
    of_choice, held_out, of_fit = (line.get_ydata() for line in display.lines_)
    np.testing.assert_array_equal(of_fit, classifier.loss_curve_)
    np.testing.assert_array_equal(held_out, classifier.validation_loss_curve_)
    assert len(of_choice) == len(held_out)
    times = display.lines_[1].get_xdata()
    np.testing.assert_array_equal(times, classifier.validation_flow_times_)
    assert display.lines_[2].get_xdata()[-1] == classifier.flow_time_


@pytest.mark.parametrize("x", ["n_grad_evals", "seconds", "epoch"])
def test_costs_are_summed_over_all_trainings(x, classifier):
    display = LossCurveDisplay.from_estimator(classifier, x=x)
    before, after = (display.lines_[i].get_xdata() for i in (0, 2))
    assert (np.diff([*before, *after]) > 0).all()
    if x == "n_grad_evals":
        assert after[-1] == classifier.n_grad_evals_


def test_every_depth_is_marked_where_it_begins(classifier):
    """Those that were left before their first step have no place in the picture."""
    display = LossCurveDisplay.from_estimator(classifier)
    marks = ", ".join(text.get_text() for text in display.ax_.texts)
    rows = [row for row in classifier.depth_path_ if row["role"] == "fit"]
    fits = list({row["n_iter"]: row for row in rows}.values())
    assert len(fits) > 2
    assert marks.replace("L = ", "") == ", ".join(str(row["depth"]) for row in fits)
    begun = [line.get_xdata()[0] for line in display.ax_.lines[3:]]
    assert begun == pytest.approx([row["flow_time"] for row in fits[1:]])


def test_mini_batches_have_epochs_but_no_flow_time(images):
    display = LossCurveDisplay.from_estimator(images)
    assert display.x == "epoch"
    frame = display.frame()
    assert frame["n_grad_evals"].iloc[-1] == images.n_grad_evals_
    with pytest.raises(ValueError, match=r"`x` must be one of .* got 'flow_time'"):
        LossCurveDisplay.from_estimator(images, x="flow_time")


def test_the_loss_is_named_with_its_unit(classifier, regressor):
    nats = LossCurveDisplay.from_estimator(classifier).ax_.get_ylabel()
    squares = LossCurveDisplay.from_estimator(regressor).ax_.get_ylabel()
    assert nats == "cross-entropy (nats)"
    assert squares == "squared error of standardised targets"


def history_of(losses, times=None, **columns):
    n = len(losses)
    return {
        "role": np.array(["fit"] * n, dtype=object),
        "depth": np.full(n, 8),
        "flow_time": np.arange(1.0, n + 1) if times is None else times,
        "epoch": np.arange(1, n + 1),
        "train_loss": np.array(losses),
        "valid_loss": np.full(n, np.nan),
        **columns,
    }


def test_without_standardisation_the_loss_has_the_units_of_the_targets(regressor):
    plain = type(regressor)(4, standardize=False, flow_time=0.1)
    plain.fit(np.arange(20.0)[:, None] / 20, np.arange(20.0) / 20)
    label = LossCurveDisplay.from_estimator(plain).ax_.get_ylabel()
    assert label == "squared error"


def test_losses_that_reach_zero_are_drawn_on_a_linear_scale():
    for losses, scale in [([1.0, 0.5, 0.1], "log"), ([1.0, 0.5, 0.0], "linear")]:
        display = LossCurveDisplay(history_of(losses), x="flow_time").plot()
        assert display.ax_.get_yscale() == scale
        assert display.ax_.get_xscale() == "log"
    display = LossCurveDisplay(history_of([1.0, 0.5]), x="epoch").plot()
    assert display.ax_.get_xscale() == "linear"


def test_a_single_step_can_be_seen():
    for n, marker in [(1, "."), (3, "."), (4, "None"), (9, "None")]:
        history = history_of(np.linspace(2, 1, n))
        display = LossCurveDisplay(history, x="epoch").plot()
        assert display.lines_[0].get_marker() in (marker, "" if n > 3 else marker)


def test_an_axis_shorter_than_a_decade_has_several_numbers():
    for losses in ([5.0, 4.0, 3.0, 2.0], [3.0, 2.0, 1.5, 1.1], [20.0, 7.0, 3.0, 1.5]):
        display = LossCurveDisplay(history_of(losses), x="epoch").plot()
        display.figure_.canvas.draw()
        low, high = sorted(display.ax_.get_ylim())
        ticks = [
            (tick.get_loc(), tick.label1.get_text())
            for ticks in (display.ax_.yaxis.majorTicks, display.ax_.yaxis.minorTicks)
            for tick in ticks
        ]
        shown = [text for loc, text in ticks if low <= loc <= high and text]
        assert len(shown) >= 2
        assert all(float(text) == pytest.approx(loc) for loc, text in ticks if text)


def test_depths_that_begin_close_to_each_other_share_a_label():
    """Labels stay within the axes: the last one is written to the left of its line."""
    depth = np.array([4] * 50 + [8] + [16] * 47 + [32, 64])
    history = history_of(np.linspace(2, 1, 100), depth=depth)
    display = LossCurveDisplay(history, x="epoch").plot()
    display.figure_.canvas.draw()
    labels = display.ax_.texts
    assert [t.get_text() for t in labels] == ["L = 4", "L = 8, 16", "L = 32, 64"]
    boxes = [label.get_window_extent() for label in labels]
    axes = display.ax_.get_window_extent()
    assert axes.x0 <= boxes[0].x0
    assert boxes[2].x1 <= axes.x1
    assert [label.xy[0] for label in labels] == [1, 50, 98]
    assert len(display.ax_.lines) == 1 + 4  # every depth has its line


def test_depths_of_both_trainings_are_marked_against_steps():
    roles = np.array(["choose"] * 4 + ["fit"] * 4, dtype=object)
    depth = np.array([2, 2, 4, 4] * 2)
    columns = {"role": roles, "depth": depth, "valid_loss": np.ones(8)}
    history = history_of(np.linspace(2, 1, 8), **columns)
    display = LossCurveDisplay(history, x="epoch").plot()
    marks = [(text.get_text(), text.xy[0]) for text in display.ax_.texts]
    assert marks == [("L = 2", 1), ("L = 4", 2), ("L = 2", 4), ("L = 4", 6)]
    display = LossCurveDisplay(history, x="flow_time").plot()
    marks = [(text.get_text(), text.xy[0]) for text in display.ax_.texts]
    assert marks == [("L = 2", 5), ("L = 4", 6)]


def test_the_frame_is_the_history(classifier):
    display = LossCurveDisplay.from_estimator(classifier)
    assert display.frame().equals(classifier.history_)


def test_a_training_without_a_step_has_nothing_to_draw(classifier):
    model = copy.copy(classifier)
    rows = [{"role": "fit", "epoch": 1, "flow_time": 1.0}]
    model.net_ = SimpleNamespace(history=rows, loss=classifier.net_.loss)
    with pytest.raises(ValueError, match="nothing was trained"):
        LossCurveDisplay.from_estimator(model)


def test_a_score_that_has_judged_has_an_axis_of_its_own(classifier, rng):
    X = rng.normal(size=(60, 2))
    model = ResODEClassifier(
        4, width=4, solver=AdamW(max_epochs=9), early_stopping=True, random_state=0
    )
    for scoring, name in [("roc_auc", "roc_auc"), (None, "accuracy")]:
        model.set_params(scoring=scoring).fit(X, X[:, 0] > 0)
        display = LossCurveDisplay.from_estimator(model)
        left, right = display.figure_.axes
        assert (left.get_ylabel(), right.get_ylabel()) == (display.loss_name, name)
        line = display.lines_[-1]
        np.testing.assert_array_equal(line.get_ydata(), model.validation_scores_)
        texts = [text.get_text() for text in left.get_legend().get_texts()]
        assert texts[-1] == line.get_label() == f"held out, {name}"
        assert f"(held out, {name} " in model.summary()
    assert len(LossCurveDisplay.from_estimator(classifier).figure_.axes) == 1
    model.set_params(scoring="r2", early_stopping=False).fit(X, X[:, 0] > 0)
    assert len(LossCurveDisplay.from_estimator(model).figure_.axes) == 1
