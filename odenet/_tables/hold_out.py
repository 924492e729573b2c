"""Which samples are held out, to stop a training and to choose its weights."""

from odenet._tables.reading import Rows
from odenet._tables.rows import validation_mask

# Below 200 rows the standard error of a held-out loss is larger than what early
# stopping gains, and every row is missed in training.
MIN_ROWS_TO_STOP_EARLY = 200
MIN_ROWS_TO_HOLD_OUT = 100  # a tenth of 200 to 1000 rows is too few to choose by
LARGEST_SHARE_TO_HOLD_OUT = 0.3  # but not more than this of few


def holds_out(early_stopping, n_rows):
    """Tell whether a fit of so many distinct rows stops early."""
    if early_stopping == "auto":
        return n_rows >= MIN_ROWS_TO_STOP_EARLY
    return early_stopping and n_rows > 1


def hold_out(rows, strata, fraction, *, at_least_some):
    """Split rows, which must be in random order, into training and held-out ones.

    Parameters
    ----------
    rows : Rows
    strata : ndarray of shape (n,) or None
    fraction : float
        Share of the weight, of every stratum, that is held out.
    at_least_some : bool
        Whether to hold out MIN_ROWS_TO_HOLD_OUT of few rows, up to
        LARGEST_SHARE_TO_HOLD_OUT.

    Returns
    -------
    train, held_out : Rows or None
        Both None where no row is to spare.
    """
    if at_least_some:
        least = MIN_ROWS_TO_HOLD_OUT / len(rows.y)
        fraction = max(fraction, min(LARGEST_SHARE_TO_HOLD_OUT, least))
    mask = validation_mask(rows.weight, fraction, strata)
    if not mask.any():
        return None, None
    return Rows(*(part[~mask] for part in rows)), Rows(*(part[mask] for part in rows))
