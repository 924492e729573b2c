"""The walk of a network in training through a list of depths.

While a network is shallow it imitates the deep one that it is going to be, up to
O(1/l^2) (:func:`odenet._network.layers.imitating_states`), and so it is trained as the
deep one. When it goes on to the next depth is a matter of the solver: of a flow in
:mod:`odenet._training.depth.along_flow`, of mini-batches in
:mod:`odenet._training.depth.in_stages`. Each has a function ``next_step`` that decides,
and a class that does what was decided.
"""

import copy
from dataclasses import asdict, dataclass
from enum import Enum
from math import inf, nan
from time import perf_counter

import torch

from odenet._diagnostics.gap import ode_gap
from odenet._network.resampling import resample
from odenet._training.depth.depths import DEEPEST
from odenet._training.penalties import penalty
from odenet._training.stop_reason import StopReason

COMPARED_ROWS = 2048  # samples on which depths are compared: a mean needs no more
GAP_ROWS = 512  # samples on which the gap to the neural ODE, a costlier one, is taken


class Step(Enum):
    """What a walk does after an epoch."""

    STAY = "go on at this depth"
    COMPARE = "look whether the next depth is needed"
    NEXT_DEPTH = "go on at the next depth"
    LAST_DEPTH = "go on at the last depth, for the final stretch"
    END = "let the training end"


@dataclass(frozen=True)
class Comparison:
    """A network at another depth, beside itself, on the same samples."""

    loss: float  # with its penalties, at the other depth
    loss_gap: float  # minus the loss before
    output_gap: float  # distance of the outputs, relative to the size of the new ones


