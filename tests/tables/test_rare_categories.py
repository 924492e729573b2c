"""Which categories are pooled, and the size of the marks of the others."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder

from odenet import ResODERegressor
from odenet._tables.rare_categories import Pooling, sizes_of_marks

TINY = {"depth": 2, "width": 4, "flow_time": 1.0, "random_state": 0}
COUNTS = np.array([1, 7, 2, 2, 5, 1, 30])


def kept(indices, *settings, weight=None):
    X = np.column_stack([indices, np.arange(len(indices))])
    weight = np.ones(len(indices)) if weight is None else weight
    return Pooling((X, np.zeros(len(X)), weight), *settings).keeps(indices)


def test_the_same_categories_are_rare_as_for_scikit_learns_encoder():
    indices = np.repeat(np.arange(7), COUNTS)
    for least in (None, 1, 2, 3, 6, 31, 0.05, 0.2):
        for most in (None, 1, 2, 3, 4):
            encoder = OneHotEncoder(
                min_frequency=least, max_categories=most, handle_unknown="ignore"
            ).fit(indices[:, None])
            rare = getattr(encoder, "infrequent_categories_", [None])[0]
            expected = ~np.isin(np.arange(7), [] if rare is None else rare)
            np.testing.assert_array_equal(
                kept(indices, least, most), expected, err_msg=str((least, most))
            )


def test_no_category_is_rare_if_all_are_allowed():
    indices = np.repeat(np.arange(7), COUNTS)
    assert kept(indices, 1, 7).all()
    assert kept(indices, 1, 6).sum() == 5  # and the pooled ones are the sixth


def test_a_weight_counts_as_repetitions_and_small_weights_in_units_of_the_least():
    indices = np.arange(7)
    for unit in (1.0, 1e-3, 1e-300):
        result = kept(indices, 3, weight=COUNTS * unit)
        np.testing.assert_array_equal(result, COUNTS >= 3)
    repeated = np.zeros((12, 1)), np.zeros(12), np.full(12, 0.25)
    assert Pooling(repeated, 3).keeps(np.repeat([0, 1], 6)).sum() == 0
    np.testing.assert_array_equal(kept(indices, 0.1, weight=COUNTS), COUNTS >= 4.8)


def test_marks_grow_with_the_share_up_to_one():
    sizes = sizes_of_marks(np.array([0.0, 1e-6, 0.1, 0.9, 1e4]) * 10)
    assert (np.diff(sizes) > 0).all()
    assert sizes[0] == 0
    assert 0.99 > sizes_of_marks(np.array([0.0, 7.0]))[1] > 0.9
    np.testing.assert_allclose(sizes_of_marks(np.array([1.0, 9]))[0], np.sqrt(0.5))


@pytest.fixture
def table(rng):
    names = [*("ab" * 20), *(f"name {i}" for i in range(10))]
    return pd.DataFrame({"name": names, "a": rng.normal(size=50)})


def test_rare_categories_and_those_to_come_are_one(table, tmp_path):
    y = table["a"] + (table["name"] == "a")
    model = ResODERegressor(**TINY, dtype="float64").fit(table, y)
    names = ["name 3", "name 7", "never met", None]
    rows = pd.DataFrame({"name": names, "a": np.full(4, 0.3)})
    assert len(set(model.predict(rows))) == 1
    assert model.predict(rows.assign(name="a"))[0] != model.predict(rows)[0]
    model.save(tmp_path / "model")
    loaded = ResODERegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    by_hand = table.replace({n: "other" for n in set(table["name"]) - {"a", "b"}})
    expected = ResODERegressor(**TINY, dtype="float64").fit(by_hand, y)
    np.testing.assert_allclose(
        model.predict(table), expected.predict(by_hand), rtol=1e-10
    )
