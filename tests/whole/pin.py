"""Numbers that a change of structure must leave as they are, to the last bit.

    python tests/whole/pin.py before.json      # records
    python tests/whole/pin.py before.json      # compares, if the file is there

Small fits of every kind: their predictions and fitted numbers, as hashes and as values.
The same machine, the same number of threads and the same versions are needed.
"""

# ruff: noqa: E501  (a line for each fit, as a table)

import hashlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

import odenet
from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet.schemes import GaussianProcess
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

torch.set_num_threads(1)


def numbers(value):
    """A short text that changes with any bit of an array."""
    array = np.ascontiguousarray(value)
    digest = hashlib.sha256(array.tobytes()).hexdigest()[:12]
    if array.dtype.kind in "fiu" and array.size:
        return f"{digest} {np.sum(array, dtype=float):.10g} {array.shape}"
    return f"{digest} {array.shape}"


def facts(model, X):
    """What a fitted estimator says at some rows, and of itself."""
    smoothness = model.depth_smoothness_
    said = {
        "predict": numbers(np.asarray(model.predict(X), dtype=float)),
        "transform": numbers(model.transform(X)),
        "weights": numbers(
            np.concatenate(
                [p.detach().numpy().ravel() for p in model.module_.parameters()]
            )
        ),
        "lipschitz": repr(float(smoothness)),
        "ratio": repr(smoothness.von_neumann_ratio),
        "history": [len(model.history_), sorted(model.history_.columns)],
        "path": [
            {k: repr(v) for k, v in row.items() if k != "seconds"}
            for row in model.depth_path_
        ],
    }
    for name in (
        *("depth_", "flow_time_", "n_iter_", "n_grad_evals_", "stop_reason_"),
        *("converged_", "ode_gap_", "solver_", "n_outputs_", "best_index_"),
    ):
        if hasattr(model, name):
            said[name] = repr(getattr(model, name))
    for name in ("loss_curve_", "validation_loss_curve_", "validation_scores_"):
        curve = getattr(model, name)
        said[name] = None if curve is None else numbers(curve)
    if hasattr(model, "predict_proba"):
        said["proba"] = numbers(model.predict_proba(X))
        said["log_proba"] = numbers(model.predict_log_proba(X))
    if hasattr(model, "cv_results_"):
        said["cv"] = numbers(model.cv_results_["mean_test_score"])
    said["summary"] = [s for s in model.summary().split("\n") if " s; " not in s]
    return said


def after(model, X):
    """What can be made of a fitted estimator."""
    made = {"hidden": numbers(model.hidden_states(X))}
    shallow = model.with_depth(5)
    made["with_depth"] = facts(shallow, X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        model.save(path)
        made["loaded"] = facts(type(model).load(path), X)
        model.to_onnx(path)
        made["onnx_bytes"] = len(path.read_bytes())
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        inputs = {
            i.name: (X[[i.name]] if hasattr(X, "columns") and i.name != "X" else X)
            for i in session.get_inputs()
        }
        feed = {}
        for i in session.get_inputs():
            values = np.asarray(inputs[i.name])
            values = values.reshape(len(values), -1)
            feed[i.name] = values.astype(object if "string" in i.type else float)
        made["onnx"] = numbers(np.asarray(session.run(None, feed)[-1], dtype=float))
    if hasattr(model, "to_ode"):
        ode = model.to_ode(rtol=1e-4)
        made["ode"] = numbers(np.asarray(ode.predict(X), dtype=float))
        made["n_evals"] = ode.n_evals_
        made["trajectory"] = numbers(ode.trajectory(X, [0.0, 0.3, 1.0]))
        made["gap"] = repr(model.ode_gap(X))
        made["imitating"] = facts(model.with_depth(4, imitate=True), X)
        made["richardson"] = numbers(
            np.asarray(model.richardson_predict(X), dtype=float)
        )
    return made


def table():
    """Categories, texts and missing numbers."""
    rng = np.random.default_rng(0)
    n = 120
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "b": rng.exponential(size=n),
            "c": pd.Categorical(rng.choice(list("xyz"), n)),
            "d": rng.choice(["yes", "no"], n),
            "e": rng.integers(0, 5, n).astype(float),
        }
    )
    frame.loc[::7, "b"] = np.nan
    y = frame["a"] + (frame["c"] == "x") + frame["b"].fillna(1.0)
    return frame, y.to_numpy()


