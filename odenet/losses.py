"""Losses say what a regression makes small: small objects with their settings.

The ``loss`` of a regressor is one of them, or the name that ``LOSSES`` has for it. They
judge targets that the estimator has scaled: to mean 0 and variance 1, or to mean 1 for
losses with a logarithmic link. Kinks are smoothed, because the theorems on the limit of
deep networks ask for smooth losses.

To write a loss, derive from :class:`Loss`, and pass an object of the class.
"""

from odenet._losses.absolute_error import AbsoluteError
from odenet._losses.base import Loss
from odenet._losses.gamma import Gamma
from odenet._losses.huber import Huber
from odenet._losses.poisson import Poisson
from odenet._losses.quantile import Quantile
from odenet._losses.registry import LOSSES, resolve_loss
from odenet._losses.squared_error import SquaredError

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "Gamma",
    "Huber",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
    "resolve_loss",
]
