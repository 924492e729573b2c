"""Networks made from settings."""

from math import sqrt

import numpy as np
import pytest
import torch

from odenet import ConvResidualNetwork, ResidualNetwork
from odenet._network.residual import default_state_dim
from odenet._network.start import (
    CATEGORIES_DIM,
    LIMIT,
    START_SCALE,
    STATE_SHARE,
    input_scaling,
    network_from_weights,
    start_network,
)
from odenet.schemes import SCHEMES, Tied


def start(init="tied", state_dim=None, outputs=(0.0, 0.0), *, n_inputs=30, **settings):
    generator = torch.Generator().manual_seed(0)
    settings = {"depth": 4, "width": 64, "generator": generator, **settings}
    outputs = np.array(outputs)
    return start_network(n_inputs, outputs, state_dim=state_dim, init=init, **settings)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_name_stands_for_a_wider_scheme_than_the_papers(name):
    plain = ResidualNetwork(
        30,
        2,
        depth=4,
        width=64,
        state_dim=33,
        init=name,
        generator=torch.Generator().manual_seed(0),
    )
    network = start(name, state_dim=33)
    torch.testing.assert_close(network.W, START_SCALE * plain.W)


def test_a_scheme_is_taken_as_it_is():
    assert start(Tied()).W.std().item() == pytest.approx(1, rel=0.1)


def test_dimension_of_the_state():
    assert start().state_dim == default_state_dim(30, 2)
    assert start(state_dim=7).state_dim == 7
    settings = {"depth": 1, "width": 1, "init": "tied", "generator": None}
    assert start_network(200, np.zeros(3), state_dim=None, **settings).state_dim == 131


def test_many_categories_share_dimensions():
    few, many = range(3, 8), range(8, 48)
    network = start(categories=[few, many], n_inputs=50)
    assert network.state_dim == 50 - 40 + CATEGORIES_DIM + 1 + 2
    A, B = network.embedding.detach(), network.head.detach()
    assert not (B @ A).any()
    alone = A[:, [*range(8), 48, 49, 50]]
    torch.testing.assert_close(alone.T @ alone, torch.eye(11))
    vectors = A[:, many.start : many.stop]
    assert not (alone.T @ vectors).any()
    torch.testing.assert_close(vectors.norm(dim=0), torch.ones(40))
    assert torch.linalg.matrix_rank(vectors) == CATEGORIES_DIM
    assert not torch.equal(vectors[:, 0], vectors[:, 1])
    # Without room for all dimensions, or with room for all inputs, A is as always.
    for state_dim in (20, 53):
        plain = start(n_inputs=50, state_dim=state_dim)
        network = start(categories=[few, many], n_inputs=50, state_dim=state_dim)
        assert torch.equal(network.embedding, plain.embedding)


@pytest.mark.parametrize("state_dim", [None, 16, 400])
def test_the_first_state_has_the_size_that_is_wanted(state_dim):
    """Of standardised inputs, with the gain: |h_0|^2 is about q / 8 or more."""
    network = start(state_dim=state_dim)
    scaling = input_scaling(network)
    assert scaling["limit"] == LIMIT
    generator = torch.Generator().manual_seed(1)
    x = scaling["gain"] * torch.randn(2000, 30, generator=generator)
    share = (network.embed(x).square().sum(dim=1) / network.state_dim).mean().item()
    assert share == pytest.approx(STATE_SHARE, rel=0.5)
    q, n = network.state_dim, 31
    assert scaling["gain"] == pytest.approx(sqrt(STATE_SHARE * max(1, q / n)))


def test_embedded_inputs_are_mapped_to_zero_at_the_start():
    signs = np.array([0] * 29 + [1])
    for settings in ({}, {"state_dim": 8}, {"signs": signs, "activation": "tanh"}):
        plain = start(**settings)
        if "signs" in settings:
            settings = {**settings, "signs": np.append(signs, [1, 1, 0, 0])}
        network = start(**settings, n_embedded=4)
        A = network.embedding.detach()
        assert not A[:, 30:34].any()
        rest = torch.cat([A[:, :30], A[:, 34:]], dim=1)
        assert torch.equal(rest, plain.embedding)
        assert torch.equal(network.W, plain.W)
        assert input_scaling(network, n_embedded=4) == input_scaling(plain)
        if "signs" in settings:  # they take no coordinate of the state
            assert network.monotonicity.states == plain.monotonicity.states


def test_networks_of_both_kinds_come_back_from_their_weights():
    image = ConvResidualNetwork((4, 4, 1), 2, depth=2, channels=3)
    for network, n in ((start(), 30), (image, 16)):
        weights = {name: Z.numpy() for name, Z in network.state_dict().items()}
        again = network_from_weights(weights, network.settings()).eval()
        assert type(again) is type(network)
        x = torch.ones(3, n)
        torch.testing.assert_close(again(x), network.eval()(x))


@pytest.mark.parametrize("state_dim", [None, 7])
def test_outputs_that_the_start_adds(state_dim):
    """Also where the state is so small that A and B are drawn at random."""
    X = torch.randn(5, 30)
    plain = start(state_dim=state_dim)
    shifted = start(state_dim=state_dim, outputs=(1.5, -4.0))
    difference = shifted(X) - plain(X)
    torch.testing.assert_close(difference, torch.tensor([[1.5, -4.0]]).expand(5, 2))
    torch.testing.assert_close(plain.embedding[:, :-1], shifted.embedding[:, :-1])


def test_sparse_inputs_have_random_columns_of_length_one_or_none():
    met = np.arange(400) % 4 > 0
    for state_dim in (None, 20, 4, 2, 1):
        network = start(n_inputs=400, met=met, state_dim=state_dim)
        A, B = network.embedding.detach(), network.head.detach()
        lengths = A.norm(dim=0)
        assert A.shape == (network.state_dim, 401)
        np.testing.assert_allclose(lengths[:-1], met.astype(float), rtol=1e-6)
        assert network.state_dim <= 2 or not (B @ A).any()
        assert [*network.state_dict()] == [*start().state_dict()]
    A = start(n_inputs=400, met=met).embedding.detach()
    assert A.mT.is_contiguous()
    A = A[:, :-1][:, met]
    cosines = (A.T @ A).fill_diagonal_(0.0)
    assert abs(cosines.square().mean() - 1 / 127) < 5e-4  # of random directions


def test_few_sparse_inputs_keep_a_coordinate_each():
    met = np.array([True, False, True])
    A = start(n_inputs=3, met=met).embedding.detach()
    np.testing.assert_array_equal(A[:4], np.diag([1.0, 0.0, 1.0, 1.0]))
    assert not A[4:].any()
