"""Weights that must stay between bounds which are 0 or infinite: a convex cone."""


def keep_inside(velocity, weights, bounds):
    """Stop, in place, what would lead weights out of a cone on whose border they are.

    What remains is the velocity of the projected flow.
    """
    lower, upper = bounds
    leaves = (weights <= lower) & (velocity < 0) | (weights >= upper) & (velocity > 0)
    velocity.masked_fill_(leaves, 0.0)
