"""The bridge to scikit-learn's own callbacks."""

from skorch.callbacks import Callback


class ScikitLearnCallbacks(Callback):
    """Hands every epoch to scikit-learn's own callbacks (scikit-learn 1.9 or later)."""

    def __init__(self, estimator, context, X, y, fitted):
        self.estimator = estimator
        self.context = context
        self.X = X
        self.y = y
        self.fitted = fitted

    def on_epoch_begin(self, net, **kwargs):
        """Open a task for the epoch."""
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def on_epoch_end(self, net, **kwargs):
        """Close the task; a callback may ask to stop."""
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes={**self.fitted, "net_": net},
        )
        if stop and not net.stop_reason:
            net.stop_reason = "callback"
