"""Numbers that are found by their rank among those of all processes.

They are found by bisection: of a number in question, every process counts what it has
below it, and the counts are summed. Nothing is sorted in one place, and the number that
is found is exact. A bisection takes 64 sums, for all that is asked at once.
"""

import numpy as np

BITS = 64  # of a float64: a bisection of all of them ends at a single number
SIGN = np.int64(2**63 - 1)  # mirrors the order of the bits of negative numbers


def least_reaching(group, shape, amount, reaches):
    """Find the least numbers at which amounts over all ranks are large enough.

    Parameters
    ----------
    group : Alone
    shape : tuple of int
        That of the numbers in question.
    amount : callable
        ``amount(t)`` are this rank's amounts at numbers t, which never fall as t grows,
        such as the weight of what is at most t; an array of any shape.
    reaches : callable
        ``reaches(total)`` tells where sums of the amounts are large enough, as an array
        of bool of the shape of t.

    Returns
    -------
    t : ndarray of float64
        Infinite where no number is enough.
    """
    low = np.full(shape, _ordered(-np.inf))
    high = np.full(shape, _ordered(np.inf))
    for _ in range(BITS):
        middle = (low & high) + ((low ^ high) >> 1)  # rounded down, without overflow
        enough = reaches(group.sum(amount(_from_ordered(middle))))
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
        low = np.minimum(low, high)
    return _from_ordered(high)


def order_statistics(values, places, group):
    """Return the numbers that stand at places in the sorted list of all ranks' values.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Those of this rank, without NaN.
    places : sequence of int
        From 0 on.
    group : Alone

    Returns
    -------
    found : ndarray of shape (n_places,)
    """
    values = np.sort(values)
    if group.size == 1:
        return values[list(places)]
    wanted = np.asarray(places) + 1.0

    def count(t):
        return np.searchsorted(values, t, side="right").astype(float)

    return least_reaching(group, wanted.shape, count, lambda total: total >= wanted)


def median(values, group):
    """Return the median of the values of all ranks, as ``np.median`` does."""
    if group.size == 1:
        return np.median(values)
    n = int(group.sum(len(values)))
    return order_statistics(values, [(n - 1) // 2, n // 2], group).mean()


def next_values(values, t, group):
    """Return the least values of all ranks that are at least as large as numbers t.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Sorted.
    t : ndarray
    group : Alone

    Returns
    -------
    found : ndarray of the shape of t
        Infinite where there is none.
    """
    return group.min(np.append(values, np.inf)[np.searchsorted(values, t)])


def _ordered(number):
    """Return the bits of numbers as integers in the same order."""
    bits = np.asarray(number, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, bits ^ SIGN, bits)


def _from_ordered(ordered):
    """Return the numbers of such integers."""
    return np.where(ordered < 0, ordered ^ SIGN, ordered).view(np.float64)
