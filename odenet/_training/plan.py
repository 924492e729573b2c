"""What a training is asked to do, and what comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import nn

from odenet._distributed.group import ALONE, Alone
from odenet._losses.base import Loss
from odenet._training.stop_reason import StopReason
from odenet.solvers._base import Solver

# The horizon of a flow where neither the user nor a validation loss says when to stop:
# a choice, a round number.
UNJUDGED_FLOW_TIME = 100.0
# Fewer samples are not followed further than that either, although they are judged: on
# the sets that were measured nothing was gained, in three times the seconds.
FEWEST_TO_FOLLOW_FURTHER = 200


@dataclass(frozen=True)
class Progress:
    """How far a training has come, for another training that goes on from there.

    Parameters
    ----------
    history : list of dict
        Rows of skorch's history.
    flow_time : float or None
        None for mini-batches.
    n_grad_evals : int
        Number of gradient evaluations.
    depth_path : list of dict
        The depths that the network has had, as in ``depth_path_``.
    """

    history: list
    flow_time: float | None
    n_grad_evals: int
    depth_path: list = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """All that training needs to know besides the network and the samples.

    Parameters
    ----------
    solver : Solver
    loss : Loss
    depths : sequence of int
        The depths to train at, in ascending order.
    gap_tol : float, default=None
        If given, the last depth is found during the training: see
        :class:`odenet._training.depth.walk.DepthWalk`.
    flow_time : float, default=None
        The horizon that the user asked for.
    longest_flow_time : float, default=inf
        The horizon where held-out samples decide when to stop.
    alpha, smoothness_penalty : float, default=0.0
        Factors of the penalties on the weights.
    early_stopping : bool, default=False
        Whether held-out samples decide when to stop and which weights to keep.
    metric : callable, default=None
        ``metric(network)`` is a score of the held-out samples, greater is better, which
        decides in place of their loss. Of folds, the network has an axis of models.
    callbacks : sequence of skorch callbacks, default=()
        The callbacks that the user gave.
    shows_progress : bool, default=False
        Whether a progress bar is shown.
    observer : skorch callback, default=None
        A further callback, which sees every training of the fit.
    generator : torch.Generator, default=None
        Draws the order of mini-batches and the augmentation of images.
    augmentation : callable, default=None
        ``augmentation(X, generator)`` varies the inputs of a batch.
    past : Progress, default=None
        How far an earlier fit came that this one continues.
    recorder : Recorder, default=None
        Keeps the state of every training of the fit.
    group : Alone, default=ALONE
        The processes that train together, each on samples of its own.
    net_class : type, default=None
        The class of the net; None is :class:`odenet._training.net.TrainingNet`.
    """

    solver: Solver
    loss: Loss
    depths: Sequence[int] = ()
    gap_tol: float | None = None
    flow_time: float | None = None
    longest_flow_time: float = inf
    alpha: float = 0.0
    smoothness_penalty: float = 0.0
    early_stopping: bool = False
    metric: Callable | None = None
    callbacks: Sequence[Any] = ()
    shows_progress: bool = False
    observer: Any = None
    generator: torch.Generator | None = None
    augmentation: Callable | None = None
    past: Progress | None = None
    recorder: Any = None
    group: Alone = ALONE
    net_class: type | None = None

    @property
    def flow_time_before(self):
        """The flow time at which the training begins."""
        return (self.past.flow_time or 0.0) if self.past is not None else 0.0

    def horizon(self, *, judged, n_samples=inf):
        """Return the flow time at which to stop, infinite for mini-batches.

        Parameters
        ----------
        judged : bool
            Whether held-out samples may stop the flow earlier.
        n_samples : int, default=inf
            The number of samples that judge it.
        """
        if not self.solver.follows_flow:
            return inf
        if self.flow_time is not None:
            return self.flow_time
        goes_further = judged and n_samples >= FEWEST_TO_FOLLOW_FURTHER
        longest = self.longest_flow_time if goes_further else UNJUDGED_FLOW_TIME
        return longest + self.flow_time_before


@dataclass(frozen=True)
class Outcome:
    """What came of a training.

    Parameters
    ----------
    network : nn.Module
        The network that was given, which is trained now.
    net : TrainingNet
        The net that trained it last, with the history of the whole fit.
    depth_path : list of dict
        The depths that the network has had, as in ``depth_path_``.
    stop_reason : StopReason
        Why the training ended.
    notices : tuple of str
        Texts of warnings for the user, besides that of the stop reason.
    loss : float, default=None
        The objective of the trained network on all samples; None if it was not asked.
    """

    network: nn.Module
    net: Any
    depth_path: list
    stop_reason: StopReason
    notices: tuple = ()
    loss: float | None = None

    @property
    def reason_for_its_flow_time(self):
        """Why the flow time is what was chosen: held-out samples, if the flow went on.

        It went on if later weights than those kept were observed.
        """
        went_on = self.net.history[-1]["flow_time"] > self.net.flow_time
        chose = went_on and self.stop_reason.is_conclusive
        return StopReason.EARLY_STOPPING if chose else self.stop_reason

    def attributes(self):
        """Return the fitted attributes that describe the training, by their names."""
        net, reason = self.net, self.stop_reason
        losses = net.curve("train_loss", role="fit")
        return {
            "net_": net,
            "depth_path_": self.depth_path,
            "solver_": net.solver,
            "loss_": self.loss,
            "loss_curve_": losses,
            "validation_loss_curve_": net.curve("valid_loss"),
            "validation_scores_": net.curve("valid_score"),
            "validation_flow_times_": net.curve("flow_time", having="valid_loss"),
            "depth_": self.network.depth,
            "stop_reason_": str(reason),
            "converged_": reason.is_convergence,
            "n_iter_": len(losses or ()),
            "flow_time_": net.flow_time,
            "n_grad_evals_": net.n_grad_evals,
        }

    def warnings(self):
        """Return the texts of all that a user is to be warned of."""
        advice, net = self.stop_reason.advice, self.net
        if self.stop_reason is StopReason.MAX_EPOCHS and net.is_cut_short:
            advice = (
                f"Training ended after {net.solver.max_epochs} epochs, while held-out "
                "samples could still be predicted better. Raise the solver's "
                "max_epochs."
            )
        return [*self.notices, *([advice] if advice else [])]
