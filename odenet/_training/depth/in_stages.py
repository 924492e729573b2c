"""Depth refinement on mini-batches: in stages, the shallowest first.

All stages have about the same work at most: a depth d is trained at for a number of
epochs in proportion to 1/d, by steps whose length falls like 1/d. So most epochs are
cheap, and the deep network is left what is fine.
"""

from contextlib import contextmanager
from math import ceil, floor

from odenet._training.depth.walk import VERDICTS, DepthWalk

SHALLOWEST = 8  # layers of the first stage: the steps are long, and the field is rough
USUAL_REFINEMENT = 8  # of the depth, for the shares of epochs, before it is settled


class CoarseToFine(DepthWalk):
    """Takes a training on mini-batches through a list of depths.

    A stage ends when its epochs are over, or, with early stopping, when the validation
    loss has not fallen for long; it hands on the weights that were best. A last depth
    that is to be settled is so after the first stage.
    """

    def begin(self, net):
        """The first stage; depths without an epoch are left out."""
        if self.gap_tol is not None:
            self.depths = [self.depths[0], USUAL_REFINEMENT * self.depths[0]]
        self.stages = share_epochs(net.max_epochs, self.depths)
        self.depths = list(self.stages)
        super().begin(net)

    def judge(self, net, samples):
        """After an epoch: go on to the next stage, or let training end."""
        if net.stop_reason and net.stop_reason not in VERDICTS:
            return
        n_epochs = len(net.history) - self.path[-1]["n_iter"]
        is_over = n_epochs >= self.stages[net.module_.depth]
        if self.is_done(net):
            net.stop_reason = net.stop_reason or ("max_epochs" if is_over else None)
        elif is_over or net.stop_reason:
            net.stop_reason = None
            net.monitor.go_back(net)
            self._next_stage(net, samples)

    def share_of_patience(self, net):
        """As of the epochs: deep networks have less."""
        return self.depths[0] / net.module_.depth

    def _next_stage(self, net, samples):
        before = net.module_.depth
        depth = self._next_depth(net, samples)
        comparison = self._compare(net, samples, depth)
        self._change_depth(net, depth)
        self._record(net, comparison)
        for group in net.optimizer_.param_groups:
            group["lr"] *= before / depth

    def _next_depth(self, net, samples):
        depth = net.module_.depth
        if self.gap_tol is None:
            return next(d for d in self.depths if d > depth)
        self.full_depth = self._depth_within_tolerance(net.module_, samples)
        self.stages[self.full_depth] = ceil(
            self.stages[depth] * depth / self.full_depth
        )
        return self.full_depth

    @contextmanager
    def _carrying_over(self, net, like_layers):
        """What the optimizer remembers goes along; the average begins anew."""
        state = net.optimizer_.state
        for p in (net.module_.V, net.module_.W):
            for name, value in state.get(p, {}).items():
                state[p][name] = like_layers(value)
        yield
        if net.average is not None:
            net.average.restart()


def stages_of(depths):
    """A coarse stage, of SHALLOWEST layers or up to twice as many, and the last one.

    Where they were tried, stages between the two made a fit longer and no better.
    """
    coarse = [depth for depth in depths if depth >= SHALLOWEST]
    return [coarse[0], depths[-1]] if len(coarse) > 1 else depths[-1:]


def share_epochs(max_epochs, depths):
    """The epochs of every depth, in proportion to 1/depth; one at least for the last.

    Returns
    -------
    epochs : dict
        Of the depths that get any.
    """
    unit = max_epochs / sum(1 / depth for depth in depths)
    epochs = {depth: floor(unit / depth) for depth in depths}
    epochs[depths[-1]] = max(1, epochs[depths[-1]])
    epochs[depths[0]] += max_epochs - sum(epochs.values())
    return {depth: n for depth, n in epochs.items() if n > 0}
