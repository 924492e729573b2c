"""Penalties on the weights of a network."""


def penalty(module, alpha, smoothness_penalty):
    r"""Compute the sum of the L2 penalty and the smoothness penalty.

    .. math::
        \frac{\alpha}{2} \Big(\|A\|^2 + \|B\|^2 + \frac{1}{L} \sum_k \|Z_k\|^2\Big)
        + \lambda L \sum_k \|Z_{k+1} - Z_k\|^2.

    As L grows, both tend to integrals over depth time. The second follows the bound of
    Marion, *Generalization bounds for neural ODEs and deep residual networks* (NeurIPS
    2023).
    """
    total = module.V.new_zeros(())
    if alpha > 0:
        ends = module.embedding.square().sum() + module.head.square().sum()
        layers = module.V.square().sum() + module.W.square().sum()
        total = total + alpha / 2 * (ends + layers / module.depth)
    if smoothness_penalty > 0 and module.depth > 1:
        factor = module.depth * _share_of_depth(module.imitated_depth, module.depth)
        for weights in (module.V, module.W):
            steps = weights.diff(dim=0).square().sum()
            total = total + smoothness_penalty * factor * steps
    return total


def _share_of_depth(imitated_depth, depth):
    """Return the factor that turns the penalty into that of the imitated depth.

    The L - 1 increments of L layers span a share 1 - 1/L of the depth times. So the
    penalty of a shallow network, whose increments span less, would be too small.
    """
    return (1 - 1 / (imitated_depth or depth)) / (1 - 1 / depth)
