"""The choice of the samples that are held out to stop a training early."""

from odenet._tables.reading import Rows
from odenet._tables.rows import shares_to_hold_out

# Below so many rows the standard error of a held-out loss is larger than what early
# stopping gains, and every row is missed in training.
MIN_ROWS_TO_STOP_EARLY = 200
# The default share, a tenth, of 200 to 1000 rows would be too few rows to choose by. So
# at least so many are held out, but at most this share of all.
MIN_ROWS_TO_HOLD_OUT, LARGEST_SHARE_TO_HOLD_OUT = 100, 0.3


def holds_out(early_stopping, n_rows):
    """Tell whether a fit to so many distinct rows holds some of them out."""
    if early_stopping == "auto":
        return n_rows >= MIN_ROWS_TO_STOP_EARLY
    return early_stopping and n_rows > 1


def hold_out(rows, strata, fraction, *, at_least_some):
    """Split rows, which must be in random order, into training and held-out rows.

    A row that outweighs many others is in both parts: see ``shares_to_hold_out``.

    Parameters
    ----------
    rows : Rows
    strata : ndarray of shape (n,) or None
    fraction : float
        The share of the weight of every stratum that is held out.
    at_least_some : bool
        Whether to hold out at least MIN_ROWS_TO_HOLD_OUT rows, if these are not more
        than LARGEST_SHARE_TO_HOLD_OUT of all.

    Returns
    -------
    train, held_out : Rows or None
        Both are None if no row can be spared.
    """
    if at_least_some:
        least = MIN_ROWS_TO_HOLD_OUT / len(rows.y)
        fraction = max(fraction, min(LARGEST_SHARE_TO_HOLD_OUT, least))
    shares = shares_to_hold_out(rows.weight, fraction, strata)
    if not shares.any():
        return None, None
    return _weighed(rows, 1 - shares), _weighed(rows, shares)


def _weighed(rows, factors):
    """Return the rows of positive factors, with their weights times these."""
    some = factors > 0
    X, y, weight = (part[some] for part in rows)
    return Rows(X, y, weight * factors[some])
