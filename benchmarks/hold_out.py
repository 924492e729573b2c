"""What does it gain to hold out the last rows of a series, or whole groups?

Generated rows whose noise is no row's own. In a series, y has noise that changes slowly
with time, and the time is a column, beside another that changes slowly: a network that
learns the noise from them is better on the rows in between, and worse on later ones. Of
groups, such as patients, all rows have the same values of three columns, and an effect
in y that no column tells. Tested on later rows, and on other groups. R2 and seconds,
with samples held out at random, one by one, beside the last rows, expanding windows
(scikit-learn's ``TimeSeriesSplit``) and the last rows as ``X_val`` (a tenth, and at
least 100 or 30 %), or groups kept together. With 300 rows a flow is followed, with 2000
it is mini-batches. Medians over the seeds, and in how many of them a way is better than
at random; on one thread.

Expected: what is held out at random asks for a training that is far too long. The last
rows and groups end it earlier, with a higher R2 in fewer seconds.

Run:  python benchmarks/hold_out.py [--seeds 5] [--groups] [--quick] [--json FILE]
"""

import warnings
from statistics import median
from time import process_time

import numpy as np
import torch
from _report import describe, machine, parse_options, save
from sklearn.model_selection import TimeSeriesSplit

from odenet import ResODERegressor

ROWS_OF_A_GROUP, N_TEST = 20, 1000


def signal(X):
    """Return what three columns tell of y."""
    return np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] * X[:, 2]


def slow(n, rng, memory=0.98):
    """Return a series of variance 1 that forgets a fiftieth of itself with each row."""
    series = np.empty(n)
    series[0] = rng.normal()
    steps = rng.normal(size=n) * np.sqrt(1 - memory**2)
    for i in range(1, n):
        series[i] = memory * series[i - 1] + steps[i]
    return series


def drifting_series(n, seed):
    """Return rows in the order of time: n to train on, and later ones."""
    rng, total = np.random.default_rng(seed), n + N_TEST
    fresh, time = rng.normal(size=(total, 3)), np.arange(total)
    X = np.column_stack([fresh, time, slow(total, rng)])
    y = signal(X) + 0.7 * slow(total, rng) + 0.3 * rng.normal(size=total)
    return X, y, None


def grouped_rows(n, seed):
    """Return rows in groups: n to train on, and rows of other groups."""
    rng, total = np.random.default_rng(seed), n + N_TEST
    groups = np.arange(total) // ROWS_OF_A_GROUP
    of_group = rng.normal(size=(groups[-1] + 1, 4))
    X = np.column_stack([rng.normal(size=(total, 3)), of_group[groups, :3]])
    y = signal(X) + of_group[groups, 3] + 0.3 * rng.normal(size=total)
    order = rng.permutation(n)
    X[:n], y[:n], groups[:n] = X[order], y[order], groups[order]
    return X, y, groups


def given_last(X, y):
    """Return arguments of ``fit`` that hold out the last rows by hand."""
    n = len(y) - max(len(y) // 10, min(100, 3 * len(y) // 10))
    return {"X": X[:n], "y": y[:n], "X_val": X[n:], "y_val": y[n:]}


def ways(kind, X, y, groups):
    """Return parameters and arguments of ``fit`` by the names of ways to hold out."""
    data = {"X": X, "y": y}
    if kind == "groups":
        return {"random": ({}, data), "groups": ({}, {**data, "groups": groups})}
    return {
        "random": ({}, data),
        "last": ({"validation_split": "last"}, data),
        "windows": ({"validation_split": TimeSeriesSplit(5)}, data),
        "X_val": ({}, given_last(X, y)),
    }


def measure(kind, n, seed, depth):
    """Return R2 on the test rows, and seconds, of every way to hold out."""
    make = grouped_rows if kind == "groups" else drifting_series
    X, y, groups = make(n, seed)
    found = {}
    of_fit = X[:n], y[:n], None if groups is None else groups[:n]
    for name, (params, data) in ways(kind, *of_fit).items():
        model = ResODERegressor(depth, random_state=seed, **params)
        begin = process_time()
        model.fit(**data)
        seconds = process_time() - begin
        found[name] = {"score": model.score(X[n:], y[n:]), "seconds": seconds}
    return found


def main():
    numbers, flags = {"seeds": (5, "number of draws")}, {"groups": "no series"}
    options = parse_options(__doc__, numbers, **flags)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick, about = options.quick, machine(options.quick)
    depth, sizes, n_seeds = (2, (60,), 1) if quick else (8, (300, 2000), options.seeds)
    print(f"{describe(about)}\n{'data':<8}{'rows':>6}  {'held out':<9}", end="")
    print(f"{'R2':>7}{'seconds':>9}{'better':>8}")
    results = []
    for kind in ("groups",) if options.groups else ("series", "groups"):
        for n in sizes:
            runs = [measure(kind, n, seed, depth) for seed in range(n_seeds)]
            for name in runs[0]:
                row = {
                    "data": kind,
                    "rows": n,
                    "held out": name,
                    "scores": [run[name]["score"] for run in runs],
                    "seconds": [run[name]["seconds"] for run in runs],
                }
                gains = [r[name]["score"] - r["random"]["score"] for r in runs]
                row["better"] = sum(gain > 0 for gain in gains)
                results.append(row)
                of_all = "" if name == "random" else f"{row['better']} of {n_seeds}"
                print(
                    f"{kind:<8}{n:>6}  {name:<9}{median(row['scores']):>7.3f}"
                    f"{median(row['seconds']):>9.1f}{of_all:>8}",
                    flush=True,
                )
    save(options, {"machine": about, "results": results})


if __name__ == "__main__":
    main()
