"""A display of the steps between layers, compared with layers in random order."""

import numpy as np

from odenet._diagnostics.smoothness import depth_smoothness
from odenet._inspection.display import (
    DARK,
    LIGHT,
    Display,
    draw_legend_on_top,
    network_to_draw,
    weights_of,
)

# The styles of V and W: they differ in lightness and marker, for prints without colour.
STYLES = {"V": {"color": DARK, "marker": "o"}, "W": {"color": LIGHT, "marker": "s"}}


class DepthSmoothnessDisplay(Display):
    r"""Rates at which weights change, :math:`L \|Z_{k+1} - Z_k\|_F` for Z = V and W.

    If a network is a discretised ODE, these rates are the speed at which its weights
    change along depth time, and they do not depend on the number of layers L. The
    largest rate is ``depth_smoothness_.lipschitz``.

    A dashed line shows the root mean square of the rates that the same layers would
    have in random order, as if they were independent. The von Neumann ratio is about
    the square of the ratio of the rates drawn to that line.

    Use :meth:`from_estimator` to make a display.

    Parameters
    ----------
    rates : dict of str to ndarray of shape (depth - 1,)
        The rates of "V" and of "W".
    shuffled : dict of str to float
        The root mean square of the rates of "V" and of "W" if the layers came in
        random order.
    smoothness : DepthSmoothness
        The numbers in the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last drawing.
    figure_ : matplotlib Figure
        The figure of the last drawing.

    Examples
    --------
    >>> from odenet import DepthSmoothnessDisplay, ResODERegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(16, flow_time=10.0, random_state=0).fit(X, y)
    >>> display = DepthSmoothnessDisplay.from_estimator(model)
    >>> float(display.rates["W"].max()) == model.depth_smoothness_.per_weight["W"]
    True
    """

    def __init__(self, rates, shuffled, smoothness):
        self.rates = rates
        self.shuffled = shuffled
        self.smoothness = smoothness

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the rates at which the weights of a fitted estimator change.

        Parameters
        ----------
        estimator : fitted estimator of odenet, or network
        ax : matplotlib Axes, default=None
            The axes to draw on. By default, a new figure is made.

        Returns
        -------
        display : DepthSmoothnessDisplay

        Raises
        ------
        ValueError
            If the network has only one layer.
        """
        network = network_to_draw(cls, estimator)
        depth = network.depth
        if depth < 2:
            raise ValueError(
                "A network of one layer has no steps between layers to draw: fit with "
                "depth=2 or more."
            )
        smoothness = depth_smoothness(network)
        rates = {name: depth * steps for name, steps in smoothness.increments.items()}
        shuffled = {n: _rate_when_shuffled(Z) for n, Z in weights_of(network).items()}
        return cls(rates, shuffled, smoothness).plot(ax)

    def draw(self, ax):
        """Draw the rates of V and W, and those of layers in random order.

        Parameters
        ----------
        ax : matplotlib Axes
        """
        for name, style in STYLES.items():
            rates = self.rates[name]
            s = _depth_times_between(len(rates))
            ax.plot(s, rates, label=name, ms=3, lw=1, **style)
            label = f"{name}, layers in random order"
            ax.axhline(self.shuffled[name], ls="--", color=style["color"], label=label)
        # A step of zero, as between tied layers, has no place on a logarithmic axis.
        if all((rates > 0).all() for rates in self.rates.values()):
            ax.set_yscale("log")
        ax.margins(y=0.1)
        ax.set(xlabel="depth time s = k/L", xlim=(0, 1))
        ax.set_ylabel("L ‖Z$_{k+1}$ − Z$_k$‖ (per unit of depth time)")
        ax.set_title(
            f"Lipschitz constant {self.smoothness.lipschitz:.3g}, "
            f"von Neumann ratio {self.smoothness.von_neumann_ratio:.2g}",
            fontsize="medium",
        )
        draw_legend_on_top(ax, ncols=2, fontsize="small")

    def columns(self):
        """Return the rates, with a row for every weight and step between layers.

        Returns
        -------
        columns : dict of str to ndarray of shape (2 * (depth - 1),)
            The columns "weight", "layer", "depth_time", "rate" and
            "rate_when_shuffled".
        """
        names, n = list(self.rates), len(self.rates["V"])
        return {
            "weight": np.repeat(names, n),
            "layer": np.tile(np.arange(1, n + 1), len(names)),
            "depth_time": np.tile(_depth_times_between(n), len(names)),
            "rate": np.concatenate([self.rates[name] for name in names]),
            "rate_when_shuffled": np.repeat([self.shuffled[k] for k in names], n),
        }


def _depth_times_between(n_steps):
    """Return the depth times k/L at which layer k ends and layer k + 1 begins."""
    depth = n_steps + 1
    return np.arange(1, depth) / depth


def _rate_when_shuffled(Z):
    """Return L times the root mean square of a step, over all orders of the layers.

    Two layers drawn without replacement differ by twice the variance in mean square,
    if the variance is divided by depth - 1.
    """
    depth = len(Z)
    variance = np.square(Z - Z.mean(axis=0)).sum() / (depth - 1)
    return float(depth * np.sqrt(2 * variance))
