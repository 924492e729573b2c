"""The neural tangent kernel, and what it says about the speed of training."""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch

from odenet._diagnostics.tangents import kernel_matrix
from odenet._network.residual import ResidualNetwork
from odenet._optim.eigenvectors import eigvalsh
from odenet._utils.devices import evaluation_dtype, to_numpy


@dataclass(frozen=True)
class TangentKernel:
    r"""Neural tangent kernel of a network at n samples, and what follows from it.

    With :math:`J_p` the Jacobian of all outputs :math:`F_c(x_i)` by a parameter p, and
    :math:`\rho_p` its rate in the gradient flow, 1 for A and B and L for V and W, the
    kernel is :math:`K = \sum_p \rho_p J_p J_p^T`. Let

    .. math:: l = \frac1n \sum_{i,c} (F_c(x_i) - y_{ic})^2 = \frac1n |r|^2.

    Its gradient by p is :math:`\frac2n J_p^T r`, so that along the flow

    .. math::
        -\frac{dl}{dt} = \sum_p \rho_p |\nabla_p l|^2 = \frac4{n^2} r^T K r
        \ge \frac4n \lambda_{\min}(K) \, l.

    This is the Polyak-Lojasiewicz condition with :math:`\mu = 4 \lambda_{\min}(K) / n`:
    where it holds all along the flow, :math:`l(t) \le e^{-\mu t} l(0)` (Marion, Wu,
    Sander and Biau, ICLR 2024, theorem 6). ``float(kernel)`` is ``pl_constant``.

    Attributes
    ----------
    pl_constant : float
        The constant :math:`\mu`. It is 0 if the outputs at the samples cannot be moved
        in all directions.
    curvature : float
        :math:`2 \lambda_{\max}(K) / n`, the largest curvature of l in the flow's metric
        where the residuals are zero. There, gradient descent with steps longer than
        2 / ``curvature`` is unstable.
    n_samples : int
        Number n of samples.
    eigenvalues : ndarray of shape (n_samples * n_outputs,)
        The eigenvalues of the matrix, in ascending order.
    matrix : ndarray of shape (n_samples * n_outputs, n_samples * n_outputs)
        The kernel K. The outputs of a sample are neighbours in it.

    Examples
    --------
    >>> import torch
    >>> from odenet import ResidualNetwork, tangent_kernel
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = ResidualNetwork(2, 1, depth=8, generator=generator)
    >>> kernel = tangent_kernel(network, [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> kernel.matrix.shape
    (3, 3)
    >>> kernel.pl_constant > 0
    True
    """

    pl_constant: float
    curvature: float
    n_samples: int
    eigenvalues: np.ndarray = field(repr=False, compare=False)
    matrix: np.ndarray = field(repr=False, compare=False)

    def __float__(self):
        return self.pl_constant

    def rate(self, residual):
        r"""Compute the rate :math:`-\frac{d}{dt} \log l` at which the loss falls now.

        It is :math:`\frac4n r^T K r / |r|^2`, never below ``pl_constant``.

        Parameters
        ----------
        residual : array-like of shape (n_samples, n_outputs) or (n_samples,)
            Outputs minus targets, or any multiple of them.

        Returns
        -------
        rate : float
            The rate per unit of flow time; 0.0 if all residuals are zero.
        """
        residual = np.asarray(residual, dtype=np.float64)
        n, size = self.n_samples, len(self.matrix)
        if residual.shape[:1] != (n,) or residual.size != size:
            raise ValueError(
                f"`residual` must have shape {(n, size // n)}, got {residual.shape}."
            )
        if not residual.any():
            return 0.0
        r = residual.ravel() / np.abs(residual).max()
        return float(4 / n * (r @ self.matrix @ r) / (r @ r))


def tangent_kernel(module, X):
    r"""Compute the neural tangent kernel of a network, in the flow's metric.

    No Jacobian is formed. The gradient of an output with respect to the weights of a
    layer is an outer product of two vectors: one is propagated back to the layer, the
    other comes forward to it. So the inner product of two gradients is the product of
    two inner products of vectors. For d' outputs this takes the time
    :math:`O(L (n d')^2 (q + m))`, and the memory of two kernels and of the states. It
    is computed in float64 where the device has it.

    Parameters
    ----------
    module : ResidualNetwork
        For an estimator, its ``module_``.
    X : Tensor or array of shape (n, n_features)
        Samples as the network takes them. An estimator standardises its samples before
        the network sees them, unless it has ``standardize=False``.

    Returns
    -------
    kernel : TangentKernel

    Raises
    ------
    TypeError
        If the module is not a ResidualNetwork.
    ValueError
        If the samples are not finite or of another shape, or if the network imitates
        another depth or has several members.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, *Neural tangent kernel: convergence and
    generalization in neural networks*, NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from odenet import ResidualNetwork, tangent_kernel
    >>> network = ResidualNetwork(3, 2, depth=8)
    >>> tangent_kernel(network, torch.ones(1, 3)).eigenvalues.shape
    (2,)
    """
    _check_module(module)
    device = module.V.device
    network = copy.deepcopy(module).to(evaluation_dtype(device))
    x = _checked_samples(X, network)
    n = len(x)
    matrix, _ = kernel_matrix(network, x)
    eigenvalues = eigvalsh(matrix)
    return TangentKernel(
        pl_constant=max(0.0, 4 / n * eigenvalues[0].item()),
        curvature=2 / n * eigenvalues[-1].item(),
        n_samples=n,
        eigenvalues=to_numpy(eigenvalues),
        matrix=to_numpy(matrix),
    )


def _check_module(module):
    """Raise an error if the module is no ResidualNetwork, or imitates a depth."""
    if not isinstance(module, ResidualNetwork):
        raise TypeError(
            f"`module` must be a ResidualNetwork, got a {type(module).__name__}."
        )
    if module.has_models_axis:
        raise ValueError(
            f"`module` must be one network, got {module.n_models} members: use the "
            "`module_` of one of the estimator's `members_`."
        )
    if module.imitated_depth is not None:
        raise ValueError(
            f"`module` must not imitate another depth, got imitated_depth="
            f"{module.imitated_depth!r}: the kernel is that of a network's own layers."
        )


def _checked_samples(X, network):
    """Return the samples as a tensor of the network's dtype, or raise an error."""
    X = X if torch.is_tensor(X) else np.array(X, dtype=np.float64)
    x = torch.as_tensor(X).to(network.V)
    n_features = network.embedding.shape[1] - 1
    if x.dim() != 2 or x.shape[1] != n_features or len(x) == 0:
        raise ValueError(
            f"`X` must have shape (n_samples, {n_features}), with at least one sample, "
            f"got {tuple(x.shape)}."
        )
    if not x.isfinite().all():
        raise ValueError("`X` must be finite, got NaN or infinity.")
    return x
