"""The history of a training as a table: one row for every step or epoch."""

import re
from numbers import Number

import numpy as np

LEADING = (
    "role",
    "epoch",
    "depth",
    "flow_time",
    "n_grad_evals",
    "seconds",
    "train_loss",
    "valid_loss",
    "valid_score",
)
INTERNAL = re.compile(r"batches|dur|.*_batch_count|.*_best|event_.*")


def history_columns(history):
    """The columns of a history, with NaN where a row lacks a value.

    Parameters
    ----------
    history : list of dict
        Of skorch.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_rows,)
        "seconds" is the sum of those of the steps so far, and "n_grad_evals" the number
        of mini-batches so far where the solver does not count gradients.
    """
    rows, seconds, n_batches = [], 0.0, 0
    for row in history:
        seconds += row.get("dur", 0.0)
        n_batches += row.get("train_batch_count", 0)
        rows.append({"n_grad_evals": n_batches, **row, "seconds": seconds})
    names = dict.fromkeys(name for row in rows for name in row)
    others = (n for n in names if not INTERNAL.fullmatch(n) and n not in LEADING)
    return {n: _column([r.get(n, np.nan) for r in rows]) for n in (*LEADING, *others)}


def _column(values):
    """An array of numbers; of objects, if callbacks have recorded anything else."""
    if all(isinstance(value, Number) for value in values):
        return np.array(values)
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return column
