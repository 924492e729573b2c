"""The residual stack: the recursion over depth."""

from math import sqrt

import torch


def velocity(h, V, W, activation):
    r"""Vector field :math:`V \sigma(W h / \sqrt{q}) / \sqrt{m}` of one layer."""
    q, m = V.shape
    return activation(h @ W.T / sqrt(q)) @ V.T / sqrt(m)


def residual_states(h, V, W, activation, scale):
    """All states h_0, ..., h_L, as the formula reads."""
    states = [h]
    for V_k, W_k in zip(V, W, strict=True):
        states.append(states[-1] + scale * velocity(states[-1], V_k, W_k, activation))
    return states


def residual_stack(h, V, W, activation, scale):
    """The last state h_L; the scalings enter the weights once, for all layers."""
    for V_k, W_k in scaled_layers(V, W, scale):
        h = torch.addmm(h, activation(h @ W_k), V_k)
    return h


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
    ahead = 0.5 * (1 - len(V) / depth)
    layers = scaled_layers(V, W, scale)
    V_1, W_1 = layers[0]
    probe = torch.lerp(h, torch.addmm(h, activation(h @ W_1), V_1), ahead)
    states = [h]
    for V_k, W_k in layers:
        h = torch.addmm(h, activation(probe @ W_k), V_k)
        probe = torch.lerp(states[-1], h, 1 + ahead)
        states.append(h)
    return states


def scaled_layers(V, W, scale):
    """Pairs of matrices that multiply from the right, with the scalings in them."""
    _, q, m = V.shape
    V = (V.transpose(1, 2) * (scale / sqrt(m))).unbind(0)
    W = (W.transpose(1, 2) / sqrt(q)).unbind(0)
    return list(zip(V, W, strict=True))
