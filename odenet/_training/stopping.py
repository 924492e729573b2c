"""When a training stops, and which weights it keeps."""

from math import inf, isfinite, log

import torch
from skorch.callbacks import Callback

SETTLED_TIME = 10.0  # flow time before which nothing is concluded from a curve
PATIENCE = 3.0  # times the flow time of the lowest validation loss
SHARE_TO_WAIT = 0.5  # of the epochs to the lowest validation loss of mini-batches
MIN_WAIT = 10  # steps since the lowest validation loss
FLAT = 1e-4  # relative decrease of the loss per unit of log flow time


class Monitor(Callback):
    """Records the flow, keeps the best weights and decides when to stop.

    Parameters
    ----------
    early_stopping : bool, default=False
        Whether the validation loss decides when to stop and which weights to keep.
    schedule : DepthWalk, default=None
        How the network's depth grows; None leaves it as it is.
    """

    def __init__(self, early_stopping=False, schedule=None):
        self.early_stopping = early_stopping
        self.schedule = schedule
        self.flow_time = None
        self.epoch_weights = None

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """The loss at the start: nothing can be trained if it is not finite."""
        self.flow_time = getattr(net.optimizer_, "flow_time", None)
        if self.schedule is not None:
            self.schedule.begin(net)
        self.start_loss = net.objective(X[0])
        if not isfinite(self.start_loss):
            raise FloatingPointError(
                f"The training loss is {self.start_loss} before the first step. Scale "
                "the data, or leave `standardize=True`."
            )
        if self.early_stopping and not isfinite(net.objective(X[1])):
            raise FloatingPointError(
                "The loss of the validation samples is not finite at the start."
            )
        self.largest_loss = 10 * max(self.start_loss, net.loss_of_zero(X[0]))
        self.evals_before = getattr(net.optimizer_, "n_grad_evals", 0)
        self.start = self.kept = net.weights(), self.flow_time
        if self.early_stopping and net.solver.batch_size is not None:
            self._judge_by_validation(net, X[1])
        else:
            self._judge_anew(net, inf if self.early_stopping else self.start_loss)

    def _judge_by_validation(self, net, validation):
        """These weights are to be beaten."""
        losses = net.losses(validation)
        loss = (validation.weight * losses).sum() / validation.weight.sum()
        self.kept = net.weights(), self.flow_time
        self._judge_anew(net, loss.item(), losses)

    def _judge_anew(self, net, loss, losses=None):
        """Forget what was concluded so far."""
        self.lowest = loss, len(net.history), self.flow_time
        self.began = len(net.history)
        self.kept_losses, self.flatness_reference = losses, None

    def on_epoch_begin(self, net, **kwargs):
        """The depth, and the weights that the mean loss of mini-batches speaks of."""
        net.history.record("depth", net.module_.depth)
        if net.solver.batch_size is not None and not self.early_stopping:
            self.epoch_weights = net.weights(), None

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Record, keep the best, judge."""
        flow, row = net.optimizer_, net.history[-1]
        net.history.record("role", "fit")
        for name in ("flow_time", "n_grad_evals", "n_rejected", "spectral_radius"):
            if hasattr(flow, name):
                net.history.record(name, getattr(flow, name))
        self.flow_time = row.get("flow_time")
        loss = row["valid_loss"] if self.early_stopping else row["train_loss"]
        if self._is_better(net, loss):
            self.kept = self.epoch_weights or (net.weights(), self.flow_time)
            self.kept_losses = net.valid_losses
        if loss < self.lowest[0]:
            self.lowest = loss, row["epoch"], self.flow_time
        net.stop_reason = self._reason_to_stop(net, row)
        if self.schedule is not None:
            self._follow_schedule(net, dataset_train, dataset_valid)

    def _follow_schedule(self, net, samples, validation):
        """What was concluded at one depth does not hold at the next."""
        chooses = self.early_stopping and self.schedule.only_chooses
        depth, is_done = net.module_.depth, self.schedule.is_done(net)
        self.schedule.judge(net, validation if chooses else samples)
        if (depth, is_done) == (net.module_.depth, self.schedule.is_done(net)):
            return
        self.flatness_reference = None
        if self.early_stopping and not self.schedule.only_chooses:
            self._judge_by_validation(net, validation)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Go back to the weights kept where that is asked for, or needed."""
        net.module_.set_weights(net.weights())
        net.average = None
        if not net.objective(X[0]) <= self.largest_loss:
            net.stop_reason = "diverged"
        if self.early_stopping or net.stop_reason == "diverged":
            self._go_back(net, self.kept)
            if not net.objective(X[0]) <= self.largest_loss:
                self._go_back(net, self.start)
        if self.schedule is not None:
            self.schedule.finish(net, X[0])
        self.start = self.kept = self.kept_losses = self.epoch_weights = None

    def go_back(self, net):
        """To the best weights, where early stopping knows them; else to the average."""
        if self.early_stopping:
            self._go_back(net, self.kept)
        else:
            net.module_.set_weights(net.weights())

    def _go_back(self, net, point):
        weights, self.flow_time = point
        if self.schedule is not None:
            weights = self.schedule.weights_at(weights, net.module_.depth)
        net.module_.set_weights(weights)

    def _is_better(self, net, loss):
        """Whether to keep these weights instead of the ones kept.

        The average of mini-batches' weights needs no margin: it is compared often.
        """
        if (
            self.flow_time is None
            or not self.early_stopping
            or self.kept_losses is None
        ):
            return loss < self.lowest[0]
        return _exceeds(self.kept_losses, net.valid_losses, net.valid_weight)

    def _reason_to_stop(self, net, row):
        """A word, or None to go on."""
        flow = net.optimizer_
        n_evals = row.get("n_grad_evals", 0) - self.evals_before
        if not isfinite(row["train_loss"]) or getattr(flow, "diverged", False):
            return "diverged"
        if self.flow_time is not None and self.flow_time >= net.horizon:
            return "horizon"
        if self.early_stopping and self._validation_loss_has_risen(net, row["epoch"]):
            return "early_stopping"
        if self.flow_time is not None and self._is_stationary(net, row["train_loss"]):
            return "stationary"
        return "max_evals" if n_evals >= getattr(net.solver, "max_evals", inf) else None

    def _validation_loss_has_risen(self, net, epoch):
        """Significantly and for long; a flow is given time in proportion to its age."""
        _, lowest_epoch, lowest_time = self.lowest
        if self.kept_losses is None:
            return False
        if self.flow_time is None:
            return epoch - lowest_epoch >= self._patience(net, lowest_epoch)
        if epoch - lowest_epoch < MIN_WAIT:
            return False
        if self.flow_time < max(SETTLED_TIME, PATIENCE * lowest_time):
            return False
        return _exceeds(net.valid_losses, self.kept_losses, net.valid_weight)

    def _patience(self, net, lowest_epoch):
        """Epochs to wait for a lower loss, or half of those before it if more."""
        least = net.solver.patience
        if self.schedule is not None:
            least = max(1, least * self.schedule.share_of_patience(net))
        return max(least, SHARE_TO_WAIT * (lowest_epoch - self.began))

    def _is_stationary(self, net, loss):
        """No decrease beyond rounding, or a change below FLAT per unit of log time."""
        eps = torch.finfo(net.module_.V.dtype).eps
        if net.optimizer_.stalled or loss <= eps * self.start_loss:
            return True
        if self.flow_time < SETTLED_TIME:
            return False
        before, loss_before = self.flatness_reference or (self.flow_time, loss)
        elapsed = log(self.flow_time / before)
        if self.flatness_reference is None or elapsed > 0.2:
            self.flatness_reference = self.flow_time, loss
        return elapsed > 0.2 and abs(loss_before - loss) / loss < FLAT * elapsed


def _exceeds(losses, others, weight):
    """Whether losses exceed others by more than the standard error of the difference.

    Both are of the same samples: a paired comparison.
    """
    share = weight / weight.sum()
    difference = losses - others
    mean = (share * difference).sum()
    variance = (share * (difference - mean).square()).sum()
    return bool(mean > (variance * share.square().sum()).sqrt())
