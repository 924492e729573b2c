"""How good are the estimators on tables, beside what else one would take?

The tables have test scores, seconds and ranks of these models: odenet with default
settings, with five members ("odenet 5"), and its search along the path ("odenet CV", on
sets of at most 2000 training rows); a dummy (mean or majority); ridge or logistic
regression ("linear"); scikit-learn's perceptron with early stopping ("MLP") and with
1000 iterations; its HistGradientBoosting; and, if they are installed, XGBoost,
LightGBM, CatBoost, and the networks of pytabkit: RealMLP-TD, its small variant
RealMLP-TD-S, and the ensemble TabM-D. Beside them stand published scores, which come
from other protocols.

The data are the 19 tables of the folder ODENET_DATA, or without it those that
scikit-learn has or fetches. The splits are the standard ones if there are any (uci_*;
the test rows of adult), otherwise five of 80/20. Scores are accuracies, or root mean
squared errors in units of the target. Classifiers also have log loss and Brier score. A
standard error is that of the mean over splits. These share samples, so that it is only
a scale, and not a test.

All models run with default settings, on one thread, and with the number of the split as
seed. The perceptron and the linear model see standardised columns and one-hot
categories; odenet and the trees see the raw table. The perceptron's target is
standardised as well, because it would lose by the units of the target alone.

Ranks compare means over the splits that all ranked models have, by the score, and on
classes by the log loss as well. Two mean ranks that differ by less than the critical
difference (Nemenyi, 5 %) are not told apart. A model that has failed, or lacks a set,
is not ranked. Wins are the sets on which odenet's mean is better than another model's,
of those that both have; a tie is half a win.

Seconds are those of the processor. On one thread they are the seconds that pass on an
idle machine, and other work beside it changes them less.

Every result is a line in the file of results, and is not computed again. After an
interruption, start the script again. After a change of the code, start it with another
file. Processes that share the work write to the same file or to several:

    python benchmarks/tabular.py --part 1/2 --results a.jsonl
    python benchmarks/tabular.py --part 2/2 --results b.jsonl
    python benchmarks/tabular.py --table --results a.jsonl b.jsonl

Expected: trees and RealMLP are in front; odenet is no worse than the better perceptron.

Run:  python benchmarks/tabular.py [--quick] [--json FILE] [--png FILE]
"""

import argparse
import json
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import torch
from _comparison import OWN, PERCEPTRONS, draw, show
from _report import describe, machine, progress, save
from _tables import available, load
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, root_mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import odenet

# The packages of models that may be missing.
PACKAGES = {
    "XGBoost": "xgboost",
    "LightGBM": "lightgbm",
    "CatBoost": "catboost",
    "RealMLP": "pytabkit",
    "RealMLP-S": "pytabkit",
    "TabM": "pytabkit",
}
# Those that make no short fit.
SLOW = {"RealMLP", "RealMLP-S", "TabM"}
MODELS = (*OWN, "dummy", "linear", *PERCEPTRONS, "HistGB", *PACKAGES)
# The sets and the most rows of a quick run.
QUICK_SETS, QUICK_ROWS = ("diabetes", "wine"), 150
# The least probability in the log loss of all models. A single zero would make it
# infinite.
LEAST_PROBABILITY = 1e-15
# The fitted attributes that are recorded.
FACTS = ("depth_", "flow_time_", "n_iter_", "n_grad_evals_", "stop_reason_")


# Models


def make_models(table, seed, quick=False):
    """Return functions that make the estimators, by name."""
    classify = table.task == "classification"
    trees = (
        HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
    )
    linear = LogisticRegression(max_iter=1000) if classify else RidgeCV()
    return {
        "odenet": partial(make_odenet, table, seed, quick),
        "odenet 5": partial(make_odenet, table, seed, quick, n_members=5),
        "odenet CV": partial(make_odenet_cv, table, seed, quick),
        "dummy": DummyClassifier if classify else DummyRegressor,
        "linear": partial(prepared, table, linear),
        "MLP": partial(make_mlp, table, seed, early_stopping=True),
        "MLP 1000": partial(make_mlp, table, seed, max_iter=1000),
        "HistGB": partial(trees, random_state=seed),
        "XGBoost": partial(make_xgboost, classify, seed),
        "LightGBM": partial(make_lightgbm, classify, seed),
        "CatBoost": partial(make_catboost, table, seed),
        "RealMLP": partial(make_pytabkit, "RealMLP_TD", classify, seed),
        "RealMLP-S": partial(make_pytabkit, "RealMLP_TD_S", classify, seed),
        "TabM": partial(make_pytabkit, "TabM_D", classify, seed),
    }


