"""The depths that a network is trained at."""

from math import ceil

import numpy as np

# The fewest layers to start with: fewer cannot tell a slope in depth from a kink.
SHALLOWEST = 4
# The most layers of depth="auto". With them a usual network has a gap of about 1e-3.
DEEPEST = 1024


def depths_to_walk(depth, schedule):
    """Return the depths of a schedule, in ascending order.

    Parameters
    ----------
    depth : int or "auto"
        "auto" stands for DEEPEST.
    schedule : "doubling", array-like of int, or None
        None is the last depth alone.

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
    """List a depth and its halves, rounded up, the least of 4 to 7 layers."""
    depths = [depth]
    while depths[0] >= 2 * SHALLOWEST:
        depths.insert(0, ceil(depths[0] / 2))
    return depths
