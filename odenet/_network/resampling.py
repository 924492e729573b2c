"""Resampling in depth: weights are samples of a function of depth time s in [0, 1]."""

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
    if not isinstance(depth, Integral) or depth < 1:
        raise ValueError(f"`depth` must be a positive integer, got {depth!r}.")
    if depth == len(weights):
        return weights.clone()
    offset = 0.5 if interpolation == "linear" else 0.0
    k = torch.arange(depth, dtype=torch.float64)
    return interpolate(weights, (k + offset) / depth, interpolation)
