"""What the displays have in common: whom they draw, and how it looks."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from odenet._utils.devices import to_numpy
from odenet._utils.sklearn_private import check_matplotlib_support, check_pandas_support

DARK, LIGHT, PALE = "#12355b", "#d1652c", "#9a9a9a"  # apart in grey, too
LINE_STYLES = ("-", "--", ":", "-.")


class Display:
    """Base of the displays: a subclass computes, stores and draws."""

    def frame(self):
        """The data that is drawn.

        Returns
        -------
        frame : pandas.DataFrame
            In long form: a row for every point.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        pandas = check_pandas_support(f"{type(self).__name__}.frame")
        return pandas.DataFrame(self._columns())

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, as in ``from_estimator``; None is a new figure.

        Returns
        -------
        display : Display
            This one, with ``ax_`` and ``figure_``.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        self.ax_ = self._axes(ax)
        self.figure_ = np.ravel(self.ax_)[0].figure
        self._draw(self.ax_)
        return self

    def _axes(self, ax):
        """The axes given, or those of a new figure."""
        from matplotlib import pyplot

        if ax is None:
            _, ax = pyplot.subplots(layout="constrained")
        return ax


def check_drawable(display, estimator):
    """Raise for what is no fitted estimator of this package."""
    check_matplotlib_support(f"{display.__name__}.from_estimator")
    if hasattr(type(estimator), "depth_smoothness_"):
        check_is_fitted(estimator)
        return estimator
    remedy = "."
    if hasattr(estimator, "best_estimator_"):
        remedy = ": pass its `best_estimator_`."
    elif hasattr(estimator, "steps"):
        remedy = ": pass its last step, pipeline[-1], and X as pipeline[:-1] gives it."
    raise TypeError(
        f"{display.__name__} draws a fitted estimator of odenet, got "
        f"{type(estimator).__name__}{remedy}"
    )


def network_of(display, drawn):
    """The network of a fitted estimator, or the network itself."""
    if hasattr(drawn, "V") and hasattr(drawn, "W"):
        return drawn
    return check_drawable(display, drawn).module_


def weights_of(network):
    """V and W as arrays of float64, with depth as the first axis."""
    return {name: to_numpy(getattr(network, name)) for name in ("V", "W")}
