"""What do five networks gain over one, and what do they cost?

One network and five members, with the same seed, on the first rows of a shuffled table:
R2, or accuracy and log loss, on test rows, and the ratio of the seconds of both fits,
which are alternated. Each of the five holds out a fold of its own where samples are
held out; the single network holds out a part, or has its flow time chosen on folds and
is trained on all rows then. Means over the seeds; on one thread.

Expected: five are better on nearly all tables, most where they differ. Up to 500 rows
they take at most 2.5 times the seconds, since the folds that choose a flow time are
trained in any case; above, at most five times.

Run:  python benchmarks/members.py [--rows 2000] [--quick] [--json FILE]
"""

import warnings
from statistics import mean, median
from time import perf_counter

import torch
from _report import describe, machine, parse_options, save
from _tables import BUNDLED, SETS, available, load
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier, ResODERegressor

N_MEMBERS = 5
TOO_LARGE = {"covertype_100k", "adult"}  # tables of a hundred thousand rows, or wide
TABLES = (*(name for name in SETS if name not in TOO_LARGE), *BUNDLED)


def splits(table, n_rows, seed):
    """Return training and test rows: at most so many to train, 2000 to test."""
    stratify = None if table.task == "regression" else table.y
    n = min(n_rows, 3 * len(table.y) // 4)
    return train_test_split(
        table.X,
        table.y,
        train_size=n,
        test_size=min(2000, len(table.y) - n),
        stratify=stratify,
        random_state=seed,
    )


def measure(table, n_rows, seed, depth):
    """Return scores and seconds by the number of members."""
    X, X_test, y, y_test = splits(table, n_rows, seed)
    is_regression = table.task == "regression"
    kind = ResODERegressor if is_regression else ResODEClassifier
    found = {}
    for n_members in (1, N_MEMBERS):
        model = kind(depth, n_members=n_members, random_state=seed)
        begin = perf_counter()
        model.fit(X, y)
        row = {"seconds": perf_counter() - begin, "score": model.score(X_test, y_test)}
        if not is_regression:
            probabilities = model.predict_proba(X_test)
            row["log loss"] = log_loss(y_test, probabilities, labels=model.classes_)
        found[n_members] = row
    return found


def main():
    options = parse_options(__doc__, {"rows": (2000, "rows to train with")})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick, about = options.quick, machine(options.quick)
    depth, seeds, n_rows = (2, [0], 120) if quick else (64, [0, 1, 2], options.rows)
    present = set(available()) | set(BUNDLED)
    names = ("diabetes", "wine") if quick else [t for t in TABLES if t in present]
    print(f"{describe(about)}\n{'table':<22}{'rows':>6}{'score 1':>9}{'5':>8}", end="")
    print(f"{'log loss 1':>12}{'5':>8}{'seconds 1':>11}{'ratio':>7}")
    results = []
    for name in names:
        table = load(name)
        runs = [measure(table, n_rows, seed, depth) for seed in seeds]
        row = {"table": name, "rows": min(n_rows, 3 * len(table.y) // 4)}
        for key in runs[0][1]:
            for n in (1, N_MEMBERS):
                row[f"{key} {n}"] = mean(run[n][key] for run in runs)
        row["ratio"] = median(
            run[N_MEMBERS]["seconds"] / run[1]["seconds"] for run in runs
        )
        results.append(row)
        losses = "".join(
            f"{row[key]:>{width}.4f}" if key in row else f"{'-':>{width}}"
            for key, width in (("log loss 1", 12), ("log loss 5", 8))
        )
        print(
            f"{name:<22}{row['rows']:>6}{row['score 1']:>9.4f}{row['score 5']:>8.4f}"
            f"{losses}{row['seconds 1']:>11.1f}{row['ratio']:>7.2f}",
            flush=True,
        )
    better = sum(row["score 5"] > row["score 1"] for row in results)
    print(f"better scores of five members on {better} of {len(results)} tables")
    save(options, {"machine": about, "results": results})


if __name__ == "__main__":
    main()
