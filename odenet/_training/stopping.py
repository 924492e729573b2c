"""The rule that says when a training stops, and which weights are better."""

from dataclasses import dataclass
from math import floor, inf, isfinite, log

import numpy as np
import torch

from odenet._distributed.group import ALONE
from odenet._distributed.selection import least_reaching, order_statistics
from odenet._training.stop_reason import StopReason

# The constants of this rule are choices, round numbers that were not derived.
#
# Before this flow time nothing is concluded from a curve: a loss can rest on a plateau
# at the start of a flow, and fall again.
SETTLED_TIME = 10.0
# A flow is followed to so many times the flow time of its lowest validation loss. The
# loss of samples that were each held out in a fold has less noise, and costs more.
PATIENCE, PATIENCE_OF_FOLDS = 3.0, 2.0
# A training on mini-batches waits for a lower validation loss for this share of the
# epochs that it took to the lowest one, and at least for the solver's `patience`.
SHARE_TO_WAIT = 0.5
# A flow takes at least so many steps after its lowest validation loss: fewer say
# nothing of a trend.
MIN_WAIT = 10
# A loss is stationary if its relative decrease per unit of log flow time, measured over
# the given span of log flow time, is smaller than this.
FLAT, FLATNESS_SPAN = 1e-4, 0.2
# A held-out sample of more than so many times the median weight counts as several. The
# median is of those that make up all but this share of the weight.
TIMES_THE_MEDIAN, NEGLIGIBLE_SHARE = 3.0, 1e-3
FLOAT64_EPS = torch.finfo(torch.float64).eps  # for weights in float64, the default


@dataclass(frozen=True)
class Observation:
    """What the rule sees at the end of an epoch, which is one step for a flow.

    Parameters
    ----------
    epoch : int
        Number of epochs so far, those of earlier trainings included.
    train_loss : float
    valid_loss : float, default=None
        Weighted mean of ``valid_losses``.
    valid_losses, valid_weight : Tensor of shape (n_held_out,), default=None
    score : float, default=None
        The score of the held-out samples, if that decides in place of their loss.
    flow_time : float, default=None
        None for mini-batches.
    n_evals : int, default=0
        Number of gradient evaluations of this training.
    stalled, diverged : bool, default=False
        Whether the integrator could not lower the loss, because it is minimal to
        rounding (stalled) or for another reason (diverged).
    """

    epoch: int
    train_loss: float
    valid_loss: float | None = None
    valid_losses: torch.Tensor | None = None
    valid_weight: torch.Tensor | None = None
    score: float | None = None
    flow_time: float | None = None
    n_evals: int = 0
    stalled: bool = False
    diverged: bool = False

    @property
    def cost(self):
        """What the held-out samples want small."""
        return cost_of(self.valid_loss, self.score)


def cost_of(loss, score=None):
    """Return what held-out samples want small: their loss, or the opposite of a score.

    Of equal scores, as there are many of an accuracy, the one of lower loss is better.

    Parameters
    ----------
    loss : float
    score : float, default=None
        Greater is better; None leaves the decision to the loss.

    Returns
    -------
    cost : float, or tuple of two
        Tuples are compared by their first entries first.
    """
    return loss if score is None else (-score, loss)


