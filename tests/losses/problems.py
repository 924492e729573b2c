"""The losses of a regression, and outputs and targets for each."""

import torch

from odenet._losses.absolute_error import AbsoluteError
from odenet._losses.gamma import Gamma
from odenet._losses.huber import Huber
from odenet._losses.poisson import Poisson
from odenet._losses.quantile import Quantile
from odenet._losses.squared_error import SquaredError

LOSSES = [
    SquaredError(),
    AbsoluteError(smoothing=0.3),
    Huber(delta=0.7),
    Poisson(),
    Gamma(),
    Quantile(0.8, smoothing=0.3),
    Quantile([0.1, 0.3, 0.5, 0.9], smoothing=0.3),
    Quantile([0.7], smoothing=0.3),
]


def draw(loss, n=30, n_targets=2, seed=0):
    """Draw outputs, and targets that the loss is made for, in float64."""
    generator = torch.Generator().manual_seed(seed)
    like = {"generator": generator, "dtype": torch.float64}
    output = torch.randn(n, n_targets * loss.outputs_per_target, **like)
    y = torch.randn(n, n_targets, **like)
    return output, y.exp() if loss.link == "log" else y
