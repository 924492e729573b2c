"""Resampling in depth: weights are samples of a function of depth time s in [0, 1]."""

from math import sqrt
from numbers import Integral

import torch

INTERPOLATIONS = ("linear", "constant")
# Share of a layer by which a time is moved on before it is cut down to the number of a
# layer, so that (k - 1) / L belongs to the layer that it begins. In float64, L times it
# is off by some 1e-16 L, which is far below this, and this is far below a layer.
ROUNDING = 1e-6


def interpolate(weights, s, interpolation="linear"):
    r"""Evaluate the function of depth whose samples are the layers' weights.

    "linear" is piecewise linear through the middles :math:`s = (k - 1/2)/L` of the
    layers' intervals, and goes on with the first and last slope to 0 and 1; its error
    is O(1/L^2) for a smooth function. "constant" is Z_k on [(k-1)/L, k/L), as in
    Marion, Wu, Sander and Biau (ICLR 2024, section 2), with an error of O(1/L).

    Parameters
    ----------
    weights : Tensor of shape (L, ...)
    s : Tensor of shape (n_times,)
        Depth times in [0, 1], on the CPU.
    interpolation : {"linear", "constant"}, default="linear"

    Returns
    -------
    values : Tensor of shape (n_times, ...)
    """
    depth = len(weights)
    if interpolation == "constant" or depth == 1:
        return weights[(s * depth + ROUNDING).long().clamp(0, depth - 1)]
    position = s * depth - 0.5
    left = position.floor().long().clamp(0, depth - 2)
    share = (position - left).to(weights).view(-1, *[1] * (weights.dim() - 1))
    return torch.lerp(weights[left], weights[left + 1], share)


def resample(weights, depth, interpolation="linear"):
    """Sample the same function of depth by another number of layers.

    Parameters
    ----------
    weights : Tensor of shape (L, ...)
    depth : int
        The new number of layers, at least 1.
    interpolation : {"linear", "constant"}, default="linear"
        See :func:`interpolate`: a new layer has its value at the middle of the layer's
        interval if "linear", at the beginning if "constant".

    Returns
    -------
    layers : Tensor of shape (depth, ...)
        The very same values if the depth is the same.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"`interpolation` must be one of {list(INTERPOLATIONS)}, "
            f"got {interpolation!r}."
        )
    _check_depth(depth)
    if depth == len(weights):
        return weights.clone()
    offset = 0.5 if interpolation == "linear" else 0.0
    k = torch.arange(depth, dtype=torch.float64)
    return interpolate(weights, (k + offset) / depth, interpolation)


def merge_layers(V, W, depth):
    r"""Merge neighbouring layers into wider ones, which act on the same state at once.

    A group of k layers of width m becomes one of width k m, with the sum of their
    velocities,

    .. math::
        \sum_{j \le k} V_j\, \sigma(W_j h / \sqrt q) / \sqrt m
        = (V_1 \dots V_k)\, \sigma((W_1 \dots W_k)^T h / \sqrt q) / \sqrt m.

    Groups differ by one layer at most, and the smaller ones are filled up by zeros.

    Parameters
    ----------
    V : Tensor of shape (L, ..., q, m)
    W : Tensor of shape (L, ..., m, q)
    depth : int
        Number of groups, at most L.

    Returns
    -------
    V : Tensor of shape (depth, ..., q, k m)
        For the factor 1 / sqrt(k m) of wide layers, and the scale of L layers.
    W : Tensor of shape (depth, ..., k m, q)
    """
    _check_depth(depth)
    n_layers, *models, q, m = V.shape
    if depth > n_layers:
        raise ValueError(
            f"`depth` must be at most {n_layers} to merge as many layers, got {depth}."
        )
    groups = torch.arange(n_layers).tensor_split(depth)
    k = max(map(len, groups))
    wide_V = V.new_zeros(depth, *models, q, k * m)
    wide_W = W.new_zeros(depth, *models, k * m, q)
    for i, group in enumerate(groups):
        width = len(group) * m
        wide_V[i, ..., :width] = V[group].movedim(0, -2).flatten(-2)
        wide_W[i, ..., :width, :] = W[group].movedim(0, -3).flatten(-3, -2)
    return wide_V * sqrt(k), wide_W


def _check_depth(depth):
    """Raise an error unless a depth is a positive integer."""
    if not isinstance(depth, Integral) or depth < 1:
        raise ValueError(f"`depth` must be a positive integer, got {depth!r}.")
