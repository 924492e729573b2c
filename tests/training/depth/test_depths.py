"""The depths that a network is trained at."""

from itertools import pairwise

import numpy as np
import pytest

from odenet._training.depth.depths import DEEPEST, SHALLOWEST, depths_to_walk


def test_doubling_halves_from_the_depth_down():
    for depth in range(1, 200):
        depths = depths_to_walk(depth, "doubling")
        assert depths[-1] == depth
        assert all(b in (2 * a, 2 * a - 1) for a, b in pairwise(depths))
        assert depths[0] < 2 * SHALLOWEST
        assert depths[0] >= SHALLOWEST or len(depths) == 1


def test_auto_doubles_up_to_the_deepest():
    assert depths_to_walk("auto", "doubling") == [2**k for k in range(2, 11)]
    assert DEEPEST == 1024


def test_sequences_and_none():
    assert depths_to_walk(9, None) == [9]
    for sequence in ([2, 5, 9], (2, 5, 9), np.array([2, 5, 9])):
        assert depths_to_walk(9, sequence) == [2, 5, 9]


def test_sequences_that_make_no_sense():
    for schedule in [[9, 5], [5, 5, 9], [0, 9], [3.0, 9], [], [5]]:
        with pytest.raises(ValueError, match=r"ascending positive integers .* depth=9"):
            depths_to_walk(9, schedule)


@pytest.mark.parametrize("schedule", [None, [4, 8]])
def test_auto_needs_doubling(schedule):
    with pytest.raises(ValueError, match="must be 'doubling' for depth='auto'"):
        depths_to_walk("auto", schedule)
