"""scikit-learn's private names come through one door, and checks are its own."""

import re
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import check_scoring, get_scorer, make_scorer, max_error
from sklearn.model_selection import KFold

import odenet
from odenet._utils import sklearn_private
from odenet._utils.sklearn_private import (
    Interval,
    check_sample_weight,
    is_pandas_na,
    safe_indexing,
    takes_sample_weight,
    validate_parameters,
)
from odenet.solvers import SGD

X = np.zeros((3, 2))


def test_private_names_of_scikit_learn_have_one_door():
    folder = Path(odenet.__file__).parent
    private = re.compile(r"from sklearn[\w.]*\._|from sklearn[\w.]* import .*\b_\w")
    knowing = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if private.search(path.read_text())
    }
    assert knowing == {"_utils/sklearn_private.py"}


def test_what_the_door_offers_is_there():
    assert all(hasattr(sklearn_private, name) for name in sklearn_private.__all__)
    assert sorted(sklearn_private.__all__) == sklearn_private.__all__


def test_weights_are_float64_with_one_for_every_row():
    for given in (None, 1, np.ones(3, dtype=int)):
        weight = check_sample_weight(given, X)
        assert weight.dtype == np.float64
        np.testing.assert_array_equal(weight, np.ones(3))
    np.testing.assert_array_equal(check_sample_weight([0, 2, 1], X), [0.0, 2.0, 1.0])
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(2,\)"):
        check_sample_weight(np.ones(2), X)


def test_negative_weights_are_refused_with_the_value():
    with pytest.raises(ValueError, match=r"Negative values .*`sample_weight`: -2\.0"):
        check_sample_weight([1.0, -2.0, -1.0], X)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ValueError, match="at least one non-zero"):
        check_sample_weight(np.zeros(3), X)


def test_parameters_are_judged_as_scikit_learn_does():
    constraints = {"momentum": [Interval(Real, 0, 1, closed="left")]}
    validate_parameters(constraints, SGD(momentum=0.5))
    with pytest.raises(ValueError, match=r"'momentum' parameter of SGD .*Got 1\.5"):
        validate_parameters(constraints, SGD(momentum=1.5))


def test_rows_and_columns_of_any_table_can_be_taken():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    for table in (frame, frame.to_numpy()):
        assert np.asarray(safe_indexing(table, [2, 0])).tolist() == [[3, 6], [1, 4]]
        assert np.asarray(safe_indexing(table, 1, axis=1)).tolist() == [4, 5, 6]
    assert safe_indexing(["x", "y"], [1]) == ["y"]


def test_which_scorers_take_weights():
    with_weights = [
        get_scorer("accuracy"),
        check_scoring(LinearRegression()),
        lambda model, X, y, sample_weight=None: 0.0,
        lambda model, X, y, **params: 0.0,
    ]
    without = [make_scorer(max_error), lambda model, X, y: 0.0]
    assert all(map(takes_sample_weight, with_weights))
    assert not any(map(takes_sample_weight, without))


def test_the_missing_value_of_pandas_is_known():
    assert is_pandas_na(pd.NA)
    assert not is_pandas_na(None)


def test_splits_are_what_scikit_learn_takes_for_cv():
    constraint = sklearn_private.Splits()
    for value in (KFold(3), [(0, 1)], iter([])):
        assert constraint.is_satisfied_by(value)
    for value in ("random", b"last", 0.2, 5, None):
        assert not constraint.is_satisfied_by(value)
    assert str(constraint).endswith("'split' and 'get_n_splits' or an iterable")
