"""The memory that a fit may use for the rows of a table, and how it is shared."""

import re
from math import ceil
from numbers import Integral

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
SIZE = re.compile(r"\s*([0-9.]+)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
NUMBER = 8  # bytes of a float64

# How many copies of its rows, in float64, a step makes at most: a block that is read,
# hashed and dealt out; a part that is sorted and merged; a sample of which the scales
# and the quantiles of the columns are learnt; rows that are encoded. They were counted
# in the code, and `python benchmarks/large_tables.py` measures what all of it takes.
COPIES_OF_A_BLOCK, COPIES_OF_A_PART, COPIES_OF_A_SAMPLE = 12, 8, 8
COPIES_OF_ENCODED_ROWS = 6
# As many of all rows are what a fit needs that holds them in memory.
COPIES_IN_MEMORY = 8
# Of the limit, the share of the rows that are held out, which stay in memory while
# others are trained on; that of the rows to train on; and that of rows that are being
# encoded. An eighth is the sample. The rest is left to what allocators keep.
SHARE_OF_HELD_OUT, SHARE_OF_A_WINDOW, SHARE_OF_ENCODED_ROWS = 1 / 8, 1 / 4, 1 / 8
# Without so many rows in a block there is more to call than to compute.
FEWEST_ROWS = 64


def in_bytes(memory_limit):
    """Return a number of bytes that is given as such, or as a text like "500MB".

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(memory_limit, Integral) and memory_limit > 0:
        return int(memory_limit)
    if isinstance(memory_limit, str) and (found := SIZE.fullmatch(memory_limit)):
        number, unit, is_binary = found.groups()
        units = BINARY_UNITS if is_binary and unit else UNITS
        try:
            if (n_bytes := int(float(number) * units[unit.lower()])) > 0:
                return n_bytes
        except (ValueError, OverflowError):  # such as 1.2.3, or far too large
            pass
    raise ValueError(
        "`memory_limit` must be a positive number of bytes, or a text such as '500MB' "
        f"or '2GiB', got {memory_limit!r}."
    )


def rows_within(n_bytes, bytes_of_a_row):
    """Return how many rows fit into a number of bytes, of the memory limit.

    Raises
    ------
    ValueError
        If these are hardly any.
    """
    n_rows = int(n_bytes // bytes_of_a_row)
    if n_rows < FEWEST_ROWS:
        least = ceil(10 * FEWEST_ROWS * bytes_of_a_row / n_bytes) / 10
        raise ValueError(
            f"`memory_limit` is too small for this table: it must be at least {least} "
            "times as large."
        )
    return n_rows
