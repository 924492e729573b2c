"""What do columns of many categories bring, and what do they cost?

R2 on as many new rows as there are in training, seconds of the fit and the dimension of
the state, for tables with two columns of 200 zones (weak and strong effects, Zipf
frequencies), with a column of names that mostly occur once, and with identifiers; means
over seeds of data and model, one torch thread. Compared are, on the same tables:

    without   the table without the columns of categories
    plain     categories as numbers of 0 and 1, each with a dimension of the state
    small     marks that are the smaller, the rarer a category is
    default   these, 16 dimensions a column, and categories of one row pooled
    pooled 5  as default, with min_frequency=5

Run:  python benchmarks/categories.py [--quick] [--json FILE]
"""

import argparse
import json
import warnings
from statistics import mean
from time import perf_counter
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from odenet import ResODERegressor
from odenet._network import start
from odenet._tables import rare_categories

UNLIMITED = 10**9
# Of a method: the share of half size, the dimensions of a column, and min_frequency.
METHODS = {
    "without": None,
    "plain": (0.0, UNLIMITED, 1),
    "small": (rare_categories.SHARE_OF_HALF, UNLIMITED, 1),
    "default": (rare_categories.SHARE_OF_HALF, start.CATEGORIES_DIM, 2),
    "pooled 5": (rare_categories.SHARE_OF_HALF, start.CATEGORIES_DIM, 5),
}


def zones(rng, n_rows, effect, n_zones=200):
    """Numbers, and the zones where a way begins and ends, as of taxis."""
    share = np.arange(1.0, n_zones + 1) ** -0.7
    ends = rng.choice(n_zones, (2, n_rows), p=share / share.sum())
    effects = effect * rng.normal(size=(2, n_zones))
    X = rng.normal(size=(n_rows, 4))
    y = X[:, 0] + np.sin(2 * X[:, 1]) + X[:, 2] * X[:, 3] / 2
    y += effects[0, ends[0]] + effects[1, ends[1]] + rng.normal(0, 0.5, n_rows)
    table = pd.DataFrame(X).add_prefix("x")
    for name, zone in zip(("from", "to"), ends, strict=True):
        table[name] = [f"zone {i}" for i in zone]
    return table, y, ["from", "to"]


def names(rng, n_rows):
    """Numbers, and names of which most occur once, as of types of cars."""
    name, X = rng.integers(n_rows, size=n_rows), rng.normal(size=(n_rows, 7))
    y = X @ [1, 0.8, 0.5, 0.3, 0, 0, 0] + np.sin(2 * X[:, 0])
    y += 0.5 * rng.normal(size=n_rows)[name] + rng.normal(0, 0.4, n_rows)
    table = pd.DataFrame(X).add_prefix("x")
    table["name"] = [f"name {i}" for i in name]
    return table, y, ["name"]


def identifiers(rng, n_rows):
    """Numbers, and a text that is another one in every row."""
    X = rng.normal(size=(n_rows, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1] + rng.normal(0, 0.5, n_rows)
    table = pd.DataFrame(X, columns=["a", "b"])
    table["id"] = [f"customer {i}" for i in range(n_rows)]
    return table, y, ["id"]


TABLES = {
    "zones, weak": (2000, lambda rng, n: zones(rng, n, 0.3)),
    "zones, strong": (2000, lambda rng, n: zones(rng, n, 1.0)),
    "names": (300, names),
    "identifiers": (1000, identifiers),
}


def measure(method, table, y, categories, seed, **size):
    """Return R2, seconds and the dimension of the state of a fit to half the rows."""
    n_train = len(y) // 2
    settings = METHODS[method]
    if settings is None:
        table, settings = table.drop(columns=categories), METHODS["default"]
    share, dim, min_frequency = settings
    model = ResODERegressor(**size, min_frequency=min_frequency, random_state=seed)
    with (
        patch.object(rare_categories, "SHARE_OF_HALF", share),
        patch.object(start, "CATEGORIES_DIM", dim),
    ):
        begin = perf_counter()
        model.fit(table[:n_train], y[:n_train])
        seconds = perf_counter() - begin
    r2 = model.score(table[n_train:], y[n_train:])
    return r2, seconds, model.module_.state_dim


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="depth 2, few rows, a short flow"
    )
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of identifiers, and of training that could go on
    size = {"depth": 2, "flow_time": 1.0} if options.quick else {}
    seeds = range(1 if options.quick else 3)
    print(f"R2, seconds and state dimension; means of {len(seeds)} seeds")
    print(f"{'table':<14}" + "".join(f"{method:>19}" for method in METHODS))
    measured = []
    for name, (n_train, make) in TABLES.items():
        n_rows = 2 * (60 if options.quick else n_train)
        data = [(s, make(np.random.default_rng(s), n_rows)) for s in seeds]
        line = f"{name:<14}"
        for method in METHODS:
            results = [measure(method, *table, s, **size) for s, table in data]
            r2, seconds, dim = map(mean, zip(*results, strict=True))
            line += f"{r2:>8.4f}{seconds:>6.1f}{dim:>5.0f}"
            row = {"table": name, "method": method, "r2": r2}
            measured.append(row | {"seconds": seconds, "state_dim": dim})
        print(line, flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(measured, file)


if __name__ == "__main__":
    main()
