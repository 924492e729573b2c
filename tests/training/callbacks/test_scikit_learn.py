"""The bridge to scikit-learn's own callbacks, which scikit-learn 1.9 brings."""

from types import SimpleNamespace

import pytest

from odenet._training.callbacks.scikit_learn import (
    ScikitLearnCallbacks,
    hand_on_callbacks,
    scikit_learn_callbacks,
)


class Context:
    """Writes down what it is told; asks to stop at the end of a given epoch."""

    def __init__(self, stop_at=None):
        self.told, self.n_epochs, self.stop_at = [], 0, stop_at

    def subcontext(self, task_name):
        self.told.append(task_name)
        return self

    def call_on_fit_task_begin(self, estimator, X, y):
        self.told.append("begin")

    def call_on_fit_task_end(self, estimator, X, y, reconstruction_attributes):
        attributes = reconstruction_attributes
        self.attributes = attributes() if callable(attributes) else attributes
        self.told.append("end")
        self.n_epochs += 1
        return self.n_epochs == self.stop_at


def estimator(context, callbacks=("one",)):
    return SimpleNamespace(
        _skl_callbacks=list(callbacks),
        _init_callback_context=lambda max_subtasks: context,
    )


class Net:
    stopped = False

    def ask_to_stop(self):
        self.stopped = True


def test_without_callbacks_there_is_none():
    for owner in (SimpleNamespace(), estimator(None, ())):
        with scikit_learn_callbacks(owner, None, None, {}) as callback:
            assert callback is None


def test_every_epoch_is_a_task_of_the_fit():
    context, net = Context(stop_at=2), Net()
    fitted = {"weights": [1, 2]}
    with scikit_learn_callbacks(estimator(context), "X", "y", fitted) as callback:
        assert isinstance(callback, ScikitLearnCallbacks)
        for stopped in (False, True):
            callback.on_epoch_begin(net)
            callback.on_epoch_end(net)
            assert context.attributes == {"weights": [1, 2], "net_": net}
            assert net.stopped == stopped
    assert context.told == ["begin", *2 * ["epoch", "begin", "end"], "end"]
    assert context.attributes == fitted
    assert context.attributes["weights"] is not fitted["weights"]


def test_a_fit_that_fails_has_no_end():
    context = Context()
    with (
        pytest.raises(ValueError, match="no"),
        scikit_learn_callbacks(estimator(context), "X", "y", {}),
    ):
        raise ValueError("no")
    assert context.told == ["begin"]


def test_callbacks_are_handed_on():
    taken = []
    other = SimpleNamespace(set_callbacks=lambda *callbacks: taken.extend(callbacks))
    hand_on_callbacks(SimpleNamespace(), other)
    assert taken == []
    hand_on_callbacks(estimator(None, ("one", "two")), other)
    assert taken == ["one", "two"]
