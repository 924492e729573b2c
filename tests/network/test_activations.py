"""Activations: four forms of one function, and one registry that feeds all."""

import re
from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import erf

from odenet import (
    ConvResidualNetwork,
    ResidualNetwork,
    ResODEClassifier,
    ResODEImageClassifier,
    ResODERegressor,
)
from odenet._network.activations import (
    ACTIVATIONS,
    Activation,
    check_activation,
    elementwise,
)
from tests.helpers import serve_onnx

FORMULAS = {
    "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "tanh": np.tanh,
    "silu": lambda z: z / (1 + np.exp(-z)),
    "softplus": lambda z: np.where(z > 20, z, np.logaddexp(0, z)),  # as torch's own
    "relu": lambda z: np.where(z > 0, z, 0),
    "identity": lambda z: z,
}
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}


def entries(dtype):
    """Both tails, and numbers of all sizes between, in a matrix."""
    z = np.concatenate([np.linspace(-40, 40, 161), [-1e-9, 0.0, 1e-9]])
    return torch.tensor(np.resize(z, (41, 4)), dtype=dtype)


def test_values_are_the_formula():
    for name, dtype in product(ACTIVATIONS, TOLERANCES):
        activation, z = ACTIVATIONS[name], entries(dtype)
        expected = FORMULAS[name](z.double().numpy())
        tolerance = TOLERANCES[dtype]
        for given in (z, z.T):
            out = torch.full_like(given, torch.nan)
            activation.write(given, out)
            exact = expected if given is z else expected.T
            np.testing.assert_allclose(out, exact, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(
                activation(given), exact, rtol=tolerance, atol=tolerance
            )
        assert torch.equal(z, entries(dtype))


def test_the_pull_back_is_autograds(generator):
    for name, dtype in product(ACTIVATIONS, TOLERANCES):
        activation, z = ACTIVATIONS[name], entries(dtype).requires_grad_()
        g = torch.randn(z.shape, generator=generator, dtype=dtype)
        a = activation(z)
        (expected,) = torch.autograd.grad(a, z, g)
        out = torch.full_like(g, torch.nan)
        with torch.no_grad():
            activation.pull_back(g, z, a, out)
        tolerance = TOLERANCES[dtype]
        torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_graph_is_the_formula(name):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from odenet._export.onnx_graph import Graph

    graph = Graph()
    graph.input("z", shape=[None])
    value = ACTIVATIONS[name].to_onnx(graph, "z")
    graph.named_output(value, "a", np.float32, [None])
    model = graph.build_model("activation")
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    z = entries(torch.float32).numpy().ravel()
    (a,) = session.run(["a"], {"z": z})
    np.testing.assert_allclose(a, FORMULAS[name](z.astype(float)), rtol=1e-5, atol=1e-6)


def test_an_unknown_name_is_refused():
    assert check_activation("tanh") == "tanh"
    with pytest.raises(ValueError, match=r"`activation` must be one of .*got 'swish'"):
        check_activation("swish")


@pytest.mark.parametrize(
    "documented",
    [
        ResidualNetwork,
        ConvResidualNetwork,
        ResODERegressor,
        ResODEClassifier,
        ResODEImageClassifier,
    ],
)
def test_docstrings_name_those_in_the_registry(documented):
    """On one line or on several."""
    (choice,) = re.findall(r"^\s*activation : \{([^}]*)\}", documented.__doc__, re.M)
    assert re.findall(r'"(\w+)"', choice) == list(ACTIVATIONS)


@pytest.fixture
def sine(monkeypatch):
    """An activation of our own, in the registry as a contributor would add it."""
    activation = Activation(
        function=torch.sin,
        write=lambda z, out: torch.sin(z, out=out),
        pull_back=lambda g, z, a, out: torch.mul(g, torch.cos(z), out=out),
        to_onnx=lambda graph, z: graph.add("Sin", z),
    )
    monkeypatch.setitem(ACTIVATIONS, "sine", activation)
    return "sine"


def test_one_of_our_own_serves_the_networks(sine, generator):
    x = torch.randn(5, 12, generator=generator)
    for network in (
        ResidualNetwork(12, 1, depth=3, activation=sine, init="iid"),
        ConvResidualNetwork((2, 2, 3), 1, depth=3, activation=sine),
    ):
        network(x).sum().backward()
        assert any(p.grad.any() for p in network.parameters())


def test_one_of_our_own_is_fitted_saved_and_exported(sine, tmp_path, rng):
    """Its fit is not that of another, its file and its graph say what it predicts."""
    X = rng.normal(size=(40, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    settings = {"width": 8, "flow_time": 5.0, "random_state": 0}
    model = ResODERegressor(4, activation=sine, **settings).fit(X, y)
    assert model.score(X, y) > 0.5
    other = ResODERegressor(4, activation="gelu", **settings).fit(X, y)
    assert np.abs(other.predict(X) - model.predict(X)).max() > 1e-3

    model.save(tmp_path / "model.safetensors")
    loaded = ResODERegressor.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))

    served = serve_onnx(model, X, tmp_path / "model.onnx")
    np.testing.assert_allclose(served, model.predict(X), atol=1e-5 * y.std())


def test_elementwise_views_show_the_same_memory():
    """Few entries transposed, which keeps oneDNN away; many as they are."""
    few, many = torch.zeros(3, 4), torch.zeros(2**10, 2**6)
    view = elementwise(few)
    assert not view.is_contiguous()
    view[0, 2] = 1
    assert few[2, 0] == 1
    assert elementwise(many).is_contiguous()
