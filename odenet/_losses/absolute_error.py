"""The absolute error, with its kink smoothed."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from odenet._losses.base import Loss, check_positive
from odenet._losses.quantile import SMOOTHING


@dataclass(frozen=True)
class AbsoluteError(Loss):
    r"""The absolute error, smoothed at its kink, summed over the targets.

    .. math::
        l(u, y) = r + 2 a \log(1 + e^{-r / a}), \qquad r = y - u,

    is above :math:`|r|` by at most :math:`2 a \log 2`. It is twice the loss of
    :class:`odenet.losses.Quantile` at 1/2, and the prediction is the median of the
    target: exactly that of the target plus logistic noise of scale a.

    Parameters
    ----------
    smoothing : float, default=0.05
        The width a of the kink, in standard deviations of the target (in its own units
        without ``standardize``).

    Examples
    --------
    >>> import torch
    >>> from odenet.losses import AbsoluteError
    >>> y = torch.tensor([[3.0]])
    >>> AbsoluteError().per_sample(torch.tensor([[1.0]]), y).item()
    2.0
    """

    smoothing: float = SMOOTHING

    name = "absolute error"
    has_kink = True

    def __post_init__(self):
        check_positive("smoothing", self.smoothing)

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        r = (y - output) / self.smoothing
        return self.smoothing * (r - 2 * F.logsigmoid(r)).sum(dim=1)

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, n_outputs)."""
        return torch.tanh((output - y) / (2 * self.smoothing))

    def curvature(self, output, y):
        """Compute the second derivatives, shape (n, n_outputs, n_outputs)."""
        slope = self.gradient(output, y)
        return torch.diag_embed((1 - slope.square()) / (2 * self.smoothing))
