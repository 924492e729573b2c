"""The displays of the package: tests of what every display owes read this list."""

from odenet._inspection.depth_smoothness import DepthSmoothnessDisplay
from odenet._inspection.loss_curve import LossCurveDisplay
from odenet._inspection.trajectory import TrajectoryDisplay
from odenet._inspection.weight_profile import WeightProfileDisplay

DISPLAYS = (
    LossCurveDisplay,
    WeightProfileDisplay,
    DepthSmoothnessDisplay,
    TrajectoryDisplay,
)
