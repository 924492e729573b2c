"""How does a fit by many processes scale, on paper and measured?

A model of cost (`_scaling.py`) has a few constants: seconds per gradient, layer,
parameter, product and activation, per step of a message and per byte, and per number
that is read. How often each is to be paid is counted in real fits, whose gradients and
messages are listed. The constants are found by least squares of the seconds of fits by
one and by two processes of one thread; fits by four processes check them. Then the
model says what it expects of many GPUs, with rates that are stated and not measured.

The fits take turns; of several rounds the fastest counts. "busy" are the seconds in
which the first process had a core.

Expected: the model meets fits by one and two processes within some 20 % on two free
cores, and is worse for four on two cores, which wait for each other's turns.

Run:  python benchmarks/scaling.py [--quick] [--json FILE] [--png FILE]
      [--markdown FILE]
"""

import os
import pickle
import time
import warnings
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import torch
import torch.distributed as dist
from _report import cell, describe, machine, parse_options, save, seconds_per_call
from _scaling import (
    ORDER,
    READING,
    TRAINING,
    Messages,
    Tally,
    least_squares,
    of_reading,
    of_training,
    powers,
    seconds_of,
)
from _scaling_page import page, tables_of_clusters
from skorch.callbacks import Callback

from odenet import ResODERegressor
from odenet.solvers import AdamW, Flow

N_ROUNDS, N_COLUMNS, TIMEOUT = 3, 10, 1200.0
MEASURED, CHECKED = (1, 2), (4,)  # numbers of processes
# Rows, q = m, L, schedule of depths, and the flow time, or batch and epochs of AdamW.
POINTS = {
    "flow, thin": (20_000, 32, 16, None, 0.1),
    "flow": (20_000, 64, 16, None, 0.1),
    "flow, wide": (4_000, 128, 8, None, 0.1),
    "flow, deep": (4_000, 32, 64, "doubling", 0.3),
    "flow, few rows": (500, 16, 16, None, 2.0),
    "flow, many rows": (60_000, 16, 4, None, 0.1),
    "AdamW, 8192": (40_000, 64, 16, None, (8192, 2)),
    "AdamW, 2048": (20_000, 64, 16, None, (2048, 2)),
    "AdamW, 2048, deep": (10_000, 32, 64, None, (2048, 2)),
    "AdamW, 256": (5_000, 64, 16, None, (256, 2)),
    "AdamW, 256, thin": (5_000, 16, 8, None, (256, 3)),
}
QUICK = {"flow": (400, 8, 4, None, 0.1), "AdamW": (400, 8, 4, None, (200, 1))}
KERNEL_ROWS, QUICK_KERNEL_ROWS = (250, 500, 1000, 1500), (30, 60)
KERNEL_SIZE, KERNEL_DEPTH, KERNEL_TIME = 32, 8, 1.0
ORDER_ROWS = 2_000_000
# Of the flow whose steps the tables of many GPUs take: with the schedule of depths.
COUNTED = (2_000, 64, 16, "doubling", 100.0)
QUICK_COUNTED = (400, 8, 4, "doubling", 0.1)


class Counter(Callback):
    """Counts gradients, what is only computed forwards, and when training begins."""

    only_watches = True

    def __init__(self, messages):
        self.messages = messages
        self.gradients, self.parameters = {}, {}
        self.forward, self.began, self.n_before = 0, None, 0

    def on_train_begin(self, net, **kwargs):
        """Note when the table has been read."""
        if self.began is None:
            self.began = perf_counter()
            self.n_before = len(self.messages)
            net.module_.register_forward_hook(self.see_forward)

    def see_forward(self, module, inputs, output):
        """Count rows times layers."""
        self.forward += len(inputs[0]) * module.depth

    def on_grad_computed(self, net, batch=None, **kwargs):
        """Count a gradient."""
        rows = int(net.n_in_step) or len(batch[1])
        key = net.module_.depth, rows
        self.gradients[key] = self.gradients.get(key, 0) + 1
        sizes = [p.numel() for p in net.module_.parameters() if p.requires_grad]
        self.parameters[net.module_.depth] = sum(sizes)


