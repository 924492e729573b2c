"""The distance between a network and its neural ODE, and when it can be trusted."""

import copy
import warnings
from math import nan

import torch
from torch import nn

from odenet._diagnostics.smoothness import depth_smoothness
from odenet._network.ode import NeuralODE
from odenet._utils.devices import evaluation_dtype, torch_threads
from odenet._utils.sparse_rows import as_rows

# The relative tolerance of the integration. Its error must be small beside any gap of
# interest, of which the smallest seen was 1.6e-6, at depth 128.
GAP_RTOL = 1e-9
# How much smaller the absolute tolerance is than the relative one, so that states near
# zero are as exact as others.
RTOL_TO_ATOL = 100
# The smallest relative tolerance, in units of rounding, which counts where there is no
# float64. With less, rounding is taken for an error of the method, and steps are
# repeated in vain: a network of 16 layers took 105 evaluations with 3, 10 and 100
# units, 117 with 1 and 267 with 0.1.
ROUNDINGS = 10
# A bound for an integration that would not end. Every layer takes at least one step.
GAP_MAX_STEPS = 10_000_000
# The number of samples on which a fit estimates its gap, which is then as cheap as one
# step of the training.
RECORDED_ROWS = 64
# Of more layers than this, a fit estimates its gap by halving the depth, at half the
# cost of doubling it. The error of the estimate is O(1/L): up to three percent here.
DEEPEST_DOUBLED = 128
# A network is rough above this von Neumann ratio: half-way between smooth layers, where
# it is O(1/L^2), and independent ones, where it is 1.
ROUGH_RATIO = 0.5


class ExtrapolatedNetwork(nn.Module):
    r"""Richardson's extrapolation of a network to its neural ODE: 2 F_{2L} - F_L.

    The output F_L of L layers is at a distance O(1/L) from that of the ODE. If the
    weights are smooth in depth, the extrapolation is at a distance O(1/L^2). It costs
    as much as 3 L layers.

    Parameters
    ----------
    network : ResidualNetwork
        The network, which is copied.

    Examples
    --------
    >>> import torch
    >>> from odenet import ResidualNetwork
    >>> from odenet._diagnostics.gap import ExtrapolatedNetwork
    >>> ExtrapolatedNetwork(ResidualNetwork(2, 1, depth=4))(torch.ones(5, 2)).shape
    torch.Size([5, 1])
    """

    def __init__(self, network):
        super().__init__()
        self.network = network.with_depth(network.depth)
        self.refined = network.with_depth(2 * network.depth)

    @property
    def V(self):
        """The weights V of the network's layers."""
        return self.network.V

    def forward(self, x):
        """Return the extrapolated output, shape (n, n_outputs)."""
        return 2 * self.refined(x) - self.network(x)


def ode_gap(network, x, method="solver"):
    r"""Measure the distance between a network's output and that of its neural ODE.

    It is :math:`\|F_L(x) - F(x)\| / \|F(x)\|`, with norms over all samples and outputs,
    in float64 where the device has it. The gap is O(1/L) for weights that are smooth in
    depth (Marion, Wu, Sander and Biau, ICLR 2024, theorem 4), and need not shrink for
    others.

    Parameters
    ----------
    network : ResidualNetwork
    x : Tensor or array of shape (n, n_features)
    method : {"solver", "richardson"}, default="solver"
        "solver" integrates the ODE with an error far below 1e-6. It takes about 7
        evaluations per layer: more if there are few layers, and many more if the
        weights are not smooth. "richardson" is an estimate that puts 2 F_{2L} - F_L in
        the place of F, and costs as much as 3 L layers. For smooth weights its error is
        O(1/L^2), which may exceed the gap of few layers. For other weights it is wrong:
        with ``init="iid"`` it is more than twice the gap (``benchmarks/ode_gap.py``).

    Returns
    -------
    gap : float
        The relative distance; 0.0 if the outputs are equal, even if they are zero.

    Raises
    ------
    ValueError
        If the method is unknown.
    RuntimeError
        If the integration fails.

    Warns
    -----
    UserWarning
        If the weights are not smooth in depth.

    Examples
    --------
    >>> import torch
    >>> from odenet import ResidualNetwork, ode_gap
    >>> from odenet.schemes import GaussianProcess
    >>> generator = torch.Generator().manual_seed(0)
    >>> scheme = GaussianProcess(draws_V=True)
    >>> network = ResidualNetwork(2, 1, depth=64, init=scheme, generator=generator)
    >>> x = torch.ones(5, 2)
    >>> print(f"{ode_gap(network, x):.4f} {ode_gap(network, x, 'richardson'):.4f}")
    0.0044 0.0045
    """
    if method not in _LIMITS:
        raise ValueError(f"`method` must be one of {list(_LIMITS)}, got {method!r}.")
    warn_if_rough(network)
    return _relative_distance(network, x, _LIMITS[method])


