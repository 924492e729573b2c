import numpy as np
import pytest

from odenet._stored.met import Met
from odenet._tables.columns import Columns
from odenet._tables.reading import Rows


@pytest.fixture
def rows(rng):
    """Column 0 has numbers, 1 is nearly constant, 2 has few gaps, 3 has categories."""
    X = np.column_stack([rng.normal(size=(100, 3)), np.zeros(100)])
    X[:, 1] = 0.0
    X[90, 1] = 5.0
    X[91:93, 2] = np.nan
    X[95:, 3] = 1
    y = np.zeros((100, 1))
    y[99] = 7.0
    return Rows(X, y, np.full(100, 2.0))


@pytest.fixture
def met(rows):
    met = Met(Columns({3: ("a", "b", "c")}, allow_nan=True))
    for i in range(0, 100, 10):
        met.add(rows.taken(slice(i, i + 10), rows.weight[i : i + 10]))
    return met


def test_a_sample_gets_what_it_lacks_with_its_weight(rows, met):
    sample = rows.taken(slice(50), rows.weight[:50])
    found = met.completed(sample, share=0.5)
    extra = found.taken(slice(50, None), found.weight[50:])
    np.testing.assert_array_equal(found.X[:50], sample.X)
    assert len(extra.y) == 4  # a category, an extreme, a gap, an extreme of the target
    assert extra.X[0, 3] == 1
    assert extra.weight[0] == 0.5 * 5 * 2.0
    assert extra.X[1, 1] == 5.0
    assert np.isnan(extra.X[2, 2])
    assert extra.weight[2] == 0.5 * 2 * 2.0
    assert extra.y[3, 0] == 7.0


def test_a_sample_that_lacks_nothing_stays_as_it_is(rows, met):
    assert met.completed(rows, 1.0) is rows
    assert met.n_samples == 100
