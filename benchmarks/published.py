"""How good are the defaults on the exact splits of published tables?

Above, California housing and Adult, split as by those who published the scores beside
them (rtdl, arXiv:2106.11959; numeric embeddings, arXiv:2203.05556; TabM,
arXiv:2410.24210): the test rows are theirs, and so are the validation rows, which
odenet takes as ``X_val``. Root mean squared errors in units of the target, and
accuracies. The published models were tuned on the validation rows, except "XGB
default", and their scores are means over seeds, as odenet's are, which has its default
settings. "TabM" and "TabM-PL" are ensembles of 32 networks that share weights, to be
compared with odenet's five.

Below, the protocol of SRBench (arXiv:2107.14351: 75/25, ten seeds, R2) on the functions
of Friedman, with noise as scikit-learn's generators have it by default or a tenth of
the standard deviation, and on small tables of ODENET_DATA. SRBench has published no
scores of these sets; beside odenet stand baselines that it used, as scikit-learn has
them, with default settings on standardised columns and targets.

"rank" is odenet's place among the others, with one network and with five. Seconds are
those of the processor, on one thread. ``--table california_housing`` and the like run a
single table.

Expected: with one network odenet is beside the best single networks on California, and
behind boosted trees on both; on smooth functions it is first.

Run:  python benchmarks/published.py [--table NAME] [--seeds 3] [--quick] [--json FILE]
"""

import warnings
from statistics import mean
from time import process_time

import numpy as np
import torch
from _report import describe, machine, parse_options, save
from _tables import load
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_friedman1, make_friedman2, make_friedman3
from sklearn.ensemble import AdaBoostRegressor, RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from odenet import ResODEClassifier, ResODERegressor

MEMBERS = (1, 5)
# Scores by the authors of the papers above, on the splits of exact_split.
PUBLISHED = {
    "california_housing": {
        "MLP": 0.4948,
        "ResNet": 0.4856,
        "XGB default": 0.4622,
        "MLP-PLR": 0.4597,
        "FT-T": 0.4591,
        "TabM": 0.4414,
        "XGB": 0.4334,
        "CatBoost": 0.4308,
        "TabM-PL": 0.4275,
    },
    "adult": {
        "MLP": 0.8541,
        "ResNet": 0.8544,
        "TabM": 0.8575,
        "FT-T": 0.8587,
        "MLP-PLR": 0.8694,
        "TabM-PL": 0.8701,
        "XGB": 0.8723,
        "CatBoost": 0.8727,
    },
}
# The sets of the protocol of SRBench: functions of Friedman, and small tables.
GENERATED = {
    "friedman1": lambda: make_friedman1(500, noise=1.0, random_state=0),
    "friedman2": lambda: make_friedman2(500, noise=37.0, random_state=0),
    "friedman3": lambda: make_friedman3(500, noise=0.03, random_state=0),
}
SMALL = ("uci_concrete", "uci_energy", "uci_wine-red", "uci_yacht")
BASELINES = {
    "linear": LinearRegression,
    "kernel ridge": lambda: KernelRidge(kernel="rbf"),
    "AdaBoost": lambda: AdaBoostRegressor(random_state=0),
    "random forest": lambda: RandomForestRegressor(random_state=0),
    "MLP": lambda: MLPRegressor(random_state=0),
}


# Splits


def exact_split(table):
    """Return the rows to train with, to validate with and to test, as published.

    Of California, a fifth of all rows is the test set, and a fifth of the others is
    for validation. Adult has test rows of its own, so that only the second split is
    drawn, stratified, among the official training rows.
    """
    if table.name == "california_housing":
        rows, test = train_test_split(
            np.arange(len(table.y)), test_size=0.2, random_state=0
        )
        return *train_test_split(rows, test_size=0.2, random_state=1), test
    rows, test = table.splits[0]
    parts = train_test_split(
        rows, test_size=0.2, random_state=1, stratify=table.y[rows]
    )
    return *parts, test


def small_sets():
    """Return X and y of the sets of the lower table, by name."""
    sets = {name: make() for name, make in GENERATED.items()}
    for name in SMALL:
        try:
            table = load(name)
        except OSError:
            print(f"{name}: not in ODENET_DATA, skipped")
            continue
        sets[name] = table.X, table.y
    return sets


# Measurements