def _relative_distance(network, x, limit_of):
    """Return the distance from a limit, without a warning if it cannot be trusted."""
    device = network.V.device
    network = copy.deepcopy(network).to(evaluation_dtype(device))
    x = as_rows(x, network.V)
    with torch.no_grad():
        output = network(x)
        limit = limit_of(network, x, output)
    distance = (output - limit).norm()
    return (distance / limit.norm()).item() if distance > 0 else 0.0


def is_rough(network):
    """Tell whether the weights are not smooth in depth, as far as L layers can tell.

    The von Neumann ratio is near 1 for independent layers and 6 / (L^2 - 1) for a
    linear function of depth. For two layers it is always 2, and for one layer 0, so
    that networks of fewer than three layers are never called rough.
    """
    depth = len(network.V)
    if depth < 3:
        return False
    ratio_of_a_line = 6 / (depth**2 - 1)
    return depth_smoothness(network).von_neumann_ratio > ROUGH_RATIO + ratio_of_a_line


def warn_if_rough(network):
    """Warn that the gap cannot be trusted, if the weights are not smooth in depth."""
    if is_rough(network):
        warnings.warn(
            "The weights of this network are not smooth in depth: it is no discretised "
            "ODE, its gap need not shrink with depth, and Richardson's extrapolation "
            "does not estimate it. Start from a smooth `init`, such as 'tied'.",
            UserWarning,
            stacklevel=3,  # the caller of the public function that warns
        )


def _solved(network, x, output):
    """Return the output of the ODE, with an error far below any gap of interest."""
    rtol = max(GAP_RTOL, ROUNDINGS * torch.finfo(output.dtype).eps)
    atol = rtol / RTOL_TO_ATOL
    ode = NeuralODE(network, rtol=rtol, atol=atol, max_steps=GAP_MAX_STEPS)
    return ode.integrate(x, [1.0], by_layer=True)[0] @ network.head.mT


def _extrapolated(network, x, output):
    """Return Richardson's estimate of the output of the ODE."""
    return 2 * network.with_depth(2 * network.depth)(x) - output


def extrapolated_from_half(network, x, output):
    """Return 2 F_L - F_{L/2}, the estimate from half the layers, rounded up."""
    depth = network.depth
    half = (depth + 1) // 2
    return output + half / (depth - half) * (output - network.with_depth(half)(x))


# The ways to compute the output of the ODE, by the values of ``method``.
_LIMITS = {"solver": _solved, "richardson": _extrapolated}


def gap_after_fit(network, X):
    """Estimate the gap on some training samples, as ``ode_gap_`` of a fit.

    Parameters
    ----------
    network : ResidualNetwork
    X : Tensor of shape (n, n_features)

    Returns
    -------
    gap : float
        NaN if the weights are not smooth in depth.
    """
    X = X[:RECORDED_ROWS]
    is_deep = network.depth > DEEPEST_DOUBLED
    limit_of = extrapolated_from_half if is_deep else _extrapolated
    with torch_threads(len(X) * network.V[0].numel()):
        return nan if is_rough(network) else _relative_distance(network, X, limit_of)
