"""The walk of a network in training through a list of depths.

While a network is shallow it imitates the deep one that it is going to be, up to
O(1/l^2) (:func:`odenet._network.layers.imitating_states`), and so it is trained as the
deep one would be. The solver determines when the network goes on to the next depth: see
:mod:`odenet._training.depth.along_flow` for a flow, and
:mod:`odenet._training.depth.in_stages` for mini-batches. Each has a function
``next_step`` that decides, and a class that does what was decided.
"""

import copy
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from math import ceil, inf, nan
from time import perf_counter

import torch

from odenet._diagnostics.gap import ode_gap
from odenet._network.resampling import resample
from odenet._training.depth.depths import DEEPEST
from odenet._training.penalties import penalty
from odenet._training.stop_reason import StopReason

# The most samples on which two depths are compared, and on which the gap to the neural
# ODE is measured, which costs more. Both are means that need no more samples: a choice.
COMPARED_ROWS, GAP_ROWS = 2048, 512
# The gap falls like 1/depth, so that one gap predicts the depth to be tried next: this
# much deeper than predicted, lest it is missed by a little, and at most twice as deep,
# as few layers do not predict much. Both are round values.
DEPTH_MARGIN, LARGEST_JUMP = 1.05, 2


class Step(Enum):
    """What a walk does after an epoch."""

    STAY = "go on at this depth"
    COMPARE = "find out whether the next depth is needed"
    NEXT_DEPTH = "go on at the next depth"
    LAST_DEPTH = "go on at the last depth, for the final stretch"
    END = "let the training end"


@dataclass(frozen=True)
class Comparison:
    """How a network changes when it is resampled to another depth."""

    loss: float  # at the other depth, penalties included
    loss_gap: float  # the loss at the other depth minus that before
    output_gap: float  # distance of the outputs, relative to the norm of the new ones


