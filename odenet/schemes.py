"""Schemes: the weights at the start of training, as functions of depth.

A scheme is a callable ``(depth, shape, generator) -> weights``, as :class:`Scheme`
describes it. The network draws W from it. V starts at zero, so that the network starts
as the zero function, unless the scheme has an attribute ``draws_V`` that is true.

To add a scheme, write a class here and add a line to ``SCHEMES``, from which parameter
constraints, networks and tests read the names. A callable needs no name: pass it as
``init`` itself.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import torch

__all__ = [
    "SCHEMES",
    "GaussianProcess",
    "Independent",
    "Scheme",
    "Tied",
    "resolve_scheme",
]

# The shortest length scale allowed. The series has 895 terms there, and their number
# grows as the inverse square of the length scale. A shorter one is not needed:
# neighbours of 16 layers have a correlation of exp(-(1/16)^2 / (2 * 0.02^2)) < 0.01
# already, and are as good as independent.
SHORTEST_LENGTH_SCALE = 0.02
# The series ends TAIL standard deviations and LEAST_TERMS terms beyond the mean of a
# Poisson law. The rest is below 3e-24 (scipy.stats.poisson.sf) at every length scale
# allowed, so that nothing is lost in float64.
TAIL, LEAST_TERMS = 10, 20


class Scheme(Protocol):
    """The protocol of schemes: any callable with this signature is one.

    Subclassing is not needed. A plain function will do, even without ``draws_V``.

    Attributes
    ----------
    draws_V : bool, default=False
        Whether V is drawn as well, by a second call, instead of starting at zero.

    Examples
    --------
    A start that changes from one matrix into another along depth time:

    >>> import torch
    >>> from odenet import ResidualNetwork
    >>> def turning(depth, shape, generator):
    ...     first, last = torch.randn(2, *shape, generator=generator)
    ...     s = torch.arange(depth).view(-1, *[1] * len(shape)) / depth
    ...     return torch.lerp(first, last, s)
    >>> ResidualNetwork(2, 1, depth=5, init=turning).W.shape
    torch.Size([5, 64, 16])
    """

    draws_V: bool = False

    def __call__(self, depth, shape, generator):
        """Draw the weights of all layers.

        Parameters
        ----------
        depth : int
            Number of layers L.
        shape : tuple of int
            Shape of the weights of one layer.
        generator : torch.Generator
            The only source of randomness, on the CPU. None is torch's global one.

        Returns
        -------
        weights : Tensor or ndarray of shape (depth, *shape)
            Finite values. The k-th layer, with k = 1, ..., L, is at depth time
            (k - 1) / L.
        """
        ...


def _normal(shape, generator):
    """Draw standard Gaussians on the CPU and in float64: the same for every device."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Tied(Scheme):
    r"""The same weights in every layer: :math:`W_k = W`, Gaussian.

    This is the start of Marion, Wu, Sander and Biau (ICLR 2024, section 3).

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
class GaussianProcess(Scheme):
    r"""Every weight an independent Gaussian process in depth time s.

    The process has mean zero and the covariance
    :math:`\exp(-(s - s')^2 / (2 \ell^2))` times the square of the scale. It is sampled
    at :math:`s = (k-1)/L` (Marion, Wu, Sander and Biau, ICLR 2024, section 4.3). With
    the same seed, networks of different depths sample the same function of s.

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
        if not self.length_scale >= SHORTEST_LENGTH_SCALE:
            raise ValueError(
                f"`length_scale` must be at least {SHORTEST_LENGTH_SCALE} (use 'iid' "
                f"for independent layers), got {self.length_scale!r}."
            )

    def __call__(self, depth, shape, generator):
        s = torch.arange(depth, dtype=torch.float64) / depth
        weights = torch.zeros(depth, *shape, dtype=torch.float64)
        for feature in _squared_exponential_features(s, self.length_scale):
            weights += feature.view(-1, *[1] * len(shape)) * _normal(shape, generator)
        return self.scale * weights


def _squared_exponential_features(s, length_scale):
    r"""Yield features whose products sum to the squared-exponential covariance.

    With :math:`u = (s - 1/2)/\ell`, the Taylor series of :math:`e^{u u'}` gives
    :math:`e^{-(u-u')^2/2} = \sum_n \phi_n(u) \phi_n(u')` for
    :math:`\phi_n(u) = e^{-u^2/2} u^n / \sqrt{n!}`. The terms of the diagonal,
    :math:`\phi_n(u)^2`, are the probabilities of a Poisson law of mean :math:`u^2`, so
    that the tail of the law is what a series of finitely many terms leaves out.
    """
    u = (s - 0.5) / length_scale
    feature = torch.exp(-(u**2) / 2)
    rate = (0.5 / length_scale) ** 2  # the largest u^2
    n_terms = int(rate + TAIL * sqrt(rate)) + LEAST_TERMS
    for n in range(n_terms):
        yield feature
        feature = feature * u / sqrt(n + 1)


@dataclass(frozen=True)
class Independent(Scheme):
    r"""Independent Gaussian weights in every layer.

    This is for control experiments: such a network is *not* a discretised ODE.

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


# The schemes by the names that ``init`` takes.
SCHEMES = {
    "tied": Tied(),
    "gaussian_process": GaussianProcess(),
    "iid": Independent(),
}


def draw_layers(init, depth, shape, generator):
    """Draw the weights of all layers by a scheme, and check them; in float64."""
    scheme = resolve_scheme(init)
    weights = torch.as_tensor(scheme(depth, shape, generator), dtype=torch.float64)
    if weights.shape != (depth, *shape) or not weights.isfinite().all():
        raise ValueError(
            f"`init` must return finite weights of shape {(depth, *shape)}, "
            f"got shape {tuple(weights.shape)} from {scheme!r}."
        )
    # A tied scheme returns one layer seen L times: each must have memory of its own.
    return weights.clone(memory_format=torch.contiguous_format)


def draws_V(init):
    """Tell whether a scheme, given by name or as a callable, draws V as well as W."""
    return getattr(resolve_scheme(init), "draws_V", Scheme.draws_V)


def resolve_scheme(init):
    """Return the scheme behind a name, or the callable itself.

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
        If there is no scheme of this name.

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
