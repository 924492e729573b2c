"""The largest curvature of a loss, by a power iteration on the velocity of its flow."""

from math import inf, isfinite

import torch

# The iteration ends when an estimate differs from the one before by at most this share.
# RKC asks for 0.01 in up to 50 iterations, because it uses an estimate for up to 25
# steps. Here every step has its own estimate, which goes on with the direction found.
CONVERGENCE = 0.05


@torch.no_grad()
def largest_curvature(velocity_at, point, direction, n_iterations):
    """Estimate the largest curvature at a point, by differences of the velocity.

    This is the nonlinear power method of Sommeijer, Shampine and Verwer (1998).

    Parameters
    ----------
    velocity_at : callable
        Returns the velocity at scaled parameters y.
    point : Point
    direction : Tensor
        The direction to start from: that which an earlier call has found, or any.
    n_iterations : int
        The most gradient evaluations.

    Returns
    -------
    curvature : float or None
        The curvature; None if a velocity was not finite.
    direction : Tensor
        The direction of the largest curvature, as far as it is known.
    """
    # Half of the digits: with a shift of this size, rounding and terms of higher order
    # have about the same share in the error of the difference quotient.
    eps = torch.finfo(point.y.dtype).eps ** 0.5
    size, curvature = max(norm(point.y), eps), 0.0
    for _ in range(n_iterations):
        length = norm(direction)
        if not 0 < length < inf:
            break
        shift = direction * (eps * size / length)
        change = velocity_at(point.y + shift) - point.velocity
        before, curvature = curvature, stretch(change, shift)
        if not isfinite(curvature):
            return None, direction
        direction = change
        if abs(curvature - before) <= CONVERGENCE * curvature:
            break
    return curvature, direction


def stretch(change, shift):
    """Return the length of a change of the velocity per length of its shift."""
    length = norm(shift)
    return norm(change) / length if length > 0 else 0.0


def norm(vector):
    """Return the Euclidean norm as a float, even if the squares would overflow."""
    largest = vector.abs().max().item()
    if not 0 < largest < inf:
        return largest
    return largest * (vector / largest).norm().item()
