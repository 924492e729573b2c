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
    parts = {}  # in the place of copies of all weights
    for name, axis in AXIS_OF_MODELS.items():
        p = getattr(joined, name)
        part = p.detach().select(axis, i).clone()
        parts[id(p)] = torch.nn.Parameter(part, p.requires_grad)
    return copy.deepcopy(joined, parts)


def networks_of(network):
    """Return the networks that were joined; of a single one, itself in a list."""
    if not network.has_models_axis:
        return [network]
    return [network_at(network, i) for i in range(network.n_models)]
