"""What a training is asked to do, and what comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import nn

from odenet._losses.base import Loss
from odenet._tables.samples import Samples
from odenet._training.stop_reason import StopReason
from odenet.solvers._base import Solver

UNJUDGED_FLOW_TIME = 100.0  # horizon where no validation loss says when to stop


@dataclass(frozen=True)
class Progress:
    """How far a training has come: what another one needs to go on from there.

    Parameters
    ----------
    history : list of dict
        Rows of skorch's history.
    flow_time : float or None
        None of mini-batches.
    n_grad_evals : int
    depth_path : list of dict
        The depths walked through.
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
        If given, the last depth is settled on the way: see
        :class:`odenet._training.depth.walk.DepthWalk`.
    flow_time : float, default=None
        The horizon of a flow that was asked for.
    longest_flow_time : float, default=inf
        The horizon where held-out samples decide.
    alpha, smoothness_penalty : float, default=0.0
        Factors of the penalties on the weights.
    early_stopping : bool, default=False
        Whether held-out samples decide when to stop and which weights to keep.
    callbacks : sequence of skorch callbacks, default=()
        The user's.
    shows_progress : bool, default=False
    observer : skorch callback, default=None
        One more that sees every training of the fit.
    generator : torch.Generator, default=None
        Of the order of mini-batches, and of what is random about images.
    augmentation : callable, default=None
        ``augmentation(X, generator)`` varies the inputs of a batch.
    past : Progress, default=None
        Of an earlier fit that is continued.
    net_class : type, default=None
        The kind of net; None is :class:`odenet._training.net.TrainingNet`.
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
    callbacks: Sequence[Any] = ()
    shows_progress: bool = False
    observer: Any = None
    generator: torch.Generator | None = None
    augmentation: Callable | None = None
    past: Progress | None = None
    net_class: type | None = None

    @property
    def flow_time_before(self):
        """Flow time at which the training begins."""
        return (self.past.flow_time or 0.0) if self.past is not None else 0.0

    def horizon(self, *, judged):
        """Return the flow time at which to stop; mini-batches have none.

        Parameters
        ----------
        judged : bool
            Whether held-out samples may stop the flow before.
        """
        if not self.solver.follows_flow:
            return inf
        if self.flow_time is not None:
            return self.flow_time
        longest = self.longest_flow_time if judged else UNJUDGED_FLOW_TIME
        return longest + self.flow_time_before


@dataclass(frozen=True)
class TrainingData:
    """The samples of a fit.

    Parameters
    ----------
    samples : Samples
        All of them, but those that the user gave to stop by.
    train : Samples, default=None
        Those that are not held out; None where none are.
    held_out : Samples, default=None
    """

    samples: Samples
    train: Samples | None = None
    held_out: Samples | None = None


@dataclass(frozen=True)
class Outcome:
    """What a training has come to.

    Parameters
    ----------
    network : nn.Module
        Trained: the one that was given.
    net : TrainingNet
        What trained it last, with the history of the whole fit.
    depth_path : list of dict
        The depths walked through.
    stop_reason : StopReason
    notices : tuple of str
        What a user is to be warned of.
    """

    network: nn.Module
    net: Any
    depth_path: list
    stop_reason: StopReason
    notices: tuple = ()

    def attributes(self):
        """Return the fitted attributes that tell of the training, by their names."""
        net, reason = self.net, self.stop_reason
        losses = net.curve("train_loss", role="fit")
        return {
            "net_": net,
            "depth_path_": self.depth_path,
            "solver_": net.solver,
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
                f"Training ended after {net.solver.max_epochs} epochs, while the loss "
                "of held-out samples could still fall. Raise the solver's max_epochs."
            )
        return [*self.notices, *([advice] if advice else [])]
