"""Depth refinement along a flow: few layers first, that imitate many.

What is left of the difference to the deep network is measured against the next depth.
"""

from math import isfinite

from odenet._training.depth.walk import VERDICTS, DepthWalk

TOLERANCE = 1e-3  # of the loss, for its difference between a depth and the next
NEGLIGIBLE = 1e-3  # of the loss at the start: as a loss, as good as zero
EVALS_BETWEEN = 10  # gradient evaluations between comparisons
FINAL_EVALS = 4  # gradient evaluations of the final stretch ...
FINAL_SHARE = 0.02  # ... and the most of its flow time


class DepthSchedule(DepthWalk):
    """Takes the flow of a network through a list of depths.

    It goes on to the next depth where the loss differs by more than TOLERANCE there,
    and to the last one for the final stretch of the training. A last depth that is to
    be settled is so when that begins, and may be smaller than one trained at before.
    """

    def begin(self, net):
        """Sample the start at the first depth, and let the steps end in time."""
        self.compared_at = 0.0
        self.reason_to_stop = None
        super().begin(net)
        self._limit_steps(net)

    def judge(self, net, samples):
        """After a step or an epoch: go on to more layers, or let training end."""
        if self.is_done(net):
            if net.stop_reason == "horizon" and self.reason_to_stop:
                net.stop_reason = self.reason_to_stop
        elif net.stop_reason and (self.only_chooses or net.stop_reason not in VERDICTS):
            return
        elif net.stop_reason or self._final_stretch_begins(net):
            self._begin_final_stretch(net, samples)
        elif self._clock(net) >= self.compared_at + 1:
            self._refine_where_it_matters(net, samples)
        self._limit_steps(net)

    def _carrying_over(self, net, like_layers):
        """What the flow remembers goes along."""
        groups = net.module_.parameter_groups
        return net.optimizer_.reparametrised(groups, like_layers)

    def _refine_where_it_matters(self, net, samples):
        """Go on as long as the loss differs too much at the next depth."""
        self.compared_at = self._clock(net)
        for depth in [d for d in self.depths if d > net.module_.depth]:
            there = self._compare(net, samples, depth)
            loss = there.loss - there.loss_gap
            allowed = TOLERANCE * (loss + NEGLIGIBLE * net.monitor.start_loss)
            if abs(there.loss_gap) <= allowed or not isfinite(there.loss):
                return
            self._change_depth(net, depth)
            self._record(net, there)

    def _clock(self, net):
        """Rises by one from comparison to comparison."""
        return net.n_grad_evals / EVALS_BETWEEN

    def _final_stretch_begins(self, net):
        if self.only_chooses:
            return False
        return net.horizon - net.flow_time <= 1.5 * self._stretch(net)

    def _begin_final_stretch(self, net, samples):
        """A training that would have ended goes on for this stretch."""
        if net.stop_reason == "stationary":
            self.reason_to_stop = net.stop_reason
            net.horizon = min(net.horizon, net.flow_time + self._stretch(net))
        comparison = self._go_to_full_depth(net, samples)
        net.stop_reason = None if isfinite(comparison.loss) else "diverged"

    def _stretch(self, net):
        """Flow time of the final stretch."""
        return min(FINAL_SHARE * net.horizon, net.optimizer_.reach(FINAL_EVALS))

    def _limit_steps(self, net):
        """The steps end where the final stretch begins."""
        at_once = self.only_chooses or self.is_done(net)
        end = net.horizon if at_once else net.horizon - self._stretch(net)
        net.optimizer_.horizon = end
