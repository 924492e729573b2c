"""What do the default settings rest on?

Every row changes one of them. The columns are mean test scores (accuracy, or root mean
squared error in units of the target) over the first splits of some tables. The tables
are those of ``tabular.py``: by default a few of the folder ODENET_DATA that take
seconds, or without this folder two that come with scikit-learn. "better" and "worse"
count the columns in which the error of a row is more than 1 % below or above that of
the defaults, which is less than the difference that another seed makes. Seconds are the
sum of one fit of every table.

Expected: no row is better in most columns and as fast; some are as good.

Run:  python benchmarks/defaults.py [--quick] [--json FILE] [--data NAME ...]
"""

import argparse
import json
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean
from time import perf_counter
from unittest.mock import patch

import torch
from _report import progress
from _tables import available, load
from sklearn.metrics import root_mean_squared_error

from odenet import ResODEClassifier, ResODERegressor
from odenet.solvers import AdamW, Flow

SETS = (  # tables of the folder ODENET_DATA with fits of seconds
    "uci_concrete",
    "uci_energy",
    "uci_wine-red",
    "uci_yacht",
    "uci_kin8nm",
    "california_housing",
    "pmlb_phoneme",
    "pmlb_satimage",
    "pmlb_yeast",
    "pmlb_vowel",
)
# The tables without that folder, and those of a quick run.
BUNDLED, QUICK = ("diabetes", "breast_cancer"), ("diabetes",)
MARGIN = 0.01  # the share of the error by which a row counts as better or worse
# The settings that a regressor does not have.
CLASSIFIER_ONLY = ("label_smoothing", "class_weight")

# The settings of the estimator in each row, or values of constants by their places.
ROWS = {
    "defaults": {},
    "solver=flow": {"solver": Flow(max_evals=1500)},
    "solver=adamw": {"solver": AdamW()},
    "learning_rate=0.01": {"solver": AdamW(0.01)},
    "learning_rate=0.02": {"solver": AdamW(0.02)},
    "learning_rate=0.08": {"solver": AdamW(0.08)},
    "weight_decay=0.1": {"solver": AdamW(weight_decay=0.1)},
    "batch_size=512": {"solver": AdamW(batch_size=512)},
    "patience=10": {"solver": AdamW(patience=10)},
    "five stages of depth": {"depth_schedule": [4, 8, 16, 32, 64]},
    "four stages of depth": {"depth_schedule": [8, 16, 32, 64]},
    "first stage of 4 layers": {"depth_schedule": [4, 64]},
    "last weights, no average": {"odenet._optim.averaging.SHARE": 0.0},
    "average of a fifth": {"odenet._optim.averaging.SHARE": 1 / 5},
    "width=32": {"width": 32},
    "width=128": {"width": 128},
    "state_dim=64": {"state_dim": 64},
    "W of scale 1": {"odenet._network.start.START_SCALE": 1.0},
    "inputs of share 1": {"odenet._network.start.STATE_SHARE": 1.0},
    "no normal scores": {"numeric_embedding": None},
    "label_smoothing=0": {"label_smoothing": 0.0},
    "label_smoothing=0.1": {"label_smoothing": 0.1},
}


@contextmanager
def constants(row):
    """Yield the estimator's settings of a row, and set its constants meanwhile."""
    places = {name: value for name, value in row.items() if "." in name}
    with ExitStack() as changes:
        for place, value in places.items():
            changes.enter_context(patch(place, value))
        yield {name: value for name, value in row.items() if name not in places}


def measure(table, settings, n_splits, small):
    """Measure the mean test score and the mean seconds of a fit."""
    classify = table.task == "classification"
    if not classify:
        settings = {k: v for k, v in settings.items() if k not in CLASSIFIER_ONLY}
    scores, start = [], perf_counter()
    for split, (train, test) in enumerate(table.splits[:n_splits]):
        estimator = ResODEClassifier if classify else ResODERegressor
        model = estimator(random_state=split).set_params(**{**small, **settings})
        model.fit(*table.rows(train))
        X, y = table.rows(test)
        scores.append(
            model.score(X, y)
            if classify
            else root_mean_squared_error(y, model.predict(X))
        )
    return mean(scores), (perf_counter() - start) / len(scores)


def error(table, score):
    return 1 - score if table.task == "classification" else score


def better_and_worse(tables, scores, reference):
    """Count the tables on which a row is better and worse than the defaults."""
    ratios = [
        error(tables[name], scores[name][0])
        / max(error(tables[name], reference[name][0]), 1e-12)
        for name in tables
    ]
    return sum(r < 1 - MARGIN for r in ratios), sum(r > 1 + MARGIN for r in ratios)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="some rows, one table")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--data", nargs="+", help="names of tables")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="rows to compute")
    parser.add_argument("--splits", type=int, default=2)
    return parser.parse_args()


def main():
    options = parse_options()
    torch.set_num_threads(1)
    chosen = set(SETS) & set(available())
    names = options.data or [s for s in SETS if s in chosen] or BUNDLED
    names = QUICK if options.quick else names
    # A quick run has the rows that change a constant: they must be where they are.
    quick = [r for r in ROWS if r == "defaults" or any("." in s for s in ROWS[r])]
    rows = quick if options.quick else options.rows or ROWS
    small = {"depth": 2, "flow_time": 1.0, "width": 8} if options.quick else {}
    n_splits = 1 if options.quick else options.splits
    tables = {name: load(name) for name in names}
    shown = [name.rpartition("_")[2][:10] for name in names]
    print(f"{'':<26}" + " ".join(f"{s:>10}" for s in shown) + "  better worse seconds")
    results = {}
    for label in rows:
        with constants(ROWS[label]) as settings:
            scores = {
                name: measure(table, settings, n_splits, small)
                for name, table in progress(tables.items(), label)
            }
        results[label] = scores
        cells = " ".join(f"{scores[name][0]:>10.4g}" for name in names)
        seconds = sum(seconds for _, seconds in scores.values())
        reference = results.get("defaults")
        counts = better_and_worse(tables, scores, reference) if reference else ("", "")
        print(
            f"{label:<26}{cells}  {counts[0]:>6} {counts[1]:>5} {seconds:>7.1f}",
            flush=True,
        )
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
