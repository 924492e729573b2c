import numpy as np
import pytest
import torch

from odenet import ResODERegressor
from odenet._diagnostics.serving_depth import serving_depth
from tests.helpers import make_network, smooth_in_depth


@pytest.fixture
def network(generator):
    """A network of 256 layers with weights that are smooth in depth."""
    network = make_network(depth=256)
    with torch.no_grad():
        network.V.copy_(smooth_in_depth(256, network.V.shape[1:], generator))
        network.W.copy_(smooth_in_depth(256, network.W.shape[1:], generator))
        network.head.normal_(generator=generator)
    return network


def distance(network, depth, x):
    """Return how far an imitating network is away, relative to the outputs."""
    output = network(x)
    imitating = network.with_depth(depth, imitate=True)(x)
    return ((imitating - output).norm() / output.norm()).item()


@torch.no_grad()
def test_it_is_the_smallest_depth_within_the_tolerance(network, generator):
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    depths = []
    for tol in (0.1, 0.03, 0.01, 1e-3, 1e-4):
        depth = serving_depth(network, x, tol)
        assert distance(network, depth, x) <= tol
        assert depth == 1 or distance(network, depth - 1, x) > tol
        depths.append(depth)
    assert depths == sorted(depths)
    # Of second order: a hundredth of the tolerance takes ten times the layers.
    assert 5 < depths[4] / depths[2] < 20
    assert serving_depth(network, x, 1e-15) == 256
    assert serving_depth(network, x, 10.0) == 1


def test_an_imitating_network_keeps_to_its_model(network, generator):
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    imitating = network.with_depth(64, imitate=True)
    depth = serving_depth(imitating, x, 0.01)
    again = imitating.with_depth(depth, imitate=True)
    assert again.imitated_depth == 256
    difference = (again(x) - imitating(x)).norm() / imitating(x).norm()
    assert difference <= 0.01
    assert depth <= 64


def test_an_estimator_chooses_its_depth_by_a_tolerance(rng):
    X = rng.normal(size=(60, 3))
    y = np.sin(2 * X[:, 0]) * X[:, 1]
    model = ResODERegressor(64, width=16, flow_time=20.0, random_state=0).fit(X, y)
    expected = model.predict(X)
    for tol in (0.1, 1e-2, 1e-3):
        server = model.with_depth(tol=tol, X=X)
        error = np.linalg.norm(server.predict(X) - expected)
        # The outputs are centred: of y, less its mean, tol is a share.
        assert error <= tol * np.linalg.norm(expected - y.mean()) * (1 + 1e-9)
        assert server.depth == server.depth_ < 64
        assert server.module_.imitated_depth == 64
    assert model.with_depth(tol=1e-15, X=X).depth_ == 64
    for arguments, message in [
        ({}, "`depth`, or `tol` and `X`"),
        ({"depth": 8, "tol": 0.1, "X": X}, "`depth`, or `tol` and `X`"),
        ({"tol": 0.1}, "`tol` and `X` must be given together"),
        ({"depth": 8, "X": X}, "`tol` and `X` must be given together"),
        ({"tol": 0.0, "X": X}, "`tol` must be a positive number, got 0.0"),
        ({"tol": "small", "X": X}, "`tol` must be a positive number, got 'small'"),
        ({"tol": 0.1, "X": X[:, :2]}, "2 features"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.with_depth(**arguments)
