"""Which weights of a residual network have a sign, so that its outputs are monotone.

The weights that have it form a convex cone. Training stays in it by projections.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

import torch

# Cones of networks that are kept, because a step on a mini-batch asks for one: a round
# value, far more than the networks that are trained at once.
MOST_CONES = 32


@dataclass(frozen=True)
class Monotonicity:
    r"""The parts of a network that depend on its constrained inputs, monotonically.

    Some coordinates of the state, u, may depend on constrained inputs, and the others,
    z, on the free inputs only. Some hidden units of every layer see both, and the
    others z alone. With an increasing activation, the entries of

    .. math::
        \frac{\partial h_k}{\partial h_{k-1}}
            = I + \frac{1}{L \sqrt{m q}} V_k\, \mathrm{diag}(\sigma')\, W_k

    that lead from u to u are not negative where those of W from u to units, and those
    of V from these units to u, are not. Those that lead from u to z are zero where V
    leads from no such unit to z. Then every state of every depth is monotone, without a
    condition on the step; so is the neural ODE, whose vector field is cooperative in u
    (Kamke's condition).

    Parameters
    ----------
    inputs : tuple of int
        For every input of the network, 1 if outputs increase, -1 if they decrease, and
        0 if it is free.
    states : tuple of int
        For every coordinate of the state, 1 if it is of u, else 0.
    units : tuple of int
        For every hidden unit of a layer, 1 if it sees u, else 0.
    """

    inputs: tuple
    states: tuple
    units: tuple

    def merged(self, n_layers):
        """Return the same of layers of which so many became a wide one."""
        return replace(self, units=self.units * n_layers)

    def as_tuple(self):
        """Return the three tuples in one, as files hold them."""
        return self.inputs, self.states, self.units

    def cone(self, like):
        """Return bounds of the weights by their names, which are 0 or infinite.

        Those of V and W have no axis of depth, and none an axis of models.

        Parameters
        ----------
        like : Tensor
            Of the dtype and on the device of the weights.

        Returns
        -------
        cone : dict of str to tuple (lower, upper)
            They are shared: nobody may change them.
        """
        return _cone(self, like.dtype, like.device)


@lru_cache(MOST_CONES)
def _cone(monotonicity, dtype, device):
    """Return the bounds of the weights of a dtype on a device."""
    inputs, u, units = (torch.tensor(part) for part in monotonicity.as_tuple())
    inputs = torch.cat([inputs, inputs.new_zeros(1)])  # of the constant 1
    allowed = {
        "embedding": _allowed(u[:, None], inputs),
        "V": _allowed(u[:, None], units),
        "W": _allowed(units[:, None], u),
        "head": _allowed(torch.ones(1, 1), u),
    }
    return {
        name: tuple(bound.to(device, dtype) for bound in bounds)
        for name, bounds in allowed.items()
    }


def _allowed(to, signs):
    """Return the bounds of weights from parts with signs to parts that are monotone.

    Without a sign a weight is free. With one it has that sign where it leads to a
    monotone part, and is zero where it leads to another.
    """
    to, signs = torch.broadcast_tensors(to, signs)
    lower = torch.where(signs == 0, -inf, torch.where((signs < 0) & (to > 0), -inf, 0))
    upper = torch.where(signs == 0, inf, torch.where((signs > 0) & (to > 0), inf, 0))
    return lower, upper


def reflected(weights, bounds):
    """Return weights that are in a cone: with signs changed, or zero, where needed."""
    lower, upper = bounds
    is_outside = (weights < lower) | (weights > upper)
    return torch.where(is_outside, -weights, weights).clamp(lower, upper)
