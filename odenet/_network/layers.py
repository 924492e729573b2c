"""The recursion over the layers, as the formulas read."""

from math import sqrt

import torch


def velocity(h, V, W, activation):
    r"""Vector field :math:`V \sigma(W h / \sqrt{q}) / \sqrt{m}` of one layer."""
    *_, q, m = V.shape
    return activation(h @ W.mT / sqrt(q)) @ V.mT / sqrt(m)


def residual_states(h, V, W, activation, scale):
    """All states h_0, ..., h_L, as the formula reads."""
    states = [h]
    for V_k, W_k in zip(V, W, strict=True):
        states.append(states[-1] + scale * velocity(states[-1], V_k, W_k, activation))
    return states


def imitating_states(h, V, W, activation, scale, depth):
    r"""Like ``residual_states``, but as if of more layers, to second order.

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
    point = torch.lerp(h, _apply(h, h, *layers[0], activation), a)
    states = [h]
    for V_k, W_k in layers:
        h = _apply(h, point, V_k, W_k, activation)
        point = torch.lerp(states[-1], h, 1 + a)
        states.append(h)
    return states


def steps_ahead(n_layers, depth):
    """How far layers look ahead that imitate a depth; None is their own."""
    return 0.0 if depth is None else 0.5 * (1 - n_layers / depth)


def scaled_layers(V, W, scale):
    """Pairs of matrices that multiply from the right, with the scalings in them."""
    *_, q, m = V.shape
    V = (V.mT * (scale / sqrt(m))).unbind(0)
    W = (W.mT / sqrt(q)).unbind(0)
    return list(zip(V, W, strict=True))


def _apply(h, point, V_k, W_k, activation):
    """The state after a layer, of scaled weights, whose velocity is that at a point."""
    add_product = torch.addmm if h.dim() == 2 else torch.baddbmm
    return add_product(h, activation(point @ W_k), V_k)


def plain_stack(h, V, W, activation, scale, depth=None):
    """The last state by operations that torch can differentiate, in any way."""
    if depth is not None:
        return imitating_states(h, V, W, activation, scale, depth)[-1]
    for V_k, W_k in scaled_layers(V, W, scale):
        h = _apply(h, h, V_k, W_k, activation)
    return h
