"""The rule that says when a training stops, and which of two networks is better."""

from dataclasses import dataclass
from math import inf, isfinite, log

import torch

from odenet._training.stop_reason import StopReason

SETTLED_TIME = 10.0  # flow time before which nothing is concluded from a curve
PATIENCE = 3.0  # a flow goes on for so many times the time of its lowest loss
SHARE_TO_WAIT = 0.5  # of the epochs to the lowest validation loss of mini-batches
MIN_WAIT = 10  # steps since the lowest validation loss: less says nothing of a trend
FLOAT64_EPS = torch.finfo(torch.float64).eps
FLAT = 1e-4  # relative decrease of the loss per unit of log flow time
FLATNESS_SPAN = 0.2  # of log flow time, over which flatness is judged


@dataclass(frozen=True)
class Observation:
    """What the rule sees at the end of an epoch, or of a step of a flow.

    Parameters
    ----------
    epoch : int
        Number of epochs so far, those of earlier trainings included.
    train_loss : float
    valid_loss : float, default=None
        Weighted mean of ``valid_losses``.
    valid_losses, valid_weight : Tensor of shape (n_held_out,), default=None
    flow_time : float, default=None
        None of mini-batches.
    n_evals : int, default=0
        Gradients of this training.
    stalled, diverged : bool, default=False
        What the integrator says of its step.
    """

    epoch: int
    train_loss: float
    valid_loss: float | None = None
    valid_losses: torch.Tensor | None = None
    valid_weight: torch.Tensor | None = None
    flow_time: float | None = None
    n_evals: int = 0
    stalled: bool = False
    diverged: bool = False


class StoppingRule:
    """Judges a training by its losses, and remembers what it needs for that.

    Parameters
    ----------
    early_stopping : bool, default=False
        Whether the validation loss decides.
    follows_flow : bool, default=True
        Whether epochs are steps of a flow; otherwise passes over mini-batches.
    max_evals : float, default=inf
        Gradients at which to give up.
    patience : float, default=inf
        Epochs of mini-batches to wait for a lower validation loss, at the least.
    eps : float, default=2.2e-16
        Rounding of the weights.
    """

    def __init__(
        self,
        *,
        early_stopping=False,
        follows_flow=True,
        max_evals=inf,
        patience=inf,
        eps=FLOAT64_EPS,
    ):
        self.early_stopping = early_stopping
        self.follows_flow = follows_flow
        self.max_evals = max_evals
        self.patience = patience
        self.eps = eps

    def begin(self, start_loss, loss, epoch, flow_time, losses=None):
        """Begin to judge.

        Parameters
        ----------
        start_loss : float
            The training loss at the start.
        loss, epoch, flow_time, losses
            As of :meth:`begin_anew`.
        """
        self.start_loss = start_loss
        self.begin_anew(loss, epoch, flow_time, losses)

    def begin_anew(self, loss, epoch, flow_time, losses=None):
        """Forget what was concluded so far; these are the weights to beat.

        Parameters
        ----------
        loss : float
            The loss to judge by; infinite if the first one observed is to be kept.
        epoch : int
        flow_time : float or None
        losses : Tensor of shape (n_held_out,), default=None
        """
        self.lowest = loss, epoch, flow_time
        self.began = epoch
        self.kept_losses = losses
        self.forget_flatness()

    def forget_flatness(self):
        """Judge anew whether the loss is stationary: it is that of another depth."""
        self.flatness_reference = None

    def observe(self, seen):
        """Take in an epoch.

        Parameters
        ----------
        seen : Observation

        Returns
        -------
        is_better : bool
            Whether its weights are to be kept instead of the ones kept before.
        """
        loss = seen.valid_loss if self.early_stopping else seen.train_loss
        is_better = self._is_better(seen, loss)
        if is_better:
            self.kept_losses = seen.valid_losses
        if loss < self.lowest[0]:
            self.lowest = loss, seen.epoch, seen.flow_time
        return is_better

    def verdict(self, seen, *, horizon=inf, share_of_patience=1.0):
        """Say why the training is to end, or None to go on.

        Parameters
        ----------
        seen : Observation
            Observed already.
        horizon : float, default=inf
        share_of_patience : float, default=1.0
            A depth with a share of the epochs has a share of the patience.

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

    def _is_better(self, seen, loss):
        """Compare an epoch with the weights kept.

        A flow's held-out loss must be lower by more than its noise. The average of the
        weights of mini-batches needs no margin, though it is compared often.
        """
        if not self.follows_flow or not self.early_stopping or self.kept_losses is None:
            return loss < self.lowest[0]
        return exceeds(self.kept_losses, seen.valid_losses, seen.valid_weight)

    def _has_risen(self, seen, share_of_patience):
        """Tell whether the validation loss has been above its lowest for long.

        A flow is given time in proportion to its age, and must have risen by more than
        the noise.
        """
        _, lowest_epoch, lowest_time = self.lowest
        waited = seen.epoch - lowest_epoch
        if self.kept_losses is None:
            return False
        if not self.follows_flow:
            least = self.patience
            if share_of_patience != 1.0:
                least = max(1, least * share_of_patience)
            return waited >= max(least, SHARE_TO_WAIT * (lowest_epoch - self.began))
        if waited < MIN_WAIT:
            return False
        if seen.flow_time < max(SETTLED_TIME, PATIENCE * lowest_time):
            return False
        return exceeds(seen.valid_losses, self.kept_losses, seen.valid_weight)

    def _is_stationary(self, seen):
        """Tell whether the loss has stopped falling.

        It has where a step lowers it by no more than rounding, or where it changes by
        less than FLAT per unit of log flow time.
        """
        loss, t = seen.train_loss, seen.flow_time
        if seen.stalled or loss <= self.eps * self.start_loss:
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


def exceeds(losses, others, weight):
    """Tell whether losses exceed others by more than the noise of the difference.

    Both are of the same samples: a paired comparison, against the standard error of
    the weighted mean of the differences.

    Parameters
    ----------
    losses, others, weight : Tensor of shape (n,)

    Returns
    -------
    exceeds : bool
    """
    share = weight / weight.sum()
    difference = losses - others
    mean = (share * difference).sum()
    variance = (share * (difference - mean).square()).sum()
    return bool(mean > (variance * share.square().sum()).sqrt())
