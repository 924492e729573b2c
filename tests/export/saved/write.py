"""Writes the files of this folder, which later versions must be able to read.

``python -m tests.export.saved.write``: only for a new schema, under a new name; the
files of earlier ones stay.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone

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


PATH = {"flow_times": [1.0, 2.0], "cv": 2, **SMALL}
IMAGES = {"channels": 2, "solver": SGD(max_epochs=2), "random_state": 0}
FLOW = {"flow_time": 2.0, "solver": Flow(rtol=0.1), **SMALL}
MODELS = {
    "ResODERegressor": ResODERegressor(3, **FLOW),
    "ResODEClassifier": ResODEClassifier(3, allow_nan=True, **FLOW),
    "ResODERegressorCV": ResODERegressorCV([2, 3], **PATH),
    "ResODEClassifierCV": ResODEClassifierCV([2, 3], **PATH),
    "ResODEImageClassifier": ResODEImageClassifier(2, **IMAGES),
}


def fitted(name):
    """Fit the small estimator of a class; return it with inputs to predict at."""
    X, y, labels = samples()
    mixed = table(X)
    given, targets = {
        "ResODERegressor": (X, y),
        "ResODEClassifier": (mixed, labels),
        "ResODERegressorCV": (X, np.column_stack([y, -y])),
        "ResODEClassifierCV": (X, y > 0),
        "ResODEImageClassifier": (X, labels),
    }[name]
    return clone(MODELS[name]).fit(given, targets), given


def outputs(model, X):
    """What a model says of the first samples: values, or logits."""
    method = getattr(model, "decision_function", model.predict)
    return method(X[:5])


if __name__ == "__main__":
    for name in MODELS:
        model, X = fitted(name)
        path = FOLDER / f"{name}-{SCHEMA}.safetensors"
        model.save(path)
        path.with_suffix(".json").write_text(json.dumps(outputs(model, X).tolist()))
        print(path.name, path.stat().st_size)
