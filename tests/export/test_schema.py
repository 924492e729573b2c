"""The closed schema of files: nothing but what a fit sets comes out of one."""

import resource
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from odenet import ResODEClassifier, ResODEImageClassifier, ResODERegressor
from odenet._export.schema import check_state, is_known
from odenet._tables.embeddings.piecewise_linear import BINS
from odenet.losses import Huber
from odenet.solvers import SGD
from tests.export import hostile

SMALL = {"width": 3, "state_dim": 8, "random_state": 0}
SCRIPT = "<img src=x onerror=alert(document.cookie)>"


def models():
    """Fitted models of every kind of inputs and targets, each with a table."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y, labels = X[:, :2] ** 2, np.array(list("abc"))[rng.integers(3, size=40)]
    table = pd.DataFrame(X).add_prefix("x")
    table["text"] = [f"c{i}" for i in rng.geometric(0.3, size=40)]
    table.iloc[:5, 0] = np.nan
    flow = {"flow_time": 0.3, **SMALL}
    quantiles = {"loss": "quantile", "quantile": [0.1, 0.9]}
    images = {"channels": 2, "solver": SGD(max_epochs=1), "image_shape": (1, 3)}
    return [
        (ResODERegressor(2, **flow).fit(X, y), X),
        (ResODERegressor(3, allow_nan=True, **flow).fit(table, y[:, 0]), table),
        (ResODERegressor(2, **quantiles, **flow).fit(X, y), X),
        (ResODERegressor(2, loss=Huber(2.0), **flow).fit(X, y[:, 0]), X),
        (ResODEClassifier(2, allow_nan=True, **flow).fit(table, labels), table),
        (ResODEClassifier(2, **flow).fit(X, labels == "a"), X),
        (ResODEClassifier(2, **flow).fit(X, y > 1), X),
        (ResODERegressor(2, **flow, numeric_embedding="piecewise_linear").fit(X, y), X),
        (ResODERegressor(2, **flow, numeric_embedding="periodic").fit(X, y), X),
        (ResODEImageClassifier(2, random_state=0, **images).fit(X, labels), X),
    ]


@pytest.mark.filterwarnings("ignore")  # of devices that are missing, for instance
@pytest.mark.parametrize("n", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_hostile_files_are_refused_or_predict(n, tmp_path):
    """At once, in little memory, and with nothing but ValueError."""
    path, rng = tmp_path / "model.safetensors", np.random.default_rng(n)
    originals = []
    for model, table in models():
        model.save(path)
        originals.append((type(model), table, *hostile.parts_of(path)))
    longest, n_refused = 0.0, 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k in range(n):
        cls, table, header, arrays = originals[k % len(originals)]
        hostile.write(path, *hostile.mutated(header, arrays, rng))
        start = time.perf_counter()
        try:
            loaded = cls.load(path)
        except ValueError:
            n_refused += 1
            continue
        finally:
            longest = max(longest, time.perf_counter() - start)
        try:
            predicted = loaded.predict(table)
        except ValueError:  # of a table of other columns, or other categories
            continue
        assert len(predicted) == len(table)
        loaded.summary()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert n / 4 < n_refused < n
    assert longest < 2
    assert grown < 50e6


def test_a_file_of_many_tiny_layers_loads_at_once(tmp_path):
    """A million layers are 8 MB; the trial takes some of them."""
    path = tmp_path / "model.safetensors"
    X = np.arange(12.0)[:, None]
    model = ResODERegressor(2, width=1, state_dim=3, flow_time=0.1, random_state=0)
    model.fit(X, X[:, 0]).save(path)
    header, arrays = hostile.parts_of(path)
    header["state"]["depth_"] = n = 1_000_000
    for name in ("module_.V", "module_.W"):
        arrays[name] = np.repeat(arrays[name][:1], n, axis=0)
    hostile.write(path, header, arrays)
    start = time.perf_counter()
    assert ResODERegressor.load(path).module_.depth == n
    assert time.perf_counter() - start < 2


def test_texts_of_a_file_are_shown_as_texts(tmp_path):
    """Names are anybody's; what a notebook shows of them must not be executed."""
    path = tmp_path / "model.safetensors"
    table = pd.DataFrame({SCRIPT: [1.0, 2, 3, 4], "b": ["x", "y", "y", SCRIPT]})
    model = ResODEClassifier(1, width=2, flow_time=0.1, min_frequency=1)
    model.fit(table, ["a", "a", SCRIPT, SCRIPT]).save(path)
    loaded = ResODEClassifier.load(path)
    assert SCRIPT not in loaded._repr_html_()
    assert SCRIPT not in loaded._repr_mimebundle_()["text/html"]


