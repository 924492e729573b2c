"""Predictions of parts, which nothing computes before it is asked."""

import numpy as np
import pandas as pd
import pytest

from odenet import ResODEClassifier, ResODERegressor
from odenet._dask.predictions import lazily
from tests.dask.samples import FRAME, TINY, X, Y, arrays, frames

pytestmark = pytest.mark.cluster
dask = pytest.importorskip("dask")
FLOW = {"flow_time": 0.5, **TINY}


def test_predictions_are_those_of_the_model_part_by_part():
    (dX,) = arrays(X)
    two = ResODERegressor(**FLOW).fit(X, np.column_stack([Y, X[:, 2]]))
    classes = ResODEClassifier(**FLOW).fit(X, np.where(Y > 0, "up", "down"))
    for model, method in [
        (two, "predict"),
        (classes, "predict"),
        (classes, "predict_proba"),
        (classes, "decision_function"),
    ]:
        expected = getattr(model, method)(X)
        found = lazily(model, method, dX)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert found.chunks[0] == dX.chunks[0]
        np.testing.assert_array_equal(found.compute(), expected)
        by_columns = lazily(model, method, dX.rechunk((40, 2)))
        np.testing.assert_array_equal(by_columns.compute(), expected)


def test_nothing_is_computed_before_it_is_asked_for(monkeypatch):
    (dX,) = arrays(X)
    model = ResODERegressor(**FLOW).fit(X, Y)
    n_rows = []
    predict = ResODERegressor.predict
    monkeypatch.setattr(
        ResODERegressor, "predict", lambda *a: n_rows.append(len(a[1])) or predict(*a)
    )
    found = lazily(model, "predict", dX)
    assert n_rows == [1]  # a row of zeros, which tells the shape
    found[:40].compute(scheduler="synchronous")
    assert n_rows == [1, 40]


def test_frames_with_categories_and_parts_without_rows():
    model = ResODEClassifier(**FLOW).fit(FRAME, Y > 0)
    (dX,) = frames(FRAME)
    dX = dX[dX["a"] > 0]
    few = dX[dX["a"] > FRAME["a"].max() - 1e-9]  # one row, in one of the parts
    assert len(few) == 1
    for frame in (dX, few):
        found = lazily(model, "predict_proba", frame)
        expected = model.predict_proba(frame.compute())
        np.testing.assert_array_equal(found.compute(), expected)
    strings = FRAME.astype({"kind": object})
    (dX,) = frames(strings)
    found = lazily(ResODEClassifier(**FLOW).fit(strings, Y > 0), "predict", dX)
    assert found.compute().dtype == bool
    assert isinstance(strings, pd.DataFrame)
