"""How near does a student come to its teacher, and do extra rows help?

The teacher is scikit-learn's histogram gradient boosting, on some rows of a table. The
student is a ResODEClassifier or ResODERegressor with default parameters, fitted by
`odenet.distil` at the same rows, and at extra rows as well, so many times as there are
rows. "score" is the accuracy or R2 on test rows; of the network beside them it is that
of a fit to the labels. "like" is the share of test rows where student and teacher say
the same label, or the R2 of the student with the teacher's predictions as targets.
Means over the seeds 0, 1 and 2 of ``train_test_split``, on one thread; seconds are
those of a fit.

Expected: extra rows bring the student nearer to its teacher. That pays where the
teacher is better than the network, and costs where it is worse.

Run:  python benchmarks/distillation.py [--rows 1000] [--swaps 0.3] [--quick]
                                        [--json FILE]
"""

import warnings
from time import perf_counter

import torch
from _report import averaged, describe, machine, parse_options, save
from _tables import BUNDLED, available, load
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from odenet import ResODEClassifier, ResODERegressor, distil
from odenet._estimators import distillation

TABLES = (
    "pmlb_phoneme",
    "pmlb_satimage",
    "adult",
    "uci_concrete",
    "uci_wine-red",
    "california_housing",
    "breast_cancer",
    "diabetes",
)
MODELS = {
    "classification": (HistGradientBoostingClassifier, ResODEClassifier),
    "regression": (HistGradientBoostingRegressor, ResODERegressor),
}
TIMES = (0, 1, 4)  # as many extra rows as rows
MOST_TEST_ROWS = 4000


def measure(table, seed, n_rows, depth):
    """Return scores, and likeness to the teacher, by who predicts and of what."""
    X, X_test, y, y_test = train_test_split(table.X, table.y, random_state=seed)
    X, y = X[:n_rows], y[:n_rows]
    X_test, y_test = X_test[:MOST_TEST_ROWS], y_test[:MOST_TEST_ROWS]
    make_teacher, make_network = MODELS[table.task]
    teacher = make_teacher(random_state=seed).fit(X, y)
    network = make_network(depth, random_state=seed)
    found = {"teacher score": teacher.score(X_test, y_test)}
    said = teacher.predict(X_test)

    def record(name, fit):
        begin = perf_counter()
        model = fit()
        found[f"{name} seconds"] = perf_counter() - begin
        found[f"{name} score"] = model.score(X_test, y_test)
        found[f"{name} like"] = model.score(X_test, said)

    record("network", lambda: network.fit(X, y))
    for times in TIMES:
        settings = {"n_augmented": times * len(X), "random_state": seed}
        record(
            f"student +{times}",
            lambda settings=settings: distil(teacher, X, student=network, **settings),
        )
    return found


def main():
    numbers = {
        "rows": (1000, "rows of the teacher"),
        "swaps": (distillation.SWAPS, "probability that a column is swapped"),
    }
    options = parse_options(__doc__, numbers)
    distillation.SWAPS = options.swaps
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick = options.quick
    depth, seeds = (2, [0]) if quick else (64, [0, 1, 2])
    n_rows = 120 if quick else options.rows
    names = [t for t in TABLES if t in BUNDLED or (t in available() and not quick)]
    about = machine(quick)
    print(f"{describe(about)}\nmeans of {len(seeds)} seeds, {n_rows} rows or fewer")
    who = ["network", *(f"student +{times}" for times in TIMES)]
    print(f"{'':<19}{'teacher':>8}" + "".join(f"{name:>20}" for name in who))
    columns = f"{'score':>8}{'like':>7}{'s':>5}"
    print(f"{'table':<19}{'score':>8}" + columns * len(who))
    results = []
    with threadpool_limits(1):
        for name in names:
            table = load(name)
            found = averaged([measure(table, s, n_rows, depth) for s in seeds])
            results.append({"table": name, **found})
            line = f"{name:<19}{found['teacher score']:>8.4f}"
            for model in who:
                score, like, seconds = (
                    found[f"{model} {what}"] for what in ("score", "like", "seconds")
                )
                line += f"{score:>8.4f}{like:>7.3f}{seconds:>5.0f}"
            print(line, flush=True)
    save(options, {"machine": about, "results": results})


if __name__ == "__main__":
    main()