def measure_published(table, n_members, seed, settings):
    """Return the test score and the seconds of one fit on a published split."""
    train, valid, test = (table.rows(rows) for rows in exact_split(table))
    is_regression = table.task == "regression"
    kind = ResODERegressor if is_regression else ResODEClassifier
    model = kind(n_members=n_members, random_state=seed, **settings)
    begin = process_time()
    model.fit(*train, X_val=valid[0], y_val=valid[1])
    seconds = process_time() - begin
    score = root_mean_squared_error if is_regression else accuracy_score
    return {"score": score(test[1], model.predict(test[0])), "seconds": seconds}


def measure_small(X, y, seed, settings):
    """Return R2 on a quarter of the rows, by the name of the model."""
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=seed)
    models = {
        f"odenet {n}": ResODERegressor(n_members=n, random_state=seed, **settings)
        for n in MEMBERS
    }
    for name, make in BASELINES.items():
        scaled = make_pipeline(StandardScaler(), make())
        models[name] = TransformedTargetRegressor(scaled, transformer=StandardScaler())
    return {
        name: r2_score(y_test, model.fit(X, y).predict(X_test))
        for name, model in models.items()
    }


def rank(score, others, *, lower_is_better):
    """Return the place of a score among others, from 1."""
    return 1 + sum(o < score if lower_is_better else o > score for o in others)


# The command


def run_published(names, seeds, settings):
    """Print a row for every table with published scores, and return the rows."""
    rows = []
    for name in names:
        try:
            table = load(name)
        except OSError:
            print(f"{name}: not in ODENET_DATA, skipped")
            continue
        row, others = {"table": name}, PUBLISHED[name]
        for n in MEMBERS:
            runs = [measure_published(table, n, seed, settings) for seed in seeds]
            row[f"score {n}"] = mean(run["score"] for run in runs)
            row[f"seconds {n}"] = mean(run["seconds"] for run in runs)
            row[f"rank {n}"] = rank(
                row[f"score {n}"],
                others.values(),
                lower_is_better=table.task == "regression",
            )
            print(
                f"{name}, {n} of odenet: {row[f'score {n}']:.4f} in "
                f"{row[f'seconds {n}']:.0f} s, rank {row[f'rank {n}']} of "
                f"{len(others) + 1}",
                flush=True,
            )
        print("  published: " + ", ".join(f"{k} {v:.4f}" for k, v in others.items()))
        rows.append(row)
    return rows


def run_small(sets, seeds, settings):
    """Print a row of mean R2 for every small set, and return the rows."""
    names = [*(f"odenet {n}" for n in MEMBERS), *BASELINES]
    print(f"{'R2':<16}" + "".join(f"{name:>14}" for name in names) + f"{'rank':>8}")
    rows = []
    for name, (X, y) in sets.items():
        runs = [measure_small(X, y, seed, settings) for seed in seeds]
        scores = {model: mean(run[model] for run in runs) for model in names}
        others = [scores[model] for model in BASELINES]
        ranks = [
            rank(scores[f"odenet {n}"], others, lower_is_better=False) for n in MEMBERS
        ]
        print(
            f"{name:<16}"
            + "".join(f"{scores[model]:>14.4f}" for model in names)
            + f"{ranks[0]:>5}, {ranks[1]}",
            flush=True,
        )
        rows.append({"table": name, **scores, "ranks": ranks})
    return rows


def main():
    options = parse_options(
        __doc__,
        {
            "seeds": (3, "seeds of the published splits"),
            "splits": (10, "splits of the small sets"),
            "table": ("", "a single table"),
        },
    )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    about, quick, only = machine(options.quick), options.quick, options.table
    settings = {"depth": 2, "flow_time": 1.0} if quick else {}
    print(describe(about))
    published = [name for name in PUBLISHED if name == only or not (only or quick)]
    sets = {
        name: rows
        for name, rows in ({} if only in PUBLISHED else small_sets()).items()
        if name == only or (not only and (not quick or name == "friedman1"))
    }
    with threadpool_limits(1):
        results = {
            "published": run_published(published, range(options.seeds), settings),
            "small": run_small(sets, range(2 if quick else options.splits), settings)
            if sets
            else [],
        }
    save(options, {"machine": about, **results})


if __name__ == "__main__":
    main()
