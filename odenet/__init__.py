"""Deep residual networks that are neural ODEs, for scikit-learn."""

from odenet import schemes, solvers
from odenet._callbacks import DepthSmoothnessMonitor
from odenet._conv_module import ConvResidualNetwork
from odenet._cv import ResODEClassifierCV, ResODERegressorCV
from odenet._depth_smoothness_display import DepthSmoothnessDisplay
from odenet._diagnostics import DepthSmoothness, depth_smoothness
from odenet._estimators import ResODEClassifier, ResODERegressor
from odenet._flow import GradientFlow
from odenet._gap import ode_gap
from odenet._images import ResODEImageClassifier
from odenet._loss_curve_display import LossCurveDisplay
from odenet._module import ResidualNetwork
from odenet._ode import NeuralODE
from odenet._tangent_kernel import TangentKernel, tangent_kernel
from odenet._trajectory_display import TrajectoryDisplay
from odenet._version import __version__
from odenet._weight_profile_display import WeightProfileDisplay

__all__ = [
    "ConvResidualNetwork",
    "DepthSmoothness",
    "DepthSmoothnessDisplay",
    "DepthSmoothnessMonitor",
    "GradientFlow",
    "LossCurveDisplay",
    "NeuralODE",
    "ResODEClassifier",
    "ResODEClassifierCV",
    "ResODEImageClassifier",
    "ResODERegressor",
    "ResODERegressorCV",
    "ResidualNetwork",
    "TangentKernel",
    "TrajectoryDisplay",
    "WeightProfileDisplay",
    "__version__",
    "depth_smoothness",
    "ode_gap",
    "schemes",
    "solvers",
    "tangent_kernel",
]
