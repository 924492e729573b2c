"""The regressor of Dask: predictions and scores, lazily and at once."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from odenet.dask import DaskResODERegressor
from odenet.solvers import AdamW
from tests.dask.samples import FRAME, TINY, WEIGHT, X, Y, arrays, frames

HELD_OUT = {"solver": AdamW(max_epochs=60), "early_stopping": True, **TINY}
pytestmark = pytest.mark.cluster


def test_predictions_and_scores_of_arrays(dask_cluster):
    dX, dy, weight = arrays(X, Y, WEIGHT)
    model = DaskResODERegressor(client=dask_cluster.client, **HELD_OUT)
    local = model.fit(dX, dy, weight).to_local()
    found = model.predict(dX)
    np.testing.assert_array_equal(found.compute(), local.predict(X))
    np.testing.assert_array_equal(model.predict(X), local.predict(X))
    np.testing.assert_array_equal(
        model.predict_interval(dX, 0.8).compute(), local.predict_interval(X, 0.8)
    )
    expected = r2_score(Y, local.predict(X), sample_weight=WEIGHT)
    assert model.score(dX, dy, weight) == pytest.approx(expected)
    assert model.score(X, Y, WEIGHT) == pytest.approx(expected)


def test_frames_of_several_quantiles(dask_cluster):
    dX, dy = frames(FRAME, pd.Series(Y))
    model = DaskResODERegressor(
        client=dask_cluster.client,
        loss="quantile",
        quantile=[0.1, 0.5, 0.9],
        flow_time=0.5,
        **TINY,
    ).fit(dX, dy)
    found = model.predict(dX).compute()
    assert found.shape == (200, 3)
    assert list(model.feature_names_in_) == list(FRAME)
    assert model.score(dX, dy) == pytest.approx(r2_score(Y, found[:, 1]))
