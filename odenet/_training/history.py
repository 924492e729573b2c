"""The history of a training as a table, with one row for every step or epoch."""

import re
from numbers import Number

import numpy as np

LEADING = (  # The columns that every history has, in the order of a table.
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
# What skorch records for its own use: rows of batches, durations, counts of batches,
# whether a loss is the best so far, and events of callbacks.
INTERNAL = re.compile(r"batches|dur|.*_batch_count|.*_best|event_.*")


def history_columns(history):
    """Return the columns of a history, with NaN where a row lacks a value.

    Parameters
    ----------
    history : list of dict
        The history of a skorch net.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_rows,)
        The leading columns first, then those that solvers and callbacks have recorded.
        "seconds" is the sum of the durations of the steps so far. "n_grad_evals" is the
        number of mini-batches so far, if the solver does not count its gradients.
    """
    rows, seconds, n_batches = [], 0.0, 0
    for row in history:
        seconds += row.get("dur", 0.0)
        n_batches += row.get("train_batch_count", 0)
        rows.append({"n_grad_evals": n_batches, **row, "seconds": seconds})
    recorded = (name for row in rows for name in row if not INTERNAL.fullmatch(name))
    names = dict.fromkeys((*LEADING, *recorded))  # A set that keeps its order.
    return {name: _column([row.get(name, np.nan) for row in rows]) for name in names}


def _column(values):
    """Return an array of numbers, or of objects if callbacks recorded anything else.

    Objects are assigned one by one, since NumPy would make lists of equal lengths a
    matrix.
    """
    if all(isinstance(value, Number) for value in values):
        return np.array(values)
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return column
