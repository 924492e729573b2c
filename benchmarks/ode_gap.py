"""How far is a trained network from its neural ODE, and what does the ODE cost?

Networks of depths 16 to 256 are trained on three real sets. Measured on the training
inputs are the gap ||F_L - F_ode|| / ||F_ode|| by an adaptive solver, Richardson's
estimate of it, the error that 2 F_2L - F_L still has, and the evaluations that dopri5
needs at rtol=1e-3; and the slopes of the first three in log L.

Expected: for "tied" and "gaussian_process" the gap has the slope -1 and the error of
2 F_2L - F_L the slope -2, down to the roundings of float32, with the same number of
evaluations at every depth. For "iid" none of that holds.

Run:  python benchmarks/ode_gap.py [--quick] [--json FILE]
"""

import argparse
import json
import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from odenet import ResODEClassifier, ResODERegressor

DATA = {  # by name: estimator, samples and the flow time to train for
    "diabetes": (ResODERegressor, load_diabetes, 10.0),
    "breast cancer": (ResODEClassifier, load_breast_cancer, 300.0),
    "digits": (ResODEClassifier, load_digits, 300.0),
}


def measure(name, init, depth, n_samples):
    estimator, load, flow_time = DATA[name]
    X, y = load(return_X_y=True)
    X, y = X[:n_samples], y[:n_samples]
    model = estimator(
        depth, init=init, flow_time=flow_time, early_stopping=False, random_state=0
    )
    model.fit(X, y)
    ode = model.to_ode(rtol=1e-3, atol=1e-5)
    ode.predict(X)
    return {
        "depth": depth,
        "gap": model.ode_gap(X),
        "richardson": model.ode_gap(X, method="richardson"),
        "left": extrapolation_error(model, X),
        "n_evals": ode.n_evals_,
    }


def extrapolation_error(model, X):
    """Return the relative distance of 2 F_2L - F_L from the neural ODE."""

    def outputs(model):
        return getattr(model, "decision_function", model.predict)(X)

    exact = outputs(model.to_ode(rtol=1e-9, atol=1e-11, max_steps=100_000))
    extrapolated = 2 * outputs(model.with_depth(2 * model.depth_)) - outputs(model)
    return np.linalg.norm(extrapolated - exact) / np.linalg.norm(exact - exact.mean())


def slope(rows, name):
    depths, values = ([row[key] for row in rows] for key in ("depth", name))
    return np.polyfit(np.log(depths), np.log(values), 1)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one set, small depths")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*not smooth in depth")
    names, depths, n_samples = list(DATA), [16, 32, 64, 128, 256], 400
    if options.quick:
        names, depths, n_samples = ["diabetes"], [4, 8], 60

    results = []
    print("gap to the neural ODE, Richardson's estimate, error left of 2 F_2L - F_L")
    for name in names:
        for init in ("tied", "gaussian_process", "iid"):
            rows = [measure(name, init, depth, n_samples) for depth in depths]
            results.append({"data": name, "init": init, "rows": rows})
            print(f"\n{name}, {init}")
            print(
                f"{'L':>5} {'gap':>9} {'estimate':>9} {'left':>9} {'evaluations':>12}"
            )
            for row in rows:
                print(
                    f"{row['depth']:>5} {row['gap']:>9.1e} {row['richardson']:>9.1e}"
                    f" {row['left']:>9.1e} {row['n_evals']:>12}"
                )
            slopes = (
                f"{slope(rows, key):>9.2f}" for key in ("gap", "richardson", "left")
            )
            print("slope " + " ".join(slopes))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
