"""What memory do a gradient and a fit take, and does it stay flat?

First, the most that one gradient of 2000 samples (q = 16, m = 64, float32) adds to the
resident memory of a fresh process, gradients included: for the loop that anybody would
write in torch, for `ResidualNetwork` with stored and with rebuilt states, and for a
prediction without gradients. Then the resident memory after 5 and after 50 fits of a
small estimator in one process. Last, the most that a fit of 300,000 rows of 20 columns
in float32 adds, with AdamW at depth 4 for one epoch: `--fits` asks for this alone.

Expected: stored states take less than those of the plain loop. The memory of rebuilt
states and of predictions grows with the weights only. 45 more fits add next to nothing.
A fit adds three to four times the table, of which twice are the encoded inputs: values,
and their normal scores.

Run:  python benchmarks/memory.py [--fits] [--quick] [--json FILE] [--png FILE]
"""

import warnings

import numpy as np
import torch
from _plain import Gradient, PlainNetwork, random_network, random_samples, with_constant
from _report import (
    cell,
    growth_mb,
    in_fresh_process,
    in_this_process,
    parse_options,
    resident_mb,
    save,
)
from sklearn.datasets import make_friedman1

from odenet import ResODEClassifier, ResODERegressor
from odenet._utils.devices import torch_threads
from odenet.solvers import AdamW

# The columns: the plain loop, odenet with stored and rebuilt states, a prediction.
CONTESTANTS = ("plain", "stored", "rebuilt", "predict")


def make_call(name, n, q, m, depth):
    """Return a function that computes one gradient, or one prediction."""
    backward = "rebuilt" if name == "rebuilt" else "stored"
    network = random_network(q, m, depth, backward=backward)
    X, y = random_samples(n, q - 2)
    if name == "predict":
        return torch.no_grad()(lambda: network(X))
    if name == "plain":
        return Gradient(PlainNetwork(network), with_constant(X), y)
    return Gradient(network, X, y)


def peak_mb(name, n, q, m, depth):
    """Return the most MB that one call adds to the resident memory of this process."""
    call = make_call(name, n, q, m, depth)
    make_call(name, 2, q, m, 2)()  # loads what torch loads late
    with torch_threads(n * q * m):
        return growth_mb(call)[1]


def resident_after_fits(first, last, flow_time):
    """Return the resident MB after the ``first``-th and the ``last``-th fit."""
    X, y = make_friedman1(100, random_state=0)
    measured = []
    for k in range(1, last + 1):
        ResODERegressor(8, flow_time=flow_time, random_state=k).fit(X, y)
        if k in (first, last):
            measured.append(resident_mb())
    return measured


def added_by_fit(kind, n, d):
    """Return the MB of a table in float32, and the most that a fit of it adds."""
    warnings.simplefilter("ignore")  # of trainings that are short
    X = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    y = X[:, 0] > 0 if kind is ResODEClassifier else np.sin(X[:, 0]) + X[:, 1]
    model = kind(4, solver=AdamW(max_epochs=1), random_state=0)
    model.fit(X[:2000], y[:2000])  # loads what is loaded late
    return X.nbytes / 1e6, growth_mb(lambda: model.fit(X, y))[1]


def measure_fits(n, d, run):
    """Print and return what fits add to the memory."""
    print(f"MB that a fit of {n:,} x {d} numbers of float32 adds, beside the table")
    measured = {}
    for kind in (ResODERegressor, ResODEClassifier):
        table, added = run(added_by_fit, kind, n, d)
        print(f"{kind.__name__:>16} {added:>8.1f}, {added / table:.1f} times the table")
        measured[kind.__name__] = {"table": table, "added": added}
    return measured


def draw(figure, results):
    axis = figure.subplots()
    rows = results["gradients"]
    for name in CONTESTANTS:
        values = [row[name] for row in rows]
        axis.loglog([row["depth"] for row in rows], values, marker="o", label=name)
    axis.set(xlabel="depth L", ylabel="MB added to the resident memory")
    axis.legend()


def measure_gradients(quick, run):
    """Print and return the memory of gradients, and that after many small fits."""
    sizes, depths, fits = (2000, 16, 64), [64, 256, 1024], (5, 50, 3.0)
    names = CONTESTANTS
    if quick:
        sizes, depths, fits = (200, 16, 64), [16], (1, 2, 0.1)
        names = ("stored",)
    results = {"gradients": []}
    print(f"MB that {sizes[0]} samples add to the resident memory")
    print(f"{'depth':>5} " + " ".join(f"{name:>8}" for name in CONTESTANTS))
    for depth in depths:
        row = {name: in_fresh_process(peak_mb, name, *sizes, depth) for name in names}
        row = {name: row.get(name) for name in CONTESTANTS}
        print(f"{depth:>5} " + " ".join(cell(row[name], 8) for name in CONTESTANTS))
        results["gradients"].append({"depth": depth, **row})
    before, after = run(resident_after_fits, *fits)
    print(
        f"after {fits[0]} fits {before:.1f} MB, after {fits[1]} fits {after:.1f} MB "
        f"({after - before:+.1f})"
    )
    results["fits"] = {"first": before, "last": after}
    return results


def main():
    options = parse_options(__doc__, fits="only the memory of the fits of a table")
    run = in_this_process if options.quick else in_fresh_process
    table = (2000, 5) if options.quick else (300_000, 20)
    results = {} if options.fits else measure_gradients(options.quick, run)
    results["tables"] = measure_fits(*table, run)
    save(options, results, None if options.fits else draw)


if __name__ == "__main__":
    main()
