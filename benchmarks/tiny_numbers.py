"""What does a fit gain where numbers below float32's usual range are taken as zeros?

The derivative of a GELU far to the left is such a number, and so are products with it.
An operation that meets one takes many times as long. Fits with default parameters of
some tables of ``tabular.py`` that end after a few epochs, with and without the mode in
turn. The score is the accuracy, or the root mean squared error in units of the target.
Seconds are those of the processor on one thread, medians over the rounds.

Expected: of classes that are told apart well, and at that from states of many
dimensions, about half the seconds; of numbers hardly any. The scores are the same.

Run:  python benchmarks/tiny_numbers.py [--quick] [--data NAME ...] [--json FILE]
"""

import argparse
import warnings
from contextlib import nullcontext
from statistics import median
from time import process_time
from unittest.mock import patch

import torch
from _report import describe, machine, progress, save
from _tables import available, load
from sklearn.metrics import root_mean_squared_error

from odenet import ResODEClassifier, ResODERegressor
from odenet.solvers import SOAP, AdamW

SETS = ("covertype_100k", "pmlb_letter", "adult", "uci_power-plant")
BUNDLED, QUICK = ("digits", "breast_cancer"), ("breast_cancer",)
MOST_ROWS = 20_000  # of a table, to end in minutes
PLACE = "odenet._training.fitting.tiny_numbers_as_zeros"


def measure(table, epochs, small):
    """Return the seconds of a fit and its score on the test rows."""
    train, test = table.splits[0]
    X, y = table.rows(train[:MOST_ROWS])
    classify = table.task == "classification"
    kind, solver = (ResODEClassifier, AdamW) if classify else (ResODERegressor, SOAP)
    model = kind(solver=solver(max_epochs=epochs), random_state=0, **small)
    start = process_time()
    model.fit(X, y)
    seconds = process_time() - start
    X, y = table.rows(test)
    if classify:
        return seconds, model.score(X, y)
    return seconds, root_mean_squared_error(y, model.predict(X))


def compare(table, options, small):
    """Measure fits with and without the mode in turn, and return a row."""
    found = {"without": [], "with": []}
    for _ in range(options.rounds):
        with patch(PLACE, nullcontext):
            found["without"].append(measure(table, options.epochs, small))
        found["with"].append(measure(table, options.epochs, small))
    row = {"data": table.name}
    for way, results in found.items():
        seconds, scores = zip(*results, strict=True)
        row |= {f"seconds {way}": median(seconds), f"score {way}": scores[0]}
    return {**row, "ratio": row["seconds with"] / row["seconds without"]}


def show(row):
    seconds, scores = (
        [row[f"{name} {way}"] for way in ("without", "with")]
        for name in ("seconds", "score")
    )
    print(
        f"{row['data']:<16}{seconds[0]:>9.1f}{seconds[1]:>9.1f}{row['ratio']:>7.2f} |"
        f"{scores[0]:>9.4f}{scores[1]:>9.4f}",
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    rows = results["results"]
    axis.bar([row["data"] for row in rows], [row["ratio"] for row in rows])
    axis.axhline(1, color="grey", linewidth=1)
    axis.set(ylabel="seconds of a fit, with / without tiny numbers as zeros")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--png", help="file for the figure")
    parser.add_argument("--data", nargs="+", help="names of tables")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main():
    options = parse_options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of trainings that end early
    if options.quick:
        options.epochs, options.rounds = 3, 1
    chosen = [name for name in SETS if name in available()] or BUNDLED
    names = options.data or (QUICK if options.quick else chosen)
    about = machine(options.quick)
    print(f"{describe(about)}\n{options.epochs} epochs, {options.rounds} rounds")
    print(f"{'':<16}{'seconds':>18}{'':>7} |{'score':>18}")
    pair = f"{'without':>9}{'with':>9}"
    print(f"{'data':<16}{pair}{'ratio':>7} |{pair}")
    results = []
    for name in progress(names, "tables"):
        small = {"depth": 8, "width": 8} if options.quick else {}
        results.append(compare(load(name), options, small))
        show(results[-1])
    save(options, {"machine": about, "results": results}, draw)


if __name__ == "__main__":
    main()
