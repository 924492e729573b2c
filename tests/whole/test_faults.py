"""What machines and users do to a fit: tests/README.md has the table."""

import contextlib
import gc
import io
import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from odenet import ResODEClassifier, ResODERegressor, ResODERegressorCV
from odenet._losses.squared_error import SquaredError
from odenet.solvers import SGD, AdamW, GradientDescent
from tests.estimators.test_checkpoint import FITS, assert_same
from tests.helpers import outputs
from tests.whole.rounds import rounds

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = X[:, 0] + 2.0 * RNG.normal(size=60)
SMALL = {"width": 4, "state_dim": 6, "random_state": 0}
FLOW = ResODERegressor(8, flow_time=1.0, **SMALL)
ADAMW = ResODERegressor(16, solver=AdamW(batch_size=16, max_epochs=5), **SMALL)
SOLVERS = [
    FLOW,
    ResODERegressor(8, solver=GradientDescent(0.1), flow_time=1.0, **SMALL),
    ResODERegressor(8, solver=SGD(batch_size=16, max_epochs=5), **SMALL),
    ADAMW,
]
ON_LINUX = pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="counts what Linux tells of processes",
)
CAN_FORK = pytest.mark.skipif(
    not Path("/proc").exists(),
    reason="elsewhere threads and forks do not mix",
)
CAN_KILL = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


def in_a_fork(call, kill_after=None):
    """Run a function in a fork of this process, and return what it returns.

    With ``kill_after`` the fork is killed after so many seconds, unless it has ended:
    None is returned then. A fork that hangs is an error.
    """
    context = multiprocessing.get_context("fork")
    result, at_the_other_end = context.Pipe(duplex=False)

    def run():
        # Nothing of the tests' own may run at the end of this process.
        try:
            at_the_other_end.send(("", call()))
        except BaseException as error:
            at_the_other_end.send((repr(error), None))
        finally:
            os._exit(0)

    with warnings.catch_warnings():  # of forks in processes that have threads
        warnings.simplefilter("ignore")
        fork = context.Process(target=run)
        fork.start()
    try:
        if result.poll(60 if kill_after is None else kill_after):
            error, value = result.recv()
            assert not error, error
            return value
        assert kill_after is not None, "the fork hangs"
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(fork.pid, signal.SIGKILL)
        fork.join()


@CAN_FORK
@rounds(1, 3)
@pytest.mark.usefixtures("every_epoch_is_kept")
@pytest.mark.parametrize(
    "kind", ["folds, then a flow", "adamw, early", "members", "search"]
)
def test_a_killed_fit_goes_on_to_the_last_bit(kind, n, tmp_path):
    """SIGKILL at random times, in the midst of a write as well, until it has ended."""
    model, X, y = FITS[kind]
    kept = clone(model).set_params(checkpoint=tmp_path / "fit")

    def fit(estimator):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pickle.dumps(clone(estimator).fit(X, y))

    whole = pickle.loads(in_a_fork(partial(fit, model)))
    began = time.perf_counter()
    assert_same(pickle.loads(in_a_fork(partial(fit, kept))), whole, X)
    seconds = time.perf_counter() - began
    rng = random.Random(n)
    for _ in range(n):
        n_killed, ended = 0, None
        while ended is None:
            patience = 0.5 * seconds * rng.random() * (1 + n_killed / 10)
            ended = in_a_fork(partial(fit, kept), kill_after=patience)
            n_killed += ended is None
        assert_same(pickle.loads(ended), whole, X)
        assert list(tmp_path.iterdir()) == []


class ScorerThatKills:
    """Kills the worker that scores a fold, the first time."""

    def __init__(self, path):
        self.path = path

    def __call__(self, estimator, X, y):
        if not self.path.exists():
            self.path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return estimator.score(X, y)


@CAN_KILL
@rounds(1, 2)
def test_a_killed_worker_is_an_error_that_loses_nothing(n, tmp_path):
    path = tmp_path / "killed"
    search = ResODERegressorCV(
        [4], flow_times=[0.5], cv=2, n_jobs=2, backward="rebuilt", **SMALL
    ).fit(X, Y)
    grid = GridSearchCV(FLOW, {"depth": [4, 8]}, cv=2, n_jobs=2).fit(X, Y)
    for i in range(n):
        model = (search, grid)[i % 2]
        before = model.predict(X)
        model.set_params(scoring=ScorerThatKills(path))
        with pytest.raises(Exception, match="terminated"):
            model.fit(X, Y)
        np.testing.assert_array_equal(model.predict(X), before)
        model.fit(X, Y)
        np.testing.assert_array_equal(model.predict(X), before)
        path.unlink()


