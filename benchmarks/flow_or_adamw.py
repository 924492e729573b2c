"""Up to how many samples is the flow as good as AdamW, and as fast?

``solver="auto"`` takes the flow for up to 500 distinct samples, and AdamW on
mini-batches for more. Here both are fitted to n rows of a table, everything else
default, and judged on up to 2,000 other rows: by the R2 of regressors, and by accuracy
and log loss of classifiers. The tables are those of the folder ODENET_DATA that have
enough rows; without it, digits. Reported are, per table and number of rows, the means
over the seeds, and the ratio of the medians of the seconds; in the end, by number of
rows, on how many tables the flow scored higher, the mean difference of the scores, and
the median ratio of the seconds.

Expected: with 250 samples the flow scores higher on all or nearly all tables, by one
hundredth in the mean; with 500 the two are even, within half a hundredth. The flow
takes several times the seconds, the more so the more samples there are: it is never as
fast.

Run:  python benchmarks/flow_or_adamw.py [--quick] [--json FILE]
"""

import json
import os
from pathlib import Path
from statistics import mean, median
from time import perf_counter

import numpy as np
import torch
from _report import describe, machine, parse_options
from _tables import load
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier, ResODERegressor

TABLES = (
    "uci_kin8nm",
    "california_housing",
    "uci_protein",
    "pmlb_satimage",
    "pmlb_phoneme",
    "pmlb_magic",
    "uci_energy",
    "uci_concrete",
    "uci_wine-red",
    "uci_power-plant",
    "pmlb_spambase",
    "pmlb_yeast",
)
SIZES = (250, 500)
SEEDS = (0, 1, 2)
SOLVERS = ("flow", "adamw")
N_TEST = 2000


def fit(table, n_rows, seed, solver):
    """Fit n rows, and return the score of other ones, the log loss and the seconds."""
    classify = table.task == "classification"
    train, test = train_test_split(
        np.arange(len(table.y)),
        train_size=n_rows,
        test_size=min(N_TEST, len(table.y) - n_rows),
        stratify=table.y if classify else None,
        random_state=seed,
    )
    estimator = ResODEClassifier if classify else ResODERegressor
    model = estimator(solver=solver, random_state=seed)
    start = perf_counter()
    model.fit(*table.rows(train))
    seconds = perf_counter() - start
    X, y = table.rows(test)
    return {
        "score": model.score(X, y),
        "log_loss": log_loss(y, model.predict_proba(X), labels=model.classes_)
        if classify
        else None,
        "seconds": seconds,
    }


def compare(table, n_rows, seeds):
    """Fit by both solvers, in turn; return means over the seeds."""
    fits = {solver: [] for solver in SOLVERS}
    for seed in seeds:
        for solver in SOLVERS:
            fits[solver].append(fit(table, n_rows, seed, solver))
    row = {"table": table.name, "n_rows": n_rows}
    for solver, results in fits.items():
        row[solver] = {
            "score": mean(result["score"] for result in results),
            "log_loss": results[0]["log_loss"]
            and mean(result["log_loss"] for result in results),
            "seconds": median(result["seconds"] for result in results),
        }
    return row


def print_row(row):
    flow, adamw = (row[solver] for solver in SOLVERS)
    losses = " ".join(
        f"{'-' if part['log_loss'] is None else format(part['log_loss'], '.4f'):>8}"
        for part in (flow, adamw)
    )
    print(
        f"{row['table']:<20} {row['n_rows']:>5} | {flow['score']:>7.4f}"
        f" {adamw['score']:>7.4f} {flow['score'] - adamw['score']:>+8.4f} | {losses} |"
        f" {flow['seconds']:>7.1f} {adamw['seconds']:>7.1f}"
        f" {flow['seconds'] / adamw['seconds']:>6.2f}",
        flush=True,
    )


def summarise(rows):
    """Print, by number of rows, how the flow compares over all tables."""
    print("\n    n  flow higher  mean difference  median ratio of the seconds")
    for n_rows in sorted({row["n_rows"] for row in rows}):
        these = [row for row in rows if row["n_rows"] == n_rows]
        gains = [row["flow"]["score"] - row["adamw"]["score"] for row in these]
        ratios = [row["flow"]["seconds"] / row["adamw"]["seconds"] for row in these]
        higher = f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
        print(f"{n_rows:>5} {higher:>12} {mean(gains):>+16.4f} {median(ratios):>12.2f}")


def main():
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    names = TABLES if os.environ.get("ODENET_DATA") else ("digits",)
    sizes, seeds = SIZES, SEEDS
    if options.quick:
        names, sizes, seeds = ("wine",), (50,), SEEDS[:1]
    about, rows = machine(options.quick), []
    print(describe(about))
    print(f"{'':<26} | {'score':>7} {'':>16} | {'log loss':>17} | {'seconds':>22}")
    columns = " ".join(f"{solver:>7}" for solver in SOLVERS)
    print(
        f"{'table':<20} {'n':>5} | {columns} {'':>8} | {columns}   | {columns}  ratio"
    )
    for n_rows in sizes:
        for name in names:
            table = load(name)
            if len(table.y) > n_rows:
                rows.append(compare(table, n_rows, seeds))
                print_row(rows[-1])
    summarise(rows)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": about, "rows": rows}))


if __name__ == "__main__":
    main()
