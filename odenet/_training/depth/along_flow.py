"""Depth refinement along a flow: first few layers, which imitate the deep network.

How well they do is measured by a comparison with the next depth.
"""

from math import inf, isfinite

from odenet._training.depth.walk import DepthWalk, Step
from odenet._training.stop_reason import StopReason

# These constants are choices. Layers are added where the loss at the next depth differs
# by more than TOLERANCE times the loss. A loss that is small beside that at the start
# counts as NEGLIGIBLE times it, so that a loss of nearly zero does not ask for layers.
TOLERANCE, NEGLIGIBLE = 5e-4, 1e-3
# The number of gradient evaluations between two comparisons. A comparison costs about
# as much as one gradient, so that they add a tenth.
EVALS_BETWEEN = 10
# A training ends with a final stretch at the full depth. Its flow time is what so many
# gradient evaluations in one step cover, but at most this share of the horizon. With
# four of them, fits of three sets to flow times 30 and 100 ended at losses within 3e-4
# of those with two, and no nearer to those of full depth all the time.
FINAL_EVALS, FINAL_SHARE = 2, 0.02
# The final stretch begins when the horizon is less than so many stretches away. At
# exactly one, a remaining step of less than half a stretch could be left.
ALMOST = 1.5


def next_step(
    reason, *, is_done, only_chooses, final_stretch_begins, comparison_is_due
):
    """Decide what to do after a step of a flow.

    A training that would end for a conclusive reason before it has its full depth goes
    on at that depth for a final stretch. One that only chooses a flow time needs none.

    Parameters
    ----------
    reason : StopReason or None
        Why the training would end now.
    is_done : bool
        Whether the network has its full depth.
    only_chooses : bool
        Whether the training only chooses a flow time.
    final_stretch_begins : bool
        Whether the horizon is about a final stretch away.
    comparison_is_due : bool
        Whether EVALS_BETWEEN gradients were evaluated since the last comparison.

    Returns
    -------
    step : Step
    """
    if is_done:
        return Step.STAY if reason is None else Step.END
    if reason is not None and (only_chooses or not reason.is_conclusive):
        return Step.END
    if reason is not None or final_stretch_begins:
        return Step.LAST_DEPTH
    return Step.COMPARE if comparison_is_due else Step.STAY


class FlowSchedule(DepthWalk):
    """Takes the flow of a network through a list of depths.

    It goes on to the next depth where the loss differs by more than TOLERANCE there,
    and to the last one for the final stretch of the training. A last depth that is to
    be found during the training is found when that stretch begins, and may be smaller
    than one trained at before.
    """

    def begin(self, net):
        """Begin at the first depth, and limit the steps of the integrator."""
        self.compared_at = 0.0
        self.reason_to_stop = None
        super().begin(net)
        self._limit_steps(net)

    def judge(self, net, reason, samples):
        """Go on at this depth or at another after a step, or let training end."""
        step = next_step(
            reason,
            is_done=self.is_done(net),
            only_chooses=self.only_chooses,
            final_stretch_begins=self._final_stretch_begins(net),
            comparison_is_due=self._clock(net) >= self.compared_at + 1,
        )
        if step is Step.END:
            ended_by_stretch = self.is_done(net) and reason is StopReason.HORIZON
            return (self.reason_to_stop or reason) if ended_by_stretch else reason
        if step is Step.LAST_DEPTH:
            reason = self._begin_final_stretch(net, reason, samples)
        elif step is Step.COMPARE:
            self._refine_where_it_matters(net, samples)
        self._limit_steps(net)
        return reason

    def carrying_over(self, net, like_layers):
        """Let the integrator carry its memory over to the new shapes."""
        groups = net.module_.parameter_groups
        return net.optimizer_.reparametrised(groups, like_layers)

    def _refine_where_it_matters(self, net, samples):
        """Go on to more layers as long as the loss differs too much there."""
        self.compared_at = self._clock(net)
        for depth in [d for d in self.depths if d > net.module_.depth]:
            there = self.compare(net, samples, depth)
            loss = there.loss - there.loss_gap
            allowed = TOLERANCE * (loss + NEGLIGIBLE * net.monitor.start_loss)
            if abs(there.loss_gap) <= allowed or not isfinite(there.loss):
                return
            self.change_depth(net, depth)
            self.record(net, there)

    def _clock(self, net):
        """Return the time in comparisons: how many were due so far, with fractions."""
        return net.n_grad_evals / EVALS_BETWEEN

    def _final_stretch_begins(self, net):
        """Tell whether the horizon is about a final stretch away."""
        if self.only_chooses:
            return False
        return net.horizon - net.flow_time <= ALMOST * self._stretch(net)

    def _begin_final_stretch(self, net, reason, samples):
        """Change to the full depth, and let a stationary training go on a little.

        Without a horizon it goes on until it is stationary there.

        Returns
        -------
        reason : StopReason or None
            ``DIVERGED`` if the loss at the full depth is not finite.
        """
        if reason is StopReason.STATIONARY and net.horizon < inf:
            self.reason_to_stop = reason
            net.horizon = min(net.horizon, net.flow_time + self._stretch(net))
        comparison = self.go_to_full_depth(net, samples)
        return None if isfinite(comparison.loss) else StopReason.DIVERGED

    def _stretch(self, net):
        """Return the flow time of the final stretch."""
        return min(FINAL_SHARE * net.horizon, net.optimizer_.reach(FINAL_EVALS))

    def _limit_steps(self, net):
        """Let the steps of the integrator end where the final stretch begins."""
        at_once = self.only_chooses or self.is_done(net)
        end = net.horizon if at_once else net.horizon - self._stretch(net)
        net.optimizer_.horizon = end