def test_what_a_fit_sets_is_known_and_nothing_else():
    for name in ("depth", "depth_", "_frozen", "n_samples_fit_"):
        assert is_known(ResODERegressor, name)
    for name in ("predict", "_parameter_constraints", "_plan", "__doc_link", "note"):
        assert not is_known(ResODERegressor, name)


def test_what_a_subclass_declares_is_known():
    class Mine(ResODERegressor):
        note = None
        _hidden = None

    assert is_known(Mine, "note")
    assert not is_known(Mine, "_hidden")
    assert not is_known(Mine, "fit")


def test_weights_that_no_network_has_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    for model, _ in models():
        model.save(path)
        header, arrays = hostile.parts_of(path)
        arrays["module_.forward"] = np.ones(3, arrays["module_.V"].dtype)
        hostile.write(path, header, arrays)
        with pytest.raises(ValueError, match="its weights are .*'forward'"):
            type(model).load(path)


@pytest.mark.parametrize("size", [0, -1.0, float("inf"), float("nan"), "1", None])
def test_bins_of_no_size_are_refused(tmp_path, size):
    path, X = tmp_path / "model.safetensors", np.arange(120.0).reshape(60, 2)
    model = ResODERegressor(
        1, width=2, flow_time=0.1, numeric_embedding="piecewise_linear"
    )
    model.fit(X, X[:, 0]).save(path)
    header, arrays = hostile.parts_of(path)
    _, encoder = header["state"]["_X_encoder"]["$object"]
    _, embedding = encoder["embedding"]["$object"]
    assert embedding["size"] == BINS.size
    embedding["size"] = size
    hostile.write(path, header, arrays)
    with pytest.raises(ValueError, match="do not fit together"):
        ResODERegressor.load(path)


@pytest.mark.parametrize("n_embedded", [-1, 3, 1.0, "1", None])
def test_embedded_inputs_that_no_network_has_are_refused(tmp_path, n_embedded):
    path, X = tmp_path / "model.safetensors", np.arange(120.0).reshape(60, 2)
    model = ResODERegressor(1, width=2, flow_time=0.1, numeric_embedding=None)
    model.fit(X, X[:, 0]).save(path)
    header, arrays = hostile.parts_of(path)
    settings = header["state"]["_frozen"]["settings"]
    settings["n_embedded"] = n_embedded
    hostile.write(path, header, arrays)
    with pytest.raises(ValueError, match="`_frozen` is not|embedded inputs"):
        ResODERegressor.load(path)


def test_shares_that_no_labels_have_are_refused(tmp_path):
    """They are a probability for each of the labels, and in no other file."""
    path, wrong = tmp_path / "model.safetensors", "its targets do not fit together"
    X = np.random.default_rng(0).normal(size=(40, 3))
    labels = ResODEClassifier(1, width=2, flow_time=0.1).fit(X, X[:, :2] > 0)
    for fitted, shares, message in [
        (labels, [0.5, 1.0], wrong),
        (labels, [0.0, 0.5], wrong),
        (labels, [0.5, 1.5], "`_label_shares` is not of the right kind"),
        (labels, None, "`_label_shares` is not of the right kind"),
        (labels, [0.5], "`_label_shares` has 1 entries instead of 2"),
        (clone(labels).fit(X, X[:, 0] > 0), [0.5], wrong),
        (ResODERegressor(1, width=2, flow_time=0.1).fit(X, X[:, 0]), [0.5], wrong),
    ]:
        fitted.save(path)
        header, arrays = hostile.parts_of(path)
        header["state"]["_label_shares"] = shares
        hostile.write(path, header, arrays)
        with pytest.raises(ValueError, match=message):
            type(fitted).load(path)
    labels.save(path)
    header, arrays = hostile.parts_of(path)
    header["state"].pop("_label_shares")  # then they are two classes of one logit
    hostile.write(path, header, arrays)
    with pytest.raises(ValueError, match=wrong):
        ResODEClassifier.load(path)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="it lacks .*'_X_encoder'"):
        check_state(ResODERegressor, {"depth": 3})


def test_an_attribute_that_a_file_has_no_place_for_is_named(tmp_path):
    model = ResODERegressor(1, width=2, flow_time=0.1).fit([[0.0], [1.0]], [0.0, 1.0])
    model.note = "mine"
    with pytest.raises(ValueError, match="`note` cannot be saved: .*Delete it"):
        model.save(tmp_path / "model.safetensors")
    assert not any(tmp_path.iterdir())