class DepthWalk:
    """A list of depths, how far a network has come, and how it goes on.

    Parameters
    ----------
    depths : list of int
        Ascending.
    gap_tol : float, default=None
        If given, the last depth is found during the training: about the smallest one
        whose measured gap to the neural ODE is at most gap_tol.
    only_chooses : bool, default=False
        Whether the training only chooses a flow time. It needs no final stretch then.
    began : float, default=None
        When the fit began, by ``time.perf_counter``.

    Attributes
    ----------
    path : list of dict
        The rows of ``depth_path_``.
    notices : list of str
        Texts of warnings for the user.
    """

    def __init__(self, depths, *, gap_tol=None, only_chooses=False, began=None):
        self.depths = depths
        self.gap_tol = gap_tol
        self.full_depth = depths[-1] if gap_tol is None else inf
        self.only_chooses = only_chooses
        self.began = perf_counter() if began is None else began
        self.path, self.notices = [], []

    def begin(self, net):
        """Resample the weights at the start, of any depth, to the first depth."""
        module = net.module_
        self.start = {name: getattr(module, name).detach().clone() for name in "VW"}
        self.change_depth(net, self.depths[0])
        self.record(net, Comparison(nan, nan, nan))

    def judge(self, net, reason, samples):
        """Do what is due after an epoch, such as a change of the depth.

        Parameters
        ----------
        net : TrainingNet
        reason : StopReason or None
            Why the training would end now.
        samples : Samples
            The samples on which depths are compared.

        Returns
        -------
        reason : StopReason or None
            Why the training ends; None if it goes on.
        """
        raise NotImplementedError

    def share_of_patience(self, net):
        """Return the factor of the patience at the current depth; by default 1."""
        return 1.0

    def finish(self, net, reason, samples):
        """Give the network its full depth, whatever the reason to stop was.

        A training that has chosen a flow time needs none: the flow is followed again
        from the start.

        Returns
        -------
        reason : StopReason
            The reason given, or ``INTERRUPTED`` if the user interrupts this method.
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
        """Add layers until the gap to the neural ODE is small enough."""
        while (gap := _gap(net.module_, samples)) > self.gap_tol:
            if net.module_.depth >= DEEPEST:
                self.notices.append(
                    f"depth='auto' ends at {DEEPEST} layers, where the gap to the "
                    f"neural ODE is {gap:.2g}: raise gap_tol={self.gap_tol}, or lower "
                    "flow_time."
                )
                return
            self.full_depth = self._depth_after(net.module_.depth, gap)
            self.go_to_full_depth(net, samples)

    def is_done(self, net):
        """Tell whether the network has its full depth."""
        return net.module_.imitated_depth is None

    def weights_at(self, weights, depth):
        """Resample weights to a depth.

        The start is kept at its own depth. It is resampled from there, and apart from
        what training has added to it: a start that is rough in depth would be blurred
        if it were resampled through a depth of few layers.
        """
        resampled = dict(weights)
        for name, start in self.start.items():
            if len(weights[name]) == depth:
                continue
            moved = weights[name] - resample(start, len(weights[name]))
            resampled[name] = resample(start, depth) + resample(moved, depth)
        return resampled

    def go_to_full_depth(self, net, samples):
        """Change to the last depth, and return a :class:`Comparison` with it.

        If the last depth is to be found during the training, it is found now.
        """
        if self.full_depth == inf:
            self.full_depth = self.depth_within_tolerance(net.module_, samples)
        comparison = self.compare(net, samples, self.full_depth)
        self.change_depth(net, self.full_depth)
        self.record(net, comparison)
        return comparison

    def depth_within_tolerance(self, module, samples):
        """Go on from the first depth until the gap is at most gap_tol; return it."""
        depth = self.depths[0]
        while depth < DEEPEST:
            gap = _gap(self._at(module, depth), samples)
            if gap <= self.gap_tol:
                break
            depth = self._depth_after(depth, gap)
        return depth

    def _depth_after(self, depth, gap):
        """Return the depth to try after one whose gap is too large."""
        factor = min(DEPTH_MARGIN * gap / self.gap_tol, LARGEST_JUMP)
        return min(ceil(depth * factor), DEEPEST)

    @torch.no_grad()
    def compare(self, net, samples, depth):
        """Compare the losses and outputs of the network with those at another depth."""
        other = self._at(net.module_, depth)
        other.imitated_depth = self._imitated(depth)
        X, y = samples.first(COMPARED_ROWS)
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
        """Return a copy of a network at another depth, which imitates no deeper one."""
        other = copy.deepcopy(module)
        other.set_weights(self.weights_at(module.state_dict(), depth))
        other.imitated_depth = None
        return other

    def _imitated(self, depth):
        """Return the depth that so many layers are to imitate, or None for the last."""
        return None if depth == self.full_depth else self.full_depth

    def change_depth(self, net, depth):
        """Resample the network, and the memory of its optimizer, to another depth."""
        module = net.module_
        weights = self.weights_at(module.state_dict(), depth)
        shapes = module.V.shape, module.W.shape

        def like_layers(value):
            """Resample tensors of the shapes of V and W; keep others as they are."""
            if not torch.is_tensor(value) or value.shape not in shapes:
                return value
            return resample(value, depth, "constant")

        with all_or_nothing(net):
            with self.carrying_over(net, like_layers):
                module.set_weights(weights)
            module.imitated_depth = self._imitated(depth)

    def carrying_over(self, net, like_layers):
        """Return a context in which the parameters may change their shapes.

        Parameters
        ----------
        net : TrainingNet
        like_layers : callable
            Maps a tensor of the optimizer to the new depth.
        """
        raise NotImplementedError

    def record(self, net, comparison):
        """Append a row to ``path``."""
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


@contextmanager
def all_or_nothing(net):
    """Take back what was done to a network and its optimizer if it is not completed.

    Ctrl-C can come between any two lines, and what is left must fit together.
    """
    module, optimizer, average = net.module_, net.optimizer_, net.average
    tensors = [*module.parameters(), *module.buffers()]
    values, imitated = [p.data for p in tensors], module.imitated_depth
    state = {p: dict(memory) for p, memory in optimizer.state.items()}
    rates = [group["lr"] for group in optimizer.param_groups]
    averaged = None if average is None else dict(vars(average))
    try:
        yield
    except BaseException:
        for p, data in zip(tensors, values, strict=True):
            p.data, p.grad = data, None
        module.imitated_depth = imitated
        for p, memory in state.items():
            optimizer.state[p].update(memory)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if average is not None:
            vars(average).update(averaged)
        raise


def _gap(module, samples):
    """Measure the gap to the neural ODE, infinite if the ODE cannot be integrated."""
    some = samples.first(GAP_ROWS)[0]["X"]
    try:
        return ode_gap(module, some)
    except RuntimeError:
        return inf
