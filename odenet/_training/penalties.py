"""Penalties on the weights of a network, and their own gradient flow."""

from functools import lru_cache

import torch


def penalty(module, alpha, smoothness_penalty):
    r"""Compute the sum of the L2 penalty and the smoothness penalty.

    .. math::
        \frac{\alpha}{2} \Big(\|A\|^2 + \|B\|^2 + \frac{1}{L} \sum_k \|Z_k\|^2\Big)
        + \lambda L \sum_k \|Z_{k+1} - Z_k\|^2.

    As L grows, both tend to integrals over depth time. The second follows the bound of
    Marion, *Generalization bounds for neural ODEs and deep residual networks* (NeurIPS
    2023).
    """
    total = module.V.new_zeros(())
    if alpha > 0:
        ends = module.embedding.square().sum() + module.head.square().sum()
        layers = module.V.square().sum() + module.W.square().sum()
        total = total + alpha / 2 * (ends + layers / module.depth)
    if smoothness_penalty > 0 and module.depth > 1:
        factor = _factor_of_steps(module)
        for weights in (module.V, module.W):
            steps = weights.diff(dim=0).square().sum()
            total = total + smoothness_penalty * factor * steps
    return total


class PenaltyFlow:
    r"""The gradient flow of the penalties alone.

    At the flow's rates, 1 for A and B and L for V and W, it is
    :math:`\theta' = -\alpha \theta - R \theta`, where R is
    :math:`2 \lambda f L D` on V and W and 0 on A and B, with the second difference D
    over the layers and the factor f of the steps in depth. Scaled parameters have the
    same flow.

    Parameters
    ----------
    module : ResidualNetwork
    alpha, smoothness_penalty : float

    Attributes
    ----------
    decay : float
        The rate alpha at which all parameters decay.
    smooths : bool
        Whether there is a smoothness penalty.
    """

    def __init__(self, module, alpha, smoothness_penalty):
        self.decay = alpha
        self.smooths = smoothness_penalty > 0 and module.depth > 1
        if self.smooths:
            V = module.V
            rates, self.modes = _modes_in_depth(module.depth, V.dtype, V.device)
            factor = _factor_of_steps(module)
            self.rates = 2 * smoothness_penalty * factor * module.depth * rates

    def velocity(self, has_depth, part):
        """Return the velocity of a parameter, which begins with depth or has none."""
        decayed = -self.decay * part
        if not (has_depth and self.smooths):
            return decayed
        return decayed - self._in_modes(part, self.rates)

    def smoothed(self, has_depth, part, h):
        """Return exp(-R h) times a change of a parameter."""
        if not (has_depth and self.smooths):
            return part
        return self._in_modes(part, torch.exp(-h * self.rates))

    def _in_modes(self, part, factors):
        """Multiply the modes in depth of a parameter by factors."""
        along_depth = (self.modes * factors) @ self.modes.mT
        return (along_depth @ part.flatten(1)).view_as(part)


@lru_cache(maxsize=8)
def _modes_in_depth(depth, dtype, device):
    """Return eigenvalues and eigenvectors of the second difference over the layers.

    They are kept: every step of a flow asks for those of its depth.
    """
    steps = torch.eye(depth, dtype=dtype, device=device).diff(dim=0)
    rates, modes = torch.linalg.eigh(steps.mT @ steps)
    return rates.clamp(min=0), modes


def _factor_of_steps(module):
    """Return the factor of the squared steps in depth in the smoothness penalty."""
    return module.depth * _share_of_depth(module.imitated_depth, module.depth)


def _share_of_depth(imitated_depth, depth):
    """Return the factor that turns the penalty into that of the imitated depth.

    The L - 1 increments of L layers span a share 1 - 1/L of the depth times. So the
    penalty of a shallow network, whose increments span less, would be too small.
    """
    return (1 - 1 / (imitated_depth or depth)) / (1 - 1 / depth)
