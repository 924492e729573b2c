"""The depths that a network is trained at."""

from math import ceil

import numpy as np

SHALLOWEST = 4  # layers to start with: fewer can't tell a slope in depth from a kink
DEEPEST = 1024  # layers at most for depth="auto": a gap of 1e-3 where one is usual


def depths_to_walk(depth, schedule):
    """Return the depths of a schedule, in ascending order.

    Parameters
    ----------
    depth : int or "auto"
        "auto" doubles up to DEEPEST.
    schedule : "doubling", array-like of int, or None

    Raises
    ------
    ValueError
        If a sequence does not hold ascending depths, the last of them ``depth``.
    """
    if isinstance(schedule, str):
        return _doubling(DEEPEST if depth == "auto" else depth)
    if depth == "auto":
        raise ValueError(
            f"`depth_schedule` must be 'doubling' for depth='auto', got {schedule!r}."
        )
    if schedule is None:
        return [depth]
    depths = np.ravel(schedule).tolist()
    ascends = all(isinstance(d, int) for d in depths) and sorted(set(depths)) == depths
    if not ascends or min(depths, default=0) < 1 or depths[-1] != depth:
        raise ValueError(
            "`depth_schedule` must be 'doubling', None, or ascending positive integers "
            f"that end at depth={depth}, got {schedule!r}."
        )
    return depths


def _doubling(depth):
    """Halve a depth, rounded up, down to SHALLOWEST or one layer less than twice it."""
    depths = [depth]
    while depths[0] >= 2 * SHALLOWEST:
        depths.insert(0, ceil(depths[0] / 2))
    return depths
