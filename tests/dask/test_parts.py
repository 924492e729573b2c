"""Collections in parts, and joined again."""

import numpy as np
import pandas as pd
import pytest

from odenet._dask.parts import computed, joined, parts_of
from odenet._stored.sources import is_collection
from tests.dask.samples import FRAME, WEIGHT, X, Y, arrays, frames

pytestmark = pytest.mark.cluster
dask = pytest.importorskip("dask")


def rows_of(*given):
    """Return the rows of all parts, below each other."""
    return joined(dask.compute(*parts_of(*given)))


def test_arrays_are_divided_as_x_is():
    dX, dy = arrays(X, Y)
    for other in (dy, dy.rechunk(70)):
        x, y, weight = rows_of(dX.rechunk((40, 2)), other, None)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)
        assert weight is None
    assert len(parts_of(dX, dy, None)) == 5
    np.testing.assert_array_equal(rows_of(*arrays(X, Y, WEIGHT))[2], WEIGHT)


def test_frames_keep_their_kinds_and_names():
    dX, dy = frames(FRAME, pd.Series(Y))
    x, y, _ = rows_of(dX, dy, None)
    pd.testing.assert_frame_equal(x, FRAME)
    np.testing.assert_array_equal(y, Y)


def test_data_that_do_not_match_are_named():
    dX, dy = arrays(X, Y)
    with pytest.raises(TypeError, match="`X` must be an Array .* got ndarray"):
        parts_of(X, dy, None)
    with pytest.raises(TypeError, match="`y` must be an Array .* got list"):
        parts_of(dX, list(Y), None)
    (short,) = arrays(Y[:100])
    with pytest.raises(ValueError, match="`y` must be divided .* 3 parts, X has 5"):
        parts_of(dX, short, None)


def test_only_collections_are_computed():
    (dy,) = arrays(Y)
    found = computed(dy, Y, None)
    np.testing.assert_array_equal(found[0], Y)
    assert found[1] is Y
    assert found[2] is None
    assert [is_collection(data) for data in (dy, Y, None)] == [True, False, False]