class StoppingRule:
    """Judges a training by its losses, and remembers what it needs for that.

    Parameters
    ----------
    early_stopping : bool, default=False
        Whether the validation loss decides.
    on_folds : bool, default=False
        Whether every sample is held out, in one of several folds. The lowest validation
        loss decides then, by whatever margin.
    follows_flow : bool, default=True
        Whether an epoch is one step of a flow; otherwise it is a pass over
        mini-batches.
    max_evals : float, default=inf
        Number of gradient evaluations at which to give up.
    patience : float, default=inf
        The fewest epochs of mini-batches to wait for a lower validation loss.
    rounding : float, default=2.2e-16
        The share of the loss at the start below which all is rounding.
    group : Alone, default=ALONE
        The processes that have the held-out samples.
    """

    def __init__(
        self,
        *,
        early_stopping=False,
        on_folds=False,
        follows_flow=True,
        max_evals=inf,
        patience=inf,
        rounding=FLOAT64_EPS,
        group=ALONE,
    ):
        self.early_stopping = early_stopping
        self.on_folds = on_folds
        self.follows_flow = follows_flow
        self.max_evals = max_evals
        self.patience = patience
        self.rounding = rounding
        self.group = group
        self.usual = None  # the share of a usual held-out sample, once it was asked for

    def begin(self, start_loss, cost, epoch, flow_time, losses=None):
        """Begin to judge a training.

        Parameters
        ----------
        start_loss : float
            The training loss at the start.
        cost, epoch, flow_time, losses
            See :meth:`begin_anew`.
        """
        self.start_loss = start_loss
        self.begin_anew(cost, epoch, flow_time, losses)

    def begin_anew(self, cost, epoch, flow_time, losses=None):
        """Forget all conclusions, and take the current weights as those to improve on.

        Parameters
        ----------
        cost : float or tuple
            The loss of the current weights, or what :func:`cost_of` returns; infinite
            if the first weights observed are to be kept in any case.
        epoch : int
        flow_time : float or None
        losses : Tensor of shape (n_held_out,), default=None
        """
        self.lowest, self.lowest_loss = (cost, epoch, flow_time), inf
        self.last_gain = epoch, flow_time
        self.began = epoch
        self.kept_losses = losses
        self.forget_flatness()

    def forget_flatness(self):
        """Forget whether the loss seemed stationary: it was that of another depth."""
        self.flatness_reference = None

    def observe(self, seen):
        """Take in an epoch, and tell whether its weights are the best so far.

        Parameters
        ----------
        seen : Observation

        Returns
        -------
        is_better : bool
            Whether its weights are to be kept, in place of those kept before.
        """
        cost = seen.cost if self.early_stopping else seen.train_loss
        is_better = self._is_better(seen, cost)
        if is_better:
            self.kept_losses = seen.valid_losses
        has_gained = cost < self.lowest[0]
        if has_gained:
            self.lowest = cost, seen.epoch, seen.flow_time
        if seen.score is not None and seen.valid_loss < self.lowest_loss:
            self.lowest_loss, has_gained = seen.valid_loss, True
        if has_gained:
            self.last_gain = seen.epoch, seen.flow_time
        return is_better

    def verdict(self, seen, *, horizon=inf, share_of_patience=1.0):
        """Return why the training is to end, or None if it is to go on.

        Parameters
        ----------
        seen : Observation
            The last one that :meth:`observe` took in.
        horizon : float, default=inf
            Flow time at which a flow ends.
        share_of_patience : float, default=1.0
            Factor of ``patience``: a depth that is given fewer epochs waits for fewer.

        Returns
        -------
        reason : StopReason or None
        """
        if not isfinite(seen.train_loss) or seen.diverged:
            return StopReason.DIVERGED
        if self.follows_flow and seen.flow_time >= horizon:
            return StopReason.HORIZON
        if self.early_stopping and self._has_risen(seen, share_of_patience):
            return StopReason.EARLY_STOPPING
        if self.follows_flow and self._is_stationary(seen):
            return StopReason.STATIONARY
        return StopReason.MAX_EVALS if seen.n_evals >= self.max_evals else None

    def _is_better(self, seen, cost):
        """Tell whether the weights of an epoch are better than those kept.

        The loss of a part that a flow holds out must be lower by more than its noise.
        Mini-batches need no such margin, because the average of their weights is
        compared. The noise of a score is not known.
        """
        has_margin = self.follows_flow and self.early_stopping and not self.on_folds
        has_margin = has_margin and seen.score is None
        if not has_margin or self.kept_losses is None:
            return cost < self.lowest[0]
        return self._exceed(self.kept_losses, seen.valid_losses, seen.valid_weight)

    def _has_risen(self, seen, share_of_patience):
        """Tell whether the validation loss has been above its lowest for long.

        A flow is given more time the later its lowest loss was, and the loss must have
        risen by more than its noise. Where a score decides, neither it nor the loss may
        have become better for as long: scores of few samples rest and jump, so that a
        training whose loss still falls may reach a greater one.
        """
        best_epoch, best_time = self.last_gain
        waited = seen.epoch - best_epoch
        if self.kept_losses is None:
            return False
        if not self.follows_flow:
            least = self.patience * share_of_patience
            return waited >= max(least, SHARE_TO_WAIT * (best_epoch - self.began))
        if waited < MIN_WAIT:
            return False
        patience = PATIENCE_OF_FOLDS if self.on_folds else PATIENCE
        if seen.flow_time < max(SETTLED_TIME, patience * best_time):
            return False
        if seen.score is not None:
            return True
        return self._exceed(seen.valid_losses, self.kept_losses, seen.valid_weight)

    def _exceed(self, losses, others, weight):
        """Tell whether losses exceed others, see :func:`exceeds`."""
        if self.usual is None:  # it is the same for the whole training
            self.usual = usual_share(weight, self.group)
        return exceeds(losses, others, weight, self.usual, self.group)

    def _is_stationary(self, seen):
        """Tell whether the training loss has stopped falling.

        It has if a step lowers it by no more than rounding, or if it changes by less
        than FLAT, relative to itself, per unit of log flow time.
        """
        loss, t = seen.train_loss, seen.flow_time
        if seen.stalled or loss <= self.rounding * self.start_loss:
            return True
        if t < SETTLED_TIME:
            return False
        before, loss_before = self.flatness_reference or (t, loss)
        elapsed = log(t / before)
        if self.flatness_reference is None or elapsed > FLATNESS_SPAN:
            self.flatness_reference = t, loss
        if elapsed <= FLATNESS_SPAN:
            return False
        return abs(loss_before - loss) / loss < FLAT * elapsed


