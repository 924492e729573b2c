"""Does a network that is smoother in depth generalise better?

The penalty on the variation of the weights in depth, ``smoothness_penalty`` times
L sum ||Z_{k+1} - Z_k||_F^2, takes values from 0 to large, for three starts: tied, a
Gaussian process of length 0.25, and iid, all of scale 4. Networks of 16 layers and
width 32 follow the flow to time 50, without early stopping, on up to 200 rows; the
other rows are the test set. The sets are diabetes, a noisy Friedman function and, from
the folder ODENET_DATA, concrete. Errors are mean squared errors over the variance of
the training targets, averaged over the splits.

P. Marion, *Generalization bounds for neural ODEs and deep residual networks* (NeurIPS
2023) bounds the test error minus the training error by terms that grow with the
magnitude of the difference between successive weights, for residuals with one matrix,
W_k sigma(h). Its constants are not evaluated here, and its theorem does not treat
residuals with two matrices. For these, "complexity" is the part that depends on the
weights, from an argument of the same kind (Gronwall, and the entropy of functions that
are Lipschitz in depth):

    exp(R) sqrt(K),  R = mean over k of 1.13 ||V_k||_2 ||W_k||_2 / sqrt(q m),
                     K = L max ||Z_{k+1} - Z_k||_F,

where 1.13 is the Lipschitz constant of GELU. Its rank correlation (Spearman) with the
gap, the test error minus the training error, is taken over the values of the penalty.

Expected: for one start on one set, the gap falls with the Lipschitz constant and with
the complexity, with correlations above 0.9. On noisy sets the test error falls with
them, by 0.01 from the tied start and by 0.03 to 0.05 from iid. On concrete it rises, by
0.03 from iid. Across starts there is no such order: correlations are 0 to 0.35. A large
penalty also shrinks independent weights to their mean over depth.

Run:  python benchmarks/paper/generalisation.py [--quick] [--json FILE] [--png FILE]
"""

import os
import sys
from functools import cache
from math import exp, sqrt
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes, make_friedman1

sys.path.append(str(Path(__file__).parent))
from _runner import (
    WATCHED,
    Parts,
    describe,
    increments,
    machine,
    parse_options,
    save,
    without_warnings_about_training,
)
from _tables import load

from odenet import ResODERegressor
from odenet.schemes import GaussianProcess, Independent, Tied
from odenet.solvers import Flow

# Values of smoothness_penalty: from none to one that makes layers nearly equal.
PENALTIES = [0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 1e-2, 1e-1]
STARTS = {
    "tied": Tied(4.0),
    "Gaussian process": GaussianProcess(0.25, 4.0),
    "iid": Independent(4.0),
}
N_SPLITS, MOST_ROWS = 5, 200  # splits of a set, and rows to train with
SLOPE_OF_GELU = 1.13  # the largest slope of GELU, which is its Lipschitz constant
BOUNDS = ("lipschitz", "complexity")  # the columns that the gap is compared with
COLOURS = {"tied": "C0", "Gaussian process": "C1", "iid": "C2"}


@cache
def data_set(name):
    """Return all rows of a set."""
    if name == "diabetes":
        return load_diabetes(return_X_y=True)
    if name == "friedman":
        return make_friedman1(1000, noise=3.0, random_state=0)
    table = load(name)
    return table.X, table.y


def data_sets():
    """Return the names of the sets that are there."""
    real = ("uci_concrete",) if os.environ.get("ODENET_DATA") else ()
    return ("diabetes", "friedman", *real)


