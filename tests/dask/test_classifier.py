"""The classifier of Dask: classes and probabilities, lazily and at once."""

import numpy as np
import pandas as pd
import pytest

from odenet import ResODEClassifier
from odenet.dask import DaskResODEClassifier
from odenet.solvers import AdamW
from tests.dask.samples import FRAME, TINY, X, Y, arrays, frames

HELD_OUT = {"solver": AdamW(max_epochs=60), "early_stopping": True, **TINY}
pytestmark = pytest.mark.cluster
LABELS = np.array(["low", "middle", "high"])[np.digitize(Y, [-0.5, 0.5])]
METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


def test_predictions_and_scores(dask_cluster):
    """A class may be missing on a worker: the rows are sorted by it."""
    order = np.argsort(LABELS)
    dX, dy = arrays(X[order], LABELS[order])
    model = DaskResODEClassifier(client=dask_cluster.client, flow_time=0.5, **TINY)
    local = model.fit(dX, dy).to_local()
    alone = ResODEClassifier(flow_time=0.5, **TINY).fit(X[order], LABELS[order])
    assert list(model.classes_) == ["high", "low", "middle"]
    np.testing.assert_allclose(
        model.predict_proba(X), alone.predict_proba(X), atol=1e-4
    )
    for method in METHODS:
        expected = getattr(local, method)(X[order])
        np.testing.assert_array_equal(getattr(model, method)(dX).compute(), expected)
        np.testing.assert_array_equal(getattr(model, method)(X[order]), expected)
    assert model.score(dX, dy) == np.mean(local.predict(X) == LABELS)


def test_frames_and_sets(dask_cluster):
    dX, dy = frames(FRAME, pd.Series(LABELS))
    model = DaskResODEClassifier(client=dask_cluster.client, **HELD_OUT).fit(dX, dy)
    local = model.to_local()
    np.testing.assert_array_equal(model.predict(dX).compute(), local.predict(FRAME))
    np.testing.assert_array_equal(
        model.predict_set(dX).compute(), local.predict_set(FRAME)
    )
    assert model.score(dX, dy) == np.mean(local.predict(FRAME) == LABELS)
