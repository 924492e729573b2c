"""An exported graph says what the estimator says, whatever it was fitted to."""

import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
)
from odenet._network.activations import ACTIVATIONS
from odenet.schemes import GaussianProcess
from odenet.solvers import SGD
from tests.export.saved import write

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

X, y, LABELS = write.samples()
SMALL = {"width": 8, "flow_time": 3.0, "random_state": 0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def run(path, given):
    session = onnxruntime.InferenceSession(
        path.read_bytes(), providers=["CPUExecutionProvider"]
    )
    if isinstance(given, pd.DataFrame):
        given = {name: column_of(given[name]) for name in given}
    else:
        given = {"X": np.asarray(given, dtype=np.float64)}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def column_of(series):
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fi":
        return series.to_numpy(np.float64)[:, None]
    return series.astype(object).where(series.notna(), "").to_numpy(object)[:, None]


def assert_served(model, X, path, given=None):
    """What the file says is what the model says, to 1e-5 of its scale."""
    buffer = io.BytesIO()
    model.to_onnx(path)
    model.to_onnx(buffer)
    assert buffer.getvalue() == path.read_bytes()
    served = run(path, X if given is None else given)
    if not hasattr(model, "classes_"):
        expected = model.predict(X)
        assert served["y"].shape == expected.shape
        assert np.abs(served["y"] - expected).max() < 1e-5 * expected.std()
        return
    expected = model.predict_proba(X)
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    sure = np.abs(np.diff(np.sort(expected)[:, -2:]))[:, 0] > 1e-4
    assert sure.any()
    np.testing.assert_array_equal(served["label"][sure], model.predict(X)[sure])


@pytest.mark.parametrize("depth", [1, 8, 200])
def test_regressors_of_any_depth(depth, path):
    model = ResODERegressor(depth, **SMALL).fit(X, 1e3 * y + 1e4)
    assert_served(model, X, path)


@pytest.mark.parametrize("targets", [y[:, None], np.column_stack([y, -3 * y, X])])
def test_targets_keep_their_shape(targets, path):
    assert_served(ResODERegressor(8, **SMALL).fit(X, targets), X, path)


@pytest.mark.parametrize(
    "labels",
    [
        y > 0,
        np.where(y > 0, 7, 3),
        np.where(y > 0, 1.0, 2.0),
        np.where(y > 0, "yes", "no"),
        LABELS,
        LABELS.astype(object),
        np.digitize(y, [-1, 0, 1]).astype(np.uint8),
    ],
    ids=lambda labels: f"{len(np.unique(labels))} {labels.dtype}",
)
def test_classifiers_of_any_labels(labels, path):
    model = ResODEClassifier(8, **SMALL).fit(X, labels)
    assert_served(model, X, path)
    served = run(path, X)["label"]
    kind = labels.dtype.kind
    assert served.dtype.kind == {"U": "O", "u": "i"}.get(kind, kind)
    facts = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert json.loads(facts["classes"]) == model.classes_.tolist()
    assert facts["estimator"] == "ResODEClassifier"


def test_several_labels_are_columns_of_integers(path):
    several = np.column_stack([y > 0, y > -9, LABELS == "low", y > 9])
    model = ResODEClassifier(8, **SMALL).fit(X, several)
    model.to_onnx(path)
    served, expected = run(path, X), model.predict_proba(X)
    assert served["label"].dtype == np.int64
    assert served["probabilities"].dtype == np.float64
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    sure = abs(expected - 0.5) > 1e-4
    np.testing.assert_array_equal(served["label"][sure], expected[sure] > 0.5)
    (shape, _) = (
        [d.dim_value or d.dim_param for d in output.type.tensor_type.shape.dim]
        for output in onnx.load(path).graph.output
    )
    assert shape == ["batch", 4]
    facts = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert json.loads(facts["classes"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, path):
    model = ResODERegressor(8, activation=activation, **SMALL).fit(X, y)
    assert_served(model, X, path)


@pytest.mark.parametrize(
    "settings",
    [
        {"standardize": False},
        {"state_dim": 2},
        {"dtype": "float64"},
        {"init": GaussianProcess(draws_V=True)},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_of_the_network(settings, path):
    assert_served(ResODERegressor(8, **SMALL, **settings).fit(X, y), X, path)


@pytest.mark.parametrize("imitate", [False, True])
def test_a_served_model_of_another_depth(imitate, path):
    model = ResODERegressor(64, init="gaussian_process", **SMALL).fit(X, y)
    server = model.with_depth(8, imitate=imitate)
    assert_served(server, X, path)
    distance = np.std(run(path, X)["y"] - model.predict(X))
    assert (distance < 1e-2 * y.std()) == imitate


def test_difficult_columns(path):
    rng = np.random.RandomState(0)
    hard = np.column_stack(
        [
            1e6 + X[:, 0],  # far from zero
            np.exp(5 * X[:, 1]),  # heavy tails
            np.full(len(X), 3.0),  # constant
            rng.randint(2, size=len(X)),  # two numbers
            1e-8 * X[:, 0],
        ]
    )
    model = ResODERegressor(8, **SMALL).fit(hard, y)
    far = np.vstack([hard, 10 * hard, -hard, [[1e300, -1e300, 5, 0, 0]]])
    assert_served(model, far, path)


def test_constant_targets_are_restored(path):
    targets = np.column_stack([y, np.full(len(y), 2.0)])
    assert_served(ResODERegressor(8, **SMALL).fit(X, targets), X, path)


def test_a_network_that_imitates_its_neural_ode(path):
    model = ResODERegressor(8, init="gaussian_process", **SMALL).fit(X, y)
    before = model.predict(X)
    model.module_.imitated_depth = np.inf
    assert_served(model, X, path)
    assert np.std(run(path, X)["y"] - before) > 1e-4 * y.std()


def test_missing_numbers(path):
    holes = X.copy()
    holes[::5, 0] = np.nan
    model = ResODERegressor(8, allow_nan=True, **SMALL).fit(holes, y)
    new = np.array([[np.nan, np.nan], [0.3, np.nan], [0.3, -0.2]])
    assert_served(model, np.vstack([holes, new]), path)


def test_categories_that_are_numbers(path):
    table = np.column_stack([X, (3 * X[:, 0]).round(), np.where(X[:, 1] > 0, 5, 2)])
    table[::9, 2] = np.nan
    settings = {"categorical_features": [2, 3], "allow_nan": True}
    model = ResODERegressor(8, **settings, **SMALL).fit(table, y)
    unknown = np.array([[0.1, 0.2, 99.0, 5.0], [0.1, 0.2, np.nan, 7.0]])
    assert_served(model, np.vstack([table, unknown]), path)


def frame():
    colours = pd.Series(
        np.array(["red", "green", "blue"])[np.arange(40) % 3], dtype=str
    )
    table = pd.DataFrame(
        {"colour": colours, "size": X[:, 0], "kind": write.table(X).text}
    )
    table.loc[4, "colour"] = None
    return table


def test_texts_are_inputs_of_their_own(path):
    table = frame()
    model = ResODEClassifier(8, **SMALL).fit(table, LABELS)
    new = pd.DataFrame(
        {"colour": ["mauve", None], "size": [0.0, 1.0], "kind": ["up", "?"]}
    )
    new = pd.concat([table, new], ignore_index=True).astype({"kind": object})
    assert_served(model, new, path)
    session = onnxruntime.InferenceSession(path)
    assert [given.name for given in session.get_inputs()] == list(table)


def test_texts_without_names(path):
    table = frame()[["colour", "size"]].dropna().to_numpy(object)
    model = ResODERegressor(4, categorical_features=[0], **SMALL)
    model.fit(table, y[: len(table)])
    given = pd.DataFrame({"x0": table[:, 0], "x1": table[:, 1].astype(float)})
    assert_served(model, table, path, given)


def test_texts_alone(path):
    table = frame()[["colour", "kind"]]
    assert_served(ResODERegressor(4, **SMALL).fit(table, y), table, path)


def test_categories_of_several_types_are_refused(path):
    table = np.array([[1, 0.0], ["a", 1.0], ["b", 2.0], [2, 3.0]], dtype=object)
    model = ResODERegressor(2, categorical_features=[0], min_frequency=1, **SMALL)
    model.fit(table, [1, 2, 3, 4])
    path.write_text("before")
    with pytest.raises(ValueError, match=r"Column 0 cannot be exported .*numbers or"):
        model.to_onnx(path)
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "colours",
    [["", "red", None], [5, 2**60, 2**60 + 1]],
    ids=["missing and empty", "beyond float64"],
)
def test_categories_that_a_graph_cannot_tell_apart_are_refused(colours, path):
    column = pd.Categorical(np.resize(np.array(colours, dtype=object), len(X)))
    table = pd.DataFrame({"colour": column, "size": X[:, 0]})
    model = ResODERegressor(2, **SMALL).fit(table, y)
    with pytest.raises(ValueError, match=r"Column 0 cannot be exported .*the same"):
        model.to_onnx(path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["label", "probabilities", ""])
def test_features_with_the_name_of_an_output_are_refused(name, path):
    table = frame().rename(columns={"size": name})
    model = ResODEClassifier(2, **SMALL).fit(table, LABELS)
    with pytest.raises(ValueError, match=r"under the names .*Rename the features"):
        model.to_onnx(path)
    assert not path.exists()


def test_features_may_have_the_names_of_values_inside(path):
    ResODEClassifier(2, **SMALL).fit(frame(), LABELS).to_onnx(path)
    graph = onnx.load(path).graph
    (loop,) = (node for node in graph.node if node.op_type == "Scan")
    (body,) = (a.g for a in loop.attribute if a.name == "body")
    for name in (
        graph.node[1].output[0],
        graph.initializer[0].name,
        body.input[0].name,
        body.node[0].output[0],
    ):
        table = frame().rename(columns={"size": name})
        model = ResODEClassifier(2, **SMALL).fit(table, LABELS)
        assert_served(model, table, path)


def test_labels_beyond_int64_are_refused(path):
    labels = np.where(y > 0, np.uint64(2**63 + 5), np.uint64(1))
    model = ResODEClassifier(2, **SMALL).fit(X, labels)
    with pytest.raises(ValueError, match=r"within int64, got \[1, 9223372036854775813"):
        model.to_onnx(path)


def test_any_batch(path):
    model = ResODEClassifier(8, **SMALL).fit(X, LABELS)
    model.to_onnx(path)
    for n in (0, 1, 1000):
        batch = np.resize(X, (n, 2))
        served = run(path, batch)
        assert served["label"].shape == (n,)
        assert served["probabilities"].shape == (n, 3)


def test_the_graph_does_not_grow_with_depth(path):
    sizes = []
    for depth in (2, 100):
        ResODERegressor(depth, **SMALL).fit(X, y).to_onnx(path)
        graph = onnx.load(path).graph
        sizes.append((len(graph.node), len(graph.initializer)))
    assert sizes[0] == sizes[1]


def test_the_file_is_not_much_larger_than_the_weights(path):
    model = ResODERegressor(64, flow_time=1.0).fit(X, y)
    model.to_onnx(path)
    n_bytes = sum(4 * p.numel() for p in model.module_.parameters())
    assert path.stat().st_size < 1.1 * n_bytes


@pytest.mark.parametrize("image_shape", [(8, 8), (4, 8, 2)])
def test_images(image_shape, path):
    images, digits = load_digits(return_X_y=True)
    settings = {"channels": 3, "solver": SGD(max_epochs=2), "random_state": 0}
    model = ResODEImageClassifier(5, image_shape=image_shape, **settings)
    model.fit(images[:200], digits[:200])
    assert_served(model, images[200:260], path)
    assert_served(model.with_depth(3), images[200:260], path)
    assert run(path, np.empty((0, 64)))["probabilities"].shape == (0, 10)


def test_estimators_that_search(path):
    grid = {"flow_times": [1.0, 2.0], "cv": 2, "width": 8, "random_state": 0}
    assert_served(ResODEClassifierCV([2, 4], **grid).fit(X, LABELS), X, path)


def test_unfitted_estimators_have_no_graph(path):
    with pytest.raises(NotFittedError):
        ResODERegressor().to_onnx(path)
    assert not path.exists()


def test_without_the_package_the_error_says_what_to_install(path, monkeypatch):
    model = ResODERegressor(2, **SMALL).fit(X, y)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install \"odenet-learn\[onnx\]\""):
        model.to_onnx(path)


# The network alone, for those who serve torch


def program_of(module, x):
    batch = torch.export.Dim("batch", min=2)
    return torch.export.export(module, (x,), dynamic_shapes={"x": {0: batch}}).module()


@pytest.mark.parametrize("imitate", [False, True])
def test_a_fitted_module_can_be_exported_by_torch(imitate):
    model = ResODERegressor(16, **SMALL).fit(X, y)
    module = model.with_depth(4, imitate=imitate).module_.cpu()
    x = torch.randn(7, module.embedding.shape[1] - 1)
    program = program_of(module, x[:5])
    torch.testing.assert_close(program(x), module(x))


def test_a_fitted_module_of_images_can_be_exported_by_torch():
    images, digits = load_digits(return_X_y=True)
    model = ResODEImageClassifier(3, channels=2, solver=SGD(max_epochs=1))
    module = model.fit(images[:60], digits[:60]).module_.cpu()
    x = torch.randn(7, 64)
    torch.testing.assert_close(program_of(module, x[:5])(x), module(x))
