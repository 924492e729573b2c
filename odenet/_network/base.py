"""What networks have in common whose layers' weights are stacked along an axis."""

from torch import nn

from odenet._network.activations import ACTIVATIONS


class StackedNetwork(nn.Module):
    """A network whose weights V and W have the depth as their first axis."""

    def _set_activation(self, activation):
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"`activation` must be one of {sorted(ACTIVATIONS)}, "
                f"got {activation!r}."
            )
        self.activation = activation

    @property
    def depth(self):
        """Number of layers L."""
        return self.V.shape[0]

    def set_weights(self, weights):
        """Take weights by their names, of this depth or another."""
        for name, values in weights.items():
            p = getattr(self, name)
            p.data, p.grad = values.to(p).clone(), None
