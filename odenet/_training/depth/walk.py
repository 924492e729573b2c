"""The walk of a network in training through a list of depths.

While a network is shallow it imitates the deep one that it is going to be, up to
O(1/l^2) (:func:`odenet._network.layers.imitating_states`), and so it is trained as the
deep one. When it goes on is a matter of the solver: of a flow in
:mod:`odenet._training.depth.along_flow`, of mini-batches in
:mod:`odenet._training.depth.in_stages`.
"""

import copy
import warnings
from dataclasses import asdict, dataclass
from math import inf, nan
from time import perf_counter

import torch
from sklearn.exceptions import ConvergenceWarning

from odenet._diagnostics.gap import ode_gap
from odenet._network.resampling import resample
from odenet._training.depth.depths import DEEPEST
from odenet._training.penalties import penalty

ROWS = 2048  # samples on which depths are compared
ROWS_FOR_GAP = 512  # samples on which the gap to the neural ODE is measured
VERDICTS = {"horizon", "stationary", "early_stopping"}


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
    """

    def __init__(self, depths, *, gap_tol=None, only_chooses=False, began=None):
        self.depths = depths
        self.gap_tol = gap_tol
        self.full_depth = depths[-1] if gap_tol is None else inf
        self.only_chooses = only_chooses
        self.began = perf_counter() if began is None else began
        self.path = []

    def begin(self, net):
        """Sample the start, of whatever depth, at the first depth."""
        module = net.module_
        self.start = {name: getattr(module, name).detach().clone() for name in "VW"}
        self._change_depth(net, self.depths[0])
        self._record(net, Comparison(nan, nan, nan))

    def finish(self, net, samples):
        """However a training ends, the network has its full depth.

        But not where a flow time was chosen, which is followed from the start again.
        """
        if self.only_chooses and net.stop_reason in VERDICTS and net.flow_time:
            return
        try:
            if not self.is_done(net):
                self._go_to_full_depth(net, samples)
            if self.gap_tol is not None:
                self._deepen_to_tolerance(net, samples)
        except KeyboardInterrupt:
            net.stop_reason = "interrupted"
            if self.full_depth == inf:
                self.full_depth = net.module_.depth
            self._change_depth(net, self.full_depth)

    def _deepen_to_tolerance(self, net, samples):
        while (gap := _gap(net.module_, samples)) > self.gap_tol:
            if net.module_.depth >= DEEPEST:
                warnings.warn(
                    f"depth='auto' ends at {DEEPEST} layers, where the gap to the "
                    f"neural ODE is {gap:.2g}: raise gap_tol={self.gap_tol}, or lower "
                    "flow_time.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
                return
            self.full_depth = 2 * net.module_.depth
            self._go_to_full_depth(net, samples)

    def is_done(self, net):
        """Whether the network has its full depth."""
        return net.module_.imitated_depth is None

    def weights_at(self, weights, depth):
        """Weights of any depth at another: as far from the start's as they were."""
        resampled = dict(weights)
        for name, start in self.start.items():
            if len(weights[name]) == depth:
                continue
            moved = weights[name] - resample(start, len(weights[name]))
            resampled[name] = resample(start, depth) + resample(moved, depth)
        return resampled

    def _go_to_full_depth(self, net, samples):
        if self.full_depth == inf:
            self.full_depth = self._depth_within_tolerance(net.module_, samples)
        comparison = self._compare(net, samples, self.full_depth)
        self._change_depth(net, self.full_depth)
        self._record(net, comparison)
        return comparison

    def _depth_within_tolerance(self, module, samples):
        depth = self.depths[0]
        while depth < DEEPEST and _gap(self._at(module, depth), samples) > self.gap_tol:
            depth *= 2
        return depth

    @torch.no_grad()
    def _compare(self, net, samples, depth):
        other = self._at(net.module_, depth)
        other.imitated_depth = self._imitated(depth)
        X, y = samples.batch(slice(ROWS))
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
        """A copy of another depth, which imitates none."""
        other = copy.deepcopy(module)
        other.set_weights(self.weights_at(module.state_dict(), depth))
        other.imitated_depth = None
        return other

    def _imitated(self, depth):
        return None if depth == self.full_depth else self.full_depth

    def _change_depth(self, net, depth):
        """The network and what its optimizer remembers, at another depth."""
        module = net.module_
        weights = self.weights_at(module.state_dict(), depth)
        shapes = module.V.shape, module.W.shape

        def like_layers(value):
            """What belongs to the layers at the new depth; other values unchanged."""
            if not torch.is_tensor(value) or value.shape not in shapes:
                return value
            return resample(value, depth, "constant")

        with self._carrying_over(net, like_layers):
            module.set_weights(weights)
        module.imitated_depth = self._imitated(depth)

    def _record(self, net, comparison):
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
    """The gap to the neural ODE, infinite where that cannot be integrated."""
    try:
        return ode_gap(module, samples.X[:ROWS_FOR_GAP])
    except RuntimeError:
        return inf
