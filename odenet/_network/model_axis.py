"""Many networks of equal shapes as one network with an axis of models, and back.

They are one residual network whose layers are block-diagonal, and its neural ODE is
that of all of them side by side. So what is done to the depth of a network (resampling,
diagnostics, the ODE, a file, a graph) is done to all of them at once.
"""

import copy

import torch

AXIS_OF_MODELS = {"embedding": 0, "V": 1, "W": 1, "head": 0}  # V and W begin with depth


def join_networks(networks):
    """Return one network whose parameters are those of all, along an axis of models.

    Its gradients store the states: only a single network can rebuild them.
    """
    joined = copy.deepcopy(networks[0])
    joined.backward = "stored"
    for name, axis in AXIS_OF_MODELS.items():
        weights = [getattr(network, name).detach() for network in networks]
        joined.set_weights({name: torch.stack(weights, dim=axis)})
    return joined


def network_at(joined, i):
    """Return the i-th of the networks that were joined, as a network of its own."""
    network = copy.deepcopy(joined)
    for name, axis in AXIS_OF_MODELS.items():
        weights = getattr(joined, name).detach()
        network.set_weights({name: weights.select(axis, i)})
    return network
