"""What does a search over depth and flow time cost along the path?

The path estimators and GridSearchCV search the same grid of depths and flow times on
the same five folds. The table has the seconds, the choices, and the mean scores that
the grid search gives to both choices, beside the standard error of the best.

Expected: the choice of the path is within one standard error of the grid's best, at a
small fraction of the seconds.

Run:  python benchmarks/path_search.py [--quick] [--json FILE]
"""

import argparse
import json
from time import perf_counter

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, make_friedman1
from sklearn.model_selection import GridSearchCV

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODERegressor,
    ResODERegressorCV,
)

N_FOLDS = 5  # the default of both


def search(single, path, X, y, depths, flow_times):
    start = perf_counter()
    swept = path(depths, flow_times=flow_times, random_state=0).fit(X, y)
    middle = perf_counter()
    grid = GridSearchCV(
        single(early_stopping=False, random_state=0),
        {"depth": depths, "flow_time": flow_times},
        scoring="neg_log_loss" if is_classifier(swept) else "r2",  # as of the path
    ).fit(X, y)
    seconds = middle - start, perf_counter() - middle
    results = grid.cv_results_
    mean, best = results["mean_test_score"], grid.best_index_
    return {
        "path_seconds": seconds[0],
        "grid_seconds": seconds[1],
        "path_choice": swept.cv_results_["params"][swept.best_index_],
        "grid_choice": grid.best_params_,
        "path_score": mean[swept.best_index_],
        "grid_score": mean[best],
        "standard_error": results["std_test_score"][best] / np.sqrt(N_FOLDS - 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one set, a small grid")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    depths = [4, 16, 64]
    data = {
        "diabetes": (
            (ResODERegressor, ResODERegressorCV),
            load_diabetes(return_X_y=True),
            np.geomspace(0.3, 30, 7).tolist(),
        ),
        "Friedman-1": (
            (ResODERegressor, ResODERegressorCV),
            make_friedman1(400, noise=1.0, random_state=0),
            np.geomspace(10, 150, 7).tolist(),
        ),
        "breast cancer": (
            (ResODEClassifier, ResODEClassifierCV),
            load_breast_cancer(return_X_y=True),
            np.geomspace(1, 200, 7).tolist(),
        ),
    }
    if options.quick:
        depths, data = [4, 8], {"diabetes": data["diabetes"]}

    results = []
    print(
        f"{'data':<14} {'path: s':>8} {'L':>4} {'T':>7} {'score':>7}"
        f" | {'grid: s':>8} {'L':>4} {'T':>7} {'score':>7}"
        f" | {'std. error':>10} {'seconds, path/grid':>18}"
    )
    for name, (estimators, (X, y), flow_times) in data.items():
        row = search(*estimators, X, y, depths, flow_times)
        results.append({"data": name, **row})
        line = f"{name:<14}"
        for kind in ("path", "grid"):
            choice = row[f"{kind}_choice"]
            line += (
                f" {row[f'{kind}_seconds']:>8.1f} {choice['depth']:>4}"
                f" {choice['flow_time']:>7.3g} {row[f'{kind}_score']:>7.4f} |"
            )
        ratio = row["path_seconds"] / row["grid_seconds"]
        print(line + f" {row['standard_error']:>10.4f} {ratio:>18.3f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
