"""The networks as graphs: what torch computes, in float32, whatever their settings."""

import numpy as np
import pytest
import torch

from odenet import ConvResidualNetwork, ResidualNetwork
from odenet._export.onnx_graph import Graph
from odenet._export.onnx_network import add_conv_network, add_residual_network
from odenet._network.activations import ACTIVATIONS
from odenet.schemes import GaussianProcess

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def served(add_network, network, x):
    graph = Graph()
    graph.input("x", shape=[None, x.shape[1]])
    output = add_network(graph, network, "x")
    graph.named_output(output, "y", np.float32, [None, None])
    session = onnxruntime.InferenceSession(
        graph.build_model("network").SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    return session.run(["y"], {"x": x.float().numpy()})[0]


def assert_same(add_network, network, x):
    with torch.no_grad():
        expected = network(x).numpy()
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(
        served(add_network, network, x), expected, rtol=1e-5, atol=1e-5 * scale
    )


@pytest.mark.parametrize("imitated", [None, 64, float("inf")])
@pytest.mark.parametrize("depth_scaling", [1.0, 0.5])
@pytest.mark.parametrize("depth", [1, 7])
def test_residual_networks(depth, depth_scaling, imitated, generator):
    network = ResidualNetwork(
        3,
        2,
        depth=depth,
        width=5,
        init=GaussianProcess(draws_V=True),
        depth_scaling=depth_scaling,
        generator=generator,
        dtype=torch.float64,
    )
    with torch.no_grad():
        for p in (network.embedding, network.head):
            p.copy_(torch.randn(p.shape, generator=generator))
    network.imitated_depth = imitated
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    assert_same(add_residual_network, network, x)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 5, 3), (3, 3, 2)])
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_convolutional_networks(shape, activation, generator):
    """With running moments, gains and shifts that are not those of the start."""
    network = ConvResidualNetwork(
        shape, 2, depth=3, channels=4, activation=activation, generator=generator
    )
    x = torch.randn(9, shape[0] * shape[1] * shape[2], generator=generator)
    with torch.no_grad():
        for norm in (network.V_norm, network.W_norm, network.stem_norm):
            norm.copy_(torch.randn(norm.shape, generator=generator) + 1)
        network.head_bias.copy_(torch.tensor([1.0, -2.0]))
        for _ in range(3):
            network(2 * x + 1)
    assert_same(add_conv_network, network.eval(), x)


def test_the_activation_is_that_of_the_registry(generator, monkeypatch):
    """No dict of its own: what is registered is what the graph has."""
    network = ResidualNetwork(3, 1, depth=2, width=4, activation="tanh", init="iid")
    with torch.no_grad():
        network.V.copy_(torch.randn(network.V.shape, generator=generator))
    x = torch.randn(5, 3, generator=generator)
    before = served(add_residual_network, network, x)
    monkeypatch.setitem(ACTIVATIONS, "tanh", ACTIVATIONS["relu"])
    assert np.abs(served(add_residual_network, network, x) - before).max() > 1e-3
    assert_same(add_residual_network, network, x)
