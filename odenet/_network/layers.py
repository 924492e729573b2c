"""The recursion over the layers, as the formulas read.

These functions define what a network computes, by operations that torch can
differentiate in any way. :mod:`odenet._network.fast_layers` computes the same faster.
Throughout, V of shape (L, q, m) and W of shape (L, m, q) are the weights of L layers,
h of shape (n, q) the states of n samples, and ``scale`` is the factor of a residual,
1/L for a discretised ODE.
"""

from math import floor, sqrt

import torch

from odenet._network.activations import ACTIVATIONS


def velocity(h, V, W, activation):
    r"""Return the vector field :math:`V \sigma(W h / \sqrt{q}) / \sqrt{m}` at h."""
    *_, q, m = V.shape
    return activation(h @ W.mT / sqrt(q)) @ V.mT / sqrt(m)


class VectorField:
    r"""The velocity dH/ds at every depth time s, as a network's layers determine it.

    Between the layers' depth times :math:`s = (k - 1/2)/L`, V and W are piecewise
    linear, and they go on with the first and the last slope to 0 and 1.

    Parameters
    ----------
    network : ResidualNetwork

    Attributes
    ----------
    n_evals : int
        How often it was evaluated.
    """

    def __init__(self, network):
        # Not indexed later: that would cost a gradient of all layers' size each time.
        self.V, self.W = network.V.unbind(0), network.W.unbind(0)
        self.cone = {}
        if network.monotonicity is not None:
            self.cone = network.monotonicity.cone(network.V)
        self.activation = ACTIVATIONS[network.activation].function
        self.factor = len(self.V) ** (1 - network.depth_scaling)
        self.n_evals = 0

    def __call__(self, s, h):
        """Return the velocity of states h of shape (n, q), at the tensor s."""
        self.n_evals += 1
        left, share = self._position(s.item())
        V, W = (_between(Z[left : left + 2], share) for Z in (self.V, self.W))
        if self.cone:  # a line beyond the outer layers may change its sign
            V, W = V.clamp(*self.cone["V"]), W.clamp(*self.cone["W"])
        return self.factor * velocity(h, V, W, self.activation)

    def layers_at(self, s):
        """Return the layers whose weights give those at s."""
        left, _ = self._position(s)
        return self.V[left : left + 2] + self.W[left : left + 2]

    def _position(self, s):
        """Return the layer left of s, and how far s is on the way to the next one."""
        position = s * len(self.V) - 0.5
        left = max(min(floor(position), len(self.V) - 2), 0)
        return left, position - left


def _between(layers, share):
    """Return the weights between two layers, or those of the only one."""
    return layers[0] if len(layers) == 1 else torch.lerp(*layers, share)


def residual_states(h, V, W, activation, scale):
    """Return all states h_0, ..., h_L of the residual recursion."""
    states = [h]
    for V_k, W_k in zip(V, W, strict=True):
        states.append(states[-1] + scale * velocity(states[-1], V_k, W_k, activation))
    return states


def imitating_states(h, V, W, activation, scale, depth):
    r"""Return all states of few layers that imitate more of them, to second order.

    A layer's velocity is taken at a state ahead of h, extrapolated from the last two,

    .. math::
        h_k = h_{k-1} + \frac1l f_k(h_{k-1} + a (h_{k-1} - h_{k-2})), \qquad
        a = \frac12 \Big(1 - \frac lL\Big).

    Explicit Euler of l layers follows the equation :math:`h' = f - f_h f / (2l)` up to
    O(1/l^2) (its modified equation), and a step ahead adds :math:`a f_h f / l`. With
    this a the sum is the modified equation of L layers, that of the ODE itself for
    infinite L, and there is no step ahead for L = l. The weights are to be those at the
    middles of the layers.
    """
    a = steps_ahead(len(V), depth)
    layers = scaled_layers(V, W, scale)
    # No state comes before h_0: the first layer looks ahead along its own velocity.
    point = torch.lerp(h, advance(h, h, *layers[0], activation), a)
    states = [h]
    for V_k, W_k in layers:
        h = advance(h, point, V_k, W_k, activation)
        point = torch.lerp(states[-1], h, 1 + a)
        states.append(h)
    return states


def plain_stack(h, V, W, activation, scale, depth=None):
    """Return the last state h_L, of layers that imitate a depth if one is given."""
    if depth is not None:
        return imitating_states(h, V, W, activation, scale, depth)[-1]
    for V_k, W_k in scaled_layers(V, W, scale):
        h = advance(h, h, V_k, W_k, activation)
    return h


def steps_ahead(n_layers, depth):
    """Return a of :func:`imitating_states`: how many steps the layers look ahead.

    It is zero where no depth is imitated, or their own.
    """
    return 0.0 if depth is None else 0.5 * (1 - n_layers / depth)


def scaled_layers(V, W, scale):
    """Return a pair (V_k, W_k) per layer, as :func:`advance` takes them.

    They multiply from the right, and hold all scalings: these cost one product of all
    weights here, and two of all states at every layer otherwise. ``unbind`` because an
    index per layer would give every layer a gradient of the size of all.
    """
    *_, q, m = V.shape
    V = (V.mT * (scale / sqrt(m))).unbind(0)
    W = (W.mT / sqrt(q)).unbind(0)
    return list(zip(V, W, strict=True))


def advance(h, point, V_k, W_k, activation):
    """Return the state after h, by one scaled layer whose velocity is taken at point.

    With an axis of models in front, there is a layer for each of them.
    """
    add_product = torch.addmm if h.dim() == 2 else torch.baddbmm
    return add_product(h, activation(point @ W_k), V_k)
