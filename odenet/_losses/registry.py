"""The losses of a regression by their names."""

from odenet._losses.squared_error import SquaredError

LOSSES = {"squared_error": SquaredError}
