"""The choice of the samples that are held out to stop a training early."""

from enum import Enum
from typing import NamedTuple

import numpy as np

from odenet._distributed.group import ALONE
from odenet._tables.rows import folds_of, shares_to_hold_out

# Below so many rows the standard error of a held-out loss is larger than what early
# stopping gains, and every row is missed in training.
MIN_ROWS_TO_STOP_EARLY = 200
# Of so few rows the part that is held out says little of when to stop: every row is
# held out once instead, in one of so many folds. Fewer rows than the least say nothing
# even then.
N_FOLDS, MIN_ROWS_TO_CROSS_VALIDATE, MAX_ROWS_TO_CROSS_VALIDATE = 5, 20, 500
# The default share, a tenth, of 200 to 1000 rows would be too few rows to choose by. So
# at least so many are held out, but at most this share of all.
MIN_ROWS_TO_HOLD_OUT, LARGEST_SHARE_TO_HOLD_OUT = 100, 0.3


# A flow of few rows in order has its time chosen on the last half of them, in so many
# blocks, each by a network that is trained on all rows before it. The half is a choice:
# networks of fewer rows ask for shorter flow times than that of all.
N_BLOCKS, FIRST_BLOCK_BEGINS = N_FOLDS, 0.5


class Part(NamedTuple):
    """Which rows of a set train, or judge, and with what weights: no copy of them."""

    places: np.ndarray
    weight: np.ndarray

    def of(self, rows):
        """Return these of the rows, as a copy."""
        return rows.taken(self.places, self.weight)


class Validation(Enum):
    """Which samples judge a training."""

    NONE = "none of its own"
    PART = "a part of them that is held out"
    FOLDS = "all, each held out in one of several folds"


def validation(early_stopping, n_rows, *, flow=False, goes_on=False, has_kink=False):
    """Decide which of so many distinct rows judge a training.

    Parameters
    ----------
    early_stopping : bool or "auto"
    n_rows : int
    flow : bool, default=False
        Whether a flow is followed.
    goes_on : bool, default=False
        Whether an earlier training of the same rows is continued.
    has_kink : bool, default=False
        Whether the loss has a kink, so that "auto" trains few rows on mini-batches.

    Returns
    -------
    validation : Validation
    """
    if early_stopping != "auto":
        return Validation.PART if early_stopping and n_rows > 1 else Validation.NONE
    least, most = MIN_ROWS_TO_CROSS_VALIDATE, MAX_ROWS_TO_CROSS_VALIDATE
    if flow and not goes_on and least <= n_rows <= most:
        return Validation.FOLDS
    trains_few = has_kink and not flow
    if n_rows >= (least if trains_few else MIN_ROWS_TO_STOP_EARLY):
        return Validation.PART
    return Validation.NONE


def cross_validation_folds(rows, strata):
    """Split rows into training and held-out rows in several ways.

    Every row is held out in one of them; one that outweighs many others is in all of
    them with its share. See :func:`odenet._tables.rows.folds_of`.

    Returns
    -------
    folds : list of tuple (train, held_out) of Rows
    """
    return [
        (share_out(rows, 1 - shares), share_out(rows, shares))
        for shares in _no_empty_folds(rows, strata, N_FOLDS)
    ]


def _no_empty_folds(rows, strata, n_folds):
    """Return shares of folds, which ignore the strata if these leave some fold empty.

    So do strata of two rows each, of which a row is in the second and the fourth fold.
    """
    shares = folds_of(rows.weight, n_folds, strata)
    return shares if shares.any(axis=1).all() else folds_of(rows.weight, n_folds)


def shares_of_members(rows, strata, n_members):
    """Choose what each of several networks holds out: a fold of its own.

    Parameters
    ----------
    rows : Rows
    strata : ndarray of shape (n,) or None
    n_members : int

    Returns
    -------
    shares : ndarray of shape (n_members, n) or None
        The share of every row that a member holds out, of at least N_FOLDS folds. None
        if there are too few rows for every member to hold out some.
    """
    shares = _no_empty_folds(rows, strata, max(N_FOLDS, n_members))[:n_members]
    return shares if shares.any(axis=1).all() else None


def held_out_parts(rows, splits):
    """Return the rows that judge a training.

    Parameters
    ----------
    rows : Rows
        Those of the training.
    splits : dict
        How they are split, as fields of the training data.

    Returns
    -------
    parts : list of Rows
        One for each of several networks that hold out parts of their own; a single one
        that judges all; or none.
    """
    if splits.get("shares") is not None:
        return [share_out(rows, part) for part in splits["shares"]]
    parts = [held_out for _, held_out in splits.get("folds", ())]
    held_out = splits.get("held_out")
    if isinstance(held_out, Part):
        held_out = held_out.of(rows)
    return parts if held_out is None else [held_out]