def split(X, y, seed):
    """Split rows into those to train with, half of all but at most 200, and others."""
    order = np.random.default_rng(seed).permutation(len(y))
    n_train = min(MOST_ROWS, len(y) // 2)
    train, test = order[:n_train], order[n_train:]
    return X[train], y[train], X[test], y[test]


def measure(name, start, penalty, seed, horizon):
    """Fit once, and return errors, smoothness and cost."""
    X_train, y_train, X_test, y_test = split(*data_set(name), seed)
    began = perf_counter()
    model = ResODERegressor(
        16,
        width=32,
        init=STARTS[start],
        solver=Flow(max_evals=2000),
        flow_time=horizon,
        smoothness_penalty=penalty,
        depth_schedule=None,
        early_stopping=False,
        random_state=seed,
        device="cpu",
        verbose=int(WATCHED),
    ).fit(X_train, y_train)
    train, test = (
        np.square(model.predict(X) - y).mean() / y_train.var()
        for X, y in ((X_train, y_train), (X_test, y_test))
    )
    return {
        "lipschitz": model.depth_smoothness_.lipschitz,
        "train": train,
        "test": test,
        "complexity": complexity(model.module_),
        "flow_time": model.flow_time_,
        "n_grad_evals": model.n_grad_evals_,
        "seconds": perf_counter() - began,
    }


@torch.no_grad()
def complexity(module):
    """Compute the part of the bound that depends on the weights, see above."""
    V, W = module.V.double(), module.W.double()
    norms = torch.linalg.matrix_norm(V, 2) * torch.linalg.matrix_norm(W, 2)
    rate = SLOPE_OF_GELU * norms.mean() / sqrt(module.state_dim * module.width)
    lipschitz = module.depth * increments(module).max()
    return exp(rate) * sqrt(lipschitz)


def summarise(runs):
    """Return means over the splits, by penalty."""
    columns = ("lipschitz", "train", "test", "complexity")
    rows = []
    for penalty, results in runs.items():
        row = {name: float(np.mean([r[name] for r in results])) for name in columns}
        change = [
            r["test"] - r0["test"] for r, r0 in zip(results, runs[0.0], strict=True)
        ]
        error = np.std(change, ddof=1) / sqrt(len(change)) if len(change) > 1 else 0.0
        rows.append(
            {
                "penalty": penalty,
                **row,
                "gap": row["test"] - row["train"],
                "change": float(np.mean(change)),
                "change_error": float(error),
                "flow_time": min(r["flow_time"] for r in results),
            }
        )
    return rows


def correlation(rows, name):
    """Compute the rank correlation of a column with the gap."""
    gaps, values = ([row[key] for row in rows] for key in ("gap", name))
    return float(spearmanr(values, gaps).statistic)


def verdict(rows):
    """Say how the best and the largest penalty change the test error."""
    best = min(rows, key=lambda row: row["test"])
    texts = []
    for name, row in (("best", best), ("largest", rows[-1])):
        sure = abs(row["change"]) > 2 * row["change_error"] > 0
        word = ("helps" if row["change"] < 0 else "hurts") if sure else "nothing sure"
        texts.append(
            f"{name} penalty {row['penalty']:g}: test {row['change']:+.4f} ± "
            f"{row['change_error']:.4f}, {word}"
        )
    return "; ".join(texts)


def print_rows(title, rows):
    print(f"\n{title}")
    print("  penalty  Lipschitz  training    test     gap  complexity  flow time")
    for row in rows:
        print(
            f"  {row['penalty']:>7g}  {row['lipschitz']:>9.3g}  {row['train']:>8.4f}  "
            f"{row['test']:>6.4f}  {row['gap']:>6.4f}  {row['complexity']:>10.3g}  "
            f"{row['flow_time']:>9.1f}"
        )
    numbers = (f"{key} {correlation(rows, key):.2f}" for key in BOUNDS)
    print(f"  rank correlation with the gap: {', '.join(numbers)}")
    print(f"  {verdict(rows)}", flush=True)


def draw(figure, results):
    left, right = figure.subplots(1, 2)
    names = list(results["table"])
    for marker, name in zip("osv^", names, strict=False):
        for start, rows in results["table"][name].items():
            style = {"color": COLOURS[start], "marker": marker, "ms": 4, "lw": 0.9}
            columns = ("lipschitz", "test", "complexity", "gap")
            x, test, bound, gap = ([row[key] for row in rows] for key in columns)
            left.plot(x, test, **style)
            left.plot(x[0], test[0], marker, color="k", ms=4, zorder=3)
            right.plot(bound, gap, **style)
            right.plot(bound[0], gap[0], marker, color="k", ms=4, zorder=3)
        left.plot([], [], marker, color="0.5", ms=4, label=name)
    for start, colour in COLOURS.items():
        left.plot([], [], color=colour, label=start)
    left.plot([], [], "o", color="k", ms=4, label="no penalty")
    left.set_xlabel(r"Lipschitz constant $L\ \max_k\ \|Z_{k+1} - Z_k\|_F$")
    left.set_ylabel("test error (share of the variance)")
    right.set_xlabel(r"complexity $e^R \sqrt{K}$")
    right.set_ylabel("test error minus training error")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside upper center", ncols=4
    )


def main():
    options = parse_options(__doc__)
    sets, penalties, seeds, horizon = data_sets(), PENALTIES, range(N_SPLITS), 50.0
    if options.quick:
        sets, penalties, seeds, horizon = sets[:2], [0.0, 1e-3, 1e-1], range(1), 0.5
    torch.set_num_threads(1)
    without_warnings_about_training()
    parts, table = Parts(options), {}
    about = machine(options.quick)
    print(describe(about))
    for name in sets:
        table[name] = {}
        for start in STARTS:
            runs = {
                penalty: [
                    parts(
                        f"{name}, {start}, penalty {penalty:g}, split {seed}",
                        measure,
                        name,
                        start,
                        penalty,
                        seed,
                        horizon,
                    )
                    for seed in seeds
                ]
                for penalty in penalties
            }
            table[name][start] = summarise(runs)
            print_rows(f"{name}, start: {start}", table[name][start])
    print("\nrank correlations with the gap, of all starts and penalties of a set")
    for name, starts in table.items():
        rows = [row for start in starts.values() for row in start]
        numbers = (f"{key} {correlation(rows, key):.2f}" for key in BOUNDS)
        print(f"  {name:<12} {', '.join(numbers)}")
    save(options, parts.results(machine=about, table=table), draw)


if __name__ == "__main__":
    main()
