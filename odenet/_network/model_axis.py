"""Many networks of equal shapes as one network with an axis of models."""

import copy

import torch


def stack_networks(networks):
    """One network with an axis of models: the first, but the second of V and W."""
    stacked = copy.deepcopy(networks[0])
    for name, axis in {"embedding": 0, "V": 1, "W": 1, "head": 0}.items():
        weights = [getattr(network, name).detach() for network in networks]
        stacked.set_weights({name: torch.stack(weights, dim=axis)})
    return stacked


def network_of(stacked, i):
    """The i-th of stacked networks, on its own."""
    network = copy.deepcopy(stacked)
    A, V, W, B = (p.detach() for p in stacked.parameters())
    network.set_weights({"embedding": A[i], "V": V[:, i], "W": W[:, i], "head": B[i]})
    return network