def problems():
    """Name, estimator, samples; lazily, for errors to stay apart."""
    X, y = load_diabetes(return_X_y=True)
    Xs, ys = X[:150], y[:150]
    Xw, yw = load_wine(return_X_y=True)
    Xc, yc = load_breast_cancer(return_X_y=True)
    Xd, yd = load_digits(return_X_y=True)
    small = {"depth": 8, "width": 16, "random_state": 0}
    reg, cls = ResODERegressor, ResODEClassifier
    yield "flow", reg(flow_time=5.0, **small), Xs, ys, {}
    yield "flow deep", reg(40, width=8, flow_time=8.0, random_state=1), Xs, ys, {}
    yield "flow plain", reg(depth_schedule=None, flow_time=3.0, **small), Xs, ys, {}
    yield (
        "flow listed",
        reg(depth_schedule=[2, 4, 8], flow_time=3.0, **small),
        Xs,
        ys,
        {},
    )
    yield "flow stopping", reg(width=16, depth=16, random_state=0), X[:260], y[:260], {}
    yield (
        "flow X_val",
        reg(early_stopping=True, **small),
        Xs,
        ys,
        {"X_val": X[150:200], "y_val": y[150:200]},
    )
    yield "flow wide", cls(**small), Xw, yw, {}
    yield "binary", cls(flow_time=20.0, **small), Xc[:150], yc[:150], {}
    yield (
        "binary stopping",
        cls(depth=16, width=16, random_state=0),
        Xc[:300],
        yc[:300],
        {},
    )
    yield (
        "weights",
        reg(flow_time=4.0, **small),
        Xs,
        ys,
        {"sample_weight": np.arange(150) % 3},
    )
    yield (
        "class weights",
        cls(flow_time=6.0, class_weight="balanced", **small),
        Xw,
        yw,
        {},
    )
    yield (
        "outputs",
        reg(flow_time=4.0, **small),
        Xs,
        np.stack([ys, Xs[:, 0]], axis=1),
        {},
    )
    yield "clip", reg(solver=Flow(clip=0.5), flow_time=2.0, **small), Xs, ys, {}
    yield "gd", reg(solver="gd", flow_time=2.0, **small), Xs, ys, {}
    yield (
        "gd short",
        reg(solver=GradientDescent(max_evals=9), flow_time=2.0, **small),
        Xs,
        ys,
        {},
    )
    yield "sgd", reg(solver=SGD(max_epochs=8), **small), Xs, ys, {}
    yield (
        "sgd cosine",
        cls(solver=SGD(max_epochs=8, schedule="cosine"), **small),
        Xw,
        yw,
        {},
    )
    yield (
        "adamw",
        reg(16, width=16, solver=AdamW(max_epochs=16), random_state=0),
        X,
        y,
        {},
    )
    yield (
        "adamw deep",
        cls(40, width=8, solver=AdamW(max_epochs=10), random_state=0),
        Xd[:600, ::2],
        yd[:600],
        {},
    )
    yield (
        "adamw list",
        reg(
            16,
            width=8,
            solver=AdamW(max_epochs=12),
            depth_schedule=[4, 8, 16],
            random_state=0,
        ),
        X,
        y,
        {},
    )
    yield (
        "auto depth",
        reg("auto", width=8, flow_time=10.0, gap_tol=0.02, random_state=0),
        Xs,
        ys,
        {},
    )
    yield (
        "auto depth batches",
        reg("auto", width=8, solver=AdamW(max_epochs=9), gap_tol=0.05, random_state=0),
        Xs,
        ys,
        {},
    )
    yield "gaussian", reg(init="gaussian_process", flow_time=4.0, **small), Xs, ys, {}
    yield (
        "gaussian V",
        reg(init=GaussianProcess(0.3, draws_V=True), flow_time=4.0, **small),
        Xs,
        ys,
        {},
    )
    yield "iid", reg(init="iid", flow_time=4.0, **small), Xs, ys, {}
    yield (
        "penalties",
        reg(
            alpha=0.01,
            smoothness_penalty=0.1,
            flow_time=6.0,
            depth=16,
            width=8,
            random_state=0,
        ),
        Xs,
        ys,
        {},
    )
    yield (
        "rebuilt",
        reg(backward="rebuilt", flow_time=4.0, depth_schedule=None, **small),
        Xs,
        ys,
        {},
    )
    yield "float64", reg(dtype="float64", flow_time=4.0, **small), Xs, ys, {}
    for name in ("tanh", "silu", "softplus", "relu", "identity"):
        yield name, reg(activation=name, flow_time=2.0, **small), Xs, ys, {}
    yield "raw", reg(standardize=False, flow_time=2.0, **small), Xs, ys / 100, {}
    frame, target = table()
    yield "table", reg(allow_nan=True, flow_time=6.0, **small), frame, target, {}
    yield (
        "repeated rows",
        reg(flow_time=3.0, **small),
        np.repeat(Xs, 2, axis=0),
        np.repeat(ys, 2),
        {},
    )
    yield (
        "reg cv",
        ResODERegressorCV(
            [4, 8], width=8, flow_times=[1, 3, 9, 30], cv=3, random_state=0
        ),
        Xs,
        ys,
        {},
    )
    yield (
        "cls cv",
        ResODEClassifierCV(
            [4, 16],
            width=8,
            flow_times=[1, 5, 25],
            cv=3,
            one_standard_error=True,
            random_state=0,
        ),
        Xw,
        yw,
        {"sample_weight": np.ones(len(yw))},
    )
    yield (
        "wide cv",
        ResODERegressorCV([4, 8], width=512, flow_times=[1, 3], cv=3, random_state=0),
        Xs,
        ys,
        {},
    )
    yield (
        "images",
        ResODEImageClassifier(
            4,
            channels=4,
            image_shape=(8, 8),
            solver=SGD(max_epochs=2, learning_rate=0.05, schedule="cosine"),
            random_shift=1,
            random_flip=True,
            random_state=0,
        ),
        Xd[:300],
        yd[:300],
        {},
    )
    yield (
        "images stopping",
        ResODEImageClassifier(
            3,
            channels=4,
            solver=AdamW(max_epochs=3),
            early_stopping=True,
            random_state=0,
        ),
        Xd[:300].reshape(-1, 8, 8),
        yd[:300],
        {},
    )


