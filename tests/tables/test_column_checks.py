"""Columns that are not what they are taken for."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from odenet import ResODEClassifier, ResODERegressor
from odenet._tables.column_checks import (
    check_kind,
    check_numbers,
    column_of_texts,
    notices_of,
)
from odenet._tables.columns import Columns, read_columns

NUMBERS = Columns({}, allow_nan=False)
DAYS = pd.date_range("2024", periods=4)


def notices(table):
    return notices_of(read_columns(table, "from_dtype", False), table)


def test_texts_that_are_numbers_are_told_of():
    texts = [f"{i / 7:.3f}" for i in range(30)]
    for values in (texts, [*texts[1:], "?"], [*range(29), "?"]):
        (notice,) = notices(pd.DataFrame({"a": values, "b": np.arange(30.0)}))
        assert "The column 'a' is taken as categories, since it holds texts" in notice
        assert f"{30 - ('?' in values)} of its 30 values are numbers" in notice
        assert ("such as '?'" in notice) == ("?" in values)


def test_a_category_for_most_rows_is_told_of():
    ids = [f"customer {i}" for i in range(30)]
    (notice,) = notices(pd.DataFrame({"id": ids}))
    assert "as many categories as the table has rows, 30: 'id' (30)." in notice
    names = [f"name {i // 2}" for i in range(20)] + ids[20:]
    (notice,) = notices(pd.DataFrame({"id": ids, "name": names, "a": range(30)}))
    assert "rows, 30: 'id' (30), 'name' (20)." in notice
    assert "if it holds dates, make numbers of them" in notice
    for few in (ids * 2, ids[:19], [i[:-1] for i in ids]):
        assert notices(pd.DataFrame({"id": few})) == []
    codes = pd.DataFrame({"code": pd.Categorical(np.arange(30))})
    assert notices(codes) == []


def test_a_fit_tells_the_user():
    table = pd.DataFrame({"id": [f"c{i}" for i in range(40)], "a": np.arange(40.0)})
    with pytest.warns(UserWarning, match=r"rows, 40: 'id' \(40\)") as told:
        ResODERegressor(2, width=4, flow_time=0.5, random_state=0).fit(
            table, table["a"]
        )
    assert told[0].filename == __file__


def test_dates_and_times_are_refused_by_name():
    columns = (DAYS, DAYS - DAYS[0], DAYS.to_period("D"), DAYS.date)
    tables = [pd.DataFrame({"a": range(4), "t": column}) for column in columns]
    tables.append(pl.DataFrame({"a": range(4), "t": DAYS.date}))
    for table in tables:
        with pytest.raises(ValueError, match="The column 't' holds dates or times, dt"):
            check_numbers(NUMBERS, table)
        check_numbers(Columns({1: ()}, allow_nan=False), table)
        with pytest.raises(ValueError, match="holds dates or times"):
            ResODERegressor(2).fit(table, np.arange(4.0))
    times = np.array([[0, datetime.time(1)]] * 4, dtype=object)
    for array, j in ((np.column_stack([DAYS, DAYS]), 0), (times, 1)):
        with pytest.raises(ValueError, match=f"The column {j} holds dates or times"):
            ResODERegressor(2).fit(array, np.arange(4.0))


def test_texts_in_place_of_numbers_are_named():
    table = pd.DataFrame({"a": [1, 2] * 4, "sex": ["m", "f"] * 4})
    for X, settings, name in (
        (table, {"categorical_features": ["a"]}, "'sex'"),
        (table.to_numpy(object), {}, "1"),
    ):
        assert column_of_texts(NUMBERS, X) == name
        with pytest.raises(
            ValueError, match=f"column {name} holds texts.*`categorical_"
        ):
            ResODEClassifier(2, **settings).fit(X, [0, 1] * 4)
    assert column_of_texts(NUMBERS, np.array([["1", 2.0, None]], dtype=object)) is None


def test_a_column_of_another_kind_than_in_training_is_refused():
    check_kind(["a", None], ("a", "b"), "'z'")
    check_kind([1, "a"], ("a", "b"), "'z'")
    check_kind([None], ("a", "b"), "'z'")
    check_kind(["c"], (1, "b"), "'z'")
    with pytest.raises(
        ValueError, match="'z' of categories holds numbers here, but te"
    ):
        check_kind([1, np.nan], ("a", "b", None), "'z'")
    with pytest.raises(ValueError, match="'z' of categories holds texts here, but num"):
        check_kind(["1"], (1, 2), "'z'")
