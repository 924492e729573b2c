"""The residual stack: the recursion over depth."""

from math import sqrt

import torch


def velocity(h, V, W, activation):
    r"""Vector field :math:`V \sigma(W h / \sqrt{q}) / \sqrt{m}` of one layer."""
    q, m = V.shape
    return activation(h @ W.T / sqrt(q)) @ V.T / sqrt(m)


def residual_states(h, V, W, activation, scale):
    """All states h_0, ..., h_L, shape (L+1, n, q), as the formula reads."""
    states = [h]
    for V_k, W_k in zip(V, W, strict=True):
        states.append(states[-1] + scale * velocity(states[-1], V_k, W_k, activation))
    return torch.stack(states)


def residual_stack(h, V, W, activation, scale):
    """The last state h_L; the scalings enter the weights once, for all layers."""
    _, q, m = V.shape
    V = (V.transpose(1, 2) * (scale / sqrt(m))).unbind(0)
    W = (W.transpose(1, 2) / sqrt(q)).unbind(0)
    for V_k, W_k in zip(V, W, strict=True):
        h = torch.addmm(h, activation(h @ W_k), V_k)
    return h