def hold_out(rows, strata, fraction, *, at_least_some, group=ALONE):
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
        than LARGEST_SHARE_TO_HOLD_OUT of all. Of fewer rows than MIN_ROWS_TO_STOP_EARLY
        it is the fraction in any case.
    group : Alone, default=ALONE
        The processes that have the rows, one after the other.

    Returns
    -------
    train, held_out : Part or None
        Both are None if no row can be spared.
    """
    n_rows = group.sum(len(rows.y))
    fraction = share_to_hold_out(fraction, n_rows, at_least_some=at_least_some)
    shares = shares_to_hold_out(rows.weight, fraction, strata, group)
    if not group.max(int(shares.any())):
        return None, None
    return part_of(rows, 1 - shares), part_of(rows, shares)


def share_to_hold_out(fraction, n_rows, *, at_least_some):
    """Return the share of so many distinct rows to hold out, see :func:`hold_out`."""
    if at_least_some and n_rows >= MIN_ROWS_TO_STOP_EARLY:
        least = MIN_ROWS_TO_HOLD_OUT / n_rows
        fraction = max(fraction, min(LARGEST_SHARE_TO_HOLD_OUT, least))
    return fraction


def last_part(weight, fraction):
    """Split rows in order into those to train on and the last ones.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        If all are whole numbers, a row counts as so many of weight 1, between which it
        may be cut; other rows stay whole.
    fraction : float
        The share of the weight that is held out, or a little more.

    Returns
    -------
    train, held_out : ndarray of shape (n,)
        The weight that every row has in each part.
    """
    train, held_out = _in_order(weight, [1 - fraction])
    return train, held_out


def blocks_in_order(weight):
    """Split rows in order into blocks, and those before each to train on.

    Returns
    -------
    parts : list of tuple (train, held_out) of ndarray of shape (n,)
        As of :func:`last_part`, the last block at the end.
    """
    begins = np.linspace(FIRST_BLOCK_BEGINS, 1.0, N_BLOCKS, endpoint=False)
    first, *blocks = _in_order(weight, begins)
    before = np.cumsum([first, *blocks], axis=0)
    parts = zip(before[:-1], blocks, strict=True)
    return [(train, held_out) for train, held_out in parts if held_out.any()]


def _in_order(weight, shares):
    """Cut rows in order at shares of their weight; return the weight in every piece."""
    end = np.cumsum(weight)
    cuts = np.multiply(shares, end[-1])
    if (weight % 1).any():
        cuts = end[np.maximum(np.searchsorted(end, cuts, side="right") - 1, 0)]
        piece = np.searchsorted(cuts, end)
        return [np.where(piece == i, weight, 0.0) for i in range(len(cuts) + 1)]
    cuts = np.maximum(np.floor(cuts), 1.0)
    bounds = np.clip([0.0, *cuts, end[-1]], (end - weight)[:, None], end[:, None])
    return list(np.diff(bounds, axis=1).T)


def folds_of_groups(loads, n_folds, rng):
    """Deal out groups to folds of about equal weight, in every stratum alike.

    The heaviest groups come first, each to the fold that is most unlike it so far.

    Parameters
    ----------
    loads : ndarray of shape (n_groups, n_strata)
        The weight of every group, as shares of the total weights of the strata.
    n_folds : int
        At most the number of groups.
    rng : Generator
        Decides between groups of equal weight.

    Returns
    -------
    fold : ndarray of shape (n_groups,)
        In which fold every group is; none is empty.
    """
    fold = np.empty(len(loads), dtype=int)
    filled = np.zeros((n_folds, loads.shape[1]))
    chance = rng.permutation(len(loads))
    for group in np.lexsort((chance, -loads.sum(axis=1))):
        alike = filled @ loads[group]
        fold[group] = np.lexsort((filled.sum(axis=1), alike))[0]
        filled[fold[group]] += loads[group]
    return fold


def groups_to_hold_out(loads, fraction, rng):
    """Choose groups at random, of about a fraction of the weight of every stratum.

    A group is chosen if that brings what is held out nearer to the fraction, and if
    others are left to train on, which have every stratum. If no group is so light, it
    is the lightest.

    Parameters
    ----------
    loads, rng
        As of :func:`folds_of_groups`.
    fraction : float

    Returns
    -------
    is_chosen : ndarray of shape (n_groups,), bool
        None is chosen if every group has a stratum of its own.
    """
    is_chosen = np.zeros(len(loads), dtype=bool)
    has = loads > 0
    held_out, n_left = np.zeros(loads.shape[1]), has.sum(axis=0)
    order = rng.permutation(len(loads))
    for group in order:
        distance = np.square(fraction - held_out).sum()
        is_nearer = np.square(fraction - held_out - loads[group]).sum() < distance
        if is_nearer and (n_left > has[group])[has[group]].all():
            is_chosen[group] = True
            held_out += loads[group]
            n_left = n_left - has[group]
    if not is_chosen.any():
        can_go = order[[(n_left > has[g])[has[g]].all() for g in order]]
        is_chosen[can_go[np.argsort(loads[can_go].sum(axis=1))[:1]]] = True
    return is_chosen


def part_of(rows, factors):
    """Return the part of positive factors, with their weights times these."""
    places = np.flatnonzero(factors > 0)
    return Part(places, rows.weight[places] * factors[places])


def share_out(rows, factors):
    """Return the rows of positive factors, with their weights times these."""
    return part_of(rows, factors).of(rows)
