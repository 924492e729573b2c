"""A display of the losses along a training."""

import numpy as np
from sklearn.base import is_regressor

from odenet._inspection.display import DARK, LIGHT, PALE, Display, check_drawable
from odenet._inspection.summary import is_judged_by_score, score_name
from odenet._training.history import history_columns

# The labels of the columns that losses can be drawn against.
AXIS_LABELS = {
    "flow_time": "flow time t",
    "n_grad_evals": "gradient evaluations",
    "seconds": "seconds of training",
    "epoch": "steps",
}
# The curves: role of the rows and column of the history, then label and style.
CURVES = {
    ("choose", "train_loss"): ("training, to choose t", {"color": PALE, "ls": "--"}),
    ("choose", "valid_loss"): ("held out", {"color": LIGHT, "ls": ":", "lw": 2.2}),
    ("fit", "train_loss"): ("training", {"color": DARK, "ls": "-"}),
    ("fit", "valid_loss"): ("held out", {"color": LIGHT, "ls": ":", "lw": 2.2}),
}
# Curves of fewer points have markers, because a single point has no line.
FEW_POINTS = 4
# The least gap between two labels of depths, in pixels: about the width of a letter.
LABEL_GAP = 6
# If the largest loss is so many times the smallest, powers of ten are enough as labels
# of a logarithmic axis (wide). Up to the smaller number (middle), there is room for all
# of 2, ..., 9 between them.
WIDE_SPAN, MIDDLE_SPAN = 30, 5


