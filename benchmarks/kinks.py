"""How many samples of a loss with a kink should the flow be followed for?

``solver="auto"`` takes the flow for up to 500 distinct samples. Of a loss with a kink,
as that of quantiles is, the flow takes many small steps, the more so the less noise
there is: so "auto" follows it for fewer than 20 samples only, and takes AdamW for more,
which holds out some of them to stop early. Here both are fitted to n rows of a table at
16 layers, with three quantiles or with the absolute error, everything else default, and
AdamW also without early stopping. They are judged on up to 2,000 other rows by the mean
pinball loss, over the standard deviation of the training targets. Tables are those of
the folder ODENET_DATA; without it, diabetes. Reported are means over the seeds, of the
seconds as well, and in the end, by number of rows, the geometric means of the ratios of
the losses to that of the flow, and the most seconds of a table.

Expected: the flow has a loss that is lower by some per cent where there is much noise,
and far higher where there is little, in up to a hundred times the seconds. Without
early stopping AdamW is far worse where there is much noise.

Run:  python benchmarks/kinks.py [--absolute-error] [--quick] [--json FILE]
"""

import os
import warnings
from math import exp, log
from statistics import mean
from time import perf_counter

import numpy as np
import torch
from _report import describe, machine, parse_options, save
from _tables import load
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import train_test_split

from odenet import ResODERegressor

TABLES = (
    "diabetes",
    "uci_wine-red",
    "uci_power-plant",
    "uci_concrete",
    "uci_energy",
    "uci_yacht",
)
SIZES, SEEDS, DEPTH = (100, 250), (0, 1), 16
WAYS = {
    "flow": {"solver": "flow"},
    "adamw": {"solver": "adamw"},
    "no stop": {"solver": "adamw", "early_stopping": False},
}
LEVELS = (0.1, 0.5, 0.9)
N_TEST, FEWEST_TO_TEST = 2000, 50


def fit(table, n_rows, seed, way, levels):
    """Fit n rows, and return the loss of other ones, and the seconds."""
    train, test = train_test_split(
        np.arange(len(table.y)),
        train_size=n_rows,
        test_size=min(N_TEST, len(table.y) - n_rows),
        random_state=seed,
    )
    X, y = table.rows(train)
    params = {"loss": "absolute_error"}
    if len(levels) > 1:
        params = {"loss": "quantile", "quantile": levels}
    model = ResODERegressor(DEPTH, random_state=seed, **params, **WAYS[way])
    start = perf_counter()
    model.fit(X, y)
    seconds = perf_counter() - start
    X_test, y_test = table.rows(test)
    predicted = model.predict(X_test).reshape(len(y_test), -1)
    losses = [
        mean_pinball_loss(y_test, column, alpha=level)
        for level, column in zip(levels, predicted.T, strict=True)
    ]
    return mean(losses) / y.std(), seconds


def compare(table, n_rows, seeds, levels):
    """Fit in all ways; return means over the seeds."""
    row = {"table": table.name, "n_rows": n_rows}
    for way in WAYS:
        fits = [fit(table, n_rows, seed, way, levels) for seed in seeds]
        loss, seconds = map(mean, zip(*fits, strict=True))
        row[way] = {"loss": loss, "seconds": seconds}
    return row


def print_row(row):
    losses = "".join(f"{row[way]['loss']:>9.4f}" for way in WAYS)
    seconds = "".join(f"{row[way]['seconds']:>9.1f}" for way in WAYS)
    print(f"{row['table']:<16} {row['n_rows']:>5} |{losses} |{seconds}", flush=True)


def summarise(rows):
    """Print, by number of rows, how the ways compare over all tables."""
    print(f"\n{'to the flow':<22} |{'mean ratio of the losses':>27} |{'most':>27}")
    for n_rows in sorted({row["n_rows"] for row in rows}):
        these = [row for row in rows if row["n_rows"] == n_rows]
        ratios = most = ""
        for way in WAYS:
            logs = [log(row[way]["loss"] / row["flow"]["loss"]) for row in these]
            ratios += f"{exp(mean(logs)):>9.3f}"
            most += f"{max(row[way]['seconds'] for row in these):>9.1f}"
        print(f"{'':<16} {n_rows:>5} |{ratios} |{most}")


def main():
    options = parse_options(__doc__, **{"absolute-error": "in place of quantiles"})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    names = TABLES if os.environ.get("ODENET_DATA") else TABLES[:1]
    sizes, seeds = SIZES, SEEDS
    levels = (0.5,) if options.absolute_error else LEVELS
    if options.quick:
        names, sizes, seeds = ("diabetes",), (40,), SEEDS[:1]
    about, rows = machine(options.quick), []
    print(describe(about))
    columns = "".join(f"{way:>9}" for way in WAYS)
    print(f"{'':<22} |{'pinball loss':>27} |{'seconds':>27}")
    print(f"{'table':<16} {'n':>5} |{columns} |{columns}")
    for n_rows in sizes:
        for name in names:
            table = load(name)
            if len(table.y) >= n_rows + FEWEST_TO_TEST:
                rows.append(compare(table, n_rows, seeds, levels))
                print_row(rows[-1])
    summarise(rows)
    save(options, {"machine": about, "rows": rows})


if __name__ == "__main__":
    main()
