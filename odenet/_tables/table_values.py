"""Values of a table of whatever library: by column, and of which kind they are."""

from numbers import Real

import numpy as np

from odenet._utils.sklearn_private import adapter_of, is_pandas_na, safe_indexing


def is_frame(X):
    """Return whether X is a data frame, of whatever library."""
    return all(hasattr(X, name) for name in ("shape", "columns", "dtypes"))


def values_of(X, j):
    """Return a column as a list of Python's own values."""
    return np.asarray(safe_indexing(X, j, axis=1), dtype=object).tolist()


def mixed_rows(X, index):
    """Return a table of the same kind, each column of which has rows of its own.

    Parameters
    ----------
    X : data frame or ndarray of shape (n, d)
    index : ndarray of shape (n_rows, d), of int
        The rows of X that the values of every column come from.
    """
    if not is_frame(X):
        return np.take_along_axis(X, index, axis=0)
    columns = []
    for j, rows in enumerate(index.T):
        column = safe_indexing(safe_indexing(X, [j], axis=1), rows, axis=0)
        if hasattr(column, "reset_index"):  # pandas would join rows of equal labels
            column = column.reset_index(drop=True)
        columns.append(column)
    return adapter_of(X).hstack(columns)


def name_of(X, j):
    """Return what to call a column in a message: its name, or its index."""
    return repr(list(X.columns)[j]) if is_frame(X) else str(int(j))


def distinct_values(values):
    """Return the set of values, or raise for what has no hash."""
    try:
        return set(values)
    except TypeError as error:
        raise TypeError(
            f"A category must be hashable, as strings and numbers are: {error}."
        ) from error


def known_value(value):
    """Return a value of Python's own, or None for all that stands for a missing one."""
    if value is None or is_pandas_na(value) or value != value:
        return None
    return value.item() if isinstance(value, np.generic) else value


def kind_of(value):
    """Return the rank of a value's type, since numbers and texts cannot be compared."""
    return 0 if isinstance(value, Real) else 1 if isinstance(value, str) else 2
