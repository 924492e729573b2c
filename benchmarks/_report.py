"""What all benchmarks use: options, timing, memory, the machine, files of results."""

import argparse
import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from time import perf_counter

import torch
from tqdm import tqdm


def parse_options(doc, numbers=None, **flags):
    """Parse the options of all benchmarks, and flags given with their help.

    ``numbers`` are options with a number: by their names a default, of the same type,
    and a help.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--png", help="file for the figure")
    for name, (default, text) in (numbers or {}).items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


def progress(items, description):
    """Yield the items, with a progress bar if the output is a terminal."""
    return tqdm(items, description, leave=False, disable=None)


@contextmanager
def on_threads(n_threads):
    """Set the number of torch threads for the time of the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds_per_call(call, shortest=0.0, n_threads=None, warm_up=False):
    """Measure the mean seconds of a call, repeated for the shortest time at least.

    After another contestant has run, a warm-up call brings back caches and threads.
    """
    with on_threads(n_threads or torch.get_num_threads()):
        if warm_up:
            call()
        n_calls, start = 0, perf_counter()
        while n_calls == 0 or perf_counter() - start < shortest:
            call()
            n_calls += 1
        return (perf_counter() - start) / n_calls


def alternate(turns, budget=0.0, n_rounds=(3, 15)):
    """Measure the median seconds of every contestant, one after another in rounds.

    Parameters
    ----------
    turns : dict
        Functions that take one measurement and return the seconds.
    budget : float
        Seconds for all rounds together.
    n_rounds : tuple of int
        The fewest and the most rounds. A first round is a warm-up and does not count.
    """
    for turn in turns.values():
        turn()
    least, most = n_rounds
    rounds, start = [], perf_counter()
    while len(rounds) < least or (
        len(rounds) < most and perf_counter() - start < budget
    ):
        rounds.append([turn() for turn in turns.values()])
    columns = zip(*rounds, strict=True)
    return dict(zip(turns, map(median, columns), strict=True))


def best(seconds, name):
    """Return the smallest median called ``name`` or ``name ...``, None without any."""
    medians = [s for key, s in seconds.items() if key.split()[0] == name]
    return min(medians, default=None)


def in_this_process(function, *args):
    """Call a function, in short runs in place of :func:`in_fresh_process`."""
    return function(*args)


def in_fresh_process(function, *args):
    """Call a function in a new Python process, and return its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def resident_mb(peak=False):
    """Return the resident memory of this process in MB; without /proc, its peak."""
    # Linux hands ru_maxrss of the parent down to the child, but not VmHWM.
    status = Path("/proc/self/status")
    if status.exists():
        row = "VmHWM:" if peak else "VmRSS:"
        line = next(s for s in status.read_text().splitlines() if s.startswith(row))
        return int(line.split()[1]) / 1e3
    import resource  # not on Windows

    unit = 1e6 if platform.system() == "Darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def growth_mb(call):
    """Return the result of a call, and the most MB of memory that it adds."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # makes Linux forget the peak so far
    before = resident_mb()
    return call(), max(0.0, resident_mb(peak=True) - before)


def machine(quick=False):
    """Describe the machine: processor, cores, torch, speed of a float32 product."""
    all_threads = torch.get_num_threads()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": load,  # threads that wait for a core taken by others spoil a timing
        "torch": torch.__version__,
        "threads": all_threads,
        "gflops_one_thread": _peak_gflops(1, quick),
        "gflops_all_threads": _peak_gflops(all_threads, quick),
    }


def describe(machine):
    """Return the description of a machine in one line."""
    return (
        f"{machine['processor']}, {machine['cores']} cores (load "
        f"{cell(machine['load'], 1)}), torch {machine['torch']}, "
        f"matrix product {machine['gflops_one_thread']:.0f} GFLOP/s on one thread, "
        f"{machine['gflops_all_threads']:.0f} on {machine['threads']}"
    )


def _processor():
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(names, platform.processor())


def _peak_gflops(n_threads, quick):
    """Measure the GFLOP/s of the fastest product of two large square matrices."""
    size, n_rounds = (512, 3) if quick else (1024, 20)
    a, b, out = (torch.ones(size, size) for _ in range(3))
    turns = [
        seconds_per_call(lambda: torch.mm(a, b, out=out), 0.01, n_threads)
        for _ in range(n_rounds)
    ]
    return 2 * size**3 / min(turns) / 1e9


def averaged(rows):
    """Return the means of the numbers of some results, by their names."""
    return {name: mean(row[name] for row in rows) for name in rows[0]}


def cell(value, width, digits=1, suffix=""):
    """Format a number of a table, with "-" for None."""
    text = "-" if value is None else f"{value:.{digits}f}{suffix}"
    return f"{text:>{width}}"


def save(options, results, draw=None):
    """Write the results, and the figure if there is one, to files of the options."""
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2))
    if options.png and draw is not None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 5), layout="constrained")
        draw(figure, results)
        figure.savefig(options.png, dpi=150)
