"""Writes the files of this folder, which later versions must be able to read.

``python -m tests.export.saved.write``: only for a new schema, under a new name; the
files of earlier ones stay.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet._export.persistence import SCHEMA
from odenet.solvers import SGD, Flow

FOLDER = Path(__file__).parent
SMALL = {"width": 3, "state_dim": 5, "random_state": 0}


def samples():
    """Inputs of two columns of numbers, targets, labels."""
    X = np.random.RandomState(0).standard_normal((40, 2)).round(3)
    y = (X[:, 0] ** 2 - X[:, 1]).round(3)
    return X, y, np.array(["low", "middle", "high"])[np.digitize(y, [0.0, 1.0])]


def table(X):
    """A column of texts and one of numbers, of which some are missing."""
    texts = np.where(X[:, 1] > 0, "up", "down").astype(object)
    frame = pd.DataFrame({"number": X[:, 0], "text": pd.Categorical(texts)})
    frame.loc[::7, "number"] = np.nan
    return frame


def fitted():
    """A small estimator of every class, with inputs to predict at."""
    X, y, labels = samples()
    path = {"flow_times": [1.0, 2.0], "cv": 2, **SMALL}
    images = {"channels": 2, "solver": SGD(max_epochs=2), "random_state": 0}
    flow = {"flow_time": 2.0, "solver": Flow(rtol=0.1), **SMALL}
    mixed = table(X)
    return [
        (ResODERegressor(3, **flow).fit(X, y), X),
        (ResODEClassifier(3, allow_nan=True, **flow).fit(mixed, labels), mixed),
        (ResODERegressorCV([2, 3], **path).fit(X, np.column_stack([y, -y])), X),
        (ResODEClassifierCV([2, 3], **path).fit(X, y > 0), X),
        (ResODEImageClassifier(2, **images).fit(X, labels), X),
    ]


def outputs(model, X):
    """What a model says of the first samples: values, or logits."""
    method = getattr(model, "decision_function", model.predict)
    return method(X[:5])


if __name__ == "__main__":
    for model, X in fitted():
        path = FOLDER / f"{type(model).__name__}-{SCHEMA}.safetensors"
        model.save(path)
        path.with_suffix(".json").write_text(json.dumps(outputs(model, X).tolist()))
        print(path.name, path.stat().st_size)
