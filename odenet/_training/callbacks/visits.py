"""A callback that visits a network at given flow times."""

from skorch.callbacks import Callback


class Visits(Callback):
    """Calls a function at given flow times, and makes steps of the flow end there.

    Parameters
    ----------
    flow_times : list of float
        The flow times, in ascending order.
    visit : callable
        ``visit(net, index)`` is called at the flow time of this index. It returns
        whether the flow is to go on.
    """

    def __init__(self, flow_times, visit):
        self.flow_times = flow_times
        self.visit = visit
        self.index = 0

    def on_train_begin(self, net, **kwargs):
        """Let the first step end at the first flow time, at the latest."""
        self._end_step_in_time(net)

    def on_epoch_end(self, net, **kwargs):
        """Visit the network if the flow time is reached."""
        if net.flow_time >= self.flow_times[self.index]:
            goes_on = self.visit(net, self.index)
            self.index += 1
            if not goes_on:
                net.ask_to_stop()
        self._end_step_in_time(net)

    def _end_step_in_time(self, net):
        """Let the next step end at the next flow time, at the latest."""
        if self.index < len(self.flow_times):
            net.optimizer_.horizon = self.flow_times[self.index]
