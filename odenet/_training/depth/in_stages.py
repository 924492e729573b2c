"""Depth refinement on mini-batches: in stages, the shallowest first.

No stage takes much more work than another: at depth d a network is trained for a number
of epochs in proportion to 1/d, by steps whose length falls like 1/d. So most epochs are
cheap, and only the fine details are left to the deep network.
"""

from contextlib import contextmanager
from math import ceil, floor

from odenet._training.depth.walk import DepthWalk, Step
from odenet._training.stop_reason import StopReason

# The fewest layers of the first stage: its steps are long, and fewer layers are only a
# coarse approximation. Rows "... stages of depth" and "first stage of 4 layers" of
# benchmarks/defaults.py try other stages.
COARSEST_STAGE = 8
# Where the last depth is found during the training, epochs are shared as if it were so
# many times the first: a choice, 64 layers after 8.
USUAL_REFINEMENT = 8


def next_step(reason, *, is_done, is_over):
    """Decide what to do after an epoch.

    A reason that is not conclusive ends the training at any depth. A conclusive one
    ends the stage, and the training only if it has its full depth.

    Parameters
    ----------
    reason : StopReason or None
        Why the training would end now.
    is_done : bool
        Whether the network has its full depth.
    is_over : bool
        Whether the stage has had its epochs.

    Returns
    -------
    step : Step
    """
    if reason is not None and not reason.is_conclusive:
        return Step.END
    if reason is None and not is_over:
        return Step.STAY
    return Step.END if is_done else Step.NEXT_DEPTH


class StagedSchedule(DepthWalk):
    """Takes a training on mini-batches through a list of depths.

    A stage ends when its epochs are over, or, with early stopping, when the validation
    loss has not fallen for long. It hands its best weights on to the next stage. A last
    depth that is to be found during the training is found after the first stage.
    """

    def begin(self, net):
        """Share the epochs among the depths, and begin the first stage."""
        if self.gap_tol is not None:
            self.depths = [self.depths[0], USUAL_REFINEMENT * self.depths[0]]
        self.stages = share_epochs(net.max_epochs, self.depths)
        self.depths = list(self.stages)
        super().begin(net)

    def judge(self, net, reason, samples):
        """Go on with this stage or the next after an epoch, or let training end."""
        n_epochs = len(net.history) - self.path[-1]["n_iter"]
        is_over = n_epochs >= self.stages[net.module_.depth]
        step = next_step(reason, is_done=self.is_done(net), is_over=is_over)
        if step is Step.END:
            return reason or StopReason.MAX_EPOCHS
        if step is Step.NEXT_DEPTH:
            net.monitor.go_back(net)
            self._next_stage(net, samples)
        return None

    def share_of_patience(self, net):
        """Return the factor of the patience: it falls with depth, like the epochs."""
        return self.depths[0] / net.module_.depth

    def _next_stage(self, net, samples):
        """Change the depth, and shorten the steps of the optimizer in proportion."""
        before = net.module_.depth
        depth = self._next_depth(net, samples)
        comparison = self.compare(net, samples, depth)
        self.change_depth(net, depth)
        self.record(net, comparison)
        for group in net.optimizer_.param_groups:
            group["lr"] *= before / depth

    def _next_depth(self, net, samples):
        """Return the depth of the next stage, and find it now if that is asked for."""
        depth = net.module_.depth
        if self.gap_tol is None:
            return next(d for d in self.depths if d > depth)
        self.full_depth = self.depth_within_tolerance(net.module_, samples)
        self.stages[self.full_depth] = ceil(
            self.stages[depth] * depth / self.full_depth
        )
        return self.full_depth

    @contextmanager
    def carrying_over(self, net, like_layers):
        """Resample the memory of the optimizer, and begin the running average anew."""
        state = net.optimizer_.state
        for p in (net.module_.V, net.module_.W):
            for name, value in state.get(p, {}).items():
                state[p][name] = like_layers(value)
        yield
        if net.average is not None:
            net.average.restart()


def stages_of(depths):
    """Return the depth of a coarse stage, at least COARSEST_STAGE, and the last depth.

    Stages between the two made fits longer and no better (rows "... stages of depth" of
    benchmarks/defaults.py).
    """
    coarse = [depth for depth in depths if depth >= COARSEST_STAGE]
    return [coarse[0], depths[-1]] if len(coarse) > 1 else depths[-1:]


def share_epochs(max_epochs, depths):
    """Share epochs among depths in proportion to 1/depth, at least one for the last.

    Returns
    -------
    epochs : dict
        Number of epochs by depth. A depth whose share is below one is left out.
    """
    unit = max_epochs / sum(1 / depth for depth in depths)
    epochs = {depth: floor(unit / depth) for depth in depths}
    epochs[depths[-1]] = max(1, epochs[depths[-1]])
    epochs[depths[0]] += max_epochs - sum(epochs.values())
    return {depth: n for depth, n in epochs.items() if n > 0}
