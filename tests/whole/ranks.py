"""Processes that make a fit together, for tests: started, watched and listened to."""

import io
import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from odenet import ResODEClassifier, ResODERegressor
from odenet._training import recorder
from odenet.solvers import SGD, SOAP, AdamW, Flow, GradientDescent

N_ROWS, N_SMALL = 600, 60  # of the tables; the small one has few enough for folds
TIMEOUT = 240.0  # seconds for all that the processes of a test do, on a busy machine


def table(kind):
    """A table of numbers, with what words in its kind ask for: X, y and weights."""
    rng = np.random.default_rng(0)
    n = N_SMALL if "small" in kind else N_ROWS
    X = rng.normal(size=(n, 4))
    X[:, 3] = rng.integers(0, 5, n)
    X[rng.integers(0, n, 40)] = X[0]  # rows that are there several times
    signal_ = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * X[:, 3]
    y, weight = signal_ + 0.1 * rng.normal(size=n), None
    if "nan" in kind:
        X[rng.random(n) < 0.1, 1] = np.nan
    if "counts" in kind:
        weight = rng.integers(0, 4, n).astype(float)
    if "weights" in kind:
        weight = 2 * rng.random(n)
        weight[5] = 300.0
    if "classes" in kind:
        y = np.array(["a", "b", "c"])[(y > 0).astype(int) + (y > 1.5)]
    if "two" in kind:
        y = (y > 0).astype(int)
    if "categories" in kind:
        X = X.astype(object)
        X[:, 3] = rng.choice(list("uvwxyz"), n, p=[0.4, 0.3, 0.2, 0.09, 0.007, 0.003])
    return X, y, weight


def small(**params):
    """Parameters of a small network, in float64."""
    defaults = {"depth": 8, "width": 16, "random_state": 0, "dtype": "float64"}
    return {**defaults, **params}


CASES = {  # what is in the table, and the parameters of the estimator
    "flow to a time": ("", small(solver="flow", flow_time=5.0)),
    "flow stopped early": ("", small(solver="flow", depth=4)),
    "flow stopped on folds": ("small", small(solver="flow", depth=4)),
    "flow with penalties": (
        "",
        small(solver="flow", flow_time=3.0, alpha=0.01, smoothness_penalty=0.01),
    ),
    "exponential flow": (
        "small",
        small(solver=Flow(method="exponential"), flow_time=100.0),
    ),
    "gradient descent": ("", small(solver=GradientDescent(), flow_time=1.0)),
    "flow of classes": ("classes", small(solver="flow", flow_time=10.0)),
    "flow to an automatic depth": (
        "",
        small(solver="flow", depth="auto", flow_time=10.0, gap_tol=0.02),
    ),
    "monotone flow": (
        "",
        small(solver="flow", flow_time=2.0, monotonic_cst=[1, 0, 0, 0]),
    ),
    "AdamW, missing numbers": (
        "nan",
        small(solver=AdamW(max_epochs=6), allow_nan=True),
    ),
    "AdamW, categories": (
        "categories nan counts",
        small(solver=AdamW(max_epochs=6), allow_nan=True, categorical_features=[3]),
    ),
    "AdamW of classes": ("classes", small(solver=AdamW(max_epochs=6))),
    "AdamW of two classes, balanced": (
        "two weights",
        small(solver=AdamW(max_epochs=6), class_weight="balanced"),
    ),
    "AdamW, stopped early": ("", small(solver=AdamW(), depth=4)),
    "AdamW to an automatic depth": (
        "",
        small(solver=AdamW(max_epochs=20), depth="auto", gap_tol=0.02),
    ),
    "AdamW, waves": (
        "",
        small(solver=AdamW(max_epochs=3), numeric_embedding="periodic"),
    ),
    "AdamW, quantiles": (
        "",
        small(solver=AdamW(max_epochs=3), loss="quantile", quantile=[0.1, 0.9]),
    ),
    "SGD, heavy rows": ("weights", small(solver=SGD(max_epochs=6))),
    "SOAP": ("", small(solver=SOAP(max_epochs=6))),
    "flow in float32": ("", small(solver="flow", flow_time=5.0, dtype="float32")),
    "AdamW in float32": ("", small(solver=AdamW(max_epochs=10), dtype="float32")),
}


def share_of(rank, size, *arrays):
    """The rows of a rank: neighbours in the table, and not as many on each."""
    n = len(arrays[0])
    begin, end = (int(n * (i / size) ** 1.2) for i in (rank, rank + 1))
    return [None if a is None else a[begin:end] for a in arrays]


