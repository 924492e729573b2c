"""From a user's table to rows of numbers."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from odenet._tables.columns import read_columns
from odenet._tables.encoder import fit_encoder
from odenet._tables.reading import TableInputs, read_table, stand_in, to_rows
from odenet._tables.targets import ClassTargets, RegressionTargets


class Owner(BaseEstimator):
    pass


def frame():
    return pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": pd.Categorical(["x", "y", "x"])})


def table_inputs(X, allow_nan=False):
    owner, columns = Owner(), read_columns(X, "from_dtype", allow_nan)
    matrix = read_table(owner, columns, X, reset=True)
    columns, matrix = columns.settled(matrix, scored=False)
    names = getattr(owner, "feature_names_in_", None)
    encoder = fit_encoder(columns, matrix, np.ones(len(matrix)))
    return TableInputs("Model", owner.n_features_in_, names, encoder)


def test_a_table_of_numbers_is_its_own_matrix():
    owner, X = Owner(), [[1, 2], [3, 4]]
    columns = read_columns(X, "from_dtype", allow_nan=False)
    matrix, y = read_table(owner, columns, X, [5.0, 6.0], reset=True)
    np.testing.assert_array_equal(matrix, X)
    assert matrix.dtype == np.float64
    assert y.tolist() == [5.0, 6.0]
    assert owner.n_features_in_ == 2


def test_categories_become_indices_beside_y():
    owner, X = Owner(), frame()
    columns = read_columns(X, "from_dtype", allow_nan=False)
    matrix, y = read_table(owner, columns, X, [1.0, 2.0, 3.0], reset=True)
    np.testing.assert_array_equal(matrix, [[1, 0], [2, 1], [3, 0]])
    assert y.tolist() == [1.0, 2.0, 3.0]
    assert owner.feature_names_in_.tolist() == ["a", "b"]


def test_inputs_read_what_the_training_table_was_like():
    inputs = table_inputs(frame())
    assert inputs.columns is inputs.encoder.columns
    matrix = inputs.read(frame()[1:])
    np.testing.assert_array_equal(matrix, [[2, 1], [3, 0]])
    np.testing.assert_array_equal(inputs(matrix), inputs.encoder(matrix))
    matrix, y = inputs.read(frame(), [1, 0, 1])
    assert y.tolist() == [1, 0, 1]


def test_errors_name_the_estimator():
    numbers = table_inputs([[1.0, 2.0]])
    with pytest.raises(ValueError, match="X has 3 features, but Model is expecting 2"):
        numbers.read([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="feature names should match"):
        table_inputs(frame()).read(frame().rename(columns={"a": "z"}))


def test_missing_numbers_are_read_where_they_are_allowed():
    X = [[1.0, np.nan], [2.0, 0.0]]
    matrix = table_inputs(X, allow_nan=True).read(X)
    assert np.isnan(matrix[0, 1])
    for table in ([[1.0, 2.0]], frame()):
        inputs = table_inputs(table)
        bad = pd.DataFrame(table).astype(object).copy()
        bad.iloc[0, 0] = np.nan
        bad.columns = table.columns if hasattr(table, "columns") else bad.columns
        bad = bad if hasattr(table, "columns") else bad.to_numpy(dtype=float)
        with pytest.raises(ValueError, match="is fitted with `allow_nan=True`"):
            inputs.read(bad)


def test_a_stand_in_has_name_and_features():
    owner = stand_in("Model", 3, np.array(["a", "b", "c"]))
    assert type(owner).__name__ == "Model"
    assert owner.n_features_in_ == 3
    assert owner.feature_names_in_.tolist() == ["a", "b", "c"]
    assert not hasattr(stand_in("Model", 3, None), "feature_names_in_")


def test_rows_without_weight_leave_no_trace():
    X, y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 2, 1])
    params = {"label_smoothing": 0.0, "class_weight": None}

    def targets_of(y):
        return ClassTargets.of(y, estimator_name="Model", params=params)

    rows, targets = to_rows(X, y, [1.0, 2.0, 0.0, 3.0], targets_of)
    assert targets.classes.tolist() == [0, 1]
    np.testing.assert_array_equal(rows.X, X[[0, 1, 3]])
    assert rows.y.tolist() == [0, 1, 1]
    assert rows.weight.tolist() == [1.0, 2.0, 3.0]
    assert rows.index.tolist() == [0, 1, 3]
    taken = rows.taken([2, 0], np.array([7.0, 8.0]))
    assert taken.index.tolist() == [3, 0]
    np.testing.assert_array_equal(taken.X, X[[3, 0]])
    assert taken.y.tolist() == [1, 0]
    assert taken.weight.tolist() == [7.0, 8.0]
    assert rows._replace(index=None).taken([0], np.ones(1)).index is None


def test_rows_of_known_targets_are_encoded_and_weighed():
    targets = ClassTargets(np.array(["a", "b"]), class_weight={"a": 5.0})
    rows, same = to_rows(np.zeros((2, 1)), np.array(["b", "a"]), None, targets)
    assert same is targets
    assert rows.y.tolist() == [1, 0]
    assert rows.weight.tolist() == [1.0, 5.0]
    numbers = RegressionTargets.of(np.zeros(2), estimator_name="Model", params={})
    rows, _ = to_rows(np.zeros((2, 1)), np.array([3.0, 4.0]), None, numbers)
    np.testing.assert_array_equal(rows.y, [[3.0], [4.0]])


def test_sparse_tables_are_read_in_canonical_format_and_left_alone():
    row, column = [0, 0, 1, 1, 1, 3], [2, 0, 1, 1, 0, 2]
    value = [1, 2, 3, -3, 5, 0]
    given = sp.coo_array((value, (row, column)), shape=(4, 3))
    expected = [[2, 0, 1], [5, 0, 0], [0, 0, 0], [0, 0, 0]]
    inputs = table_inputs(np.eye(3))
    for X in (given, given.tocsc(), given.tolil(), given.todok(), given.tobsr()):
        for dtype in (np.int32, np.float32, np.float64):
            matrix = inputs.read(X.astype(dtype))
            np.testing.assert_array_equal(matrix.toarray(), expected)
            assert matrix.format == "csr"
            assert matrix.nnz == 3
            assert matrix.dtype == np.float64
            assert matrix.has_sorted_indices
    unsorted = sp.csr_matrix(([1.0, 2.0, 0.0], [2, 0, 1], [0, 3]), shape=(1, 3))
    inputs.read(unsorted)
    assert unsorted.nnz == 3
    assert unsorted.indices.tolist() == [2, 0, 1]


def test_sparse_tables_have_neither_categories_nor_missing_numbers():
    X = sp.csr_array([[1.0, 0.0], [0.0, 2.0]])
    for chosen in ("from_dtype", None, []):
        assert not read_columns(X, chosen, False).categories
    with pytest.raises(ValueError, match=r"X is sparse.*categorical_features=\[1\]"):
        read_columns(X, [1], False)
    with pytest.raises(ValueError, match="X is sparse.*missing.*allow_nan=False"):
        read_columns(X, None, True)
    inputs = table_inputs(frame())
    with pytest.raises(ValueError, match=r"X is sparse.*columns \[1\] hold categories"):
        inputs.read(X)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        table_inputs(np.eye(2)).read(sp.csr_array([[np.nan, 0.0]]))
    with pytest.raises(ValueError, match="expecting 3 features"):
        table_inputs(np.eye(3)).read(X)
