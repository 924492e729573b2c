"""Values of tables of several libraries."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from odenet._tables.table_values import (
    distinct_values,
    is_frame,
    kind_of,
    known_value,
    mixed_rows,
    name_of,
    values_of,
)


def test_columns_have_values_of_python_and_names():
    for table, name in (
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), "'b'"),
        (pl.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), "'b'"),
        (np.array([[1.0, "x"], [2.0, "y"]], dtype=object), "1"),
    ):
        assert values_of(table, 1) == ["x", "y"]
        assert name_of(table, 1) == name
        assert is_frame(table) == (name != "1")


def test_missing_values_of_all_kinds_are_none():
    for missing in (None, np.nan, float("nan"), pd.NA, pd.NaT):
        assert known_value(missing) is None
    assert type(known_value(np.float32(2))) is float
    assert known_value("x") == "x"


def test_kinds_are_numbers_texts_and_others():
    assert [kind_of(v) for v in (1, 1.5, True, "1", (1,))] == [0, 0, 0, 1, 2]


def test_values_without_a_hash_are_refused():
    assert distinct_values(["a", "b", "a"]) == {"a", "b"}
    with pytest.raises(TypeError, match="A category must be hashable"):
        distinct_values([["a"]])


def test_columns_have_rows_of_their_own():
    index = np.array([[1, 0], [0, 0], [1, 1], [0, 2]])
    values = {"a": [1.0, None, 3.0], "b": ["x", "y", "z"]}
    frame = pd.DataFrame(values, index=[5, 5, 7]).astype({"b": "category"})
    frame.columns = ["a", "a"]  # of the same name, as pandas allows
    for table in (frame, pl.DataFrame(values), frame.to_numpy()):
        mixed = mixed_rows(table, index)
        assert type(mixed) is type(table)
        assert [known_value(v) for v in values_of(mixed, 0)] == [None, 1, None, 1]
        assert values_of(mixed, 1) == ["x", "x", "y", "z"]
        if is_frame(table):
            assert list(mixed.columns) == list(table.columns)
            assert list(mixed.dtypes) == list(table.dtypes)
