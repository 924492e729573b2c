"""Ctrl-C at any line: what is left can be kept, saved, and changed in depth."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import odenet
from odenet import ResODEClassifier, ResODERegressor, ResODERegressorCV
from odenet.solvers import AdamW
from tests.helpers import outputs
from tests.whole.rounds import rounds

FOLDER = str(Path(odenet.__file__).parent)
SMALL = {"width": 3, "state_dim": 6, "random_state": 0}
X = np.random.default_rng(0).normal(size=(24, 3))
Y = X[:, 0] ** 2
LABELS = np.random.default_rng(1).integers(2, size=24)  # noise: folds end early
# Trainings say that they were interrupted, and a file that was being opened is closed
# by the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore")
# How many lines are tried, of those that run. `ODENET_ROUNDS=100000` tries all.
ROUNDS = rounds(6, 40)


class Interrupter:
    """Counts the lines of odenet that run, and raises at the nth if there is one.

    ``first`` and ``last`` tell when every line of the code has run for the first and
    the last time.
    """

    def __init__(self, nth=None):
        self.nth, self.count = nth, 0
        self.first, self.last = {}, {}

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *error):
        sys.settrace(self.before)

    def _on_call(self, frame, event, argument):
        return self._on_line if frame.f_code.co_filename.startswith(FOLDER) else None

    def _on_line(self, frame, event, argument):
        if event == "line":
            self.count += 1
            if self.count == self.nth:
                raise KeyboardInterrupt
            line = frame.f_code.co_filename, frame.f_lineno
            self.first.setdefault(line, self.count)
            self.last[line] = self.count
        return self._on_line


def interrupted_everywhere(action, n):
    """Interrupt an action at n random lines; yield what every round leaves.

    ``action`` is a function that prepares a round; it returns what to call, and what it
    is called on.
    """
    call, _ = action()
    with Interrupter() as whole:
        call()
    moments = sorted({*whole.first.values(), *whole.last.values()})
    for nth in np.random.default_rng(n).permutation(moments)[:n].tolist():
        call, subject = action()
        try:
            with Interrupter(nth):
                call()
        except KeyboardInterrupt:
            yield subject, False
        else:
            yield subject, True


def assert_usable(model, path):
    """Assert that a fitted model predicts and can be pickled, saved and refined."""
    expected = outputs(model, X)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(
        outputs(pickle.loads(pickle.dumps(model)), X), expected
    )
    model.save(path)
    np.testing.assert_array_equal(outputs(type(model).load(path), X), expected)
    assert np.isfinite(outputs(model.with_depth(5), X)).all()
    model.summary()


MODELS = {
    "flow": ResODERegressor(8, flow_time=1.0, **SMALL),
    "folds": ResODEClassifier(4, **SMALL),
    "adamw": ResODERegressor(32, solver=AdamW(max_epochs=4), **SMALL),
    "auto": ResODERegressor("auto", flow_time=0.3, gap_tol=0.2, **SMALL),
    "search": ResODERegressorCV([1, 4], flow_times=[0.1, 0.3], cv=2, **SMALL),
}


@ROUNDS
@pytest.mark.parametrize("name", MODELS)
def test_a_fit_gives_a_usable_model_or_changes_nothing(name, n, tmp_path):
    y = LABELS if name == "folds" else Y
    fitted = clone(MODELS[name]).fit(X, y)
    ends = [
        outputs(model, X).tolist() for model in (fitted, clone(fitted).fit(X + 1, y))
    ]

    def refit():
        model = pickle.loads(pickle.dumps(fitted))
        return lambda: model.fit(X + 1, y), model

    for model, returned in interrupted_everywhere(refit, n):
        assert_usable(model, tmp_path / "model")
        assert returned or outputs(model, X).tolist() in ends


@ROUNDS
@pytest.mark.usefixtures("every_epoch_is_kept")
def test_a_fit_with_a_checkpoint_goes_on_or_is_complete(n, tmp_path):
    """Wherever it is interrupted, the next fit ends as if it had not been."""
    model = ResODERegressor(8, flow_time=0.5, **SMALL)
    expected = outputs(clone(model).fit(X, Y), X)
    model.set_params(checkpoint=tmp_path / "fit")

    def begin():
        for path in tmp_path.iterdir():
            path.unlink()
        fitted = clone(model)
        return lambda: fitted.fit(X, Y), fitted

    for fitted, _ in interrupted_everywhere(begin, n):
        np.testing.assert_array_equal(outputs(fitted.fit(X, Y), X), expected)
        assert list(tmp_path.iterdir()) == []


@ROUNDS
def test_a_part_of_a_stream_counts_or_leaves_nothing(n, tmp_path):
    fitted = ResODERegressor(4, solver=AdamW(batch_size=8), **SMALL).partial_fit(X, Y)
    after = pickle.loads(pickle.dumps(fitted)).partial_fit(X, Y)
    ends = [outputs(model, X).tolist() for model in (fitted, after)]

    def go_on():
        model = pickle.loads(pickle.dumps(fitted))
        return lambda: model.partial_fit(X, Y), model

    for model, returned in interrupted_everywhere(go_on, n):
        assert_usable(model, tmp_path / "model")
        assert returned or outputs(model, X).tolist() in ends


@ROUNDS
def test_a_file_is_old_or_new_and_nothing_else_is_left(n, tmp_path):
    path = tmp_path / "model"
    old = ResODERegressor(2, flow_time=0.1, **SMALL).fit(X, Y)
    new = ResODERegressor(3, flow_time=0.2, **SMALL).fit(X, Y)

    def save_over():
        old.save(path)
        return lambda: new.save(path), new

    for model, _ in interrupted_everywhere(save_over, n):
        assert list(tmp_path.iterdir()) == [path]
        assert ResODERegressor.load(path).depth in (2, 3)
        assert_usable(model, path)


@ROUNDS
def test_a_load_that_is_interrupted_can_be_repeated(n, tmp_path):
    path = tmp_path / "model"
    model = ResODERegressor(2, flow_time=0.1, **SMALL).fit(X, Y)
    model.save(path)
    for _ in interrupted_everywhere(
        lambda: (lambda: ResODERegressor.load(path), None), n
    ):
        np.testing.assert_array_equal(
            outputs(ResODERegressor.load(path), X), outputs(model, X)
        )
