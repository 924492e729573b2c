"""How good are the estimators out of the box, and how long do they take?

Test scores and seconds of ``make_pipeline(StandardScaler(), ...)`` with default
parameters, on train_test_split(random_state=0), one torch thread, over several seeds of
the model. Beside them scikit-learn's multilayer perceptron with default parameters and
max_iter=1000, its target standardised as well.

Run:  python benchmarks/default_scores.py [--quick] [--json FILE]
"""

import argparse
import json
import warnings
from statistics import mean
from time import perf_counter

import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_friedman1,
    make_moons,
)
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import ResODEClassifier, ResODERegressor

DATA = {  # sets that need no download
    "two moons": lambda: make_moons(1000, noise=0.15, random_state=0),
    "digits": lambda: load_digits(return_X_y=True),
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "Friedman-1": lambda: make_friedman1(2000, noise=1.0, random_state=0),
    "diabetes": lambda: load_diabetes(return_X_y=True),
}
# The sets with numbers as targets; the others have classes.
REGRESSION = {"Friedman-1", "diabetes"}


def make_models(name, seed, depth):
    if name in REGRESSION:
        mlp = MLPRegressor(max_iter=1000, random_state=seed)
        mlp = TransformedTargetRegressor(mlp, transformer=StandardScaler())
        return ResODERegressor(depth, random_state=seed), mlp
    mlp = MLPClassifier(max_iter=1000, random_state=seed)
    return ResODEClassifier(depth, random_state=seed), mlp


def score(model, X_train, X_test, y_train, y_test):
    pipeline = make_pipeline(StandardScaler(), model)
    start = perf_counter()
    pipeline.fit(X_train, y_train)
    return pipeline.score(X_test, y_test), perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="depth 2, few samples")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the perceptron's own convergence warnings
    depth, seeds, n_samples = (2, [0], 100) if options.quick else (64, [0, 1, 2], None)
    print(
        f"scores of seeds {seeds}: accuracy, "
        f"or R2 for {' and '.join(sorted(REGRESSION))}"
    )
    print(f"{'data':<14} {'odenet':<22} {'s':>5} | {'MLP':<22} {'s':>5}")
    results = []
    for name, load in DATA.items():
        X, y = load()
        split = train_test_split(X[:n_samples], y[:n_samples], random_state=0)
        columns = zip(
            *([score(m, *split) for m in make_models(name, s, depth)] for s in seeds),
            strict=True,
        )
        shown = []
        for model_name, column in zip(("odenet", "mlp"), columns, strict=True):
            scores, seconds = zip(*column, strict=True)
            text = " ".join(f"{s:.4f}" for s in scores)
            shown.append(f"{text:<22} {mean(seconds):>5.1f}")
            results.append(
                {
                    "data": name,
                    "model": model_name,
                    "scores": scores,
                    "seconds": seconds,
                }
            )
        print(f"{name:<14} " + " | ".join(shown), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