@contextmanager
def listed(messages):
    """List the kinds of messages in which processes take part, in the context."""
    kinds = "all_reduce", "all_gather_object", "broadcast_object_list"
    before = {kind: getattr(dist, kind) for kind in (*kinds, "all_to_all_single")}

    def listing(kind, call):
        def message(*args, **kwargs):
            messages.append(kind)
            return call(*args, **kwargs)

        return message

    try:
        for kind, call in before.items():
            setattr(dist, kind, listing(kind, call))
        yield
    finally:
        for kind, call in before.items():
            setattr(dist, kind, call)


def estimator(size, depth, schedule, how, processes, callbacks):
    """Return the estimator of a point."""
    params = {"solver": Flow(), "flow_time": how}
    if isinstance(how, tuple):
        batch, epochs = how
        params = {"solver": AdamW(batch_size=batch, max_epochs=epochs)}
    return ResODERegressor(
        depth,
        width=size,
        state_dim=size,
        depth_schedule=schedule,
        numeric_embedding="scores",
        early_stopping=False,
        processes=processes,
        callbacks=callbacks,
        random_state=0,
        **params,
    )


def table(n, rank=0, size=1):
    """Return the rows of a rank."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, N_COLUMNS))
    y = np.sin(2 * X[:, 0]) * X[:, 1] + np.abs(X[:, 2])
    return X[rank::size], y[rank::size]


def fitted(point, rank, size):
    """Fit a point, and return its seconds and what was counted."""
    n, q, depth, schedule, how = point
    X, y = table(n, rank, size)
    messages = []
    counter = Counter(messages)
    model = estimator(q, depth, schedule, how, "group" if size > 1 else None, [counter])
    began, busy = perf_counter(), process_time()
    with warnings.catch_warnings(), listed(messages):
        warnings.simplefilter("ignore")  # that so short a training could go on
        model.fit(X, y)
    ended = perf_counter()
    return {
        "reading": counter.began - began,
        "training": ended - counter.began,
        "busy": process_time() - busy,
        "tally": tally_of(point, counter, messages, model, size),
    }


def tally_of(point, counter, messages, model, size):
    """Return what was counted in a fit; on one process without messages."""
    n, q, *_, how = point
    gradients = tuple((d, k, rows) for (d, rows), k in counter.gradients.items())
    n_gradients = sum(k for _, k, _ in gradients)
    reading, training = (
        of_kinds(part)
        for part in (messages[: counter.n_before], messages[counter.n_before :])
    )
    if size > 1:  # the sums of gradients have a place of their own
        training = Messages(training.sums - n_gradients, training.others)
    return Tally(
        rows=n,
        columns=model.n_features_in_,
        state_dim=q,
        width=q,
        gradients=gradients,
        parameters=tuple(counter.parameters.items()),
        forward=float(counter.forward * size),
        reading=reading,
        training=training,
        orders=how[1] if isinstance(how, tuple) else 0,
    )


def of_kinds(kinds):
    """Return numbers of messages: an object has its size sent before it."""
    n_sums = kinds.count("all_reduce")
    return Messages(n_sums, 2 * (len(kinds) - n_sums))


class Ranks:
    """Processes of a group, which wait for points to fit."""

    def __init__(self, size, folder):
        context = get_context("spawn")
        self.size, self.pipes, self.processes = size, [], []
        for rank in range(size):
            mine, its = context.Pipe()
            arguments = rank, size, str(Path(folder) / f"meeting-{size}"), its
            self.processes.append(context.Process(target=be_a_rank, args=arguments))
            self.processes[-1].start()
            self.pipes.append(mine)

    def call(self, function, *args):
        """Return what ``function(*args, rank, size)`` returns on the first rank."""
        for pipe in self.pipes:
            pipe.send((function, args))
        found = [self._received(pipe) for pipe in self.pipes]
        return found[0]

    def _received(self, pipe):
        if not pipe.poll(TIMEOUT):
            raise TimeoutError("A process of the benchmark does not answer.")
        found = pickle.loads(pipe.recv_bytes())
        if isinstance(found, Exception):
            raise found
        return found

    def end(self):
        """End the processes."""
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join()


def be_a_rank(rank, size, meeting, pipe):
    """Join the group, and do what comes through a pipe until it is None."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=TIMEOUT),
    )
    while (task := pipe.recv()) is not None:
        function, args = task
        try:
            found = function(*args, rank, size)
        except Exception as error:
            found = error
        pipe.send_bytes(pickle.dumps(found))
    dist.destroy_process_group()


