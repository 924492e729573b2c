"""How much faster do several processes fit than one, on one machine?

A regressor is fitted to a table of n rows by one process with all rows, and by all
processes of a group with a share each (`processes="group"`), on one thread each. They
take turns. q and m are the state and the width, L is the depth. Measured are the
seconds of the first process, and the seconds in which its core was busy with the fit:
on a machine with other work the second number tells how the work was shared out.

Expected: on two free cores about half the seconds for the flow, whose gradients are of
all rows, and for large mini-batches; no gain for small ones, where a step costs no more
than the messages that go with it.

Run:  python benchmarks/ranks_seconds.py [--ranks N] [--quick] [--json FILE]
      [--png FILE]
"""

import warnings
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import torch
import torch.distributed as dist
from _report import cell, describe, machine, parse_options, save

from odenet import ResODERegressor
from odenet.solvers import AdamW, Flow

N_ROUNDS = 3
TIMEOUT = 3600.0  # seconds, if a process is lost: longer than a point takes
# Rows, q = m, L, and the solver with its settings: of a full and of a quick run.
POINTS = [
    (100_000, 64, 16, "flow", {"flow_time": 0.1}),
    (100_000, 64, 16, "AdamW, batches of 8192", {"batch_size": 8192, "max_epochs": 2}),
    (20_000, 64, 16, "AdamW, batches of 256", {"batch_size": 256, "max_epochs": 2}),
]
QUICK_POINTS = [(400, 8, 4, "flow", {"flow_time": 0.1})]


def estimator(size, depth, name, settings, processes):
    """Return the estimator of a point."""
    settings, params = dict(settings), {}
    if name == "flow":
        params["flow_time"] = settings.pop("flow_time")
        solver = Flow()
    else:
        solver = AdamW(**settings)
    return ResODERegressor(
        depth,
        width=size,
        state_dim=size,
        depth_schedule=None,
        numeric_embedding="scores",
        early_stopping=False,
        solver=solver,
        processes=processes,
        random_state=0,
        **params,
    )


def seconds_of(point, rank, n_ranks, processes):
    """Return the seconds of a fit, and those in which this process was busy."""
    n, *rest = point
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    y = np.sin(2 * X[:, 0]) * X[:, 1]
    if processes is not None:
        X, y = X[rank::n_ranks], y[rank::n_ranks]
    began, busy = perf_counter(), process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that so short a training could go on
        estimator(*rest, processes).fit(X, y)
    return perf_counter() - began, process_time() - busy


def be_a_rank(rank, n_ranks, folder, points, n_rounds, queue):
    """Fit all points in turns: first rank 0 alone, while the others wait, then all."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=n_ranks,
        timeout=timedelta(seconds=TIMEOUT),
    )
    for point in points:
        alone, together = [], []
        for _ in range(n_rounds):
            if rank == 0:
                alone.append(seconds_of(point, rank, n_ranks, None))
            dist.barrier()
            together.append(seconds_of(point, rank, n_ranks, "group"))
            dist.barrier()
        if rank == 0:
            queue.put(
                [[median(s) for s in zip(*t, strict=True)] for t in (alone, together)]
            )
    dist.destroy_process_group()


def show(point):
    ratios = (
        point["one"] / point["group"],
        point["busy of one"] / point["busy of group"],
    )
    numbers = (point[k] for k in ("one", "group", "busy of one", "busy of group"))
    print(
        f"{point['n']:>7} {point['q']:>4} {point['L']:>4} {point['solver']:>23} | "
        + " ".join(cell(number, 7, 2) for number in numbers)
        + " | "
        + " ".join(cell(ratio, 5, 2) for ratio in ratios),
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    names = [f"{p['solver']}\n{p['n']} rows" for p in results["points"]]
    ratios = [p["one"] / p["group"] for p in results["points"]]
    axis.bar(names, ratios)
    axis.set(ylabel=f"times as fast by {results['ranks']} processes")


def main():
    options = parse_options(__doc__, {"ranks": (2, "number of processes")})
    points = QUICK_POINTS if options.quick else POINTS
    results = {"machine": machine(options.quick), "ranks": options.ranks, "points": []}
    print(describe(results["machine"]))
    print(f"{'':>41} |     seconds     |  busy seconds   | times")
    print(
        f"{'n':>7} {'q, m':>4} {'L':>4} {'solver':>23} | {'one':>7} {'group':>7} "
        f"{'one':>7} {'group':>7} | {'all':>5} {'busy':>5}"
    )
    context = get_context("spawn")
    with TemporaryDirectory() as folder:
        queue = context.Queue()
        settings = Path(folder), points, 1 if options.quick else N_ROUNDS, queue
        processes = [
            context.Process(target=be_a_rank, args=(rank, options.ranks, *settings))
            for rank in range(options.ranks)
        ]
        for process in processes:
            process.start()
        for n, q, depth, name, _ in points:
            turns = queue.get(timeout=TIMEOUT)
            (one, busy_of_one), (group, busy_of_group) = turns
            results["points"].append(
                {
                    "n": n,
                    "q": q,
                    "L": depth,
                    "solver": name,
                    "one": one,
                    "group": group,
                    "busy of one": busy_of_one,
                    "busy of group": busy_of_group,
                }
            )
            show(results["points"][-1])
        for process in processes:
            process.join()
    save(options, results, draw)


if __name__ == "__main__":
    main()
