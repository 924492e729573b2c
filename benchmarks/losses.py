"""How good are quantiles and counts, beside what else one would take?

Above, the pinball loss of the quantiles 0.1, 0.5 and 0.9 on test rows, over the
standard deviation of the training targets, on five tables: of odenet with one network
for all three ("odenet") and with one for each ("odenet, 3 fits"), of scikit-learn's
linear QuantileRegressor (without penalty) and of its HistGradientBoostingRegressor
(loss="quantile"), one model for each quantile. "inside" is the share of test targets
between the outer quantiles, where 80 % should be. "cross" is the share of test rows
where two of the three predictions are in the wrong order.

Below, the mean Poisson deviance on test rows, of counts of a known intensity and of two
tables whose targets are whole numbers, beside scikit-learn's PoissonRegressor (without
penalty), HistGradientBoostingRegressor (loss="poisson") and MLPRegressor
(loss="poisson", where scikit-learn has it; early stopping). "truth" is the deviance of
the intensity itself, where it is known.

Means over the seeds 0 and 1 of ``train_test_split``, on one thread; seconds are those
of all fits of a row. Linear models and the perceptron see standardised columns.

Expected: odenet is best where there is little noise, and takes longest there; trees or
the linear model are as good or better where there is much. Quantiles by one network
never cross, those of separate fits do.

Run:  python benchmarks/losses.py [--smoothing 0.02] [--quick] [--json FILE]
"""

import warnings
from inspect import signature
from statistics import mean
from time import perf_counter

import numpy as np
import torch
from _report import averaged, describe, machine, parse_options, save
from _tables import BUNDLED, available, load
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor, QuantileRegressor
from sklearn.metrics import mean_pinball_loss, mean_poisson_deviance
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from odenet import ResODERegressor
from odenet.losses import Quantile

LEVELS = [0.1, 0.5, 0.9]
TABLES = ("uci_concrete", "uci_energy", "uci_yacht", "uci_wine-red", "diabetes")
QUANTILES = ("odenet", "odenet, 3 fits", "linear", "HistGB")
COUNTS = ("odenet", "linear", "HistGB", "MLP")