class DepthWalk:
    """A list of depths, how far a network has come, and how it goes on.

    Parameters
    ----------
    depths : list of int
        Ascending.
    gap_tol : float, default=None
        If given, the last depth is settled on the way: the smallest whose measured gap
        to the neural ODE is at most gap_tol.
    only_chooses : bool, default=False
        Whether the training only chooses a flow time, and needs no final stretch.
    began : float, default=None
        When the fit began, by ``time.perf_counter``.

    Attributes
    ----------
    path : list of dict
        The depths walked through.
    notices : list of str
        What the user is to be warned of.
    """

    def __init__(self, depths, *, gap_tol=None, only_chooses=False, began=None):
        self.depths = depths
        self.gap_tol = gap_tol
        self.full_depth = depths[-1] if gap_tol is None else inf
        self.only_chooses = only_chooses
        self.began = perf_counter() if began is None else began
        self.path, self.notices = [], []

    def begin(self, net):
        """Sample the start, of whatever depth, at the first depth."""
        module = net.module_
        self.start = {name: getattr(module, name).detach().clone() for name in "VW"}
        self.change_depth(net, self.depths[0])
        self.record(net, Comparison(nan, nan, nan))

    def judge(self, net, reason, samples):
        """Do what is due after an epoch: change the depth, perhaps.

        Parameters
        ----------
        net : TrainingNet
        reason : StopReason or None
            Why the training would end now.
        samples : Samples
            To compare depths on.

        Returns
        -------
        reason : StopReason or None
            Why it ends.
        """
        raise NotImplementedError

    def share_of_patience(self, net):
        """Return which part of its patience a training has at its depth."""
        return 1.0

    def finish(self, net, reason, samples):
        """Give the network its full depth, however the training ended.

        But not where a flow time was chosen, which is followed from the start again.

        Returns
        -------
        reason : StopReason
            Why the training ended; it may be interrupted only now.
        """
        if self.only_chooses and reason.is_conclusive and net.flow_time:
            return reason
        try:
            if not self.is_done(net):
                self.go_to_full_depth(net, samples)
            if self.gap_tol is not None:
                self._deepen_to_tolerance(net, samples)
        except KeyboardInterrupt:
            reason = StopReason.INTERRUPTED
            if self.full_depth == inf:
                self.full_depth = net.module_.depth
            self.change_depth(net, self.full_depth)
        return reason

    def _deepen_to_tolerance(self, net, samples):
        """Double the depth until the gap to the neural ODE is small enough."""
        while (gap := _gap(net.module_, samples)) > self.gap_tol:
            if net.module_.depth >= DEEPEST:
                self.notices.append(
                    f"depth='auto' ends at {DEEPEST} layers, where the gap to the "
                    f"neural ODE is {gap:.2g}: raise gap_tol={self.gap_tol}, or lower "
                    "flow_time."
                )
                return
            self.full_depth = 2 * net.module_.depth
            self.go_to_full_depth(net, samples)

    def is_done(self, net):
        """Tell whether the network has its full depth."""
        return net.module_.imitated_depth is None

    def weights_at(self, weights, depth):
        """Resample weights to a depth, as far from those of the start as they were.

        The start is known at its own depth, and is resampled from there: a Gaussian
        process is not blurred by a way through few layers.
        """
        resampled = dict(weights)
        for name, start in self.start.items():
            if len(weights[name]) == depth:
                continue
            moved = weights[name] - resample(start, len(weights[name]))
            resampled[name] = resample(start, depth) + resample(moved, depth)
        return resampled

    def go_to_full_depth(self, net, samples):
        """Change to the last depth, settled now if it was not; return what changed."""
        if self.full_depth == inf:
            self.full_depth = self.depth_within_tolerance(net.module_, samples)
        comparison = self.compare(net, samples, self.full_depth)
        self.change_depth(net, self.full_depth)
        self.record(net, comparison)
        return comparison

    def depth_within_tolerance(self, module, samples):
        """Find the smallest depth of the walk whose gap is small enough."""
        depth = self.depths[0]
        while depth < DEEPEST and _gap(self._at(module, depth), samples) > self.gap_tol:
            depth *= 2
        return depth

    @torch.no_grad()
    def compare(self, net, samples, depth):
        """Evaluate the network at another depth, beside itself."""
        other = self._at(net.module_, depth)
        other.imitated_depth = self._imitated(depth)
        X, y = samples.batch(slice(COMPARED_ROWS))
        before, after = net.module_(X["X"]), other(X["X"])
        losses = [
            net.get_loss(output, y, X=X).item()
            + float(penalty(module, net.alpha, net.smoothness_penalty))
            for output, module in ((before, net.module_), (after, other))
        ]
        distance, size = (after - before).norm().item(), after.norm().item()
        return Comparison(
            loss=losses[1],
            loss_gap=losses[1] - losses[0],
            output_gap=distance / size if size > 0 else 0.0,
        )

    def _at(self, module, depth):
        """Copy a network to another depth, where it imitates none."""
        other = copy.deepcopy(module)
        other.set_weights(self.weights_at(module.state_dict(), depth))
        other.imitated_depth = None
        return other

    def _imitated(self, depth):
        """Return the depth that so many layers are to imitate, or None."""
        return None if depth == self.full_depth else self.full_depth

    def change_depth(self, net, depth):
        """Take the network, and what its optimizer remembers, to another depth."""
        module = net.module_
        weights = self.weights_at(module.state_dict(), depth)
        shapes = module.V.shape, module.W.shape

        def like_layers(value):
            """Resample what belongs to the layers; leave other values as they are."""
            if not torch.is_tensor(value) or value.shape not in shapes:
                return value
            return resample(value, depth, "constant")

        with self.carrying_over(net, like_layers):
            module.set_weights(weights)
        module.imitated_depth = self._imitated(depth)

    def carrying_over(self, net, like_layers):
        """Return a context in which the parameters may change their shapes.

        Parameters
        ----------
        net : TrainingNet
        like_layers : callable
            Maps what the optimizer remembers to the new depth.
        """
        raise NotImplementedError

    def record(self, net, comparison):
        """Write a row of ``depth_path_``."""
        self.path.append(
            {
                "depth": net.module_.depth,
                "role": "choose" if self.only_chooses else "fit",
                "n_iter": len(net.history),
                "flow_time": net.flow_time,
                "n_grad_evals": net.n_grad_evals,
                "seconds": perf_counter() - self.began,
                **asdict(comparison),
            }
        )


def _gap(module, samples):
    """Measure the gap to the neural ODE, infinite where that cannot be integrated."""
    try:
        return ode_gap(module, samples.X[:GAP_ROWS])
    except RuntimeError:
        return inf