def in_threads(calls):
    """Run functions in threads at the same time, and return what they return."""
    values, errors, together = [None] * len(calls), [], threading.Barrier(len(calls))

    def run(i, call):
        together.wait()
        try:
            values[i] = call()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=pair, daemon=True)
        for pair in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not errors, errors
    return values


@rounds(2, 10)
def test_eight_threads_predict_with_one_model(n):
    model = ResODEClassifier(8, flow_time=1.0, **SMALL).fit(X, Y > 0)
    ode = model.to_ode(rtol=1e-2)
    calls = [
        model.predict,
        model.predict_proba,
        model.transform,
        model.hidden_states,
        ode.predict_proba,
        lambda X: model.with_depth(5).predict_proba(X),
        lambda X: pickle.loads(pickle.dumps(model)).predict_proba(X),
        lambda X: saved_and_loaded(model).predict_proba(X),
    ]
    alone = [call(X) for call in calls]
    for _ in range(n):
        together = in_threads([partial(call, X) for call in calls])
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


def saved_and_loaded(model):
    """Return a model that was saved to memory, and loaded."""
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return type(model).load(file)


@rounds(1, 5)
def test_fits_in_threads_are_those_alone(n):
    models = [*SOLVERS, ResODERegressor("auto", flow_time=0.3, **SMALL)]
    alone = [clone(model).fit(X, Y) for model in models]
    for _ in range(n):
        together = in_threads([partial(clone(m).fit, X, Y) for m in models])
        for expected, model in zip(alone, together, strict=True):
            assert_same(model, expected, X)


@CAN_FORK
@rounds(2, 10)
def test_forks_before_and_after_a_fit(n):
    """The parent has used several threads, whose locks a fork may find closed."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wide = ResODERegressor(4, width=128, state_dim=128, flow_time=0.1)
        wide.set_params(random_state=0)
        many = RNG.normal(size=(300, 3))
        fitted = wide.fit(many, many[:, 0])  # so many products take two threads
        expected = fitted.predict(many), clone(FLOW).fit(X, Y).predict(X)
        for _ in range(n):
            torch.mm(torch.ones(500, 500), torch.ones(500, 500))
            predicted, refitted = in_a_fork(
                lambda: (fitted.predict(many), clone(FLOW).fit(X, Y).predict(X))
            )
            np.testing.assert_allclose(predicted, expected[0], rtol=1e-12)
            np.testing.assert_array_equal(refitted, expected[1])
            np.testing.assert_array_equal(clone(FLOW).fit(X, Y).predict(X), refitted)
    finally:
        torch.set_num_threads(before)


def state_of_the_process():
    """Return what belongs to all of a process, and must be left as it is."""
    status = Path("/proc/self/status").read_text().splitlines()
    return {
        "umask": [line for line in status if line.startswith("Umask")],
        "folder": os.getcwd(),
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "random": random.getstate(),
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "numpy errors": np.geterr(),
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "threads of torch": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "signals": signal.getsignal(signal.SIGINT),
        "environment": dict(os.environ),
    }


class Watch(Callback):
    """Compares, at every epoch, the state of the process with what it was."""

    only_watches = True

    def __init__(self):
        self.before = state_of_the_process()

    def on_epoch_end(self, net, **kwargs):
        """Find what has changed; the threads of torch are those of this fit alone."""
        now = state_of_the_process()
        changed = {name for name in now if now[name] != self.before[name]}
        assert changed <= {"threads of torch", "gradients"}, changed


@ON_LINUX
@rounds(7, 50)
def test_many_fits_leave_the_process_as_it_was(n, tmp_path):
    """Memory, handles, threads, and all that is global; within a fit as well."""
    models = [
        *SOLVERS,
        FITS["folds, then a flow"][0],
        ResODERegressorCV([4], flow_times=[0.5], cv=2, **SMALL),
    ]

    def fit(i, callbacks):
        model = clone(models[i % len(models)]).set_params(checkpoint=tmp_path / "fit")
        if "callbacks" in model.get_params():
            model.set_params(callbacks=callbacks)
        model.fit(X, Y).predict(X)
        if "callbacks" in model.get_params():
            model.set_params(callbacks=None)
        model.save(tmp_path / "model")
        type(model).load(tmp_path / "model").with_depth(3).predict(X)

    for i in range(2 * len(models)):  # what others load at their first use is there now
        fit(i, None)
    before, counts = state_of_the_process(), resources()
    for i in range(n):
        fit(i, [Watch()])
    assert state_of_the_process() == before
    after = resources()
    assert after["handles"] == counts["handles"]
    assert after["threads"] == counts["threads"]
    assert after["objects"] <= counts["objects"] + 2 * n
    # A leak of one copy of the weights or of the history is several times as much.
    assert after["bytes"] <= counts["bytes"] + 20_000_000
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def resources():
    """Count what this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "objects": len(gc.get_objects()),
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


