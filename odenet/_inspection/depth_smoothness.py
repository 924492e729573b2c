"""The steps between layers, beside those of layers in random order."""

import numpy as np

from odenet._diagnostics.smoothness import depth_smoothness
from odenet._inspection.display import DARK, LIGHT, Display, network_of, weights_of

STYLES = {"V": {"color": DARK, "marker": "o"}, "W": {"color": LIGHT, "marker": "s"}}


class DepthSmoothnessDisplay(Display):
    r"""Steps between layers as rates, :math:`L \|Z_{k+1} - Z_k\|_F` for Z = V and W.

    For a discretised ODE they are the speed at which the weights change along depth
    time, whatever L is; the largest is ``depth_smoothness_.lipschitz``. Beside them is
    what they would be if the same layers came in random order, a root mean square, as
    for independent layers: the von Neumann ratio is about the square of how far they
    are apart.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    rates : dict of str to ndarray of shape (depth - 1,)
        The rates of "V" and of "W".
    shuffled : dict of str to float
        Those of layers in random order.
    smoothness : DepthSmoothness
        What the title says.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from odenet import DepthSmoothnessDisplay, ResODERegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(16, flow_time=10.0, random_state=0).fit(X, y)
    >>> display = DepthSmoothnessDisplay.from_estimator(model)
    >>> display.rates["W"].max() == model.depth_smoothness_.per_weight["W"]
    np.True_
    """

    def __init__(self, rates, shuffled, smoothness):
        self.rates = rates
        self.shuffled = shuffled
        self.smoothness = smoothness

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the steps between the layers of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of odenet, or network
        ax : matplotlib Axes, default=None
            Where to draw; None is a new figure.

        Returns
        -------
        display : DepthSmoothnessDisplay

        Raises
        ------
        ValueError
            If there is only one layer.
        """
        network = network_of(cls, estimator)
        depth = network.depth
        if depth < 2:
            raise ValueError("A network of one layer has no steps between layers.")
        smoothness = depth_smoothness(network)
        rates = {name: depth * steps for name, steps in smoothness.increments.items()}
        shuffled = {n: _rate_when_shuffled(Z) for n, Z in weights_of(network).items()}
        return cls(rates, shuffled, smoothness).plot(ax)

    def _draw(self, ax):
        for name, style in STYLES.items():
            s, rates = self._depth_times(name), self.rates[name]
            ax.plot(s, rates, label=name, ms=3, lw=1, **style)
            ax.axhline(self.shuffled[name], ls="--", color=style["color"])
            ax.annotate(
                f"{name}, layers in random order",
                (0.98, self.shuffled[name]),
                xytext=(0, 4),
                textcoords="offset points",
                ha="right",
                fontsize="small",
            )
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
        ax.legend()

    def _depth_times(self, name):
        n_steps = len(self.rates[name])
        return np.arange(1, n_steps + 1) / (n_steps + 1)

    def _columns(self):
        names, n = list(self.rates), len(self.rates["V"])
        return {
            "weight": np.repeat(names, n),
            "layer": np.tile(np.arange(1, n + 1), len(names)),
            "depth_time": np.concatenate([self._depth_times(name) for name in names]),
            "rate": np.concatenate([self.rates[name] for name in names]),
            "rate_when_shuffled": np.repeat([self.shuffled[k] for k in names], n),
        }


def _rate_when_shuffled(Z):
    """L times the root mean square of a step, over all orders of the layers."""
    depth = len(Z)
    variance = np.square(Z - Z.mean(axis=0)).sum() / (depth - 1)
    return float(depth * np.sqrt(2 * variance))
