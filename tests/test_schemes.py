"""Schemes draw what they say, and keep to what a scheme owes."""

import re

import numpy as np
import pytest
import torch

from odenet import ConvResidualNetwork, ResidualNetwork, ResODERegressor
from odenet.schemes import (
    SCHEMES,
    GaussianProcess,
    Independent,
    Scheme,
    Tied,
    draw_layers,
    draws_V,
    resolve_scheme,
)


@pytest.mark.parametrize("name", SCHEMES)
def test_draws_are_standard_gaussian_and_reproducible(name):
    draw = [SCHEMES[name](5, (40, 50), torch.Generator().manual_seed(1)) for _ in "ab"]
    assert draw[0].shape == (5, 40, 50)
    assert draw[0].dtype == torch.float64
    assert torch.equal(*draw)
    assert draw[0][2].mean() == pytest.approx(0, abs=0.1)
    assert draw[0][2].std() == pytest.approx(1, abs=0.1)


def test_tied_layers_are_equal_and_independent_of_each_other(generator):
    W = Tied()(4, (3, 2), generator)
    assert torch.equal(W[0], W[3])
    W[0] = 0
    assert W[3].any()


def test_iid_layers_are_uncorrelated(generator):
    W = Independent()(2, (200, 200), generator)
    correlation = np.corrcoef(W.reshape(2, -1).numpy())[0, 1]
    assert correlation == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("length_scale", [0.02, 0.3, 2.0])
def test_gaussian_process_has_the_squared_exponential_covariance(
    length_scale, generator
):
    depth = 6
    W = GaussianProcess(length_scale)(depth, (300, 300), generator)
    s = np.arange(depth) / depth
    expected = np.exp(-(np.subtract.outer(s, s) ** 2) / (2 * length_scale**2))
    measured = W.reshape(depth, -1).numpy()
    np.testing.assert_allclose(measured @ measured.T / 300**2, expected, atol=0.02)


def test_one_draw_is_one_function_of_depth_time():
    coarse, fine = (
        GaussianProcess(0.3)(depth, (4, 4), torch.Generator().manual_seed(3))
        for depth in (5, 15)
    )
    torch.testing.assert_close(coarse, fine[::3])


def test_gaussian_process_is_smooth_and_tends_to_tied():
    steps = []
    for length_scale in (0.1, 1.0, 1e6):
        generator = torch.Generator().manual_seed(0)
        W = GaussianProcess(length_scale)(64, (8, 8), generator)
        steps.append(64 * W.diff(dim=0).norm(dim=(1, 2)).max().item())
    assert steps[0] > 5 * steps[1] > 0
    assert steps[2] < 1e-4


def test_too_short_a_length_scale_is_refused():
    with pytest.raises(
        ValueError, match=r"`length_scale` must be at least 0.02.*0.001"
    ):
        GaussianProcess(length_scale=0.001)


def test_resolving():
    assert resolve_scheme("tied") == Tied()
    assert resolve_scheme(len) is len
    with pytest.raises(ValueError, match="`init` must be one of.*'orthogonal'"):
        resolve_scheme("orthogonal")


@pytest.mark.parametrize("scheme", [*SCHEMES.values(), GaussianProcess(draws_V=True)])
def test_schemes_keep_to_the_protocol(scheme, generator):
    assert Scheme in type(scheme).__mro__
    assert scheme.draws_V is (scheme == GaussianProcess(draws_V=True))
    state = torch.get_rng_state()
    assert scheme(3, (2, 4, 1), generator).shape == (3, 2, 4, 1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scheme", [Tied, GaussianProcess, Independent])
def test_scale_multiplies_the_draws(scheme):
    one, three = (
        scheme(scale=scale)(4, (3, 2), torch.Generator().manual_seed(0))
        for scale in (1.0, 3.0)
    )
    torch.testing.assert_close(three, 3 * one)


def test_a_function_is_a_scheme_without_V():
    def ones(depth, shape, generator):
        return np.ones((depth, *shape))

    assert not draws_V(ones)
    ones.draws_V = True
    assert draws_V(ones)
    assert [draws_V(name) for name in SCHEMES] == [False] * 3
    weights = draw_layers(ones, 3, (2, 4), None)
    assert weights.dtype == torch.float64
    assert weights.tolist() == np.ones((3, 2, 4)).tolist()


def test_drawn_layers_have_memory_of_their_own():
    """Also where a scheme hands out one layer seen three times, which it keeps."""
    layer = torch.ones(2, 2, dtype=torch.float64)
    W = draw_layers(lambda depth, shape, generator: layer.expand(3, 2, 2), 3, (2, 2), 0)
    W[0] = 0
    assert W[1].all()
    assert layer.all()


@pytest.mark.parametrize(
    "bad", [torch.ones(2, 2), torch.full((3, 2, 2), torch.inf), torch.ones(3, 2, 3)]
)
def test_a_scheme_that_does_not_keep_to_it_is_refused(bad):
    with pytest.raises(ValueError, match=r"`init` must return finite .*\(3, 2, 2\)"):
        draw_layers(lambda depth, shape, generator: bad, 3, (2, 2), None)


def test_a_registered_scheme_serves_by_its_name(monkeypatch, generator):
    monkeypatch.setitem(SCHEMES, "threes", Tied(scale=3.0))
    network = ResidualNetwork(2, 1, depth=3, init="threes", generator=generator)
    expected = 3 * Tied()(3, (64, 16), torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.W.detach(), expected.float())


@pytest.mark.parametrize(
    "documented", [ResidualNetwork, ConvResidualNetwork, ResODERegressor]
)
def test_docstrings_name_those_in_the_registry(documented):
    (choice,) = re.findall(r"^\s*init : \{(.*?)\}", documented.__doc__, re.MULTILINE)
    assert re.findall(r'"(\w+)"', choice) == list(SCHEMES)
