"""What watches a training, as skorch callbacks."""

import sys
from numbers import Integral
from time import perf_counter

from skorch.callbacks import Callback
from tqdm.auto import tqdm

from odenet._diagnostics import depth_smoothness

REFRESH_SECONDS = 0.1  # of the progress bar
BAR = (
    "{desc} {percentage:3.0f}%|{bar:6}| {n:.4g}/{total:.4g} {unit} [{elapsed}{postfix}]"
)


class Checkpoints(Callback):
    """Visits the network at given flow times, where steps are made to end.

    Parameters
    ----------
    flow_times : list of float
        Ascending.
    visit : callable
        ``visit(net, index)``, true if the flow is to go on.
    """

    def __init__(self, flow_times, visit):
        self.flow_times = flow_times
        self.visit = visit
        self.index = 0

    def on_train_begin(self, net, **kwargs):
        """The first step ends at the first flow time, at the latest."""
        self._limit_steps(net)

    def on_epoch_end(self, net, **kwargs):
        """Visit, where the flow time is reached."""
        if net.flow_time >= self.flow_times[self.index]:
            goes_on = self.visit(net, self.index)
            self.index += 1
            if not goes_on and not net.stop_reason:
                net.stop_reason = "callback"
        self._limit_steps(net)

    def _limit_steps(self, net):
        if self.index < len(self.flow_times):
            net.optimizer_.horizon = self.flow_times[self.index]


class ProgressBar(Callback):
    """Bar over the flow time t, or over epochs.

    Beside it are the depth L, the losses and the Lipschitz constant of the weights.
    """

    only_watches = True

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Open the bar."""
        self.is_flow = hasattr(net.optimizer_, "flow_time")
        self.epochs_before = len(net.history)
        schedule = net.monitor.schedule
        chooses = schedule is not None and schedule.only_chooses
        self.bar = tqdm(
            total=net.horizon if self.is_flow else net.max_epochs,
            desc="choosing t" if chooses else "training",
            unit="t" if self.is_flow else "epoch",
            bar_format=BAR,
            file=sys.stderr,
            leave=None,  # not below a bar of folds
        )
        self.shown_at = 0.0

    def on_epoch_end(self, net, **kwargs):
        """Move the bar, as often as can be seen."""
        if perf_counter() - self.shown_at > REFRESH_SECONDS:
            self._show(net)
            self.shown_at = perf_counter()

    def on_train_end(self, net, **kwargs):
        """Show the end, and close the bar."""
        if net.history and "train_loss" in net.history[-1]:
            self._show(net)
        self.bar.close()

    def _show(self, net):
        row = net.history[-1]
        shown = {"L": row["depth"], "loss": f"{row['train_loss']:.3g}"}
        if "valid_loss" in row:
            shown["valid"] = f"{row['valid_loss']:.3g}"
        shown["Lip"] = f"{depth_smoothness(net.module_).lipschitz:.3g}"
        self.bar.set_postfix(shown, refresh=False)
        epoch = row["epoch"] - self.epochs_before
        self.bar.n = row["flow_time"] if self.is_flow else epoch
        self.bar.refresh()


class DepthSmoothnessMonitor(Callback):
    """Records the smoothness in depth at every step of the flow, or epoch.

    A callback for ``callbacks``: ``history_`` has the columns "lipschitz" and
    "von_neumann_ratio" then, see :class:`odenet.DepthSmoothness`. They are those of the
    network as it is, at the depth that it is trained at. Where a flow time is chosen on
    held-out samples, both trainings are recorded.

    Parameters
    ----------
    every : int, default=1
        Steps or epochs from one record to the next.

    Examples
    --------
    >>> from odenet import DepthSmoothnessMonitor, ResODERegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> monitor = DepthSmoothnessMonitor()
    >>> model = ResODERegressor(16, flow_time=10.0, callbacks=[monitor]).fit(X, y)
    >>> model.history_["lipschitz"].iloc[-1] == model.depth_smoothness_.lipschitz
    np.True_
    """

    only_watches = True

    def __init__(self, every=1):
        self.every = every

    def on_train_begin(self, net, **kwargs):
        """Check the parameter."""
        if not isinstance(self.every, Integral) or self.every < 1:
            raise ValueError(f"`every` must be a positive integer, got {self.every!r}.")

    def on_epoch_end(self, net, **kwargs):
        """Record."""
        if net.history[-1]["epoch"] % self.every == 0:
            smoothness = depth_smoothness(net.module_)
            net.history.record("lipschitz", smoothness.lipschitz)
            net.history.record("von_neumann_ratio", smoothness.von_neumann_ratio)


class ScikitLearnCallbacks(Callback):
    """Hands every epoch to scikit-learn's own callbacks (scikit-learn 1.9 or later)."""

    def __init__(self, estimator, context, X, y, fitted):
        self.estimator = estimator
        self.context = context
        self.X = X
        self.y = y
        self.fitted = fitted

    def on_epoch_begin(self, net, **kwargs):
        """Open a task for the epoch."""
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def on_epoch_end(self, net, **kwargs):
        """Close the task; a callback may ask to stop."""
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes={**self.fitted, "net_": net},
        )
        if stop and not net.stop_reason:
            net.stop_reason = "callback"
