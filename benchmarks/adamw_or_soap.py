"""Where is SOAP better than AdamW, and does it keep the network smooth in depth?

Both solvers, and SOAP without the learned scales of inputs ("bare"), without any decay
("free"), with that of bins alone ("bins"), and turning at most 512 columns of A
("short") or 2048 however many samples there are ("long"), are fitted to the first
splits of the tables of ODENET_DATA (``--table`` chooses one, and ``--solver`` one of
the seven), everything else default: test scores (root mean squared errors, or
accuracies and log losses), seconds of the processor on one thread, epochs, the von
Neumann ratio of the weights, which is about 1 where layers are independent, and the gap
to the neural ODE on up to 500 test rows. Without the folder, two tables of
scikit-learn.

Expected: where numbers are predicted SOAP's error is lower than AdamW's, but on
wine-red; on energy and naval by far. Decay lowers it on most tables, on protein by far,
in more epochs. Without the decay of V and W the network of protein is no longer near
its neural ODE. To turn more columns of A lowers the error on naval by far and on most
other tables a little, but raises it on protein. Of classes AdamW is mostly ahead: there
the score is limited by what the samples tell and not by how well they are fitted.
SOAP's networks are as smooth in depth as AdamW's, and on covertype far nearer to their
neural ODE.

Run:  python benchmarks/adamw_or_soap.py [--table NAME] [--rows 0] [--solver NAME]
          [--splits 1] [--quick] [--json FILE]
"""

import os
import warnings
from contextlib import nullcontext
from time import process_time
from unittest.mock import patch

import torch
from _report import averaged, describe, machine, parse_options, save
from _tables import load
from sklearn.metrics import log_loss, root_mean_squared_error

from odenet import ResODEClassifier, ResODERegressor
from odenet._optim import depth_soap
from odenet.solvers import SOAP, _adamw

SOLVERS = ("adamw", "soap", "bare", "free", "bins", "short", "long")
OWN = {
    "free": SOAP(weight_decay=0.0),
    "short": SOAP(longest_side=512),
    "long": SOAP(longest_side=2048),
}
TABLES = (
    "uci_energy",
    "uci_concrete",
    "uci_wine-red",
    "pmlb_phoneme",
    "pmlb_satimage",
    "uci_kin8nm",
    "uci_power-plant",
    "uci_naval",
    "pmlb_magic",
    "pmlb_letter",
    "california_housing",
    "adult",
    "uci_protein",
    "covertype_100k",
)
BUNDLED = ("diabetes", "breast_cancer")
N_ROWS_OF_A_GAP = 500


def as_asked(name):
    """Return the solver of a name of SOLVERS, and the context in which it is that."""
    if name == "bare":
        no_scales = patch.object(depth_soap, "scaled_columns", lambda *_: nullcontext())
        return "soap", no_scales
    if name == "bins":
        return "soap", patch.object(_adamw, "OF_LAYERS", 0.0)
    return OWN.get(name, name), nullcontext()


def measure(table, split, most_rows, solver, settings):
    """Return the numbers of one fit, whose seed is the number of the split."""
    train, test = table.splits[split]
    train, test = table.rows(train[:most_rows]), table.rows(test)
    is_regression = table.task == "regression"
    kind = ResODERegressor if is_regression else ResODEClassifier
    solver, changes = as_asked(solver)
    model = kind(solver=solver, random_state=split, **settings)
    begin = process_time()
    with changes:
        model.fit(*train)
    seconds, (X, y) = process_time() - begin, test
    found = {
        "score": root_mean_squared_error(y, model.predict(X))
        if is_regression
        else model.score(X, y),
        "seconds": seconds,
        "epochs": model.n_iter_,
        "ratio": model.depth_smoothness_.von_neumann_ratio,
        "gap": model.ode_gap(X[:N_ROWS_OF_A_GAP]),
    }
    if not is_regression:
        probabilities = model.predict_proba(X)
        found["log loss"] = log_loss(y, probabilities, labels=model.classes_)
    return found


def main():
    options = parse_options(
        __doc__,
        {
            "splits": (1, "splits of every table"),
            "rows": (0, "the most training rows of every table; 0 is all"),
            "table": ("", "a single table"),
            "solver": ("", f"one of {', '.join(SOLVERS)}"),
        },
    )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of training that could go on
    quick, about = options.quick, machine(options.quick)
    most_rows = options.rows or None
    names = TABLES if os.environ.get("ODENET_DATA") and not quick else BUNDLED
    settings = {"depth": 2, "width": 8} if quick else {}
    print(describe(about))
    print(f"{'table':<20}{'rows':>7} {'':<6}{'score':>10}{'log loss':>10}", end="")
    print(f"{'seconds':>9}{'epochs':>8}{'ratio':>8}{'gap':>8}")
    results = []
    for name in [options.table] if options.table else names:
        table = load(name)
        n_rows = len(table.splits[0][0][:most_rows])
        for solver in [options.solver] if options.solver else SOLVERS:
            runs = [
                measure(table, split, most_rows, solver, settings)
                for split in range(options.splits)
            ]
            row = averaged(runs)
            results.append({"table": name, "rows": n_rows, "solver": solver, **row})
            loss = f"{row['log loss']:.4f}" if "log loss" in row else "-"
            print(
                f"{name:<20}{n_rows:>7} {solver:<6}{row['score']:>10.5f}{loss:>10}"
                f"{row['seconds']:>9.1f}{row['epochs']:>8.0f}{row['ratio']:>8.4f}"
                f"{row['gap']:>8.4f}",
                flush=True,
            )
    save(options, {"machine": about, "results": results})


if __name__ == "__main__":
    main()
