"""The losses of a regression by their names."""

from odenet._losses.squared_error import SquaredError

# A line for every loss, under the name that a user gives.
LOSSES = {"squared_error": SquaredError}
