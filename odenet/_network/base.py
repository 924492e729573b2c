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
    monotonicity = None  # which weights have a sign, if the outputs are to be monotone
    n_embedded = 0  # inputs, the last ones, that numbers are embedded by

    @property
    def depth(self):
        """Number of layers L."""
        return self.V.shape[0]

    def set_weights(self, weights):
        """Replace weights, given as a dict of names and tensors of any depth.

        The parameters stay the same objects, so that an optimizer still knows them;
        their gradients, which may now have another shape, are dropped. Where outputs
        must be monotone, the weights are projected: sums of resampled weights, and the
        lines through the outer layers, may have wrong signs.
        """
        for name, values in weights.items():
            p = getattr(self, name)
            p.data, p.grad = _copied(values.to(p), p), None
        self.project_()

    def cone(self):
        """Return the bounds of all parameters, in the order of ``parameter_groups``.

        Returns
        -------
        cone : list of tuple (lower, upper), or None
            Entries are 0 or infinite. None if weights are free.
        """
        if self.monotonicity is None:
            return None
        names = {p: name for name, p in self.named_parameters()}
        cone = self.monotonicity.cone(self.V)
        groups = self.parameter_groups()
        return [cone[names[p]] for group in groups for p in group["params"]]

    @torch.no_grad()
    def project_(self):
        """Project the weights to those whose outputs are monotone, where they must be.

        In the Euclidean metric the nearest ones have zeros in place of wrong signs.
        """
        if self.monotonicity is not None:
            for name, (lower, upper) in self.monotonicity.cone(self.V).items():
                getattr(self, name).clamp_(lower, upper)


def _copied(values, p):
    """Return a copy of values, in the order in memory of a parameter they replace."""
    if values.shape != p.shape:
        return values.clone()
    return torch.empty_like(p.data).copy_(values)
