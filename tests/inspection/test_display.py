"""The base of the displays: what a display owes, and what it is given."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from odenet._inspection.display import (
    DARK,
    LIGHT,
    LINE_STYLES,
    PALE,
    Display,
    check_drawable,
    network_to_draw,
    weights_of,
)


class WidthDisplay(Display):
    """A display of somebody else: the norm of W in every layer."""

    def __init__(self, norms):
        self.norms = norms

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        W = weights_of(network_to_draw(cls, estimator))["W"]
        return cls(np.sqrt(np.square(W).sum(axis=(1, 2)))).plot(ax)

    def draw(self, ax):
        ax.plot(self.norms, color=DARK)

    def columns(self):
        return {"layer": range(1, len(self.norms) + 1), "norm": self.norms}


def test_a_display_of_ones_own_is_a_class_of_three_methods(classifier):
    display = WidthDisplay.from_estimator(classifier)
    W = classifier.module_.W.detach().cpu().double().numpy()
    norms = [np.linalg.norm(layer) for layer in W]
    np.testing.assert_allclose(display.ax_.lines[0].get_ydata(), norms)
    frame = display.frame()
    assert frame["layer"].tolist() == list(range(1, 33))
    np.testing.assert_allclose(frame["norm"], norms)
    figure, ax = pyplot.subplots()
    assert display.plot(ax) is display
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert display.plot().figure_ is not figure


@pytest.mark.parametrize("name", ["draw", "columns", "from_estimator"])
def test_what_a_display_lacks_is_named(name):
    missing = type("Incomplete", (WidthDisplay,), {name: getattr(Display, name)})
    with pytest.raises(TypeError, match=rf"abstract.*{name}"):
        missing(np.ones(3))


def test_several_axes_are_of_one_figure(classifier):
    class TwoDisplay(WidthDisplay):
        def new_axes(self, ax):
            return pyplot.subplots(2)[1]

        def draw(self, ax):
            for axes in ax:
                super().draw(axes)

    display = TwoDisplay.from_estimator(classifier)
    assert all(axes.figure is display.figure_ for axes in display.ax_)


@pytest.mark.parametrize("module", ["matplotlib", "pandas"])
def test_a_package_that_is_missing_is_named(module, classifier, monkeypatch):
    display = WidthDisplay(np.ones(3))
    monkeypatch.setitem(sys.modules, module, None)
    if module == "pandas":
        with pytest.raises(ImportError, match=r"WidthDisplay\.frame requires pandas"):
            display.frame()
        return
    with pytest.raises(ImportError, match=r"WidthDisplay\.plot requires matplotlib"):
        display.plot()
    with pytest.raises(ImportError, match=r"WidthDisplay\.from_estimator requires"):
        check_drawable(WidthDisplay, classifier)


def test_a_network_is_drawn_as_its_estimator_is(classifier):
    network = classifier.module_
    assert network_to_draw(WidthDisplay, network) is network
    assert network_to_draw(WidthDisplay, classifier) is network
    assert check_drawable(WidthDisplay, classifier) is classifier
    with pytest.raises(TypeError, match="WidthDisplay draws a fitted .*StandardScaler"):
        network_to_draw(WidthDisplay, StandardScaler())
    with pytest.raises(TypeError, match="pass its `best_estimator_`"):
        network_to_draw(WidthDisplay, SimpleNamespace(best_estimator_=classifier))
    with pytest.raises(NotFittedError):
        network_to_draw(WidthDisplay, clone(classifier))


def test_weights_are_in_float64_with_depth_first(classifier):
    weights = weights_of(classifier.module_)
    assert list(weights) == ["V", "W"]
    for name, Z in weights.items():
        assert Z.dtype == np.float64
        assert len(Z) == 32
        expected = getattr(classifier.module_, name).detach().cpu().numpy()
        np.testing.assert_array_equal(Z, expected)


def test_colours_can_be_told_apart_in_grey(luminance):
    shades = sorted(map(luminance, (DARK, LIGHT, PALE)))
    assert np.diff(shades).min() > 0.1
    assert len(set(LINE_STYLES)) == len(LINE_STYLES)
