"""Depth is the first axis of the layers' weights."""

import pytest
import torch

from odenet import ConvResidualNetwork, ResidualNetwork
from odenet._network.base import LayeredNetwork

NETWORKS = {
    "residual": lambda: ResidualNetwork(2, 1, depth=7, width=3),
    "convolutional": lambda: ConvResidualNetwork((4, 4, 1), 2, depth=7, channels=2),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]()


def test_networks_are_layered(network):
    assert isinstance(network, LayeredNetwork)
    assert network.depth == len(network.V) == len(network.W) == 7


def test_set_weights_change_values_and_depth_but_not_the_parameters(network):
    before = dict(network.named_parameters())
    network.W.grad, network.head.grad = (
        torch.ones_like(p) for p in (network.W, network.head)
    )
    kept, weights = network.head.detach().clone(), network.W[:5].detach().double() + 1
    network.set_weights({"V": network.V[:5].detach(), "W": weights})
    assert network.depth == 5
    assert all(p is before[name] for name, p in network.named_parameters())
    assert network.W.dtype == torch.float32
    torch.testing.assert_close(network.W.detach(), weights.float())
    assert network.W.grad is None
    assert torch.equal(network.head, kept)
    assert network.head.grad is not None


def test_weights_that_were_set_are_a_copy(network):
    weights = torch.ones_like(network.W)
    network.set_weights({"W": weights})
    weights.zero_()
    assert network.W.all()


def test_weights_keep_their_order_in_memory():
    network = ResidualNetwork(2, 1, depth=7, width=3, dtype=torch.float64)
    network.embedding = torch.nn.Parameter(
        network.embedding.detach().mT.contiguous().mT
    )
    values = torch.arange(network.embedding.numel(), dtype=torch.float64)
    values = values.view(network.embedding.shape)
    network.set_weights({"embedding": values})
    assert network.embedding.mT.is_contiguous()
    assert torch.equal(network.embedding, values)
