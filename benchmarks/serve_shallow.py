"""What does a trained network lose when it is served in fewer layers?

Networks are trained at depth 128 on digits, diabetes and, from the folder ODENET_DATA,
uci_concrete. Measured are test scores after ``with_depth``, plain and with
``imitate=True``, and for the latter the seconds to predict 10,000 rows (medians,
measured in turn).

Expected: with ``imitate=True``, depth 8 loses at most 0.5 % of the accuracy and 1 % of
the R2, and predicts several times faster; what is left is mostly the encoding of the
inputs, which takes as long at every depth.

Run:  python benchmarks/serve_shallow.py [--quick] [--json FILE]
"""

import argparse
import json
import os
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier, ResODERegressor


def load_all():
    yield "digits", load_digits(return_X_y=True)
    yield "diabetes", load_diabetes(return_X_y=True)
    if "ODENET_DATA" in os.environ:
        path = Path(os.environ["ODENET_DATA"], "uci_concrete.npz")
        with np.load(path) as arrays:
            yield "uci_concrete", (arrays["X"].astype(float), arrays["y"].astype(float))


def seconds_to_predict(models, X, n_repeats):
    """Measure the median seconds to predict; the models take turns."""
    seconds = {depth: [] for depth in models}
    for _ in range(n_repeats):
        for depth, model in models.items():
            start = perf_counter()
            model.predict(X)
            seconds[depth].append(perf_counter() - start)
    return {depth: median(values) for depth, values in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    depths, n_rows, n_repeats, settings = [128, 64, 32, 16, 8, 4], 10_000, 5, {}
    if options.quick:
        depths, n_rows, n_repeats = [16, 4], 100, 1
        settings = {"flow_time": 1.0, "early_stopping": False}
    results = []
    for name, (X, y) in load_all():
        estimator = ResODEClassifier if name == "digits" else ResODERegressor
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
        model = estimator(depths[0], random_state=0, **settings).fit(X_train, y_train)
        models = {depth: model.with_depth(depth, imitate=True) for depth in depths}
        batch = np.resize(X_test, (n_rows, X.shape[1]))
        seconds = seconds_to_predict(models, batch, n_repeats)
        full = model.score(X_test, y_test)
        print(f"\n{name}: trained at depth {depths[0]}, served at depth L")
        print(
            f"{'L':>5} {'plain':>8} {'change':>8} {'imitating':>10} {'change':>8}"
            f" {'seconds':>8} {'faster':>7}"
        )
        for depth in depths:
            plain = model.with_depth(depth).score(X_test, y_test)
            imitating = models[depth].score(X_test, y_test)
            print(
                f"{depth:>5} {plain:>8.4f} {plain / full - 1:>+8.2%}"
                f" {imitating:>10.4f} {imitating / full - 1:>+8.2%}"
                f" {seconds[depth]:>8.4f} {seconds[depths[0]] / seconds[depth]:>7.1f}"
            )
            results.append(
                {
                    "data": name,
                    "depth": depth,
                    "plain": plain,
                    "imitating": imitating,
                    "seconds": seconds[depth],
                }
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
