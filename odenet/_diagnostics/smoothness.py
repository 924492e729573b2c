"""How smooth the weights of a network are, as functions of depth; in float64."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch

from odenet._utils.devices import to_numpy

# Layers that differ by so many roundings of the largest weight are the same.
ROUNDINGS = 4


@dataclass(frozen=True)
class DepthSmoothness:
    r"""How smooth the weights of a network are, as functions of depth.

    ``float(smoothness)`` is ``lipschitz``.

    Attributes
    ----------
    lipschitz : float
        The largest of ``per_weight``: a discrete Lipschitz constant in depth time,
        bounded as L grows for a discretised ODE, proportional to L for independent
        layers (Marion, Wu, Sander and Biau, ICLR 2024, theorem 4).
    von_neumann_ratio : float
        Mean of :math:`\|Z_{k+1} - Z_k\|^2` over twice the mean of
        :math:`\|Z_k - \bar Z\|^2`, with Z = (V, W): free of scale, about 1 for
        independent layers, O(1/L^2) for a discretised ODE, 0 for layers that are tied
        or differ by rounding (von Neumann, *Annals of Mathematical Statistics* 12,
        1941).
    per_weight : dict of str to float
        :math:`L \max_k \|Z_{k+1} - Z_k\|_F` for Z = "V" and "W".
    increments : dict of str to ndarray of shape (L - 1,)
        :math:`\|Z_{k+1} - Z_k\|_F` for each k.
    members : tuple of DepthSmoothness
        That of each of several networks. All other values are then the largest of
        theirs. A single network has none.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> model = ResODERegressor(4, init="iid", flow_time=1.0, random_state=0)
    >>> smoothness = model.fit([[0.0], [1.0], [2.0]], [1, 2, 3]).depth_smoothness_
    >>> smoothness.increments["W"].shape
    (3,)
    >>> float(smoothness) == smoothness.per_weight["W"]
    True
    """

    lipschitz: float
    von_neumann_ratio: float
    per_weight: dict = field(hash=False)
    increments: dict = field(repr=False, compare=False)
    members: tuple = field(default=(), repr=False)

    def __float__(self):
        return self.lipschitz


def depth_smoothness(module):
    """Measure how smooth a network's weights are, as functions of depth.

    Parameters
    ----------
    module : ResidualNetwork
        Or any object with stacked weights ``V`` and ``W``, whose first axis is depth.

    Returns
    -------
    smoothness : DepthSmoothness

    Examples
    --------
    >>> import torch
    >>> from odenet import ResidualNetwork, depth_smoothness
    >>> generator = torch.Generator().manual_seed(0)
    >>> tied = ResidualNetwork(2, 1, depth=32, init="tied", generator=generator)
    >>> depth_smoothness(tied).lipschitz
    0.0
    >>> iid = ResidualNetwork(2, 1, depth=32, init="iid", generator=generator)
    >>> round(depth_smoothness(iid).von_neumann_ratio, 1)
    1.0
    """
    if module.V.dim() == 4 and getattr(module, "has_models_axis", False):
        return _worst_of_members(module)
    depth, n_entries = len(module.V), module.V[0].numel()
    layers = to_numpy(torch.cat([module.V.flatten(1), module.W.flatten(1)], dim=1))
    weights = {"V": layers[:, :n_entries], "W": layers[:, n_entries:]}
    steps = {name: np.diff(Z, axis=0) for name, Z in weights.items()}
    increments = {name: np.linalg.norm(step, axis=1) for name, step in steps.items()}
    per_weight = {
        name: depth * float(norms.max(initial=0.0))
        for name, norms in increments.items()
    }
    return DepthSmoothness(
        lipschitz=max(per_weight.values()),
        von_neumann_ratio=_von_neumann_ratio(layers, torch.finfo(module.V.dtype).eps),
        per_weight=per_weight,
        increments=increments,
    )


def _worst_of_members(module):
    """Return the largest values over the networks along the axis of models."""
    weights = zip(module.V.unbind(1), module.W.unbind(1), strict=True)
    members = [depth_smoothness(SimpleNamespace(V=V, W=W)) for V, W in weights]

    def worst(values):
        return {name: np.max([v[name] for v in values], axis=0) for name in "VW"}

    per_weight = worst([member.per_weight for member in members])
    return DepthSmoothness(
        lipschitz=max(member.lipschitz for member in members),
        von_neumann_ratio=max(member.von_neumann_ratio for member in members),
        per_weight={name: float(value) for name, value in per_weight.items()},
        increments=worst([member.increments for member in members]),
        members=tuple(members),
    )


def _von_neumann_ratio(Z, eps):
    """Return the ratio, or 0 where the layers do not vary beyond rounding.

    Layers are told from the first one, to which a rounded mean would add its error.
    """
    steps = np.diff(Z, axis=0)
    steps[np.abs(steps) <= ROUNDINGS * eps * np.abs(Z).max()] = 0.0
    if not steps.any():
        return 0.0
    steps /= np.abs(steps).max()  # whose squares may vanish, or overflow
    moved = np.cumsum(np.vstack([np.zeros_like(Z[0]), steps]), axis=0)
    spread = np.square(moved - moved.mean(axis=0)).sum(axis=1).mean()
    return float(np.square(steps).sum(axis=1).mean() / (2 * spread))
