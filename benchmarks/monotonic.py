"""What do monotonic constraints cost in accuracy, and are they kept?

Three tables of which it is known beforehand with which columns the target rises or
falls (concrete: strength with cement, and with age; California housing: prices with
income; power plant: output falls with temperature and with exhaust vacuum), and a
generated one of few, noisy samples, whose test targets have no noise. Without the
folder of ODENET_DATA, diabetes stands for the tables (body mass index, blood pressure).

1 - R2 on test rows, of odenet with its default activation ("free") and with tanh, with
the constraints ("monotone", which has tanh), and of HistGradientBoostingRegressor
without and with the same constraints. "wrong" is the share of wrong orders among 20,000
pairs of rows that differ by allowed steps in the constrained columns only. Means over
seeds of ``train_test_split`` on at most 3000 rows, on one thread.

Expected: with constraints no pair is in the wrong order. On the tables, of which one or
two columns are constrained, the error is that of tanh without constraints, up to the
differences between splits, in up to three times the seconds. Where most columns are
constrained and samples are few (generated), constraints cost more than they bring: a
flow takes several times as many gradients, and ends at an error half as high again.

Run:  python benchmarks/monotonic.py [--depth 64] [--quick] [--json FILE]
"""

import warnings
from time import perf_counter

import numpy as np
import torch
from _report import averaged, describe, machine, parse_options, save
from _tables import BUNDLED, available, load
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from odenet import ResODERegressor

MOST_ROWS = 3000
# The columns with constraints, by their indices.
SIGNS = {
    "uci_concrete": {0: 1, 7: 1},
    "california_housing": {0: 1},
    "uci_power-plant": {0: -1, 1: -1},
    "diabetes": {2: 1, 3: 1},
    "generated": {0: 1, 1: 1, 2: -1},
}
METHODS = ("free", "tanh", "monotone", "HistGB", "HistGB, monotone")


def generated(seed, n_rows=200, n_test=2000):
    """Noisy samples of a function that rises twice and falls once, and clean ones."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n_rows + n_test, 5))
    y = np.tanh(4 * X[:, 0]) + X[:, 1] * (1 + X[:, 3]) - np.exp(X[:, 2])
    y = y + np.sin(3 * X[:, 4])
    noise = rng.normal(size=n_rows)
    return X[:n_rows], X[n_rows:], y[:n_rows] + noise, y[n_rows:]


def split(name, seed, most_rows):
    """Return training and test rows of a table."""
    if name == "generated":
        return generated(seed, min(most_rows, 200))
    table = load(name)
    chosen = np.random.default_rng(0).permutation(len(table.y))[:most_rows]
    return train_test_split(table.X[chosen], table.y[chosen], random_state=seed)


def make_model(method, signs, seed, depth):
    """Return a model that is not fitted."""
    if method.startswith("HistGB"):
        return HistGradientBoostingRegressor(
            monotonic_cst=signs if "monotone" in method else None, random_state=seed
        )
    return ResODERegressor(
        depth,
        activation="gelu" if method == "free" else "tanh",
        monotonic_cst=signs if method == "monotone" else None,
        random_state=seed,
    )


def wrong_orders(model, X, signs, seed, n_pairs=20_000):
    """Return the share of pairs whose predictions are in the wrong order."""
    rng = np.random.default_rng(seed)
    low, other = (np.column_stack([rng.choice(x, n_pairs) for x in X.T]) for _ in "ab")
    high = np.where((other - low) * signs > 0, other, low)
    pairs = np.stack([low, high], axis=1).reshape(2 * n_pairs, -1)
    change = np.diff(model.predict(pairs).reshape(n_pairs, 2), axis=1)
    return float((change < -1e-12 * np.abs(change).max()).mean())


def measure(method, name, seed, depth, most_rows):
    """Return the error of a method, the share of wrong orders, and seconds."""
    X, X_test, y, y_test = split(name, seed, most_rows)
    signs = np.zeros(X.shape[1], dtype=int)
    signs[list(SIGNS[name])] = list(SIGNS[name].values())
    begin = perf_counter()
    model = make_model(method, signs, seed, depth).fit(X, y)
    seconds = perf_counter() - begin
    error = 1 - r2_score(y_test, model.predict(X_test))
    wrong = wrong_orders(model, X, signs, seed)
    return {"error": error, "wrong": wrong, "seconds": seconds}


def main():
    options = parse_options(__doc__, {"depth": (64, "number of layers")})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick = options.quick
    depth, seeds, rows = (2, [0], 100) if quick else (options.depth, [0, 1], MOST_ROWS)
    names = ["generated", *(n for n in SIGNS if n in available() and n not in BUNDLED)]
    if quick or len(names) == 1:
        names = ["generated", "diabetes"]
    about, results = machine(quick), []
    print(f"{describe(about)}\ndepth {depth}, means of {len(seeds)} seeds")
    print(f"{'table':<20}{'method':<18}{'1 - R2':>8}{'wrong':>9}{'s':>7}")
    with threadpool_limits(1):
        for name in names:
            for method in METHODS:
                runs = [measure(method, name, s, depth, rows) for s in seeds]
                found = averaged(runs)
                results.append({"table": name, "method": method, **found})
                line = f"{found['error']:>8.4f}{found['wrong']:>9.5f}"
                line += f"{found['seconds']:>7.1f}"
                print(f"{name:<20}{method:<18}{line}", flush=True)
    save(options, {"machine": about, "results": results})


if __name__ == "__main__":
    main()
