"""What ``validation_split`` and ``groups`` hold out to judge a training."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_array, indexable
from sklearn.utils.validation import check_consistent_length, column_or_1d

from odenet._tables.hold_out import (
    N_FOLDS,
    Validation,
    blocks_in_order,
    folds_of_groups,
    groups_to_hold_out,
    last_part,
    part_of,
    share_out,
    share_to_hold_out,
)
from odenet._tables.rows import places_of_rows

# Shares that add up to one within rounding leave no row out.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Asked:
    """What is to be held out, where that is not left to chance, row by row.

    Parameters
    ----------
    groups : ndarray of shape (n_samples,), default=None
        The number of the group of every row of the table, which are kept together.
    pairs : tuple of tuple (train, held_out) of ndarray of int, default=()
        Indices of rows of the table. Without them and without groups it is the last
        rows.
    """

    groups: np.ndarray | None = None
    pairs: tuple = ()


def asked_split(estimator, X, y, groups, *, is_needed=True):
    """Return what a fit is asked to hold out, or None if that is left to chance.

    Parameters
    ----------
    estimator : BaseResODE
    X, y : array-like
        As they were passed to ``fit``.
    groups : array-like or None
    is_needed : bool, default=True
        Whether some of these samples may have to be held out. If not, a splitter is not
        asked.

    Returns
    -------
    asked : Asked or None
    """
    how = estimator.validation_split
    if groups is not None:
        groups = _checked_groups(groups)
        check_consistent_length(X, y, groups)
    if not is_needed or estimator.early_stopping is False:
        return None
    if not isinstance(how, str):
        return Asked(pairs=_indices_of_splits(how, X, y, groups))
    if how == "last":
        if groups is None:
            return Asked()
        raise ValueError(
            "`groups` cannot be kept together where the last rows are held out, as "
            "validation_split='last' asks for: pass a splitter that does both, or a "
            "list of a pair (train, held_out) of indices."
        )
    if groups is None:
        return None
    return Asked(groups=np.unique(groups, return_inverse=True)[1])


def _checked_groups(groups):
    """Return the label of every sample's group, or raise an error."""
    try:
        groups = check_array(groups, ensure_2d=False, dtype=None, input_name="groups")
        groups = column_or_1d(groups)
        np.unique(groups)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`groups` must hold one label for every sample, all numbers or all texts, "
            f"none of them missing: {error}"
        ) from error
    return groups


def _indices_of_splits(how, X, y, groups):
    """Return the splits of a splitter, or of an iterable, as pairs of indices."""
    if hasattr(how, "__next__"):
        raise ValueError(
            "`validation_split` must be 'random', 'last', a splitter, or pairs (train, "
            f"held_out) in a list, got {how!r}, which is empty after a first fit."
        )
    X, y, groups = indexable(X, y, groups)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    splits = how.split(X, y, groups) if hasattr(how, "get_n_splits") else how
    pairs = tuple(_checked_pair(i, pair, n) for i, pair in enumerate(splits))
    if not pairs:
        raise ValueError(f"`validation_split`={how!r} has no split.")
    return pairs


def _checked_pair(number, pair, n):
    """Return a split as two arrays of indices of n rows, or raise an error."""
    name = f"The split {number} of `validation_split`"
    try:
        parts = [np.asarray(part) for part in pair]
    except TypeError:
        parts = []
    if len(parts) != 2 or any(part.ndim != 1 for part in parts):
        raise ValueError(
            f"{name} must be a pair (train, held_out) of arrays of indices, got "
            f"{pair!r}."
        )
    parts = [np.flatnonzero(p) if p.dtype == bool and len(p) == n else p for p in parts]
    for part in parts:
        if not len(part):
            raise ValueError(f"{name} has an empty part, got {pair!r}.")
        if part.dtype.kind not in "iu" or part.min() < 0 or part.max() >= n:
            raise ValueError(
                f"{name} must hold indices from 0 to {n - 1}, got {part!r}."
            )
    if len(both := np.intersect1d(*parts)):
        raise ValueError(f"{name} holds out samples that it trains on, as {both[0]}.")
    return tuple(parts)


