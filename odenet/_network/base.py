"""What networks have in common whose layers' weights lie along an axis of depth."""

import torch
from torch import nn


class LayeredNetwork(nn.Module):
    """Base of the networks whose weights V and W have the depth as their first axis.

    Depth is an axis, not a list of modules: diagnostics slice it, resampling
    interpolates along it, and one product can serve several layers.
    """

    couples_samples = False  # whether an output depends on others of its batch
    n_models = 1  # networks along an axis of models; 1 where there is no such axis
    has_models_axis = False

    @property
    def depth(self):
        """Number of layers L."""
        return self.V.shape[0]

    def set_weights(self, weights):
        """Replace weights, given as a dict of names and tensors of any depth.

        The parameters stay the same objects, so that an optimizer still knows them;
        their gradients, which may now have another shape, are dropped.
        """
        for name, values in weights.items():
            p = getattr(self, name)
            p.data, p.grad = _copied(values.to(p), p), None


def _copied(values, p):
    """Return a copy of values, in the order in memory of a parameter they replace."""
    if values.shape != p.shape:
        return values.clone()
    return torch.empty_like(p.data).copy_(values)
