"""Rows of a training set: repeated ones merged, and a split that keeps them together.

A fit sees distinct rows with their total weights, in an order that depends on what the
rows hold and not on where they stood. So a weight of 2 is a repetition to the last bit.
"""

import numpy as np


def merge_repeated(X, y, weight, seed):
    """Distinct rows in a pseudo-random order, each with its total weight.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        With NaN equal to NaN.
    y : ndarray of shape (n,) or (n, k)
    weight : ndarray of shape (n,)
        Positive.
    seed : int
        Determines the order.

    Returns
    -------
    X, y, weight
        With one row for every distinct row of (X, y).
    """
    rows = np.column_stack([X, y]).astype(np.float64) + 0.0  # no negative zeros
    rows[np.isnan(rows)] = np.nan  # one and the same in its bits
    order = np.argsort(_row_keys(rows, seed), kind="stable")
    bits = rows[order].view(np.uint64)
    is_first = np.concatenate([[True], (bits[1:] != bits[:-1]).any(axis=1)])
    first = order[is_first]
    return X[first], y[first], np.add.reduceat(weight[order], np.flatnonzero(is_first))


def _row_keys(rows, seed):
    """A pseudo-random 64-bit integer for every row, equal for equal rows."""
    bits = np.ascontiguousarray(rows).view(np.uint64)
    keys = np.full(len(rows), seed, dtype=np.uint64)
    for column in bits.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def validation_mask(weight, fraction, strata=None):
    """Rows to validate on: about a fraction of the weight of every stratum.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        Rows must be in random order, as from :func:`merge_repeated`.
    fraction : float
        Between 0 and 1, exclusive.
    strata : ndarray of shape (n,), default=None
        Labels of strata. Every stratum keeps a row to train on.

    Returns
    -------
    mask : ndarray of bool of shape (n,)
    """
    strata = np.zeros(len(weight)) if strata is None else strata
    mask = np.zeros(len(weight), dtype=bool)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        mass = np.cumsum(weight[members])
        n_chosen = 1 + np.searchsorted(mass, fraction * mass[-1])
        mask[members[: min(n_chosen, len(members) - 1)]] = True
    return mask
