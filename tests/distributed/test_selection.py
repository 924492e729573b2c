import numpy as np
import pytest

from odenet._distributed.group import ALONE
from odenet._distributed.selection import (
    least_reaching,
    median,
    next_values,
    order_statistics,
)
from tests.distributed.threads import in_threads, parts_of


@pytest.fixture
def values(rng):
    """Numbers of all sizes and both signs, some of them several times."""
    numbers = rng.normal(size=101) * 10.0 ** rng.integers(-300, 300, 101)
    return np.concatenate([numbers, numbers[:20], np.zeros(5)])


def test_numbers_stand_where_they_stand_in_the_sorted_list(values):
    places = [0, 1, 40, 63, len(values) - 1]
    expected = np.sort(values)[places]
    np.testing.assert_array_equal(order_statistics(values, places, ALONE), expected)
    for size in (2, 3):
        for found in in_threads(
            size, lambda g: order_statistics(*parts_of(g, values), places, g)
        ):
            np.testing.assert_array_equal(found, expected)


def test_the_median_is_that_of_numpy(values):
    for some in (values, values[:-1], values[:1], values[:2]):
        expected = np.median(some)
        assert median(some, ALONE) == expected
        (*found,) = in_threads(2, lambda g, v=some: median(*parts_of(g, v), g))
        assert found == [expected, expected]


def test_the_least_number_whose_amount_is_enough(values):
    def task(group):
        own = np.sort(*parts_of(group, values))
        return least_reaching(
            group,
            (3,),
            lambda t: np.searchsorted(own, t, side="right").astype(float),
            lambda total: total >= np.array([1.0, 50.0, 1e9]),
        )

    expected = [values.min(), np.sort(values)[49], np.inf]
    for found in in_threads(2, task):
        np.testing.assert_array_equal(found, expected)


def test_the_next_values():
    values, t = np.array([1.0, 2.0, 5.0, 7.0]), np.array([0.0, 2.0, 2.5, 7.5])

    def task(group):
        return next_values(values[group.rank :: 2], t, group)

    for found in in_threads(2, task):
        np.testing.assert_array_equal(found, [1.0, 2.0, 5.0, np.inf])
