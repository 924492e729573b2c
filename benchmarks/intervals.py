"""Do intervals hold as many targets as they promise, and how wide are they?

On test rows, the share of targets inside the intervals for the levels 0.8, 0.9 and
0.95, and their mean width over the standard deviation of the training targets:

- odenet: ``predict_interval`` of five members;
- MAPIE: its CrossConformalRegressor around an ``ResODERegressor`` (five fits);
- quantiles: scikit-learn's HistGradientBoostingRegressor(loss="quantile"), corrected by
  a fourth of the training rows (Romano, Patterson and Candès, NeurIPS 2019).

"+- 2 s" is twice the standard error of a share for the level 0.9: of the test rows, and
of the held-out rows that calibrate, both over as many seeds as there are. Below, the
same for sets of classes: the share of labels in the sets of ``predict_set``, and their
mean size. Rows are the first ones of a shuffled table.

Expected: shares are within two standard errors of the level; intervals of odenet are
narrower where its predictions are better, those of quantiles where the noise varies
from row to row.

Run:  python benchmarks/intervals.py [--rows 1000] [--seeds 3] [--quick] [--json FILE]
"""

import warnings
from time import perf_counter

import numpy as np
import torch
from _report import averaged, describe, machine, parse_options, save
from _tables import BUNDLED, available, load
from members import TABLES, splits
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier, ResODERegressor
from odenet._diagnostics.conformal import Calibration

LEVELS = (0.8, 0.9, 0.95)


def by_odenet(X, y, X_test, seed, depth):
    """Return the intervals of five members by their levels."""
    model = ResODERegressor(depth, n_members=5, random_state=seed).fit(X, y)
    return {level: model.predict_interval(X_test, level) for level in LEVELS}


def by_mapie(X, y, X_test, seed, depth):
    """Return the intervals of MAPIE around odenet by their levels."""
    from mapie.regression import CrossConformalRegressor

    model = CrossConformalRegressor(
        ResODERegressor(depth, random_state=seed),
        confidence_level=LEVELS,
        cv=5,
        random_state=seed,
    )
    _, intervals = model.fit_conformalize(X, y).predict_interval(X_test)
    return {level: intervals[..., i] for i, level in enumerate(LEVELS)}


def by_quantiles(X, y, X_test, seed, depth):
    """Return the conformalised quantiles of boosted trees by their levels."""
    X, X_held, y, y_held = train_test_split(X, y, test_size=0.25, random_state=seed)
    intervals = {}
    for level in LEVELS:
        low, high = (
            HistGradientBoostingRegressor(
                loss="quantile", quantile=(1 + sign * level) / 2, random_state=seed
            ).fit(X, y)
            for sign in (-1, 1)
        )
        held = np.maximum(low.predict(X_held) - y_held, y_held - high.predict(X_held))
        calibration = Calibration((held[:, None],), (np.ones(len(held)),))
        bounds = (m.predict(X_test)[None, :, None] for m in (low, high))
        intervals[level] = calibration.interval(*bounds, level)[:, 0]
    return intervals


METHODS = {"odenet": by_odenet, "MAPIE": by_mapie, "quantiles": by_quantiles}


def measure_intervals(method, table, n_rows, seed, depth):
    """Return shares and widths by level, and the seconds."""
    X, X_test, y, y_test = splits(table, n_rows, seed)
    begin = perf_counter()
    intervals = METHODS[method](X, y, X_test, seed, depth)
    found = {"seconds": perf_counter() - begin}
    for level, (low, high) in ((k, v.T) for k, v in intervals.items()):
        found[f"inside {level}"] = float(((low <= y_test) & (y_test <= high)).mean())
        found[f"width {level}"] = float((high - low).mean() / y.std())
    return found


def measure_sets(table, n_rows, seed, depth):
    """Return shares and sizes of sets of classes by level."""
    X, X_test, y, y_test = splits(table, n_rows, seed)
    model = ResODEClassifier(depth, n_members=5, random_state=seed).fit(X, y)
    index = np.searchsorted(model.classes_, y_test)
    found = {}
    for level in LEVELS:
        sets = model.predict_set(X_test, level)
        found[f"inside {level}"] = float(sets[np.arange(len(index)), index].mean())
        found[f"size {level}"] = float(sets.sum(axis=1).mean())
    return found


def two_errors(table, n_rows, n_seeds, level=0.9):
    """Return twice the standard error of a share of the test rows."""
    n = min(n_rows, 3 * len(table.y) // 4)
    n_test = min(2000, len(table.y) - n)
    return 2 * np.sqrt(level * (1 - level) * (1 / n + 1 / n_test) / n_seeds)


def show(name, method, found, error, second):
    """Print a row of a table."""
    line = "".join(
        f"{found[f'inside {level}']:>10.3f} /{found[f'{second} {level}']:>6.2f}"
        for level in LEVELS
    )
    seconds = f"{found['seconds']:>8.1f}" if "seconds" in found else ""
    print(f"{name:<20}{method:<11}{line}{error:>9.3f}{seconds}", flush=True)


def main():
    numbers = {"rows": (1000, "rows to train with"), "seeds": (3, "splits of a table")}
    options = parse_options(__doc__, numbers)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick, about = options.quick, machine(options.quick)
    depth, seeds, n_rows = (
        (2, [0], 120) if quick else (64, range(options.seeds), options.rows)
    )
    present = set(available()) | set(BUNDLED)
    names = ("diabetes", "wine") if quick else [t for t in TABLES if t in present]
    tables = [load(name) for name in names]
    head = "".join(f"{f'{level}':>10}{'':>8}" for level in LEVELS)
    print(f"{describe(about)}\n{'intervals':<31}{head}{'+- 2 s':>9}{'seconds':>8}")
    results = []
    for table in (t for t in tables if t.task == "regression"):
        error = two_errors(table, n_rows, len(seeds))
        for method in METHODS:
            found = averaged(
                [measure_intervals(method, table, n_rows, s, depth) for s in seeds]
            )
            results.append({"table": table.name, "method": method, **found})
            show(table.name, method, found, error, "width")
    print(f"\n{'sets':<31}{head}{'+- 2 s':>9}")
    for table in (t for t in tables if t.task != "regression"):
        error = two_errors(table, n_rows, len(seeds))
        found = averaged([measure_sets(table, n_rows, s, depth) for s in seeds])
        results.append({"table": table.name, "method": "odenet", **found})
        show(table.name, "odenet", found, error, "size")
    save(options, {"machine": about, "results": results})


if __name__ == "__main__":
    main()
