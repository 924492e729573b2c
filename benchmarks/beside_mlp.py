"""What do fit and predict cost beside scikit-learn's perceptron, at equal score?

The data sets are those that come with scikit-learn, Friedman-1 with 2000 samples and,
from the folder ODENET_DATA, 4000 rows of the Californian houses, all standardised.
Every estimator uses as many threads as it wants. For each set:

MLP       the perceptron with default settings and max_iter=1000, its target
          standardised as well
odenet    the estimator with default settings, but at depth 16
equal     the first of the flow times 1, 3, 10, ..., 300 at which a fit to it (without
          early stopping) has at least the perceptron's test score, and the seconds of
          this fit ("-" if none has)

Scores are accuracies, or R2 (diabetes, Friedman-1, California), on one split. The flow
time of the row "equal" is found by the test score. That gives no advantage in seconds,
but it is no way to choose a flow time. "predict" is the median number of milliseconds
for the test samples.

Expected: the scores are similar. At equal score, a fit takes a few seconds at most.

Run:  python benchmarks/beside_mlp.py [--quick] [--json FILE] [--png FILE]
"""

import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _report import (
    alternate,
    cell,
    describe,
    machine,
    parse_options,
    save,
    seconds_per_call,
)
from sklearn import datasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import ResODEClassifier, ResODERegressor

# A grid wide enough to hold the best flow time of every set.
FLOW_TIMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def load_all():
    """Yield the name of every set, whether it has classes, and its samples."""
    yield "digits", True, datasets.load_digits(return_X_y=True)
    yield "breast cancer", True, datasets.load_breast_cancer(return_X_y=True)
    yield "diabetes", False, datasets.load_diabetes(return_X_y=True)
    friedman = datasets.make_friedman1(2000, noise=1.0, random_state=0)
    yield "Friedman-1", False, friedman
    path = Path(os.environ.get("ODENET_DATA", ""), "california_housing.npz")
    if path.exists():
        with np.load(path) as arrays:
            X, y = arrays["X"].astype(float), arrays["y"].astype(float)
        rows = np.random.default_rng(0).permutation(len(y))[:4000]
        yield "California", False, (X[rows], y[rows])


def make_odenet(classify, depth, **settings):
    estimator = ResODEClassifier if classify else ResODERegressor
    model = estimator(depth, random_state=0, **settings)
    return make_pipeline(StandardScaler(), model)


def make_mlp(classify, max_iter):
    if classify:
        mlp = MLPClassifier(max_iter=max_iter, random_state=0)
    else:
        mlp = MLPRegressor(max_iter=max_iter, random_state=0)
        mlp = TransformedTargetRegressor(mlp, transformer=StandardScaler())
    return make_pipeline(StandardScaler(), mlp)


def fit(model, X_train, X_test, y_train, y_test):
    """Fit a model, and return the seconds and the test score."""
    seconds = seconds_per_call(partial(model.fit, X_train, y_train))
    return {"fit": seconds, "score": model.score(X_test, y_test)}


def fit_to_score(score, classify, depth, flow_times, split):
    """Return the fit with the first flow time that scores at least as much."""
    for flow_time in flow_times:
        model = make_odenet(classify, depth, flow_time=flow_time, early_stopping=False)
        result = fit(model, *split)
        if result["score"] >= score:
            return {**result, "flow_time": flow_time}
    return {"fit": None, "score": None, "flow_time": None}


def compare(classify, X, y, depth, max_iter, flow_times):
    """Compare the models on one data set."""
    split = train_test_split(X, y, random_state=0)
    models = {
        "mlp": make_mlp(classify, max_iter),
        "odenet": make_odenet(classify, depth),
    }
    result = {name: fit(model, *split) for name, model in models.items()}
    turns = {
        name: partial(seconds_per_call, partial(model.predict, split[1]), 0.01)
        for name, model in models.items()
    }
    for name, seconds in alternate(turns).items():
        result[name]["predict"] = seconds
    score = result["mlp"]["score"]
    result["equal"] = fit_to_score(score, classify, depth, flow_times, split)
    return result


def show(name, result):
    mlp, odenet, equal = (result[k] for k in ("mlp", "odenet", "equal"))
    for part in (mlp, odenet):
        part["ms"] = 1e3 * part["predict"]
    parts = [
        f"{p['score']:>6.3f} {p['fit']:>7.2f} {p['ms']:>8.2f}" for p in (mlp, odenet)
    ]
    print(
        f"{name:<14} {parts[0]} | {parts[1]} | {cell(equal['flow_time'], 6, 0)} "
        f"{cell(equal['fit'], 7, 2)} {cell(equal['score'], 6, 3)}",
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    for name in ("mlp", "odenet", "equal"):
        values = [row[name]["fit"] or np.nan for row in results["data"].values()]
        axis.semilogy(list(results["data"]), values, "o", label=name)
    axis.set_ylabel("seconds of a fit")
    axis.legend()


def main():
    options = parse_options(__doc__)
    depth, max_iter, flow_times, n_samples = 16, 1000, FLOW_TIMES, None
    if options.quick:
        depth, max_iter, flow_times, n_samples = 2, 5, FLOW_TIMES[:1], 60
    warnings.simplefilter("ignore")  # the perceptron's own convergence warnings
    results = {"machine": machine(options.quick), "data": {}}
    print(describe(results["machine"]))
    make_odenet(False, 2, flow_time=0.1).fit(np.eye(9), np.arange(9))  # a warm-up
    print(
        f"{'':<14} {'MLP':<23} | {'odenet':<23} | equal score\n"
        f"{'':<14} {'score':>6} {'fit s':>7} {'predict':>8} | {'score':>6} "
        f"{'fit s':>7} {'predict':>8} | {'time':>6} {'fit s':>7} {'score':>6}"
    )
    for name, classify, (X, y) in load_all():
        X, y = X[:n_samples], y[:n_samples]
        result = compare(classify, X, y, depth, max_iter, flow_times)
        show(name, result)
        results["data"][name] = result
    save(options, results, draw)


if __name__ == "__main__":
    main()