class Overflowing(SquaredError):
    """The squared error, whose gradients are multiplied by a value from one call on."""

    def __init__(self):
        self.n_calls, self.first, self.value = 0, None, 1.0

    def gradient(self, output, y):
        self.n_calls += 1
        is_broken = self.first is not None and self.n_calls >= self.first
        return super().gradient(output, y) * (self.value if is_broken else 1.0)


@rounds(1, 2)
def test_a_gradient_that_overflows_is_a_divergence(n):
    """At whatever step: the model has the best weights before, and is warned of.

    Gradients that are merely huge may let a flow creep until its gradients are used up.
    """
    rng = np.random.default_rng(n)
    for model in SOLVERS:
        loss = Overflowing()
        whole = clone(model).set_params(loss=loss).fit(X, Y)
        n_whole = loss.n_calls
        for first in rng.integers(3, n_whole, size=n).tolist():
            for value in (np.inf, np.nan, 1e30):
                loss.n_calls, loss.first, loss.value = 0, first, value
                again = clone(model).set_params(loss=loss)
                ends = "diverged" if value != 1e30 else "diverged|max_evals"
                with pytest.warns(ConvergenceWarning, match=ends):
                    again.fit(X, Y)
                assert np.isfinite(again.predict(X)).all()
                assert again.loss_ <= 1.0 + whole.loss_


@rounds(1, 5)
def test_memory_that_is_refused_loses_nothing(n, monkeypatch):
    """An allocation fails in any gradient of a fit: the model is the one before."""
    empty_like, n_calls, refused_at = torch.empty_like, [], None

    def allocate(*args, **kwargs):
        n_calls.append(1)
        if len(n_calls) == refused_at:
            raise (MemoryError, torch.OutOfMemoryError)[refused_at % 2]("no memory")
        return empty_like(*args, **kwargs)

    monkeypatch.setattr(torch, "empty_like", allocate)
    rng = np.random.default_rng(n)
    for model in (*SOLVERS, FITS["folds, then a flow"][0]):
        fitted = clone(model).fit(X, Y)
        expected = outputs(fitted, X)
        n_calls.clear()
        clone(model).fit(X + 1.0, Y)
        for at in rng.integers(len(n_calls), size=n).tolist():
            n_calls.clear()
            refused_at = at + 1
            with pytest.raises((MemoryError, torch.OutOfMemoryError)):
                fitted.fit(X + 1.0, Y)
            refused_at = None
            for kept in (fitted, saved_and_loaded(fitted)):
                np.testing.assert_array_equal(outputs(kept, X), expected)


class Raising(Callback):
    """Raises at the nth call of one of skorch's events."""

    def __init__(self, event, n):
        setattr(self, event, partial(self.called, iter(range(n))))

    def called(self, left, net, **kwargs):
        """Count a call, and raise at the last one."""
        if next(left, None) is None:
            raise RuntimeError("of the user's own")


def test_an_error_of_a_callback_comes_through_and_loses_nothing():
    events = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_grad_computed"]
    events += ["on_batch_end", "on_epoch_end", "on_train_end"]
    for model in SOLVERS:
        model = clone(model).fit(X, Y)
        before = {**vars(model)}
        expected = model.predict(X)
        for event in events:
            n = 0 if event.startswith("on_train") else 2
            model.set_params(callbacks=[Raising(event, n)])
            with pytest.raises(RuntimeError, match="of the user's own"):
                model.fit(X + 1.0, Y)
            model.set_params(callbacks=None)
            assert vars(model).keys() == before.keys()
            np.testing.assert_array_equal(model.predict(X), expected)


def test_a_search_in_threads_is_that_alone():
    search = ResODERegressorCV(
        [4, 8], flow_times=[0.5, 2.0], cv=4, backward="rebuilt", **SMALL
    )
    alone = clone(search).fit(X, Y)
    with parallel_config("threading"):
        model = clone(search).set_params(n_jobs=4).fit(X, Y)
    assert_same(model, alone, X)