def fitted(name, rank=0, size=1, **params):
    """What is told of a fit of a case, by one process or by one of several."""
    kind, settings = CASES[name]
    X, y, weight = table(kind)
    is_regressor = "classes" not in kind and "two" not in kind
    estimator = ResODERegressor if is_regressor else ResODEClassifier
    own = share_of(rank, size, X, y, weight) if size > 1 else (X, y, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # they are short
        model = estimator(**{**settings, **params}).fit(*own)
    return told_of(model, X)


def told_of(model, X):
    """Numbers of a fitted model that two fits can be compared by."""
    predict = getattr(model, "predict_proba", model.predict)
    calibration = model._predictor.calibration
    return {
        "predictions": predict(X),
        "calibration": None if calibration is None else calibration.scores[0],
        "temperature": getattr(model, "temperature_", None),
        "loss": model.loss_,
        "losses": model.loss_curve_,
        "held-out losses": model.validation_loss_curve_,
        "scores": model.validation_scores_,
        "flow time": model.flow_time_,
        "gap": model.ode_gap_,
        "exact": {
            "depth": model.depth_,
            "reason": model.stop_reason_,
            "epochs": len(model.net_.history),
            "gradients": model.n_grad_evals_,
            "samples": model.n_samples_fit_,
        },
        "weights": [p.detach().numpy().copy() for p in model.module_.parameters()],
    }


def all_cases(rank, size, names):
    """What is told of the fits of some cases, by name."""
    return {name: fitted(name, rank, size, processes="group") for name in names}


def error_of(call):
    """The kind and the text of the error that a call ends with; None without one."""
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return None


def disagreements(rank, size):
    """Errors of fits that one rank alone makes impossible, and a fit after them all."""
    X, y, _ = table("")
    own = share_of(rank, size, X, y)
    last = rank == size - 1
    with_nan = own[0].copy()
    with_nan[0, 0] = np.nan if last else 0.0

    def fit(X=own[0], y=own[1], estimator=ResODERegressor, **params):
        params = {**small(solver="flow", flow_time=1.0), **params}
        return estimator(processes="group", **params).fit(X, y)

    return {
        "depth": error_of(lambda: fit(depth=4 + last)),
        "seed": error_of(lambda: fit(random_state=int(last))),
        "a wrong depth": error_of(lambda: fit(depth=-1 if last else 4)),
        "NaN": error_of(lambda: fit(with_nan)),
        "columns": error_of(lambda: fit(own[0][:, : 4 - last])),
        "outputs": error_of(lambda: fit(y=own[1][:, None] if last else own[1])),
        "a callback": error_of(
            lambda: fit(callbacks=[Failing()] if last else None, flow_time=5.0)
        ),
        "interrupt": error_of(
            lambda: fit(callbacks=[Interrupting()] if last else None, flow_time=5.0)
        ),
        "after all": error_of(fit),
        "without a seed": told_of(fit(random_state=None), X)["predictions"],
    }


class Failing(Callback):
    """Raises an error at the second epoch."""

    only_watches = True

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise OSError("the disk is full")


class Interrupting(Callback):
    """Presses Ctrl-C at the second epoch."""

    only_watches = True

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


class Counting(Callback):
    """Counts the epochs of its process."""

    only_watches, n_epochs = True, 0

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


class Dying(Callback):
    """Kills its process after so many epochs."""

    only_watches = True

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs:
            os.kill(os.getpid(), signal.SIGKILL)


def a_local_fit(rank, size):
    """What a fit in a process group tells that does not ask for the group."""
    X, y, _ = table("")
    X, y = share_of(rank, size, X, y)
    params = small(solver="flow", flow_time=float(1 + rank))
    return told_of(ResODERegressor(**params).fit(X, y), X)


def all_but_deaths(rank, size, folder):
    """What is told of all in which no rank dies, by the name of what is done."""
    return {
        "disagreements": disagreements(rank, size),
        "a local fit": a_local_fit(rank, size),
        "bars and files": with_bars_and_files(rank, size, folder),
        "fits again": all_cases(rank, size, ["flow to a time", "SOAP"]),
    }


def with_bars_and_files(rank, size, folder):
    """What a rank draws and writes in a fit with a bar and a checkpoint."""
    every_epoch_is_kept()
    path, seen = Path(folder) / f"checkpoint-{rank}", []

    class Looking(Callback):
        only_watches = True

        def on_epoch_end(self, net, **kwargs):
            seen.append(path.exists())

    with redirect_stderr(io.StringIO()) as drawn:
        fitted(
            "flow to a time",
            rank,
            size,
            processes="group",
            verbose=1,
            checkpoint=path,
            callbacks=[Looking()],
        )
    return {"drew": "training" in drawn.getvalue(), "wrote": any(seen)}


def a_fit_with_a_checkpoint(rank, size, folder, name, dying=None, n_epochs=0):
    """What is told of a fit with a checkpoint, in which a rank may die."""
    every_epoch_is_kept()
    began, counter = time.perf_counter(), Counting()
    callbacks = [Dying(n_epochs)] if rank == dying else [counter]
    settings = {"checkpoint": Path(folder) / "checkpoint", "callbacks": callbacks}
    try:
        told = fitted(name, rank, size, processes="group", **settings)
        seconds = time.perf_counter() - began
        return {**told, "epochs of this process": counter.n_epochs, "seconds": seconds}
    except RuntimeError as error:
        return f"{error}", time.perf_counter() - began


def a_fit_without_a_rank(rank, size, folder, dead):
    """What is told of a fit before which a rank has died."""
    if rank == dead:
        os.kill(os.getpid(), signal.SIGKILL)
    return a_fit_with_a_checkpoint(rank, size, folder, "flow to a time")


def every_epoch_is_kept():
    """Let checkpoints be written after every epoch, not every ten seconds."""
    recorder.SECONDS_BETWEEN = recorder.TIMES_A_RECORD = 0.0


def run_ranks(size, task, folder, *args, fault=None, timeout=TIMEOUT):
    """Run ``task(rank, size, *args)`` in processes of a group, and what each returns.

    A process that was killed returns its exit code, and one that was stopped None.

    Parameters
    ----------
    size : int
    task : callable
        Of this module.
    folder : path
        Where the processes meet.
    *args
        Further arguments of the task.
    fault : Fault, default=None
        What befalls one of the processes.
    timeout : float, default=TIMEOUT
        Seconds, of the process group.
    """
    context, folder = _context(), Path(folder)
    for path in [folder / "meeting", *folder.glob("result-*"), *folder.glob("begun-*")]:
        path.unlink(missing_ok=True)
    processes = [
        context.Process(target=_main, args=(rank, size, folder, timeout, task, args))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + TIMEOUT
    try:
        if fault is not None:
            fault.strike(processes, folder, end)
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
        hung = [rank for rank, p in enumerate(processes) if p.is_alive()]
        assert not hung, f"the ranks {hung} hang"
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [_result(folder, rank, p) for rank, p in enumerate(processes)]


@dataclass(frozen=True)
class Fault:
    """A signal to one rank, so many seconds after it has begun with its task.

    After SIGSTOP the others end by themselves; only then the rank may go on.
    """

    rank: int
    signal: int
    delay: float

    def strike(self, processes, folder, end):
        """Send the signal."""
        struck = processes[self.rank]
        while not (folder / f"begun-{self.rank}").exists():
            assert time.monotonic() < end, f"rank {self.rank} does not begin"
            time.sleep(0.001)
        time.sleep(self.delay)
        if not struck.is_alive():
            return  # it was faster than thought
        os.kill(struck.pid, self.signal)
        if self.signal != signal.SIGSTOP:
            return
        for process in processes:
            if process is not struck:
                process.join(max(0.0, end - time.monotonic()))
        os.kill(struck.pid, signal.SIGCONT)


def _context():
    """Processes that are forks of one that has imported all this, where there are."""
    has_forks = "forkserver" in get_all_start_methods()
    context = get_context("forkserver" if has_forks else "spawn")
    context.set_forkserver_preload([__name__])
    return context


def _main(rank, size, folder, timeout, task, args):
    """Be a rank: join the group, do the task, and write what it returns."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=timeout),
    )
    (folder / f"begun-{rank}").touch()
    try:
        result = task(rank, size, *args)
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    (folder / f"result-{rank}").write_bytes(pickle.dumps(result))
    os._exit(0)  # a group that has lost a rank cannot be left in order


def _result(folder, rank, process):
    """What a rank has returned, or its exit code."""
    path = folder / f"result-{rank}"
    return pickle.loads(path.read_bytes()) if path.exists() else process.exitcode