def make_odenet(table, seed, quick, n_members=1):
    classify = table.task == "classification"
    estimator = odenet.ResODEClassifier if classify else odenet.ResODERegressor
    small = {"depth": 2, "flow_time": 1.0} if quick else {}
    return estimator(n_members=n_members, random_state=seed, **small)


def make_odenet_cv(table, seed, quick):
    classify = table.task == "classification"
    estimator = odenet.ResODEClassifierCV if classify else odenet.ResODERegressorCV
    small = {"depths": [2], "flow_times": [1.0, 2.0], "cv": 2} if quick else {}
    return estimator(random_state=seed, **small)


def make_mlp(table, seed, **settings):
    if table.task == "classification":
        return prepared(table, MLPClassifier(random_state=seed, **settings))
    mlp = MLPRegressor(random_state=seed, **settings)
    mlp = TransformedTargetRegressor(mlp, transformer=StandardScaler())
    return prepared(table, mlp)


def prepared(table, model):
    """Put standardised columns and one-hot categories before a model."""
    if not table.has_categories:
        return make_pipeline(StandardScaler(), model)
    one_hot = OneHotEncoder(
        drop="if_binary", handle_unknown="ignore", sparse_output=False
    )
    columns = make_column_transformer(
        (one_hot, make_column_selector(dtype_include="category")),
        remainder=StandardScaler(),
    )
    return make_pipeline(columns, model)


def make_xgboost(classify, seed):
    from xgboost import XGBClassifier, XGBRegressor

    estimator = XGBClassifier if classify else XGBRegressor
    return estimator(enable_categorical=True, n_jobs=1, random_state=seed)


def make_lightgbm(classify, seed):
    from lightgbm import LGBMClassifier, LGBMRegressor

    estimator = LGBMClassifier if classify else LGBMRegressor
    return estimator(n_jobs=1, random_state=seed, verbose=-1)


def make_catboost(table, seed):
    from catboost import CatBoostClassifier, CatBoostRegressor

    classify = table.task == "classification"
    estimator = CatBoostClassifier if classify else CatBoostRegressor
    return estimator(
        thread_count=1,
        random_seed=seed,
        verbose=False,
        allow_writing_files=False,
        cat_features=table.categories or None,
    )


def make_pytabkit(name, classify, seed):
    import pytabkit

    estimator = getattr(pytabkit, f"{name}_{'Classifier' if classify else 'Regressor'}")
    return estimator(device="cpu", n_threads=1, random_state=seed)


# Measurements


def measure(make, table, split, quick):
    """Return the scores and seconds of one fit, or its error, and its warnings."""
    train, test = (rows[: QUICK_ROWS if quick else None] for rows in split)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = fit_and_score(make(), table.rows(train), table.rows(test))
        except Exception as error:  # any: the row of results tells it
            result = {"error": f"{type(error).__name__}: {error}"}
    names = sorted({warning.category.__name__ for warning in caught})
    return {"n_train": len(train), **result, "warnings": names}


def fit_and_score(model, train, test):
    start = process_time()
    model.fit(*train)
    seconds, start = process_time() - start, process_time()
    predicted = np.ravel(model.predict(test[0]))
    times = {"seconds": seconds, "predict_seconds": process_time() - start}
    scores = classification_scores if test[1].dtype.kind == "i" else regression_scores
    return {**scores(model, *test, predicted), **times, **facts(model)}


def regression_scores(model, X, y, predicted):
    return {"score": float(root_mean_squared_error(y, predicted))}


