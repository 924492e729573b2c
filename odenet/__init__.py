"""Deep residual networks that are neural ODEs, for scikit-learn."""

from odenet import losses, schemes, solvers
from odenet._diagnostics.gap import ode_gap
from odenet._diagnostics.smoothness import DepthSmoothness, depth_smoothness
from odenet._diagnostics.tangent_kernel import TangentKernel, tangent_kernel
from odenet._estimators.classifier import ResODEClassifier
from odenet._estimators.distillation import distil
from odenet._estimators.image_classifier import ResODEImageClassifier
from odenet._estimators.regressor import ResODERegressor
from odenet._export.prediction_files import predict_to_file
from odenet._inspection.depth_smoothness import DepthSmoothnessDisplay
from odenet._inspection.loss_curve import LossCurveDisplay
from odenet._inspection.trajectory import TrajectoryDisplay
from odenet._inspection.weight_profile import WeightProfileDisplay
from odenet._network.convolutional import ConvResidualNetwork
from odenet._network.ode import NeuralODE
from odenet._network.residual import ResidualNetwork
from odenet._optim.gradient_flow import GradientFlow
from odenet._search.classifier_cv import ResODEClassifierCV
from odenet._search.regressor_cv import ResODERegressorCV
from odenet._training.callbacks.smoothness import DepthSmoothnessMonitor
from odenet._utils.versions import show_versions
from odenet._version import __version__

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
    "distil",
    "losses",
    "ode_gap",
    "predict_to_file",
    "schemes",
    "show_versions",
    "solvers",
    "tangent_kernel",
]
