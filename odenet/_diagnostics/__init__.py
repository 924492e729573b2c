"""Functions from a network to numbers, in float64."""