def classification_scores(model, X, y, predicted):
    score = {"score": float(accuracy_score(y, predicted))}
    if not hasattr(model, "predict_proba"):
        return score
    n_classes = 1 + max(y.max(), model.classes_.max())
    probabilities = np.zeros((len(y), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(X)
    likelihoods = probabilities[np.arange(len(y)), y].clip(LEAST_PROBABILITY)
    squares = (probabilities - np.eye(n_classes)[y]) ** 2
    return {
        **score,
        "log_loss": float(-np.log(likelihoods).mean()),
        "brier": float(squares.sum(axis=1).mean()),
    }


def facts(model):
    """Return what a fitted estimator of odenet says of itself; nothing for others."""
    if not hasattr(model, "depth_smoothness_"):
        return {}
    return {
        **{name.rstrip("_"): getattr(model, name, None) for name in FACTS},
        "von_neumann_ratio": float(model.depth_smoothness_.von_neumann_ratio),
        "solver": str(getattr(model, "solver_", model.solver)),
        "odenet": odenet.__version__,
    }


# Pieces of work and their results


def share_of_work(tables, models, options):
    """Return the splits, sets and models of this part, a share of every model.

    All models of one set and split follow each other, so that they find the machine in
    about the same state.
    """
    pieces = [
        (split, name, model)
        for model in models
        for name, table in tables.items()
        for split, (train, _) in enumerate(table.splits[: options.splits])
        if model != "odenet CV" or len(train) <= options.cv_rows
    ]
    part, n_parts = options.part
    order = list(tables)
    return sorted(
        pieces[part - 1 :: n_parts], key=lambda piece: (piece[0], order.index(piece[1]))
    )


def run(pieces, tables, files, quick):
    """Compute the pieces that no file has yet, and append them to the first file."""
    done = read(files)
    end_line(files[0])
    left = [p for p in pieces if (p[1], p[2], p[0]) not in done]
    for split, name, model in progress(left, "fits"):
        table = tables[name]
        make = make_models(table, split, quick)[model]
        row = {"data": name, "model": model, "split": split, "task": table.task}
        row |= measure(make, table, table.splits[split], quick)
        with open(files[0], "a") as file:
            file.write(json.dumps(row, default=np.generic.item) + "\n")
        outcome = row.get("error") or f"{row['score']:.4g} in {row['seconds']:.2f} s"
        tqdm.write(f"{name}, split {split}, {model}: {outcome}")


def end_line(file):
    """End the last line of a file, which an interruption may have cut off."""
    if Path(file).exists() and not Path(file).read_text().endswith("\n"):
        with open(file, "a") as stream:
            stream.write("\n")


def read(files):
    """Read rows of results by set, model and split, without lines that are cut off."""
    rows = {}
    for line in "\n".join(
        Path(file).read_text() for file in files if Path(file).exists()
    ).splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["data"], row["model"], row["split"]] = row
    return rows


# The command


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="small and short")
    add("--json", help="file for rows, ranks and summary")
    add("--png", help="file for the figure of the mean ranks")
    add("--results", nargs="+", help="JSON lines to read; new ones go to the first")
    add("--models", nargs="+", choices=MODELS, default=MODELS)
    add("--data", nargs="+", help="names of sets")
    add("--splits", type=int, help="at most so many splits of every set")
    add("--cv-rows", type=int, default=2000, help="most training rows of odenet CV")
    add("--part", type=part, default=(1, 1), help="I/N: do only every N-th piece")
    add("--table", action="store_true", help="run nothing, print what is there")
    return parser.parse_args()


def part(text):
    """Parse the numbers of "I/N"."""
    i, n = map(int, text.split("/"))
    if not 1 <= i <= n:
        raise argparse.ArgumentTypeError(f"I of I/N must be in 1 ... N, got {text}.")
    return i, n


def load_all(names):
    """Load tables by name, and print which cannot be loaded."""
    tables = {}
    for name in names:
        try:
            tables[name] = load(name)
        except (OSError, ValueError) as error:
            print(f"{name}: cannot be loaded ({error}), skipped")
    return tables


def installed(models, quick):
    """Return the models whose packages are installed, and print which are not."""
    found = []
    for model in models:
        if model in PACKAGES and find_spec(PACKAGES[model]) is None:
            print(f"{model}: {PACKAGES[model]} is not installed, skipped")
        elif not (quick and model in SLOW):
            found.append(model)
    return found


def compute(options, files):
    """Compute all results that are asked for and not there yet; return the machine."""
    torch.set_num_threads(1)
    here = machine(options.quick)
    print(describe(here))
    tables = load_all(options.data or (QUICK_SETS if options.quick else available()))
    models = installed(options.models, options.quick)
    if options.quick:
        options.splits = 1
    odenet.ResODERegressor(2, flow_time=0.1).fit(np.eye(9), np.arange(9))  # a warm-up
    with threadpool_limits(1):
        run(share_of_work(tables, models, options), tables, files, options.quick)
    return here


def main():
    options = parse_options()
    with TemporaryDirectory() as folder:
        default = Path(folder, "x.jsonl") if options.quick else "tabular.jsonl"
        files = options.results or [default]
        here = None if options.table else compute(options, files)
        rows = read(files)
    results = {"machine": here, "rows": list(rows.values()), **show(rows, MODELS)}
    save(options, results, draw)


if __name__ == "__main__":
    main()
