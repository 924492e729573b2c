"""The fewest layers that predict as a network does, up to a tolerance."""

import torch


@torch.no_grad()
def serving_depth(network, x, tol):
    r"""Return the smallest depth of an imitating network that is within a tolerance.

    Measured is the distance of the outputs, relative to their own norm,

    .. math::
        \|F_l(X) - F_L(X)\|_F \,/\, \|F_L(X)\|_F \le tol,

    with F_l the network of l layers that imitates this one (see ``with_depth``). The
    distance is O(1/l^2), so that a bisection finds l; where it does not fall steadily,
    the depth returned is one that is within the tolerance and whose predecessor is not.

    Parameters
    ----------
    network : ResidualNetwork
        In the dtype in which outputs are to be compared.
    x : Tensor of shape (n, n_features)
    tol : float

    Returns
    -------
    depth : int
        At most that of the network, or of the one that it imitates itself.
    """
    output = network(x)
    largest_distance = tol * output.norm()

    def is_enough(depth):
        served = network.with_depth(depth, imitate=True)
        return (served(x) - output).norm() <= largest_distance

    return fewest_layers(is_enough, network.depth)


def fewest_layers(is_enough, most):
    """Return a depth that is enough and whose predecessor is not, by bisection.

    Parameters
    ----------
    is_enough : callable
        ``is_enough(depth)`` returns whether so many layers are enough.
    most : int
        A depth that is enough.

    Returns
    -------
    depth : int
        The smallest one that is enough, if all deeper ones are.
    """
    too_few, enough = 0, most
    while enough - too_few > 1:
        depth = (too_few + enough) // 2
        if is_enough(depth):
            enough = depth
        else:
            too_few = depth
    return enough
