"""The bridge to scikit-learn's own callbacks."""

import copy
from contextlib import contextmanager

from skorch.callbacks import Callback


@contextmanager
def scikit_learn_callbacks(estimator, X, y, fitted):
    """Run the callbacks that ``set_callbacks`` has given to an estimator.

    Parameters
    ----------
    estimator : estimator
    X, y : array-like
        The training set, which is shown to the callbacks.
    fitted : dict
        The attributes that the estimator needs to predict, by name.

    Yields
    ------
    callback : ScikitLearnCallbacks or None
        A skorch callback that calls them after every epoch; None without any.
    """
    if not has_callbacks(estimator):
        yield None
        return
    context = estimator._init_callback_context(max_subtasks=None)
    context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
    yield ScikitLearnCallbacks(estimator, context, X, y, fitted)
    context.call_on_fit_task_end(
        estimator=estimator,
        X=X,
        y=y,
        reconstruction_attributes=lambda: copy.deepcopy(fitted),
    )


def has_callbacks(estimator):
    """Tell whether ``set_callbacks`` has given callbacks to an estimator."""
    return bool(getattr(estimator, "_skl_callbacks", None))


def hand_on_callbacks(estimator, other):
    """Give an estimator's callbacks, if it has any, to another estimator."""
    if has_callbacks(estimator):
        other.set_callbacks(*estimator._skl_callbacks)


class ScikitLearnCallbacks(Callback):
    """Calls scikit-learn's own callbacks every epoch (scikit-learn 1.9 or later)."""

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
        """Close the task of the epoch, and stop if a callback asks for it."""
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes={**self.fitted, "net_": net},
        )
        if stop:
            net.ask_to_stop()
