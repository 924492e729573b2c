"""Deep residual networks that are neural ODEs, for scikit-learn."""

from odenet import schemes, solvers
from odenet._diagnostics import DepthSmoothness, depth_smoothness
from odenet._estimators import ResODEClassifier, ResODERegressor
from odenet._flow import GradientFlow
from odenet._module import ResidualNetwork

__version__ = "0.1.0"

__all__ = [
    "DepthSmoothness",
    "GradientFlow",
    "ResODEClassifier",
    "ResODERegressor",
    "ResidualNetwork",
    "depth_smoothness",
    "schemes",
    "solvers",
]
