"""In which form should a network be given columns of numbers?

``numeric_embedding`` of the estimators: the standardised values alone ("values"), with
their normal scores ("scores"), and with these and the shares of bins, of which there
are few ("coarse") or many and large ones ("fine", as in the estimators), or sines and
cosines ("waves"). On tables that are cut down to at most ``--rows`` rows for training,
at ``--depth`` layers.

The root mean squared error in standard deviations of the test targets, or the share of
wrong classes, on at most 4000 test rows, none of a class that no training row has; and
the loss, of classes the logarithmic one. Means over ``--seeds`` splits, and CPU seconds
of a fit on one thread. Below the table, against "scores": on how many tables the error
and the loss are lower, and by how much in the mean of their logarithms, without those
that are zero.

Expected: no form is the best on all tables. Bins have a lower error than scores on most
tables where numbers are predicted, where there are two classes, and of few rows: there
they are the default. Of more classes of many rows scores are mostly as good.

Run:  python benchmarks/numeric_embeddings.py [--rows 2000] [--seeds 1] [--bins]
          [--data NAME] [--depth 16] [--quick] [--json FILE]
"""

import warnings
from math import exp, log
from time import process_time
from unittest.mock import patch

import numpy as np
import torch
from _report import averaged, describe, machine, parse_options, save
from _tables import BUNDLED, available, load
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from odenet import ResODEClassifier, ResODERegressor
from odenet._estimators import table as of_tables
from odenet._tables.embeddings.piecewise_linear import BINS, Bins

EMBEDDINGS = {
    "scores": "scores",
    "coarse": "piecewise_linear",
    "fine": "piecewise_linear",
    "values": None,
    "waves": "periodic",
}
KINDS = {"coarse": Bins(most=24, samples=50, size=1.0), "fine": BINS}
MOST_TEST_ROWS = 4000


def split(table, seed, n_rows):
    """Return rows to train with, and rows to test, of a split of its own by seed."""
    rng = np.random.default_rng(seed)
    train, test = table.splits[seed % len(table.splits)]
    train, test = rng.permutation(train)[:n_rows], rng.permutation(test)
    (X, y), (X_test, y_test) = table.rows(train), table.rows(test[:MOST_TEST_ROWS])
    is_met = np.isin(y_test, y) | (table.task == "regression")
    return X, y, X_test[is_met], y_test[is_met]


def measure(table, embedding, seed, n_rows, depth):
    """Return the error, the loss and the seconds of a fit."""
    X, y, X_test, y_test = split(table, seed, n_rows)
    is_regression = table.task == "regression"
    make = ResODERegressor if is_regression else ResODEClassifier
    settings = {"numeric_embedding": EMBEDDINGS[embedding], "random_state": seed}
    begin = process_time()
    with patch.object(of_tables, "BINS", KINDS.get(embedding, BINS)):
        model = make(depth, **settings).fit(X, y)
    seconds = process_time() - begin
    if is_regression:
        error = np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2)) / y_test.std()
        return {"error": error, "loss": error, "seconds": seconds}
    probabilities = model.predict_proba(X_test)
    loss = log_loss(y_test, probabilities, labels=model.classes_)
    error = np.mean(model.predict(X_test) != y_test)
    return {"error": error, "loss": loss, "seconds": seconds}


def show(name, found):
    """Print a row of the table."""
    cells = [f"{f['error']:>9.4f}{f['loss']:>8.4f}" for f in found.values()]
    seconds = [f"{f['seconds']:.1f}" for f in found.values()]
    print(f"{name:<20}{''.join(cells)}   {' '.join(seconds)}", flush=True)


def compare(results, embedding):
    """Print on how many tables an embedding beats the scores, and by how much."""
    texts = []
    for what in ("error", "loss"):
        pairs = [(f[embedding][what], f["scores"][what]) for f in results.values()]
        n_lower = sum(a < b for a, b in pairs)
        mean = np.mean([log(a / b) for a, b in pairs if a > 0 and b > 0])
        texts.append(f"{what} lower on {n_lower}, {exp(mean) - 1:+.1%} in the mean")
    print(f"{embedding:<10}of {len(pairs)} tables {'; '.join(texts)}")


def main():
    numbers = {
        "rows": (2000, "most training rows"),
        "seeds": (1, "number of splits"),
        "depth": (16, "number of layers"),
        "data": ("", "a single table"),
    }
    options = parse_options(__doc__, numbers, bins="compare bins with scores alone")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick = options.quick
    names = available()
    n_rows, seeds = (60, [0]) if quick else (options.rows, range(options.seeds))
    if quick:
        names = list(BUNDLED)[:2]
    if options.data:
        names = [options.data]
    embeddings = ["scores", *KINDS] if options.bins else list(EMBEDDINGS)
    about, results = machine(quick), {}
    print(f"{describe(about)}\nup to {n_rows} rows, {len(seeds)} split(s)")
    titles = [f"{name:>17}" for name in embeddings]
    print(f"{'error and loss':<20}{''.join(titles)}   seconds")
    with threadpool_limits(1):
        for name in names:
            table = load(name)
            results[name] = {
                e: averaged(
                    [measure(table, e, s, n_rows, options.depth) for s in seeds]
                )
                for e in embeddings
            }
            show(name, results[name])
    for embedding in embeddings[1:]:
        compare(results, embedding)
    save(options, {"machine": about, "rows": n_rows, "results": results})


if __name__ == "__main__":
    main()
