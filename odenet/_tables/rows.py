"""Rows of a training set: repeated rows are merged before some are held out.

A fit sees distinct rows with their total weights, in an order that depends on what the
rows hold and not on where they stood. So a row of weight 2 leads to the same fit as a
row that is there twice, to the last bit.
"""

import numpy as np
from scipy.sparse import issparse

from odenet._distributed.group import ALONE
from odenet._distributed.selection import median

# 2^64 over the golden ratio, made odd: the multiplier that Knuth recommends.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# About half of 64 bits, so that the well mixed high bits reach the low ones.
SHIFT = np.uint64(29)
HALF = np.uint64(32)  # of the bits of a key, which tell the range that it is in
# A row is shared out between training and validation if it is more than this part of
# what is held out, and heavier than so many rows of median weight. Both are choices.
LARGEST_PART_OF_HOLD_OUT, TIMES_THE_MEDIAN = 0.1, 3.0
# What is computed of all rows is computed of so many numbers at a time: 2 MB in
# float64, which is little beside a large table, and fits into the cache of a processor.
NUMBERS_AT_ONCE = 2**18


def slices_of_rows(X):
    """Return slices of the rows of a matrix, whose copies in float64 are small."""
    size = max(1, NUMBERS_AT_ONCE // max(1, X.shape[1]))
    return [slice(start, start + size) for start in range(0, len(X), size)]


def distinct_rows(X, y, weight, seed):
    """Find the distinct rows, in a pseudo-random order, and their total weights.

    Rows that are equal have equal keys, so a sort by keys brings them together; where
    distinct rows have the same key, they are sorted by what they hold as well.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n, d)
        NaN is equal to NaN here. A sparse matrix is in canonical format: indices are
        sorted, there are neither duplicates nor explicit zeros.
    y : ndarray of shape (n,) or (n, k)
    weight : ndarray of shape (n,)
        Positive weights.
    seed : int
        The seed of the random order.

    Returns
    -------
    first : ndarray of int
        Where every distinct row of (X, y) is first.
    weight : ndarray
        Their total weights.
    """
    order, is_first = _sorted_rows(X, y, seed)
    total = np.add.reduceat(weight[order], np.flatnonzero(is_first))
    return order[is_first], total


def places_of_rows(X, y, seed):
    """Return which of the distinct rows, as these are ordered, every row is one of.

    The arguments are those of :func:`distinct_rows`.
    """
    order, is_first = _sorted_rows(X, y, seed)
    places = np.empty(len(order), dtype=np.intp)
    places[order] = np.cumsum(is_first) - 1
    return places


def _sorted_rows(X, y, seed):
    """Return an order of rows in which equal ones are together, and which are first."""
    if issparse(X):
        return _sorted_sparse_rows(X, y, seed)
    keys = _row_keys(seed, X, y)
    order = np.argsort(keys, kind="stable")
    is_first = _are_first(order, X, y)
    if is_first.sum() > len(np.unique(keys)):
        order = np.lexsort((*_bits(X, y).T, keys))
        is_first = _are_first(order, X, y)
    return order, is_first


def _sorted_sparse_rows(X, y, seed):
    """Do the same for a sparse matrix, whose entries are the only ones to be looked at.

    In the unlikely case that distinct rows have the same key, other keys are tried.
    """
    while True:
        keys = _row_keys(seed, y) ^ _sparse_row_keys(X, seed)
        order = np.argsort(keys, kind="stable")
        X_sorted = X[order]
        differs = np.diff((X_sorted[1:] != X_sorted[:-1]).indptr) > 0
        is_first = _are_first(order, y)
        is_first[1:] |= differs
        if is_first.sum() == len(np.unique(keys)):
            return order, is_first
        seed += 1


def keys_of_rows(X, y, seed):
    """Return the pseudo-random 64-bit integers by which distinct rows are in order.

    Equal rows have equal ones.
    """
    return _row_keys(seed, X, y)


def ranges_of_keys(keys, n_ranges):
    """Return which of so many ranges of keys, of about equal size, each key is in."""
    return ((keys >> HALF) * np.uint64(n_ranges) >> HALF).astype(np.int64)


def smallest_weight(X, y, weight, group=ALONE):
    """Return the smallest total weight of a distinct row of all processes."""
    X, y, weight, _ = gathered_by_key(X, y, weight, None, 0, group)
    total = distinct_rows(X, y, weight, seed=0)[1]
    return group.min(np.append(total, np.inf).min())


def gathered_by_key(X, y, weight, factor, seed, group):
    """Move rows between processes, such that equal ones are on the same process.

    Every process gets those of a range of keys, about as many as the others. So the
    distinct rows of all processes, one process after the other, are in the order that
    :func:`distinct_rows` would give them if one process had all.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,) or (n, k)
    weight : ndarray of shape (n,)
    factor : ndarray of shape (n,) or None
    seed : int
    group : Alone

    Returns
    -------
    X, y, weight, factor
        Of the rows that are here now, in the same types.
    """
    if group.size == 1:
        return X, y, weight, factor
    keys = keys_of_rows(X, y, seed)
    return _sent(X, y, weight, factor, ranges_of_keys(keys, group.size), group)


def dealt_out_evenly(X, y, weight, factor, group):
    """Move rows between processes, such that all have as many, in the same order.

    Parameters and what is returned are those of :func:`gathered_by_key`.
    """
    places = group.before(len(y)) + np.arange(len(y))
    places = places * group.size // max(1, group.sum(len(y)))
    return _sent(X, y, weight, factor, places, group)


def _sent(X, y, weight, factor, places, group):
    """Move every row to the process of a number, and return those that came here."""
    parts = [X, y, weight] if factor is None else [X, y, weight, factor]
    sent = np.column_stack(parts).astype(np.float64)
    found = group.exchange(sent, places)
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    ends = np.cumsum([X.shape[1], n_targets, 1])
    X, targets, weight, factors = np.split(found, ends, axis=1)
    targets = targets.reshape(-1, *y.shape[1:]).astype(y.dtype)
    return X, targets, weight[:, 0], None if factor is None else factors[:, 0]


def digest_of_rows(X, y, weight, group):
    """Return a text that is the same for the same rows, in whatever order they are.

    Nor does it depend on how many processes have the rows. It is made of the sums of
    two hashes of the rows, modulo 2^64.
    """
    sums = [_row_keys(seed, X, y, weight).sum(dtype=np.uint64) for seed in (0, 1)]
    found = group.sum(np.array(sums).view(np.int64))
    return str(found.view(np.uint64).tolist())


def _bits(*parts):
    """Return rows as integers to compare: 0 is -0, and all kinds of NaN are one.

    The parts of the rows stand side by side in float64, which holds what float32 does.
    """
    rows = np.column_stack([np.asarray(part, dtype=np.float64) for part in parts]) + 0.0
    rows[np.isnan(rows)] = np.nan
    return rows.view(np.uint64)


def _as_matrix(part):
    """Return a column as a matrix of one column."""
    return part[:, None] if part.ndim == 1 else part


def _are_first(order, *parts):
    """Tell for every row, in an order, whether it differs from the one before it."""
    is_first = np.ones(len(order), dtype=bool)
    for rows in slices_of_rows(_as_matrix(parts[0])):
        start = max(1, rows.start)
        some = order[start - 1 : rows.stop]
        bits = _bits(*(part[some] for part in parts))
        is_first[start : rows.stop] = (bits[1:] != bits[:-1]).any(axis=1)
    return is_first


def _row_keys(seed, *parts):
    """Return a pseudo-random 64-bit integer for every row, equal for equal rows.

    This is multiplicative hashing (Knuth, The Art of Computer Programming, vol. 3,
    section 6.4) of one column after the other; products are taken modulo 2^64.
    """
    keys = np.full(len(parts[0]), seed, dtype=np.uint64)
    for rows in slices_of_rows(_as_matrix(parts[0])):
        some = keys[rows]
        for column in _bits(*(part[rows] for part in parts)).T:
            some = (some ^ column) * GOLDEN
            some ^= some >> SHIFT
        keys[rows] = some
    return keys


def _sparse_row_keys(X, seed):
    """Return a pseudo-random 64-bit integer for every row of a sparse matrix.

    It is the sum over the entries of a row, modulo 2^64, of the key of each: of its
    column and its value, hashed one after the other.
    """
    of_entries = _row_keys(seed, X.indices, X.data)
    sums = np.cumsum(np.append(np.uint64(0), of_entries), dtype=np.uint64)
    return np.diff(sums[X.indptr])


def shares_to_hold_out(weight, fraction, strata=None, group=ALONE):
    """Choose rows to validate on: about a fraction of the weight of every stratum.

    A row so heavy that its place would decide about a split is in both parts, with its
    share of the weight in each, as many samples that are alike would be. The other rows
    are in one part.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        The weights of rows in random order, as :func:`distinct_rows` orders them:
        the first rows of a stratum are chosen.
    fraction : float
        Between 0 and 1, exclusive.
    strata : ndarray of shape (n,), default=None
        The stratum of every row; by default all rows are in one. At least one row of
        every stratum is left to train on.
    group : Alone, default=ALONE
        The processes that have the rows, one after the other.

    Returns
    -------
    shares : ndarray of shape (n,)
        The share of every row's weight that is held out: 0, 1, or ``fraction``.
    """
    shares = np.zeros(len(weight))
    for light, heavy in _strata(weight, fraction, strata, group):
        shares[heavy] = fraction
        mass = np.cumsum(weight[light])
        in_all = mass[-1] if len(mass) else 0.0
        mass, in_all = mass + group.before(in_all), group.sum(in_all)
        n_light, n_before = group.sum(len(light)), group.before(len(light))
        n_chosen = 1 + group.sum(int(np.searchsorted(mass, fraction * in_all)))
        n_here = min(n_chosen, n_light - 1) - n_before
        shares[light[: max(n_here, 0)]] = 1.0
    return shares


def folds_of(weight, n_folds, strata=None):
    """Deal out rows to folds of about equal weight, those of every stratum alike.

    Parameters
    ----------
    weight, strata
        As of :func:`shares_to_hold_out`. A row that is alone in its stratum is in no
        fold, and one so heavy that it is shared out is in all.
    n_folds : int

    Returns
    -------
    shares : ndarray of shape (n_folds, n)
        The share of every row's weight that is held out in a fold: 0, 1, or
        1 / ``n_folds``.
    """
    shares = np.zeros((n_folds, len(weight)))
    for light, heavy in _strata(weight, 1 / n_folds, strata, ALONE):
        if len(light) + len(heavy) == 1:
            continue
        shares[:, heavy] = 1 / n_folds
        mass = np.cumsum(weight[light])
        middle = (mass - weight[light] / 2) / mass[-1]
        shares[(n_folds * middle).astype(int), light] = 1.0
    return shares


def _strata(weight, fraction, strata, group):
    """Yield the indices of the light rows and of the heavy rows of every stratum."""
    strata = np.zeros(len(weight)) if strata is None else strata
    for stratum in np.unique(np.concatenate(group.collect(np.unique(strata)))):
        members = np.flatnonzero(strata == stratum)
        light = _are_light(weight[members], fraction, group)
        yield members[light], members[~light]


def _are_light(weight, fraction, group):
    """Tell which rows are no large part of what is held out of them, nor unusual."""
    light = np.ones(len(weight), dtype=bool)
    usual = TIMES_THE_MEDIAN * median(weight, group)
    while True:
        part = LARGEST_PART_OF_HOLD_OUT * fraction * group.sum(weight[light].sum())
        still = weight <= max(part, usual)
        if group.min(int(still[light].all())):
            return light
        light &= still
