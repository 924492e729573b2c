"""From which scale of W should a network start?

Test scores of the estimators with ``init=Tied(scale)`` for several scales, on bundled
data and, where the environment variable ODENET_DATA names their folder, on further real
sets (at most 2,500 rows of each), one split and seed. Depth 8, everything else default.

The paper's scale is 1. In the estimators, the names of schemes stand for scale 4.

Run:  python benchmarks/start_scale.py [--quick] [--json FILE]
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_friedman1,
    make_moons,
)
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier, ResODERegressor
from odenet.schemes import Tied

SCALES = [1.0, 2.0, 4.0, 8.0]  # of W; 1 is the paper's, 4 the estimators'
REGRESSION = {"Friedman-1", "diabetes", "california_housing"}
FILES = [  # of the folder ODENET_DATA
    "uci_concrete",
    "uci_energy",
    "uci_kin8nm",
    "uci_wine-red",
    "california_housing",
    "pmlb_satimage",
    "pmlb_phoneme",
    "pmlb_vowel",
]


def load_all():
    yield "two moons", make_moons(1000, noise=0.15, random_state=0)
    yield "digits", load_digits(return_X_y=True)
    yield "breast cancer", load_breast_cancer(return_X_y=True)
    yield "Friedman-1", make_friedman1(2000, noise=1.0, random_state=0)
    yield "diabetes", load_diabetes(return_X_y=True)
    for name in FILES if "ODENET_DATA" in os.environ else ():
        with np.load(Path(os.environ["ODENET_DATA"], f"{name}.npz")) as arrays:
            X, y = arrays["X"].astype(float), arrays["y"]
        rows = np.random.default_rng(0).permutation(len(X))[:2500]
        yield name, (X[rows], y[rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small set, depth 2")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    depth = 2 if options.quick else 8
    print(f"{'data':<20} " + " ".join(f"{f'scale {s:g}':>15}" for s in SCALES))
    results = []
    for name, (X, y) in load_all():
        if options.quick and name != "diabetes":
            continue
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
        is_regression = name in REGRESSION or name.startswith("uci")
        estimator = ResODERegressor if is_regression else ResODEClassifier
        cells = []
        for scale in SCALES:
            model = estimator(depth, init=Tied(scale), random_state=0)
            score = model.fit(X_train, y_train).score(X_test, y_test)
            cells.append(f"{score:>8.4f} {model.n_grad_evals_:>6}")
            results.append({"data": name, "scale": scale, "score": score})
        print(f"{name:<20} " + " ".join(cells), flush=True)
    print("score (R2 or accuracy) and gradient evaluations")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