class LossCurveDisplay(Display):
    """The losses of a training, with marks where the depth of the network changes.

    A fit that chooses its flow time trains twice: at first without the samples that
    are held out, then on all of them. Against the flow time, both trainings start at
    the left; against gradients, seconds or steps, the second follows the first. If
    ``scoring`` has judged the training, the score of held-out samples is drawn too.

    Use :meth:`from_estimator` to make a display.

    Parameters
    ----------
    history : dict of str to ndarray of shape (n_rows,)
        The columns of the estimator's ``history_``.
    x : {"flow_time", "n_grad_evals", "seconds", "epoch"}
        The column that the losses are drawn against.
    loss_name : str, default="loss"
        The name of the loss, with its unit.
    score_name : str, default=None
        The name of the score of held-out samples, which then has an axis at the right.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last drawing.
    figure_ : matplotlib Figure
        The figure of the last drawing.
    lines_ : list of matplotlib Line2D
        The curves of the last drawing, that of the score last.

    Examples
    --------
    >>> from odenet import LossCurveDisplay, ResODERegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(8, flow_time=10.0, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model, x="n_grad_evals")
    >>> display.ax_.get_xlabel()
    'gradient evaluations'
    """

    def __init__(self, history, *, x, loss_name="loss", score_name=None):
        self.history = history
        self.x = x
        self.loss_name = loss_name
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator, *, x="auto", ax=None):
        """Draw the losses of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of odenet
        x : {"auto", "flow_time", "n_grad_evals", "seconds", "epoch"}, default="auto"
            The quantity that the losses are drawn against: the flow time, the number
            of gradients so far, the seconds so far, or the steps of the flow (epochs,
            if the solver trains on mini-batches). Gradients and seconds are summed
            over all trainings of the fit. "auto" is the flow time if the solver has
            one, and else the epochs.
        ax : matplotlib Axes, default=None
            The axes to draw on. By default, a new figure is made.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            If x is none of these, if x is "flow_time" and the solver has none, or if
            nothing was trained.
        """
        check_drawable(cls, estimator)
        history = history_columns(estimator.net_.history)
        has_flow = not np.all(np.isnan(history["flow_time"]))
        drawable = [name for name in AXIS_LABELS if has_flow or name != "flow_time"]
        choices = ["auto", *drawable]
        if x not in choices:
            raise ValueError(
                f"`x` must be one of {choices} for {estimator.solver_}, got {x!r}."
            )
        if np.all(np.isnan(history["train_loss"])):
            raise ValueError("There is no loss to draw: nothing was trained.")
        if x == "auto":
            x = "flow_time" if has_flow else "epoch"
        loss = estimator.net_.loss
        name = loss.name
        if is_regressor(estimator) and estimator.standardize:
            has_log_link = loss.link == "log"
            name += f" of {'scaled' if has_log_link else 'standardised'} targets"
        score = score_name(estimator) if is_judged_by_score(estimator) else None
        return cls(history, x=x, loss_name=name, score_name=score).plot(ax)

    def draw(self, ax):
        """Draw the curves, and a line where each depth begins.

        Parameters
        ----------
        ax : matplotlib Axes
        """
        self.lines_ = []
        for (label, style), x, loss in self._curves():
            marker = "." if len(x) < FEW_POINTS else ""
            self.lines_ += ax.plot(x, loss, label=label, marker=marker, **style)
        ax.set(xlabel=AXIS_LABELS[self.x], ylabel=self.loss_name)
        ax.set_xscale("log" if self.x == "flow_time" else "linear")
        losses = np.concatenate([line.get_ydata() for line in self.lines_])
        if losses.min() > 0:
            _set_log_scale(ax, losses.max() / losses.min())
        self._mark_depths(ax)
        if self.score_name is not None:
            self._draw_score(ax)
        ax.legend(handles=self.lines_)

    def _curves(self):
        """Yield (label, style), abscissae and losses of every curve that has points."""
        for (role, name), drawn_as in CURVES.items():
            there = self.history["role"] == role
            there &= ~np.isnan(self.history[name])
            if there.any():
                yield drawn_as, self.history[self.x][there], self.history[name][there]

    def _draw_score(self, ax):
        """Draw the score of held-out samples, on an axis of its own at the right."""
        score = self.history["valid_score"]
        there = ~np.isnan(score)
        if not there.any():
            return
        right = ax.twinx()
        right.set_ylabel(self.score_name)
        label = f"held out, {self.score_name}"
        x, score = self.history[self.x][there], score[there]
        marker = "." if len(x) < FEW_POINTS else ""
        self.lines_ += right.plot(
            x, score, label=label, marker=marker, color="k", ls="-.", lw=1.0
        )

    def _mark_depths(self, ax):
        """Draw a line where each depth begins, and write the depth above it.

        Along the flow time, the two trainings of a fit lie over each other: only the
        depths of the second, which fits the model, are marked. Depths that begin too
        close to each other for two labels share one.
        """
        labels = []
        shown = (self.history["role"] == "fit") | (self.x != "flow_time")
        x, depth = self.history[self.x][shown], self.history["depth"][shown]
        for i in np.flatnonzero(np.diff(depth, prepend=-1)):
            if i:  # A row holds the end of a step: the depth begins at the row before.
                ax.axvline(x[i - 1], color="k", lw=0.6, alpha=0.5)
            label = ax.annotate(
                f"L = {depth[i]:.0f}",
                (x[max(i - 1, 0)], 1.0),
                xycoords=ax.get_xaxis_transform(),
                xytext=(2, 2),
                textcoords="offset points",
                fontsize="x-small",
            )
            _keep_inside(ax, label)
            if labels and _meet(labels[-1], label):
                label.remove()
                label = labels[-1]
                label.set_text(f"{label.get_text()}, {depth[i]:.0f}")
                _keep_inside(ax, label)
            else:
                labels.append(label)

    def columns(self):
        """Return the columns of the history, with a row for every step or epoch.

        Returns
        -------
        columns : dict of str to ndarray of shape (n_rows,)
        """
        return self.history


def _keep_inside(ax, label):
    """Write a label to the left of its place if it would leave the axes else."""
    if label.get_window_extent().x1 > ax.get_window_extent().x1:
        label.set_horizontalalignment("right")
        label.xyann = (-2, 2)


def _meet(before, label):
    """Tell whether two labels of a row overlap, or nearly."""
    return label.get_window_extent().x0 < before.get_window_extent().x1 + LABEL_GAP


def _set_log_scale(ax, span):
    """Make the loss axis logarithmic, with plain numbers as its labels.

    matplotlib labels only the powers of ten, of which a loss that falls from 5 to 2
    meets none. So the multiples between them are labelled, as many as have room.
    """
    from matplotlib.ticker import LogLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    if span < WIDE_SPAN:
        subs = (2, 3, 4, 6, 8) if span > MIDDLE_SPAN else range(2, 10)
        ax.yaxis.set_minor_locator(LogLocator(subs=subs))
        ax.yaxis.set_minor_formatter("{x:g}")
