"""The base of all displays, with their common checks, colours and lines.

To add a display, write a subclass of :class:`Display` in a file of its own, and add it
to ``DISPLAYS`` in :mod:`odenet._inspection.registry` and to ``odenet.__all__``.
"""

from abc import ABC, abstractmethod

import numpy as np
from sklearn.utils.validation import check_is_fitted

from odenet._utils.devices import to_numpy
from odenet._utils.sklearn_private import check_matplotlib_support, check_pandas_support

# Lightness tells these colours apart, also on paper without colours.
DARK, LIGHT, PALE = "#12355b", "#d1652c", "#9a9a9a"
LINE_STYLES = ("-", "--", ":", "-.")  # of lines of one colour, in turn
# The share of the height of axes that stays free around a legend on top, and the most
# that both may take: a legend of more classes than that leaves no figure.
ROOM, MOST_ROOM = 0.06, 0.6


class Display(ABC):
    """A figure of a fitted estimator, computed once, stored, and drawn on demand.

    A subclass owes four things. ``from_estimator`` computes the numbers, makes a
    display of them and returns ``display.plot(ax)``; ``__init__`` stores the numbers
    as public attributes and does nothing else; ``draw`` draws what is stored;
    ``columns`` returns what is stored as the columns of a table. A display that needs
    other axes than a single one overrides ``new_axes`` as well.
    """

    @classmethod
    @abstractmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Compute the numbers to show of a fitted estimator, and draw them.

        Parameters
        ----------
        estimator : fitted estimator of odenet
        ax : matplotlib Axes, default=None
            The axes to draw on. By default, a new figure is made.

        Returns
        -------
        display : Display
        """

    @abstractmethod
    def draw(self, ax):
        """Draw what is stored on axes that :meth:`plot` has prepared.

        Parameters
        ----------
        ax : matplotlib Axes
        """

    @abstractmethod
    def columns(self):
        """Return the data that are drawn, one entry per point in every column.

        Returns
        -------
        columns : dict of str to array-like of shape (n_points,)
        """

    def new_axes(self, ax):
        """Return the axes to draw on: those given, or the axes of a new figure.

        Parameters
        ----------
        ax : matplotlib Axes or None

        Returns
        -------
        ax : matplotlib Axes
        """
        from matplotlib import pyplot

        if ax is None:
            _, ax = pyplot.subplots(layout="constrained")
        return ax

    def frame(self):
        """Return the data that are drawn as a data frame.

        Returns
        -------
        frame : pandas.DataFrame
            The data in long form: every point has a row.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        pandas = check_pandas_support(f"{type(self).__name__}.frame")
        return pandas.DataFrame(self.columns())

    def plot(self, ax=None):
        """Draw the display; it can be drawn as often as you like.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on, as in ``from_estimator``. By default, a new figure is
            made.

        Returns
        -------
        display : Display
            The display itself, with the attributes ``ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        self.ax_ = self.new_axes(ax)
        self.figure_ = np.ravel(self.ax_)[0].figure  # one axes or an array of axes
        self.draw(self.ax_)
        return self


def check_drawable(display, estimator):
    """Return an estimator if it is a fitted one of odenet, or raise an error."""
    check_matplotlib_support(f"{display.__name__}.from_estimator")
    # The class is asked, because the attribute of an unfitted estimator would raise.
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


def network_to_draw(display, drawn):
    """Return the network of a fitted estimator, or a network as it is."""
    if hasattr(drawn, "V") and hasattr(drawn, "W"):
        return drawn
    return check_drawable(display, drawn).module_


def draw_legend_on_top(ax, **settings):
    """Draw a legend along the top of axes, and give it room there above the data.

    The limits still follow the data if more is drawn on the same axes later.
    """
    legend = ax.legend(loc="upper center", **settings)
    height = legend.get_window_extent().height / ax.get_window_extent().height
    scale = ax.yaxis.get_transform()
    low, high = scale.transform(ax.get_ylim())
    high = low + (high - low) / (1 - min(height + ROOM, MOST_ROOM))
    ax.set_ylim(*scale.inverted().transform([low, high]), auto=None)


def weights_of(network):
    """Return V and W as arrays of float64, with depth as their first axis."""
    return {name: to_numpy(getattr(network, name)) for name in ("V", "W")}
