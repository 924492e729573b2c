"""Networks that are joined compute what each does alone, and come back unchanged."""

import pytest
import torch

from odenet import ResidualNetwork
from odenet._network.model_axis import join_networks, network_at, networks_of
from odenet.schemes import GaussianProcess


@pytest.fixture(params=[None, 64], ids=["own depth", "imitating"])
def networks(request):
    scheme, made = GaussianProcess(draws_V=True), []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        network = ResidualNetwork(
            3, 2, depth=4, width=5, init=scheme, generator=generator
        )
        network.imitated_depth = request.param
        with torch.no_grad():
            network.head.copy_(torch.randn(network.head.shape, generator=generator))
        made.append(network.double())
    return made


def test_outputs_and_states_are_each_networks_own(networks, generator):
    joined = join_networks(networks)
    assert (joined.depth, joined.width, joined.state_dim) == (4, 5, 16)
    X = torch.randn(3, 6, 3, generator=generator, dtype=torch.float64)
    for i, network in enumerate(networks):
        torch.testing.assert_close(joined(X)[i], network(X[i]))
        states = joined.hidden_states(X)
        torch.testing.assert_close(states[:, i], network.hidden_states(X[i]))


def test_networks_come_back_to_the_bit(networks):
    joined = join_networks(networks)
    for i, network in enumerate(networks):
        again = network_at(joined, i)
        assert again.settings() == network.settings()
        for name, p in network.named_parameters():
            assert torch.equal(getattr(again, name), p)


def test_originals_and_copies_share_no_memory(networks):
    joined = join_networks(networks)
    again = network_at(joined, 1)
    with torch.no_grad():
        for p in joined.parameters():
            p.zero_()
    assert networks[0].V.any()
    assert again.V.any()
    assert networks[0].V.dim() == 3


def test_rates_know_the_axis_of_models(networks):
    """An adaptive integrator takes errors per model along it."""
    joined = join_networks(networks)
    for group in joined.parameter_groups():
        for p in group["params"]:
            assert p.shape[group["models_axis"]] == 3
    assert all("models_axis" not in g for g in networks[0].parameter_groups())


def test_all_networks_come_back_with_parameters_of_their_own(networks):
    joined = join_networks(networks)
    joined.V.requires_grad_(False)
    for network, again in zip(networks, networks_of(joined), strict=True):
        assert not again.V.requires_grad
        assert again.W.requires_grad
        for name, p in again.named_parameters():
            assert torch.equal(p, getattr(network, name))
        with torch.no_grad():
            again.W.zero_()
    assert joined.W.abs().min() > 0
    assert networks_of(networks[0]) == [networks[0]]
