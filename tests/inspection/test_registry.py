"""What every display of the package owes, over the registry."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from matplotlib import pyplot
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import odenet
from odenet import (
    DepthSmoothnessDisplay,
    LossCurveDisplay,
    ResODEClassifier,
    TrajectoryDisplay,
    WeightProfileDisplay,
)
from odenet._inspection.display import Display
from odenet._inspection.registry import DISPLAYS

IRIS = load_iris(return_X_y=True)


def test_the_registry_has_every_display_of_the_package():
    folder = importlib.import_module("odenet._inspection")
    written = set()
    for module in pkgutil.iter_modules(folder.__path__, "odenet._inspection."):
        members = vars(importlib.import_module(module.name)).values()
        classes = {m for m in members if inspect.isclass(m) and issubclass(m, Display)}
        written |= classes - {Display}
    assert set(DISPLAYS) == written
    assert len(DISPLAYS) == len(written)


def test_every_display_is_public():
    names = {display.__name__ for display in DISPLAYS}
    assert names == {name for name in odenet.__all__ if name.endswith("Display")}
    assert all(getattr(odenet, name) in DISPLAYS for name in names)


def texts_of(figure):
    """All that is written in a figure, as pairs of a text and the box that it fills."""
    texts = []
    for axes in figure.axes:
        if not axes.axison:  # a place that was divided
            continue
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            texts += [t.label1 for t in ticks if low <= t.get_loc() <= high]
    return [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text()]


@pytest.mark.parametrize("is_small", [False, True])
@pytest.mark.parametrize("display", DISPLAYS)
def test_nothing_that_is_written_meets_anything_else(display, is_small, classifier):
    """In a figure of its own, and on one of four axes in a page."""
    settings = {}
    if is_small:
        figure, axes = pyplot.subplots(2, 2, figsize=(10, 8), layout="constrained")
        settings["ax"] = axes[0, 1]
        for other in axes.flat[[0, 2, 3]]:
            draw(DepthSmoothnessDisplay, classifier, ax=other)
    drawn = draw(display, classifier, **settings)
    drawn.figure_.canvas.draw()
    texts = texts_of(drawn.figure_)
    assert len(texts) > 10
    for i, (text, box) in enumerate(texts):
        assert drawn.figure_.bbox.padded(1).containsx(box.x0), text
        assert drawn.figure_.bbox.padded(1).containsx(box.x1), text
        assert [t for t, other in texts[:i] if box.overlaps(other)] == [], text
    for axes in np.ravel(drawn.ax_):
        if axes.get_title():
            assert axes.title.get_window_extent().width < axes.bbox.width
        if axes.get_legend() is not None:
            legend = axes.get_legend().get_window_extent()
            for line in axes.lines:
                path = line.get_transform().transform_path(line.get_path())
                assert not legend.count_contains(path.interpolated(20).vertices)


@pytest.mark.parametrize("display", [DepthSmoothnessDisplay, TrajectoryDisplay])
def test_a_second_drawing_on_the_same_axes_is_seen_whole(display, classifier):
    """Room for a legend must not fix the limits of the axes."""
    drawn = draw(display, classifier)
    high = drawn.ax_.get_ylim()[1]
    drawn.ax_.plot([0.5], [10 * high])
    assert drawn.ax_.get_ylim()[1] > 10 * high


def draw(display, estimator, **settings):
    samples = IRIS if display is TrajectoryDisplay else ()
    return display.from_estimator(estimator, *samples, **settings)


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_are_labelled_and_the_figure_is_there(display, classifier):
    drawn = draw(display, classifier)
    for axes in np.ravel(drawn.ax_):
        assert axes.get_xlabel()
        assert axes.figure is drawn.figure_
    assert np.ravel(drawn.ax_)[0].get_ylabel()


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_that_are_given_are_drawn_on(display, classifier):
    figure, ax = pyplot.subplots()
    assert draw(display, classifier, ax=ax).figure_ is figure
    assert pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_at_any_place_of_a_figure_do(display, classifier):
    free = pyplot.figure().add_axes((0.2, 0.2, 0.6, 0.6))
    assert draw(display, classifier, ax=free).figure_ is free.figure
    part = pyplot.figure().subfigures(1, 2)[0]
    assert draw(display, classifier, ax=part.subplots()).figure_ is part


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_display_can_be_drawn_again(display, classifier):
    drawn = draw(display, classifier)
    first = drawn.figure_
    assert drawn.plot() is drawn
    assert drawn.figure_ is not first


@pytest.mark.parametrize("display", DISPLAYS)
def test_the_frame_has_a_row_for_every_point(display, classifier):
    drawn = draw(display, classifier)
    lengths = {
        LossCurveDisplay: len(classifier.net_.history),
        WeightProfileDisplay: 2 * 4 * 32,
        DepthSmoothnessDisplay: 2 * 31,
        TrajectoryDisplay: 60 * (33 + 65),
    }
    assert len(drawn.frame()) == lengths[display]


@pytest.mark.parametrize("display", DISPLAYS)
def test_what_cannot_be_drawn_is_refused_with_a_remedy(display, classifier):
    with pytest.raises(NotFittedError):
        draw(display, ResODEClassifier())
    pipeline = make_pipeline(StandardScaler(), classifier)
    with pytest.raises(TypeError, match=r"got Pipeline: pass its last step"):
        draw(display, pipeline)
    search = GridSearchCV(classifier, {})
    search.best_estimator_ = classifier
    with pytest.raises(TypeError, match="best_estimator_"):
        draw(display, search)
    with pytest.raises(TypeError, match="got StandardScaler"):
        draw(display, StandardScaler())


@pytest.mark.parametrize("display", DISPLAYS)
def test_what_is_stored_is_public_and_has_the_names_of_the_arguments(
    display, classifier
):
    drawn = draw(display, classifier)
    arguments = set(inspect.signature(display).parameters)
    assert arguments <= set(vars(drawn))
    assert all(n.endswith("_") for n in set(vars(drawn)) - arguments)
