"""Schemes: the weights at the start of training, as functions of depth.

A scheme is a callable ``(depth, shape, generator) -> weights`` of shape
``(depth, *shape)``, in float64 on the CPU. The network draws W from it; V starts at
zero, so that the network starts as the zero function, unless the scheme has a true
attribute ``draws_V``.
"""

from dataclasses import dataclass
from math import sqrt

import torch

__all__ = ["SCHEMES", "GaussianProcess", "Independent", "Tied", "resolve_scheme"]


def _normal(shape, generator):
    """Standard Gaussian in float64 on the CPU: the same draws for every device."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Tied:
    r"""The same weights in every layer: :math:`W_k = W`, Gaussian.

    The start of Marion, Wu, Sander and Biau (ICLR 2024, section 3).

    Parameters
    ----------
    scale : float, default=1.0
        Standard deviation of a weight.

    Examples
    --------
    >>> import torch
    >>> from odenet.schemes import Tied
    >>> W = Tied()(3, (2, 2), torch.Generator().manual_seed(0))
    >>> bool((W[0] == W[2]).all())
    True
    """

    scale: float = 1.0

    def __call__(self, depth, shape, generator):
        return self.scale * _normal(shape, generator).expand(depth, *shape)


@dataclass(frozen=True)
class GaussianProcess:
    r"""Every weight an independent Gaussian process in depth time s.

    Mean zero, covariance :math:`\exp(-(s - s')^2 / (2 \ell^2))` times the square of
    the scale, sampled at :math:`s = (k-1)/L` (Marion, Wu, Sander and Biau, ICLR 2024,
    section 4.3).
    One draw of the generator is one function of s: networks of different depths
    sample the same function.

    Parameters
    ----------
    length_scale : float, default=0.5
        The length scale :math:`\ell`, at least 0.02. As it grows, the scheme becomes
        :class:`Tied`.
    scale : float, default=1.0
        Standard deviation of a weight.
    draws_V : bool, default=False
        Whether V is drawn as well, instead of starting at zero.

    Examples
    --------
    >>> import torch
    >>> from odenet.schemes import GaussianProcess
    >>> scheme = GaussianProcess(length_scale=0.5)
    >>> coarse = scheme(4, (2, 2), torch.Generator().manual_seed(0))
    >>> fine = scheme(8, (2, 2), torch.Generator().manual_seed(0))
    >>> torch.allclose(coarse, fine[::2])
    True
    """

    length_scale: float = 0.5
    scale: float = 1.0
    draws_V: bool = False

    def __post_init__(self):
        if not self.length_scale >= 0.02:
            raise ValueError(
                "`length_scale` must be at least 0.02 (use 'iid' for independent "
                f"layers), got {self.length_scale!r}."
            )

    def __call__(self, depth, shape, generator):
        s = torch.arange(depth, dtype=torch.float64) / depth
        weights = torch.zeros(depth, *shape, dtype=torch.float64)
        for feature in _squared_exponential_features(s, self.length_scale):
            weights += feature.view(-1, *[1] * len(shape)) * _normal(shape, generator)
        return self.scale * weights


def _squared_exponential_features(s, length_scale):
    r"""Features whose products sum to the squared-exponential covariance.

    With :math:`u = (s - 1/2)/\ell`, the Taylor series of :math:`e^{u u'}` gives
    :math:`e^{-(u-u')^2/2} = \sum_n \phi_n(u) \phi_n(u')` for
    :math:`\phi_n(u) = e^{-u^2/2} u^n / \sqrt{n!}`. The tail dropped is below 1e-16.
    """
    u = (s - 0.5) / length_scale
    feature = torch.exp(-(u**2) / 2)
    rate = (0.5 / length_scale) ** 2
    n_terms = int(rate + 10 * sqrt(rate)) + 20  # the tail of a Poisson(rate) law
    for n in range(n_terms):
        yield feature
        feature = feature * u / sqrt(n + 1)


@dataclass(frozen=True)
class Independent:
    r"""Independent Gaussian weights in every layer.

    The control experiment: such a network is *not* a discretised ODE.

    Parameters
    ----------
    scale : float, default=1.0
        Standard deviation of a weight.

    Examples
    --------
    >>> import torch
    >>> from odenet.schemes import Independent
    >>> Independent()(3, (2, 4), torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2, 4])
    """

    scale: float = 1.0

    def __call__(self, depth, shape, generator):
        return self.scale * _normal((depth, *shape), generator)


SCHEMES = {
    "tied": Tied(),
    "gaussian_process": GaussianProcess(),
    "iid": Independent(),
}


def draw_layers(init, depth, shape, generator):
    """The weights of all layers at the start, in float64, of a name or a callable."""
    scheme = resolve_scheme(init)
    weights = torch.as_tensor(scheme(depth, shape, generator), dtype=torch.float64)
    if weights.shape != (depth, *shape) or not weights.isfinite().all():
        raise ValueError(
            f"`init` must return finite weights of shape {(depth, *shape)}, "
            f"got shape {tuple(weights.shape)} from {scheme!r}."
        )
    return weights.clone(memory_format=torch.contiguous_format)


def resolve_scheme(init):
    """The scheme behind a name, or the callable itself.

    Parameters
    ----------
    init : {"tied", "gaussian_process", "iid"} or callable

    Returns
    -------
    scheme : callable
        ``scheme(depth, shape, generator)`` draws weights.

    Raises
    ------
    ValueError
        If there is no such name.

    Examples
    --------
    >>> from odenet.schemes import resolve_scheme
    >>> resolve_scheme("gaussian_process")
    GaussianProcess(length_scale=0.5, scale=1.0, draws_V=False)
    """
    if callable(init):
        return init
    if init in SCHEMES:
        return SCHEMES[init]
    raise ValueError(
        f"`init` must be one of {sorted(SCHEMES)} or a callable "
        f"(depth, shape, generator) -> weights, got {init!r}."
    )
