"""What tests of several packages share."""

import numpy as np
import pytest
import torch

from odenet import ResidualNetwork, ResODEClassifier, ResODERegressor

SMALL = {"depth": 4, "width": 8, "random_state": 0}
BOTH = pytest.mark.parametrize("make", [ResODERegressor, ResODEClassifier])


def slope(x, y):
    """Fit the exponent p of y = c x^p."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def outputs(model, X):
    """Return what an estimator says before it decides for a class."""
    return getattr(model, "decision_function", model.predict)(X)


def serve_onnx(model, X, path):
    """Export a regressor, and return what ONNX Runtime predicts at an array."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model.to_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (served,) = session.run(["y"], {"X": X})
    return served


def drawn(*shape, seed=0):
    """Normal numbers of float64, the same for a seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def make_network(
    n_features=3, n_outputs=1, *, depth=4, width=6, seed=0, dtype=torch.float64, **more
):
    """Make a small network in float64, the same one at every call."""
    return ResidualNetwork(
        n_features,
        n_outputs,
        depth=depth,
        width=width,
        dtype=dtype,
        generator=torch.Generator().manual_seed(seed),
        **more,
    )


def draw_all(network, seed=0):
    """Draw every parameter anew, so that none is zero, and return the network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return network


def smooth_in_depth(depth, shape, generator, offset=0.5):
    """Sample a smooth random function of depth time, in the middles of the layers."""
    s = ((torch.arange(depth, dtype=torch.float64) + offset) / depth)[:, None, None]
    a, b = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return torch.sin(3 * s) * a + torch.cos(2 * s) * b


def smooth_network(depth, offset=0.5, size=1.0, dtype=torch.float64, **settings):
    """Make a network whose layers sample one smooth function, the same at every depth.

    `size` multiplies the weights of the layers.
    """
    generator = torch.Generator().manual_seed(0)
    settings = {"width": 8, "state_dim": 6, "dtype": dtype, **settings}
    network = ResidualNetwork(3, 2, depth=depth, generator=generator, **settings)
    for weights in (network.V, network.W):
        sample = smooth_in_depth(depth, weights.shape[1:], generator, offset)
        weights.data = (size * sample).to(dtype)
    network.V.data *= depth ** (network.depth_scaling - 1)
    return network
