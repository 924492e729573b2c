"""A callback that records the smoothness in depth while a network is trained."""

from numbers import Integral

from skorch.callbacks import Callback

from odenet._diagnostics.smoothness import depth_smoothness


class DepthSmoothnessMonitor(Callback):
    """Records the smoothness in depth at every step of the flow, or every epoch.

    Pass it to an estimator among its ``callbacks``. Its ``history_`` then has the
    columns "lipschitz" and "von_neumann_ratio", see :class:`odenet.DepthSmoothness`.
    They describe the network at the depth that it has at that moment of the training.
    If a part that is held out chooses the flow time, a fit has two trainings, and both
    are recorded.

    Parameters
    ----------
    every : int, default=1
        Number of steps or epochs from one record to the next.

    Examples
    --------
    >>> from odenet import DepthSmoothnessMonitor, ResODERegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> monitor = DepthSmoothnessMonitor()
    >>> model = ResODERegressor(16, flow_time=10.0, callbacks=[monitor]).fit(X, y)
    >>> last = float(model.history_["lipschitz"].iloc[-1])
    >>> last == model.depth_smoothness_.lipschitz
    True
    """

    only_watches = True

    def __init__(self, every=1):
        self.every = every

    def on_train_begin(self, net, **kwargs):
        """Raise an error if ``every`` is not a positive integer."""
        if not isinstance(self.every, Integral) or self.every < 1:
            raise ValueError(f"`every` must be a positive integer, got {self.every!r}.")

    def on_epoch_end(self, net, **kwargs):
        """Record the smoothness, every so many epochs."""
        if net.history[-1]["epoch"] % self.every == 0:
            smoothness = depth_smoothness(net.module_)
            net.history.record("lipschitz", smoothness.lipschitz)
            net.history.record("von_neumann_ratio", smoothness.von_neumann_ratio)
