"""The Huber loss, in its smooth form."""

from dataclasses import dataclass

import torch

from odenet._losses.base import Loss, check_positive


@dataclass(frozen=True)
class Huber(Loss):
    r"""The pseudo-Huber loss: the square of small errors, the size of large ones.

    .. math::
        l(u, y) = 2 \delta^2 \left(\sqrt{1 + (r / \delta)^2} - 1\right),
        \qquad r = y - u,

    summed over the targets. It is :math:`r^2` for errors far below :math:`\delta`, so
    that it becomes the squared error as :math:`\delta` grows, and has the slope
    :math:`2 \delta` far above (Charbonnier, Blanc-Feraud, Aubert and Barlaud, IEEE
    Transactions on Image Processing 6, 1997). Huber's own loss has no third derivative
    at :math:`\delta`; this one is smooth.

    Parameters
    ----------
    delta : float, default=1.345
        The size :math:`\delta` of large errors, in standard deviations of the target
        (in its own units without ``standardize``). The default is Huber's usual
        constant.

    Examples
    --------
    >>> import torch
    >>> from odenet.losses import Huber
    >>> y = torch.tensor([[0.0], [0.0]])
    >>> Huber(delta=1.0).per_sample(torch.tensor([[0.01], [100.0]]), y)
    tensor([9.9997e-05, 1.9801e+02])
    """

    delta: float = 1.345

    name = "Huber loss"

    def __post_init__(self):
        check_positive("delta", self.delta)

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        squares = (output - y).square()
        return (2 * squares / (1 + self._root(output, y))).sum(dim=1)

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, n_outputs)."""
        return 2 * (output - y) / self._root(output, y)

    def curvature(self, output, y):
        """Compute the second derivatives, shape (n, n_outputs, n_outputs)."""
        return torch.diag_embed(2 * self._root(output, y) ** -3)

    def _root(self, output, y):
        """Compute the square root in the formula."""
        return (1 + ((output - y) / self.delta).square()).sqrt()
