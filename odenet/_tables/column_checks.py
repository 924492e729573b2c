"""Columns that cannot be what they are taken for: errors, and what to warn of."""

import re
from datetime import date, time, timedelta

import numpy as np

from odenet._tables.table_values import (
    distinct_values,
    is_frame,
    kind_of,
    known_value,
    name_of,
    values_of,
)

# Names of dtypes of dates and times, and the types of such values among objects.
TIMES = re.compile(r"datetime|timedelta|period|date|time|duration")
TYPES_OF_TIMES = (date, time, timedelta, np.datetime64, np.timedelta64)
# A column of texts is told of from such a share of its values on that are numbers, or
# of its rows that have a category of their own: round values.
MOSTLY = 0.5
FEWEST_TOLD_OF = 20  # categories: of few, the data are too few to tell anything


def notices_of(columns, X, n_rows=None):
    """Return what a user is to be told of columns that were taken as categories.

    Parameters
    ----------
    columns : Columns
    X : data frame or array-like
        The table that they were found in, or some of its rows.
    n_rows : int, default=None
        The number of its rows, if X has only some of them.

    Returns
    -------
    notices : list of str
    """
    found, singular = [], []
    for j, categories in columns.categories.items():
        n, has_texts = len(categories), any(isinstance(c, str) for c in categories)
        if n < FEWEST_TOLD_OF or not has_texts:
            continue
        others = [c for c in categories if not _is_number(c)]
        if len(others) < (1 - MOSTLY) * n:
            missing = f" such as {others[0]!r}" if others else ""
            found.append(
                f"The column {name_of(X, j)} is taken as categories, since it holds "
                f"texts, but {n - len(others)} of its {n} values are numbers. If it is "
                "a column of numbers, convert it, with NaN and `allow_nan=True` for "
                f"what is missing{missing}."
            )
        elif n > MOSTLY * (n_rows or len(X)):
            singular.append(f"{name_of(X, j)} ({n})")
    if singular:
        found.append(
            f"These columns have nearly as many categories as the table has rows, "
            f"{n_rows or len(X)}: {', '.join(singular)}. What is learnt of so rare "
            "categories tells little of others. If a column identifies rows, leave it "
            "out; if it holds dates, make numbers of them."
        )
    return found


def check_numbers(columns, X):
    """Raise for dates and times among the columns that are to hold numbers.

    As numbers they would depend on the library and on a unit that nobody has chosen.
    """
    dtypes = X.dtypes if is_frame(X) else [X.dtype] * X.shape[-1]
    for j, dtype in enumerate(str(dtype).lower() for dtype in dtypes):
        if j in columns.categories:
            continue
        holds_times = dtype == "object" and any(
            isinstance(value, TYPES_OF_TIMES) for value in values_of(X, j)
        )
        if holds_times or TIMES.match(dtype):
            raise ValueError(
                f"The column {name_of(X, j)} holds dates or times, dtype {dtype}. Turn "
                "it into numbers of a unit of your choice, such as days since a date, "
                "or into parts, such as month and weekday; or name it in "
                "`categorical_features`."
            )


def column_of_texts(columns, X):
    """Return the name of the first column of texts that is to hold numbers, or None."""
    if not hasattr(X, "shape") or len(X.shape) != 2:
        return None
    for j in range(X.shape[1]):
        if j not in columns.categories and not all(map(_is_number, values_of(X, j))):
            return name_of(X, j)
    return None


def _is_number(value):
    """Tell whether a value is a number, or a text that can be read as one."""
    try:
        float(value)
    except (TypeError, ValueError):
        return value is None
    return True


def check_kind(values, categories, name):
    """Raise where a column holds numbers and training has met texts, or the reverse.

    All of its categories would be unknown.
    """
    known = {kind_of(category) for category in categories if category is not None}
    met = {
        kind_of(v) for v in map(known_value, distinct_values(values)) if v is not None
    }
    words = {0: "numbers", 1: "texts"}
    if len(met) == len(known) == 1 and met != known and met | known == {0, 1}:
        raise ValueError(
            f"The column {name} of categories holds {words[met.pop()]} here, but "
            f"{words[known.pop()]} in training: no category would be known. Read it "
            "with the same dtype."
        )