def counts(n_rows=2000, seed=0):
    """Counts whose intensity is a smooth function, and that function's values."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n_rows, 6))
    intensity = np.exp(np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2] + X[:, 3] ** 2)
    return X, rng.poisson(intensity).astype(float), intensity


def of_one_quantile(method, level, smoothing, seed, depth):
    """Return a model of one quantile."""
    if method == "linear":
        return make_pipeline(
            StandardScaler(), QuantileRegressor(quantile=level, alpha=0)
        )
    if method == "HistGB":
        return HistGradientBoostingRegressor(
            loss="quantile", quantile=level, random_state=seed
        )
    loss = Quantile(level, smoothing)
    return ResODERegressor(depth, loss=loss, random_state=seed)


def measure_quantiles(method, table, seed, smoothing, depth):
    """Return pinball losses, the shares inside and crossing, and seconds."""
    X, X_test, y, y_test = table(seed)
    begin = perf_counter()
    if method == "odenet":
        loss = Quantile(LEVELS, smoothing)
        model = ResODERegressor(depth, loss=loss, random_state=seed).fit(X, y)
        predictions = model.predict(X_test)
    else:
        models = [of_one_quantile(method, t, smoothing, seed, depth) for t in LEVELS]
        predictions = np.column_stack([m.fit(X, y).predict(X_test) for m in models])
    seconds = perf_counter() - begin
    low, _, high = predictions.T
    return {
        **{
            f"pinball {t}": mean_pinball_loss(y_test, predictions[:, i], alpha=t)
            / y.std()
            for i, t in enumerate(LEVELS)
        },
        "inside": float(((low <= y_test) & (y_test <= high)).mean()),
        "cross": float((np.diff(predictions, axis=1) < 0).any(axis=1).mean()),
        "seconds": seconds,
    }


def of_counts(method, seed, depth):
    """Return a model of counts, or None if scikit-learn has none."""
    if method == "linear":
        return make_pipeline(StandardScaler(), PoissonRegressor(alpha=0, max_iter=1000))
    if method == "HistGB":
        return HistGradientBoostingRegressor(loss="poisson", random_state=seed)
    if method == "odenet":
        return ResODERegressor(depth, loss="poisson", random_state=seed)
    if "loss" not in signature(MLPRegressor).parameters:
        return None
    mlp = MLPRegressor(loss="poisson", early_stopping=True, random_state=seed)
    return make_pipeline(StandardScaler(), mlp)


def measure_counts(method, table, seed, depth):
    """Return the deviance on test rows, and seconds; None without such a model."""
    X, X_test, y, y_test = table(seed)
    model = of_counts(method, seed, depth)
    if model is None:
        return None
    begin = perf_counter()
    predictions = model.fit(X, y).predict(X_test)
    seconds = perf_counter() - begin
    deviance = mean_poisson_deviance(y_test, np.maximum(predictions, 1e-9))
    return {"deviance": deviance, "seconds": seconds}


def splits(X, y, n_rows=None):
    """Return a function from a seed to a split of a table."""
    return lambda seed: train_test_split(X[:n_rows], y[:n_rows], random_state=seed)


def run_quantiles(tables, seeds, smoothing, depth):
    """Measure and print all quantiles; return the results."""
    pinball = "".join(f"{f'pinball {t}':>13}" for t in LEVELS)
    print(f"{'table':<13}{'method':<15}{pinball}{'inside':>8}{'cross':>8}{'s':>8}")
    results = []
    for name, table in tables.items():
        for method in QUANTILES:
            found = averaged(
                [measure_quantiles(method, table, s, smoothing, depth) for s in seeds]
            )
            results.append({"table": name, "method": method, **found})
            *losses, inside, cross, seconds = found.values()
            line = "".join(f"{loss:>13.4f}" for loss in losses)
            line += f"{inside:>8.2f}{cross:>8.2f}{seconds:>8.1f}"
            print(f"{name:<13}{method:<15}{line}", flush=True)
    return results


def run_counts(tables, truth, seeds, depth):
    """Measure and print all counts; return the results."""
    print(f"\n{'counts':<13}{'truth':>8}" + "".join(f"{m:>17}" for m in COUNTS))
    results = []
    for name, table in tables.items():
        line = f"{name:<13}" + (f"{truth:>8.4f}" if name == "known" else f"{'-':>8}")
        for method in COUNTS:
            rows = [measure_counts(method, table, s, depth) for s in seeds]
            if rows[0] is None:
                line += f"{'-':>17}"
                continue
            found = averaged(rows)
            results.append({"table": name, "method": method, **found})
            line += f"{found['deviance']:>9.4f}{found['seconds']:>6.1f} s"
        print(line, flush=True)
    return results


def true_deviance(seeds, n_rows):
    """Return the mean deviance of the known intensity on the test rows."""
    X, y, intensity = counts(n_rows)
    tests = [train_test_split(y, intensity, random_state=s)[1::2] for s in seeds]
    return mean(mean_poisson_deviance(*test) for test in tests)


def main():
    smoothing = Quantile().smoothing, "width of the kinks"
    options = parse_options(__doc__, {"smoothing": smoothing})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick = options.quick
    depth, seeds, n_rows = (2, [0], 120) if quick else (64, [0, 1], None)
    names = [t for t in TABLES if t in BUNDLED or (t in available() and not quick)]
    tables = {name: load(name) for name in names}
    known = counts(n_rows or 2000)
    of_counts_too = {"known": known[:2]} | {
        name: (tables[name].X, tables[name].y)
        for name in ("uci_wine-red", "diabetes")
        if name in tables
    }
    quantiles = {n: splits(t.X, t.y, n_rows) for n, t in tables.items()}
    counted = {n: splits(X, y, n_rows) for n, (X, y) in of_counts_too.items()}
    about = machine(quick)
    print(f"{describe(about)}\nmeans of {len(seeds)} seeds")
    with threadpool_limits(1):
        results = {
            "machine": about,
            "quantiles": run_quantiles(quantiles, seeds, options.smoothing, depth),
            "counts": run_counts(
                counted, true_deviance(seeds, n_rows or 2000), seeds, depth
            ),
        }
    save(options, results)


if __name__ == "__main__":
    main()
