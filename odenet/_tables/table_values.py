"""Values of a table of whatever library: by column, and of which kind they are."""

from numbers import Real

import numpy as np

from odenet._utils.sklearn_private import is_pandas_na, safe_indexing


def is_frame(X):
    """Return whether X is a data frame, of whatever library."""
    return all(hasattr(X, name) for name in ("shape", "columns", "dtypes"))


def values_of(X, j):
    """Return a column as a list of Python's own values."""
    return np.asarray(safe_indexing(X, j, axis=1), dtype=object).tolist()


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