def splits_of(estimator, asked, way, table, rows, strata, seed, *, all_splits):
    """Hold out what is asked for.

    Parameters
    ----------
    estimator : BaseResODE
    asked : Asked
    way : Validation
        How so many rows judge a training if nothing is asked for.
    table, rows : Rows
        All that have weight, in their own order; and the distinct ones, merged from
        them with the seed.
    strata : ndarray of shape (n,) or None
        Of the distinct rows.
    seed : int
    all_splits : bool
        Whether a network can be trained on every split, to choose a flow time.

    Returns
    -------
    splits : dict
        Fields of the training data, as rows or parts of them.

    Raises
    ------
    ValueError
        If a part is empty, or if there are too few groups.
    """
    weight, n_members = table.sample_weight, estimator.n_members
    places = places_of_rows(table.X, table.y, seed)
    if asked.pairs:
        parts = [_weights_of_parts(pair, table.index, weight) for pair in asked.pairs]
    elif asked.groups is not None:
        group = np.unique(asked.groups[table.index], return_inverse=True)[1]
        stratum = np.zeros(len(places)) if strata is None else strata[places]
        loads = _loads(group, stratum, weight)
        chosen = _chosen_groups(estimator, loads, way, len(rows.y), seed)
        parts = [(weight * ~held[group], weight * held[group]) for held in chosen]
    elif way is Validation.FOLDS and n_members == 1:
        parts = blocks_in_order(weight)
    else:
        parts = [last_part(weight, _fraction(estimator, len(rows.y)))]
    total = np.bincount(places, weight)
    shares = [_shares(part, places, total) for part in parts]
    for i, part in enumerate(shares):
        _check_not_empty(i, part)
    if n_members > 1 and len(shares) > 1 and _leave_no_row_out(shares, total > 0):
        held_out = [shares[i % len(shares)][1] for i in range(n_members)]
        return {"shares": np.stack(held_out)}
    if len(shares) > 1 and n_members == 1 and all_splits:
        return {"folds": [_shared_out(rows, part) for part in shares]}
    train, held_out = (part_of(rows, part) for part in shares[-1])
    return {"train": train, "held_out": held_out}


def _fraction(estimator, n_rows):
    """Return the share of so many distinct rows that an estimator holds out."""
    is_auto = estimator.early_stopping == "auto"
    fraction = estimator.validation_fraction
    return share_to_hold_out(fraction, n_rows, at_least_some=is_auto)


def _weights_of_parts(pair, index, weight):
    """Return the weights that rows have in the two parts of a split of the table."""
    return [np.where(np.isin(index, part), weight, 0.0) for part in pair]


def _loads(group, stratum, weight):
    """Return the weight of every group in every stratum, as shares of the stratum's."""
    strata, stratum = np.unique(stratum, return_inverse=True)
    loads = np.zeros((group.max() + 1, len(strata)))
    np.add.at(loads, (group, stratum), weight)
    total = loads.sum(axis=0)
    return loads / np.where(total > 0, total, 1.0)


def _chosen_groups(estimator, loads, way, n_rows, seed):
    """Return the groups that are held out in every split, as masks."""
    rng, n_groups, n_members = np.random.default_rng(seed), len(loads), 1
    if estimator.n_members > 1:
        n_members, way = estimator.n_members, Validation.FOLDS
    if n_groups < max(2, n_members):
        raise ValueError(
            f"`groups` must hold at least {max(2, n_members)} groups of positive "
            "weight, of which some are held out to stop early (with n_members="
            f"{n_members}), got {n_groups}."
        )
    if way is Validation.FOLDS:
        n_folds = min(max(N_FOLDS, n_members), n_groups)
        fold = folds_of_groups(loads, n_folds, rng)
        return [fold == i for i in range(n_folds)]
    held_out = groups_to_hold_out(loads, _fraction(estimator, n_rows), rng)
    if not held_out.any():
        raise ValueError(
            f"`groups` has {n_groups} groups, none of which can be held out: each is "
            "the only one of some class. Pass early_stopping=False, or X_val and y_val."
        )
    return [held_out]


def _shares(part, places, total):
    """Return which share of every distinct row is trained on, and which is held out."""
    total = np.where(total > 0, total, 1.0)
    return [np.bincount(places, weight) / total for weight in part]


def _check_not_empty(number, part):
    """Raise if no row that has weight is in some part of a split."""
    for shares, does in zip(part, ("trains on", "holds out"), strict=True):
        if not shares.any():
            raise ValueError(
                f"The split {number} of `validation_split` {does} no sample that has "
                "weight."
            )


def _leave_no_row_out(shares, has_weight):
    """Tell whether every split trains on all that it does not hold out."""
    sums = (np.sum(part, axis=0)[has_weight] for part in shares)
    return all((part > 1 - ROUNDING).all() for part in sums)


def _shared_out(rows, part):
    """Return the rows of both parts of a split."""
    return tuple(share_out(rows, shares) for shares in part)


def are_apart(shares):
    """Tell whether every row is held out by one of several networks at most.

    Then the intervals of several members hold what they promise.
    """
    return bool((shares.sum(axis=0) < 1 + ROUNDING).all())
