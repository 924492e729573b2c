"""The progress bar of a training."""

import sys
from math import isfinite
from time import perf_counter

from skorch.callbacks import Callback

from odenet._diagnostics.smoothness import depth_smoothness
from odenet._utils.bars import Bar

# The bar is drawn anew at most ten times a second: faster than the eye needs, and slow
# enough to cost nothing.
REFRESH_SECONDS = 0.1
# The format of tqdm with a narrow bar, since losses and depth stand beside it.
BAR = (
    "{desc} {percentage:3.0f}%|{bar:6}| {n:.4g}/{total:.4g} {unit} [{elapsed}{postfix}]"
)
WITHOUT_END = "{desc} {n:.4g} {unit} [{elapsed}{postfix}]"  # where nobody knows it


class ProgressBar(Callback):
    """Shows a bar over the flow time t, or over epochs.

    Beside it stand the depth L, the losses and the Lipschitz constant of the weights.
    """

    only_watches = True

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Open the bar."""
        self.is_flow = hasattr(net.optimizer_, "flow_time")
        self.epochs_before = len(net.history)
        schedule = net.monitor.schedule
        chooses = schedule is not None and schedule.only_chooses
        total = net.horizon if self.is_flow else net.max_epochs
        self.bar = Bar(
            total=total,
            desc="choosing t" if chooses else "training",
            unit="t" if self.is_flow else "epoch",
            bar_format=BAR if isfinite(total) else WITHOUT_END,
            file=sys.stderr,
            leave=None,  # not below a bar of folds
        )
        self.shown_at = 0.0

    def on_epoch_end(self, net, **kwargs):
        """Move the bar, unless it was moved only just now."""
        if perf_counter() - self.shown_at > REFRESH_SECONDS:
            self._show(net)
            self.shown_at = perf_counter()

    def on_train_end(self, net, **kwargs):
        """Show the last epoch, and close the bar."""
        if net.history and "train_loss" in net.history[-1]:
            self._show(net)
        self.bar.close()

    def _show(self, net):
        """Draw the bar with the numbers of the last epoch."""
        row = net.history[-1]
        shown = {"L": row["depth"], "loss": f"{row['train_loss']:.3g}"}
        if "valid_loss" in row:
            shown["valid"] = f"{row['valid_loss']:.3g}"
        shown["Lip"] = f"{depth_smoothness(net.module_).lipschitz:.3g}"
        self.bar.set_postfix(shown, refresh=False)
        epoch = row["epoch"] - self.epochs_before
        self.bar.n = row["flow_time"] if self.is_flow else epoch
        self.bar.refresh()
