"""What do ten folds cost that are trained as one, beside ten that are trained alone?

``ResODERegressorCV`` sweeps to flow time 30 at depth 64, on ten folds of Friedman-1
with 5 features (so that q = 16) and on one torch thread: each fold by itself, or all of
them along an axis of models. The difference is the largest one of the R2 of a fold.

Expected: thin networks on few samples with the depth schedule, where calls cost more
than products, take at most a third of the seconds. Where products count there is no
gain. The scores agree to the tolerance of the solver.

Run:  python benchmarks/together.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial

import numpy as np
import torch
from _report import (
    alternate,
    cell,
    describe,
    machine,
    parse_options,
    save,
    seconds_per_call,
)
from sklearn.datasets import make_friedman1
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold

from odenet import ResODERegressor
from odenet._search.sweep import Sweep

# Number of samples and width: the first are thin, in the last the products count.
SIZES = [(50, 8), (50, 16), (100, 16), (100, 32), (100, 64), (400, 64)]
CASES = [(*size, "doubling") for size in SIZES] + [(*size, None) for size in SIZES[:4]]


def measure(n, m, schedule, depth, n_rounds):
    X, y = make_friedman1(n, n_features=5, noise=1.0, random_state=0)
    estimator = ResODERegressor(
        depth, width=m, depth_schedule=schedule, early_stopping=False, random_state=0
    )
    splits = list(KFold(10, shuffle=True, random_state=0).split(X))
    sweep = Sweep(estimator, [depth], [30.0], check_scoring(estimator), None)

    def alone():
        return [sweep.run(X, y, [split], None, {})[0] for split in splits]

    def together():
        return sweep.run(X, y, splits, None, {})

    pairs = zip(alone(), together(), strict=True)
    difference = max(np.abs(one[0] - other[0]).max() for one, other in pairs)
    turns = {f.__name__: partial(seconds_per_call, f) for f in (alone, together)}
    seconds = alternate(turns, n_rounds=(n_rounds, n_rounds))
    return {
        "n": n,
        "m": m,
        "schedule": schedule,
        "difference": difference,
        "ratio": seconds["together"] / seconds["alone"],
        **seconds,
    }


def draw(figure, results):
    axis = figure.subplots()
    rows = results["cases"]
    axis.barh(
        [f"n={r['n']}, m={r['m']}, {r['schedule']}" for r in rows],
        [r["ratio"] for r in rows],
    )
    axis.axvline(1 / 3, color="grey", linewidth=1)
    axis.set(xlabel="seconds together / alone")


def main():
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    cases, depth, n_rounds = (CASES[:1], 4, 1) if options.quick else (CASES, 64, 3)
    results = {"machine": machine(options.quick), "cases": []}
    print(describe(results["machine"]))
    print(
        f"{'n':>4} {'m':>3} {'schedule':>9} {'alone s':>8} {'together s':>10} "
        f"{'ratio':>6} {'difference':>11}"
    )
    for case in cases:
        row = measure(*case, depth, n_rounds)
        print(
            f"{row['n']:>4} {row['m']:>3} {row['schedule'] or 'none':>9} "
            f"{cell(row['alone'], 8, 2)} {cell(row['together'], 10, 2)} "
            f"{cell(row['ratio'], 6, 2)} {row['difference']:>11.1e}",
            flush=True,
        )
        results["cases"].append(row)
    save(options, results, draw)


if __name__ == "__main__":
    main()
