"""What does a checkpoint cost beside the fit that it keeps?

Fits with default parameters, once for every number of samples, with `checkpoint=` on
the disk of the folder for temporary files. Measured are the seconds of the whole fit,
and within it those that go to the checkpoint: the hash of the data at the start, every
write, and the removal at the end. So the share needs no second fit to compare with,
whose seconds would differ by more than it.

Expected: less than 2 % of a fit of a minute; at most 1 % for the writes, since one that
takes long is followed by a longer pause.

Run:  python benchmarks/checkpoint_seconds.py [--quick] [--json FILE] [--png FILE]
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from _report import cell, describe, machine, parse_options, save
from sklearn.exceptions import ConvergenceWarning

from odenet import ResODERegressor
from odenet._estimators import base
from odenet._estimators.checkpoint import Checkpoint
from odenet._training.recorder import Recorder

SIZES = [(2_000, 10, "flow"), (20_000, 20, "auto"), (50_000, 50, "auto")]
QUICK_SIZES = [(60, 3, "adamw")]


class Stopwatch:
    """Adds up the seconds of the calls of functions, and counts the calls.

    A call within another one is not counted twice.
    """

    def __init__(self):
        self.seconds, self.n_calls, self.is_running = 0.0, {}, False

    def around(self, function, name):
        """Return a function that is timed."""

        def timed(*args, **kwargs):
            self.n_calls[name] = self.n_calls.get(name, 0) + 1
            if self.is_running:
                return function(*args, **kwargs)
            self.is_running, start = True, perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.is_running = False
                self.seconds += perf_counter() - start

        return timed


def samples(n, d):
    """Draw a table with noise, and targets."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = np.sin(2 * X[:, 0]) * X[:, 1] + 0.3 * rng.normal(size=n)
    return X, y


def measure(n, d, solver, folder):
    """Fit once, and return the seconds of the fit and of its checkpoint."""
    watch, X_y = Stopwatch(), samples(n, d)
    timed = [
        (base, "checkpoint_of"),
        (Recorder, "see_epoch"),
        (Recorder, "see_end"),
        (Checkpoint, "keep"),
        (Checkpoint, "end"),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name in timed]
    for owner, name, function in originals:
        setattr(owner, name, watch.around(function, name))
    model = ResODERegressor(
        solver=solver, random_state=0, checkpoint=Path(folder) / "fit.checkpoint"
    )
    try:
        start = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(*X_y)
        seconds = perf_counter() - start
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)
    return {
        "n": n,
        "d": d,
        "solver": type(model.solver_).__name__,
        "epochs": len(model.history_),
        "fit": seconds,
        "writes": watch.n_calls.get("keep", 0),
        "checkpoint": watch.seconds,
        "share": watch.seconds / seconds,
    }


def show(point):
    print(
        f"{point['n']:>7} {point['d']:>4} {point['solver']:>8} {point['epochs']:>7} | "
        f"{cell(point['fit'], 8, 2)} {point['writes']:>7} "
        f"{cell(point['checkpoint'], 10, 3)} | {100 * point['share']:>5.2f} %",
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    points = results["points"]
    axis.bar(
        [f"{p['n']} x {p['d']}" for p in points], [100 * p["share"] for p in points]
    )
    axis.set(xlabel="samples x columns", ylabel="share of the seconds of a fit, in %")


def main():
    options = parse_options(__doc__)
    results = {"machine": machine(options.quick), "points": []}
    print(describe(results["machine"]))
    torch.set_num_threads(1)
    print("default parameters but the solver, one thread; seconds")
    print(
        f"{'n':>7} {'d':>4} {'solver':>8} {'epochs':>7} | {'fit':>8} {'writes':>7} "
        f"{'checkpoint':>10} | share"
    )
    with TemporaryDirectory() as folder:
        for size in QUICK_SIZES if options.quick else SIZES:
            results["points"].append(measure(*size, folder))
            show(results["points"][-1])
    save(options, results, draw)


if __name__ == "__main__":
    main()
