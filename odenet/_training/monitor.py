"""The monitor: a callback that follows a training and does what the rules decide."""

from math import inf, isfinite

import torch
from skorch.callbacks import Callback

from odenet._training.stop_reason import StopReason
from odenet._training.stopping import Observation, StoppingRule, cost_of

# A training has diverged if its last loss is so many times the larger of two losses: at
# the start, and of a network that predicts zero. A choice: sound trainings end below.
LARGEST_RISE = 10.0
RECORDED = (  # what the history has of an optimizer, if it has it
    "flow_time",
    "n_grad_evals",
    "n_rejected",
    "n_kernels",
    "spectral_radius",
    "energy_ratio",
)


class Monitor(Callback):
    """Records the flow, keeps the best weights, and lets the rules decide.

    The :class:`StoppingRule` decides whether to stop, the schedule whether to change
    the depth. Each returns its decision, and the monitor applies it.

    Parameters
    ----------
    early_stopping : bool, default=False
        Whether held-out samples decide when to stop and which weights to keep, by the
        metric of the net, or else by their loss.
    schedule : DepthWalk, default=None
        How the network's depth grows; None leaves it as it is.
    on_folds : bool, default=False
        Whether the held-out samples are those of all folds.
    """

    def __init__(self, early_stopping=False, schedule=None, *, on_folds=False):
        self.early_stopping = early_stopping
        self.schedule = schedule
        self.on_folds = on_folds
        self.flow_time = None
        self.epoch_weights = None

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Record the loss at the start, or raise an error if it is not finite."""
        train, held_out = X
        solver, eps = net.solver, torch.finfo(net.module_.V.dtype).eps
        self.rule = StoppingRule(
            early_stopping=self.early_stopping,
            on_folds=self.on_folds,
            follows_flow=solver.follows_flow,
            max_evals=solver.max_evals,
            patience=solver.patience,
            # Held-out samples do not see the last digits of a training loss.
            rounding=eps if self.early_stopping else net.loss.rounding(eps),
            group=net.group,
        )
        self.flow_time = getattr(net.optimizer_, "flow_time", None)
        if self.schedule is not None:
            self.schedule.begin(net)
        self.start_loss = net.objective(train)
        if not isfinite(self.start_loss):
            raise FloatingPointError(
                f"The training loss is {self.start_loss} before the first step. Scale "
                "the data, or leave `standardize=True`."
            )
        if self.early_stopping and not isfinite(loss := net.objective(held_out)):
            raise FloatingPointError(
                f"The loss of the validation samples is {loss} before the first step. "
                "Scale the data, or look for outliers in X_val and y_val."
            )
        self.largest_loss = LARGEST_RISE * max(self.start_loss, net.loss_of_zero(train))
        self.evals_before = getattr(net.optimizer_, "n_grad_evals", 0)
        self.start = self.kept = net.weights(), self.flow_time
        worst = cost_of(inf, None if net.metric is None else -inf)
        self.rule.begin(
            self.start_loss,
            worst if self.early_stopping else self.start_loss,
            len(net.history),
            self.flow_time,
        )
        if self.early_stopping and not solver.follows_flow:
            self._begin_anew(net, held_out)

    def _begin_anew(self, net, held_out):
        """Begin to judge anew: later weights have to be better than these."""
        losses = net.losses(held_out)
        weight = held_out.weight
        loss = net.group.sum((weight * losses).sum()) / net.group.sum(weight.sum())
        self.kept = net.weights(), self.flow_time
        score = None if net.metric is None else net.metric(net.module_)
        self.rule.begin_anew(
            cost_of(loss.item(), score),
            len(net.history),
            self.flow_time,
            losses.flatten(),
        )

    def on_epoch_begin(self, net, **kwargs):
        """Record the depth, and copy the weights that the epoch's loss belongs to.

        The loss of an epoch of mini-batches is computed while the weights change. It
        is counted as the loss of the weights from which the epoch started.
        """
        net.history.record("depth", net.module_.depth)
        if not net.solver.follows_flow and not self.early_stopping:
            self.epoch_weights = net.weights(), None

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Record the epoch, keep the best weights, and apply what the rules decide."""
        flow = net.optimizer_
        net.history.record("role", "fit")
        if net.trains_on_parts:
            net.history.record("event_part", True)
        for name in RECORDED:
            if hasattr(flow, name):
                net.history.record(name, getattr(flow, name))
        seen = self._observation(net)
        self.flow_time = seen.flow_time
        if self.rule.observe(seen):
            self.kept = self.epoch_weights or self._weights_of(net)
        share = 1.0 if self.schedule is None else self.schedule.share_of_patience(net)
        reason = self.rule.verdict(seen, horizon=net.horizon, share_of_patience=share)
        if self.schedule is not None:
            reason = self._follow_schedule(net, reason, dataset_train, dataset_valid)
        net.stop(reason)

    def _weights_of(self, net):
        """Copy the weights, and return them with their flow time.

        The memory of the weights kept so far is used again, unless they are those of
        the start, which are still needed.
        """
        is_start = self.kept is None or self.kept[0] is self.start[0]
        return net.weights(None if is_start else self.kept[0]), self.flow_time

    def _observation(self, net):
        """Collect the numbers that the stopping rule looks at."""
        flow, row = net.optimizer_, net.history[-1]
        return Observation(
            epoch=row["epoch"],
            train_loss=row["train_loss"],
            valid_loss=row.get("valid_loss"),
            valid_losses=net.valid_losses,
            valid_weight=net.valid_weight,
            score=None if net.metric is None else row.get("valid_score"),
            flow_time=row.get("flow_time"),
            n_evals=row.get("n_grad_evals", 0) - self.evals_before,
            stalled=getattr(flow, "stalled", False),
            diverged=getattr(flow, "diverged", False),
        )

    def _follow_schedule(self, net, reason, samples, held_out):
        """Let the schedule act, and forget conclusions about a depth that it has left.

        Depths are compared on the training samples, or on the held-out samples while
        these choose a flow time.
        """
        schedule = self.schedule
        chooses = self.early_stopping and schedule.only_chooses
        before = net.module_.depth, schedule.is_done(net)
        reason = schedule.judge(net, reason, held_out if chooses else samples)
        if before == (net.module_.depth, schedule.is_done(net)):
            return reason
        self.rule.forget_flatness()
        if self.early_stopping and not schedule.only_chooses:
            self._begin_anew(net, held_out)
        return reason

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Restore the best weights after early stopping or a divergence.

        An epoch that was interrupted before it began has no row in the history. A
        training that was interrupted outside of its loop has no reason yet.
        """
        net.stop(net.stop_reason or StopReason.INTERRUPTED)
        if net.history and "depth" not in net.history[-1]:
            del net.history[-1]
        net.module_.set_weights(net.weights())
        net.average = None
        if self._is_lost(net, X[0]):
            net.stop(StopReason.DIVERGED)
        if self.early_stopping or net.stop_reason is StopReason.DIVERGED:
            self._restore(net, self.kept)
            if self._is_lost(net, X[0]):
                self._restore(net, self.start)
        if self.schedule is not None:
            net.stop(self.schedule.finish(net, net.stop_reason, X[0]))
        self.start = self.kept = self.epoch_weights = None
        self.rule.kept_losses = None

    def _is_lost(self, net, samples):
        """Tell whether the training loss is NaN, or above the largest allowed."""
        return not net.objective(samples) <= self.largest_loss

    def go_back(self, net):
        """Restore the best weights with early stopping, and the average without it."""
        if self.early_stopping:
            self._restore(net, self.kept)
        else:
            net.module_.set_weights(net.weights())

    def _restore(self, net, kept):
        """Set weights, resampled to the depth of the network, and their flow time."""
        weights, self.flow_time = kept
        if self.schedule is not None:
            weights = self.schedule.weights_at(weights, net.module_.depth)
        net.module_.set_weights(weights)
