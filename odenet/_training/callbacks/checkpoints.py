"""Visits to a network at given flow times."""

from skorch.callbacks import Callback


class Checkpoints(Callback):
    """Visits the network at given flow times, where steps are made to end.

    Parameters
    ----------
    flow_times : list of float
        Ascending.
    visit : callable
        ``visit(net, index)``, true if the flow is to go on.
    """

    def __init__(self, flow_times, visit):
        self.flow_times = flow_times
        self.visit = visit
        self.index = 0

    def on_train_begin(self, net, **kwargs):
        """The first step ends at the first flow time, at the latest."""
        self._limit_steps(net)

    def on_epoch_end(self, net, **kwargs):
        """Visit, where the flow time is reached."""
        if net.flow_time >= self.flow_times[self.index]:
            goes_on = self.visit(net, self.index)
            self.index += 1
            if not goes_on and not net.stop_reason:
                net.stop_reason = "callback"
        self._limit_steps(net)

    def _limit_steps(self, net):
        if self.index < len(self.flow_times):
            net.optimizer_.horizon = self.flow_times[self.index]
