"""The loss along a training."""

import numpy as np

from odenet._inspection.display import DARK, LIGHT, PALE, Display, check_drawable
from odenet._training.history import history_columns

UNITS = {
    "flow_time": "flow time t",
    "n_grad_evals": "gradient evaluations",
    "seconds": "seconds of training",
    "epoch": "steps",
}
CURVES = {  # role, column: label, style
    ("choose", "train_loss"): ("training, to choose t", {"color": PALE, "ls": "--"}),
    ("choose", "valid_loss"): ("held out", {"color": LIGHT, "ls": ":", "lw": 2.2}),
    ("fit", "train_loss"): ("training", {"color": DARK, "ls": "-"}),
    ("fit", "valid_loss"): ("held out", {"color": LIGHT, "ls": ":", "lw": 2.2}),
}


class LossCurveDisplay(Display):
    """The losses of a training, with the changes of depth.

    A fit that chooses its flow time trains twice, at first without the samples that are
    held out: against gradients, seconds or steps the second training follows the first.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    history : dict of str to ndarray of shape (n_rows,)
        The columns of ``history_``.
    x : {"flow_time", "n_grad_evals", "seconds", "epoch"}
        The column to draw against.
    loss_name : str
        What the loss is, with its unit.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        The curves.

    Examples
    --------
    >>> from odenet import LossCurveDisplay, ResODERegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(8, flow_time=10.0, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model, x="n_grad_evals")
    >>> display.ax_.get_xlabel()
    'gradient evaluations'
    """

    def __init__(self, history, *, x, loss_name="loss"):
        self.history = history
        self.x = x
        self.loss_name = loss_name

    @classmethod
    def from_estimator(cls, estimator, *, x="auto", ax=None):
        """Draw the losses of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of odenet
        x : {"auto", "flow_time", "n_grad_evals", "seconds", "epoch"}, default="auto"
            What the losses are drawn against: the flow time, the number of gradients,
            or the seconds, both summed over all trainings of the fit, or the steps of
            the flow (epochs of mini-batches). "auto" is the flow time, or the epochs
            where there is none.
        ax : matplotlib Axes, default=None
            Where to draw; None is a new figure.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            If x is none of these, or a flow time is asked for that there is not.
        """
        check_drawable(cls, estimator)
        history = history_columns(estimator.net_.history)
        has_flow = not np.all(np.isnan(history["flow_time"]))
        choices = ["auto", *(name for name in UNITS if has_flow or name != "flow_time")]
        if x not in choices:
            raise ValueError(
                f"`x` must be one of {choices} for {estimator.solver_}, got {x!r}."
            )
        if np.all(np.isnan(history["train_loss"])):
            raise ValueError("There is no loss to draw: nothing was trained.")
        if x == "auto":
            x = "flow_time" if has_flow else "epoch"
        name = estimator.net_.loss.name
        if getattr(estimator, "_y_standardizer", None) and estimator.standardize:
            name += " of standardised targets"
        return cls(history, x=x, loss_name=name).plot(ax)

    def _draw(self, ax):
        self.lines_ = [
            ax.plot(x, loss, label=label, marker="." if len(x) < 4 else "", **style)[0]
            for (label, style), x, loss in self._curves()
        ]
        ax.set(xlabel=UNITS[self.x], ylabel=self.loss_name)
        ax.set_xscale("log" if self.x == "flow_time" else "linear")
        losses = np.concatenate([line.get_ydata() for line in self.lines_])
        if losses.min() > 0:
            _set_log_scale(ax, losses.max() / losses.min())
        self._mark_depths(ax)
        ax.legend()

    def _curves(self):
        for (role, name), drawn_as in CURVES.items():
            there = self.history["role"] == role
            there &= ~np.isnan(self.history[name])
            if there.any():
                yield drawn_as, self.history[self.x][there], self.history[name][there]

    def _mark_depths(self, ax):
        """A line where each depth begins; along the flow, in the training that fits."""
        shown = (self.history["role"] == "fit") | (self.x != "flow_time")
        x, depth = self.history[self.x][shown], self.history["depth"][shown]
        for i in np.flatnonzero(np.diff(depth, prepend=-1)):
            if i:
                ax.axvline(x[i - 1], color="k", lw=0.6, alpha=0.5)
            ax.annotate(
                f"L = {depth[i]:.0f}",
                (x[max(i - 1, 0)], 1.0),
                xycoords=ax.get_xaxis_transform(),
                xytext=(2, 2),
                textcoords="offset points",
                fontsize="x-small",
            )

    def _columns(self):
        return self.history


def _set_log_scale(ax, span):
    """A logarithmic axis with plain numbers, also where it is shorter than a decade."""
    from matplotlib.ticker import LogLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    if span < 30:
        subs = (2, 3, 4, 6, 8) if span > 5 else range(2, 10)
        ax.yaxis.set_minor_locator(LogLocator(subs=subs))
        ax.yaxis.set_minor_formatter("{x:g}")