def order_seconds(n, rank, size):
    """Return the seconds a row to draw an order of all, and find one's own in it."""
    torch.set_num_threads(1)
    own = n // 2

    def draw():
        for batch in torch.randperm(n).tensor_split(max(1, n // 8192)):
            batch[(batch >= 0) & (batch < own)]

    return seconds_per_call(draw, 0.2, warm_up=True) / n


def kernel_fit(n, rank, size):
    """Return the seconds and the kernels of a flow in the space of the outputs."""
    X, y = table(n)
    model = estimator(KERNEL_SIZE, KERNEL_DEPTH, None, KERNEL_TIME, None, None)
    model.set_params(solver=Flow(method="exponential"))
    began = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return perf_counter() - began, model.net_.optimizer_.n_kernels


def measure(points, kernel_rows, n_rounds, quick):
    """Fit all points by all numbers of processes, in turns.

    Returns
    -------
    found : dict
        By point and number of processes the seconds of the fastest round, and the
        tally; the seconds of an order a row; and those of a kernel by its rows.
    """
    with TemporaryDirectory() as folder:
        groups = [Ranks(size, folder) for size in (*MEASURED, *CHECKED)]
        rounds = {(name, g.size): [] for name in points for g in groups}
        try:
            for _ in range(n_rounds + 1):  # the first is a warm-up
                for name, point in points.items():
                    for group in groups:
                        rounds[name, group.size].append(group.call(fitted, point))
            alone, two = groups[:2]
            order = alone.call(order_seconds, 10_000 if quick else ORDER_ROWS)
            kernels = [(n, *alone.call(kernel_fit, n)) for n in kernel_rows]
            counted = two.call(fitted, QUICK_COUNTED if quick else COUNTED)["tally"]
        finally:
            for group in groups:
                group.end()
    fastest = {
        key: {
            part: min(r[part] for r in some[1:])
            for part in ("reading", "training", "busy")
        }
        | {"tally": some[-1]["tally"]}
        for key, some in rounds.items()
    }
    return {"fits": fastest, ORDER: order, "kernels": kernels, "counted": counted}


def constants_of(found, cores):
    """Find the constants by fits by one and by two processes.

    Messages are counted by two: those of one process are none.
    """
    points = []
    for (name, size), fit in found["fits"].items():
        if size in MEASURED:
            tally = found["fits"][name, 2]["tally"]
            for paid_by, part in ((of_training, "training"), (of_reading, "reading")):
                points.append((paid_by(tally, size, cores), fit[part]))
    return least_squares(points, {ORDER: found[ORDER]})


def predicted(found, name, size, constants, cores):
    """Return the seconds of reading and of training that the model expects."""
    tally = found["fits"][name, 2]["tally"]
    return tuple(
        seconds_of(paid_by(tally, size, cores), constants)
        for paid_by in (of_reading, of_training)
    )


def show_counts(found):
    """Return a table of what was counted, in lines."""
    lines = [
        f"{'':>18}           |         gradients         |  messages of 2 processes",
        f"{'point':>18} {'rows':>7}   |   number   depth      kB  |"
        f" a gradient  reading",
    ]
    for (name, size), fit in found["fits"].items():
        if size != 2:
            continue
        tally = fit["tally"]
        n = tally.n_gradients
        depths = sorted(depth for depth, *_ in tally.gradients)
        span = f"{depths[0]}" if len(set(depths)) == 1 else f"{depths[0]}-{depths[-1]}"
        per = (tally.training.sums + tally.training.others + n) / n
        reading = tally.reading.sums + tally.reading.others
        lines.append(
            f"{name:>18} {tally.rows:>7}   | {n:>8} {span:>7} "
            f"{tally.bytes_of_sums() / n / 1e3:>7.0f}  | {per:>10.1f} {reading:>8.0f}"
        )
    return lines


def show_fits(found, constants, cores):
    """Return a table of seconds as measured and as the model expects, in lines."""
    sizes = (*MEASURED, *CHECKED)
    head = "".join(f" | {f'{size} process' + 'es' * (size > 1):^27}" for size in sizes)
    names = " |  meas.  model  error   busy" * len(sizes)
    lines = [f"{'':>18}{head}", f"{'point':>18}{names}"]
    for name in dict.fromkeys(name for name, _ in found["fits"]):
        line = f"{name:>18}"
        for size in sizes:
            fit = found["fits"][name, size]
            seconds = fit["reading"] + fit["training"]
            model = sum(predicted(found, name, size, constants, cores))
            line += (
                f" | {cell(seconds, 6, 2)} {cell(model, 6, 2)} "
                f"{100 * (model / seconds - 1):>+5.0f}% {cell(fit['busy'], 6, 2)}"
            )
        lines.append(line)
    return [line.rstrip() for line in lines]


def errors(found, constants, cores):
    """Return the median and the largest relative error by number of processes."""
    told = {}
    for size in (*MEASURED, *CHECKED):
        ratios = [
            abs(
                sum(predicted(found, name, size, constants, cores))
                / (fit["reading"] + fit["training"])
                - 1
            )
            for (name, n), fit in found["fits"].items()
            if n == size
        ]
        told[size] = float(np.median(ratios)), max(ratios)
    return told


def show_constants(constants):
    """Return a table of the constants, in lines."""
    units = {**TRAINING, **READING, ORDER: "s a row and epoch, to draw their order"}
    return [f"{name:>10} {constants[name]:>9.2e} {units[name]}" for name in units]


def show_kernels(kernels):
    """Return a table of the flow in the space of the outputs, in lines."""
    a, b = powers([n for n, *_ in kernels], [s / k for _, s, k in kernels])
    lines = [f"{'rows x outputs':>14} {'kernels':>8} {'s each':>9} {'model':>9}"]
    for n, seconds, n_kernels in kernels:
        model = a * n**2 + b * n**3
        each = seconds / n_kernels
        lines.append(f"{n:>14} {n_kernels:>8} {each:>9.3f} {model:>9.3f}")
    return lines, (a, b)


def draw(figure, results):
    """Draw the efficiency of the flow on many GPUs."""
    axis = figure.subplots()
    for name, curve in results["efficiency"].items():
        axis.plot(curve["ranks"], curve["efficiency"], label=name)
    axis.set(xscale="log", xlabel="GPUs", ylabel="efficiency, as expected")
    axis.legend()


def main():
    options = parse_options(__doc__, {"markdown": ("", "file for the page")})
    quick = options.quick
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = cores or os.cpu_count()
    results = {"machine": machine(quick), "cores": cores}
    began = time.time()
    found = measure(
        QUICK if quick else POINTS,
        QUICK_KERNEL_ROWS if quick else KERNEL_ROWS,
        1 if quick else N_ROUNDS,
        quick,
    )
    constants = constants_of(found, cores)
    kernels, of_kernels = show_kernels(found["kernels"])
    sections = {
        "machine": [describe(results["machine"])],
        "counts": show_counts(found),
        "constants": show_constants(constants),
        "fits": show_fits(found, constants, cores),
        "kernels": kernels,
    }
    clusters, curves, limits = tables_of_clusters(
        found["counted"], constants, of_kernels
    )
    sections |= clusters
    for name, lines in sections.items():
        print(f"\n{name}", *lines, sep="\n", flush=True)
    results |= {
        "constants": constants,
        "errors": errors(found, constants, cores),
        "efficiency": curves,
        "limits": limits,
        "seconds": time.time() - began,
        "fits": [
            {"point": name, "processes": size}
            | {key: value for key, value in fit.items() if key != "tally"}
            for (name, size), fit in found["fits"].items()
        ],
    }
    if options.markdown:
        told = {
            "counted": found["counted"],
            "counted time": (QUICK_COUNTED if quick else COUNTED)[-1],
            "kernel": (KERNEL_SIZE, KERNEL_DEPTH),
        }
        Path(options.markdown).write_text(page(sections, results | told), "utf-8")
    save(options, results, draw)


if __name__ == "__main__":
    main()