def usual_share(weight, group=ALONE):
    """Return the share of a usual sample in the weight of all.

    It is the median of those samples that make up all but a NEGLIGIBLE_SHARE of the
    weight.

    Parameters
    ----------
    weight : Tensor of shape (n,)
    group : Alone, default=ALONE
        The processes that have the samples.

    Returns
    -------
    share : float
    """
    ascending = (weight / group.sum(weight.sum())).sort().values
    if group.size == 1:
        return ascending[ascending.cumsum(0) > NEGLIGIBLE_SHARE].median().item()
    share = ascending.cpu().double().numpy()
    mass = np.append(0.0, np.cumsum(share))
    (lightest,) = least_reaching(
        group,
        (1,),
        lambda t: mass[np.searchsorted(share, t, side="right")],
        lambda total: total > NEGLIGIBLE_SHARE,
    )
    n_below = int(np.searchsorted(share, lightest))
    below, n_left_out = group.sum(mass[n_below]), group.sum(n_below)
    n_left_out += floor((NEGLIGIBLE_SHARE - below) / lightest)  # of those as light
    n_usual = group.sum(len(share)) - n_left_out
    place = int(n_left_out + (n_usual - 1) // 2)
    return float(order_statistics(share, [place], group)[0])


def exceeds(losses, others, weight, usual=None, group=ALONE):
    """Tell whether losses exceed others by more than the noise of the difference.

    Both are losses of the same samples. So the comparison is paired: the weighted mean
    of the differences is compared with its own standard error. A sample that is far
    heavier than most stands for several alike, whose noise averages out.

    Parameters
    ----------
    losses, others, weight : Tensor of shape (n,)
    usual : float, default=None
        What :func:`usual_share` returns, if it is known.
    group : Alone, default=ALONE
        The processes that have the samples.

    Returns
    -------
    exceeds : bool
    """
    usual = usual_share(weight, group) if usual is None else usual
    share = weight / group.sum(weight.sum())
    difference = losses - others
    mean = group.sum((share * difference).sum())
    of_one_sample = share.clamp(max=TIMES_THE_MEDIAN * usual)
    noise = (share * of_one_sample * (difference - mean).square()).sum()
    return bool(mean > group.sum(noise).sqrt())