def streams():
    """Fits that go on."""
    X, y = load_diabetes(return_X_y=True)
    Xw, yw = load_wine(return_X_y=True)
    warm = ResODERegressor(8, width=8, flow_time=2.0, warm_start=True, random_state=0)
    warm.fit(X[:100], y[:100])
    yield "warm start", warm.set_params(flow_time=5.0).fit(X[:100], y[:100]), X[:20]
    batches = ResODERegressor(
        8, width=8, solver=AdamW(max_epochs=4), warm_start=True, random_state=0
    )
    batches.fit(X[:100], y[:100])
    yield "warm batches", batches.fit(X[:100], y[:100]), X[:20]
    stopped = ResODERegressor(
        8,
        width=8,
        solver=AdamW(max_epochs=6),
        early_stopping=True,
        warm_start=True,
        random_state=0,
    )
    stopped.fit(X, y)
    yield "warm stopping", stopped.fit(X, y), X[:20]
    parts = ResODERegressor(8, width=8, solver="adamw", random_state=0)
    for i in range(4):
        parts.partial_fit(X[50 * i : 50 * i + 50], y[50 * i : 50 * i + 50])
    yield "parts", parts, X[:20]
    classes = ResODEClassifier(8, width=8, solver="sgd", random_state=0)
    for i in range(3):
        classes.partial_fit(Xw[i::3], yw[i::3], classes=[0, 1, 2])
    classes.set_params(alpha=0.1).partial_fit(Xw, yw)
    yield "class parts", classes, Xw[:20]


def record():
    """All facts by the names of the fits."""
    recorded = {}
    for name, model, X, y, params in problems():
        model = clone(model).fit(X, y, **params)
        rows = X[:20]
        recorded[name] = {"fit": facts(model, rows), "after": after(model, rows)}
        print(name, flush=True)
    for name, model, X in streams():
        recorded[name] = {"fit": facts(model, X)}
        print(name, flush=True)
    recorded["names"] = sorted(odenet.__all__)
    return recorded


def differences(before, now, where=""):
    """Places where two records differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from differences(before.get(key), now.get(key), f"{where}/{key}")
    elif before != now:
        yield f"{where}: {before} -> {now}"


def main(path):
    warnings.simplefilter("ignore")
    recorded = json.loads(json.dumps(record()))
    if not path.exists():
        path.write_text(json.dumps(recorded, indent=1))
        return print(f"recorded in {path}")
    found = list(differences(json.loads(path.read_text()), recorded))
    print(*found, f"{len(found)} differences", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
