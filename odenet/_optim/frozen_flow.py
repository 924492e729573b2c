r"""The gradient flow of the outputs where the tangent kernel does not change.

Let l be the objective as a function of the outputs u at all samples, and K the tangent
kernel. Along a gradient flow :math:`u' = -K \nabla l(u)`. With K frozen this is an
equation of n d' unknowns, stiff but small, and
:math:`p(h) = \int_0^h \nabla l(u)\,dt` is what the flow pulls back to the weights:
:math:`u(h) = u(0) - K p(h)`.
"""

from math import exp, expm1

import numpy as np
import torch
from scipy.integrate import solve_ivp

from odenet._optim.eigenvectors import eigh, eigvalsh

# The largest tolerance of the stiff solver, relative and for outputs in units of 1.
TOLERANCE = 1e-5
# Where decay and rate times h are below this, an integral is its Taylor polynomial,
# because the formula cancels. The polynomial's error is below 1e-9 of it there.
SMALL, DEGREE = 0.05, 5


def frozen(kernel, loss, tolerance=TOLERANCE):
    """Freeze a kernel, for flows of the outputs from several points.

    Parameters
    ----------
    kernel : Tensor of shape (n * n_outputs, n * n_outputs)
        With an axis of models in front if there are several, as in the outputs.
    loss : WeightedLoss
    tolerance : float, default=1e-5
        That of the flow, relative and for outputs in units of 1. Where the curvature of
        the loss is a constant the flow is exact.

    Returns
    -------
    frozen : FrozenKernel
    """
    if loss.constant_curvature is not None:
        return _Linear(kernel, loss)
    return _Stiff(kernel, loss, tolerance)


class FrozenKernel:
    """A kernel that does not change, and the loss whose flow is followed with it."""

    def __init__(self, kernel, loss):
        self.kernel, self.loss = kernel, loss

    def follow(self, outputs, times, drift=None, decay=0.0):
        r"""Follow :math:`u' = -K \nabla l(u) + v - a (u - u(0))`.

        Parameters
        ----------
        outputs : Tensor of shape (n, n_outputs)
            The outputs at the start.
        times : sequence of float
            In ascending order.
        drift : Tensor of shape (n, n_outputs), default=None
            The velocity v.
        decay : float, default=0.0
            The rate a.

        Returns
        -------
        pairs : list of (p, u)
            For every time h the integral :math:`p = \int_0^h e^{-a (h - t)} \nabla l(u)
            \,dt`, and the outputs; tensors of shape (n, n_outputs).
        """
        drift = torch.zeros_like(outputs) if drift is None else drift
        results = []
        integrals = self._integrals(outputs, times, drift, decay)
        for p, h in zip(integrals, times, strict=True):
            u = outputs - (self.kernel @ p.flatten(-2)[..., None]).view_as(p)
            results.append((p, u + reach(h, decay) * drift))
        return results

    def curvature(self, outputs):
        """Return a bound of the curvature of the loss in the flow's metric."""
        of_loss = self.loss.curvature(outputs)
        largest = eigvalsh(of_loss)[..., -1]
        rows = self.kernel.abs().sum(dim=-1).view_as(outputs)
        return (largest[..., None] * rows).max().item()

    def _integrals(self, outputs, times, drift, decay):
        """Return the integral of the gradients for every time."""
        raise NotImplementedError


class _Linear(FrozenKernel):
    r"""Losses of constant curvature c, in closed form by the kernel's eigenvectors.

    With S the shares of the samples and :math:`M = c S^{1/2} K S^{1/2}`, the gradients
    :math:`\gamma = S^{-1/2} \nabla l` obey
    :math:`\gamma' = -M \gamma - a (\gamma - \gamma(0)) + c S^{1/2} v`.
    """

    def __init__(self, kernel, loss):
        super().__init__(kernel, loss)
        n_outputs = kernel.shape[-1] // loss.share.shape[-1]
        root = loss.share.sqrt().repeat_interleave(n_outputs, dim=-1)
        self.root = root[..., None]
        M = loss.constant_curvature * self.root * kernel * self.root.mT
        self.rates, self.basis = eigh(M)
        self.rates.clamp_(min=0)

    def _integrals(self, outputs, times, drift, decay):
        start = self._to_basis(self.loss.loss.gradient(outputs, self.loss.y))
        push = self.loss.constant_curvature * self._to_basis(drift) + decay * start
        for h in times:
            once = exp(-decay * h) * reach(h, self.rates)
            twice = _reach_twice(h, self.rates, decay)
            p = self.root * (self.basis @ (once * start + twice * push)[..., None])
            yield p.view_as(outputs)

    def _to_basis(self, outputs):
        """Return the coordinates of S^(1/2) times outputs in the eigenvectors."""
        weighted = self.root * outputs.flatten(-2)[..., None]
        return (self.basis.mT @ weighted).squeeze(-1)


class _Stiff(FrozenKernel):
    """Any losses, by a stiff solver of SciPy, model by model."""

    def __init__(self, kernel, loss, tolerance):
        super().__init__(kernel, loss)
        self.tolerance = tolerance

    def _integrals(self, outputs, times, drift, decay):
        settings = times, decay, self.tolerance
        if outputs.dim() == 2:
            return _follow_stiff(self.kernel, self.loss, outputs, drift, *settings)
        models = self.kernel, self.loss.models(), outputs, drift
        parts = [_follow_stiff(*each, *settings) for each in zip(*models, strict=True)]
        return torch.stack(parts, dim=1)


def _follow_stiff(kernel, loss, outputs, drift, times, decay, tolerance):
    """Return p at some times, for the flow of one model."""
    K, start, v = (t.double().numpy(force=True) for t in (kernel, outputs, drift))
    shape = start.shape

    def at(t, p):
        u = start + reach(t, decay) * v - (K @ p).reshape(shape)
        return torch.as_tensor(u).to(outputs)

    def velocity(t, p):
        gradient = loss.gradient(at(t, p)).double().numpy(force=True).ravel()
        return gradient - decay * p

    def jacobian(t, p):
        curvature = loss.curvature(at(t, p)).double().numpy(force=True)
        rows = K.reshape(*shape, -1)
        change = np.einsum("icd,idj->icj", curvature, rows).reshape(K.shape)
        return -change - decay * np.eye(len(K))

    largest = np.abs(K).sum(axis=1).max()
    solution = solve_ivp(
        velocity,
        (0.0, times[-1]),
        np.zeros(start.size),
        method="BDF",
        t_eval=times,
        jac=jacobian,
        rtol=tolerance,
        atol=tolerance / max(largest, tolerance),
    )
    if not solution.success:
        raise FloatingPointError(solution.message)
    return torch.as_tensor(solution.y.T.reshape(-1, *shape)).to(outputs)


def reach(h, rate):
    r"""Return :math:`\int_0^h e^{-r t}\,dt`, for a number or a tensor of rates r."""
    if not torch.is_tensor(rate):
        return -expm1(-h * rate) / rate if rate > 0 else h
    moves = rate > 0
    return torch.where(moves, -torch.expm1(-h * rate) / torch.where(moves, rate, 1), h)


def _reach_twice(h, rate, decay):
    r"""Return :math:`\int_0^h e^{-a (h - t)} \int_0^t e^{-(r + a) s}\,ds\,dt`.

    It is :math:`h^2 / 2` for r = a = 0. The Taylor polynomial has the divided
    differences of powers: :math:`a^n + a^{n-1} x + ... + x^n`, with x = r + a.
    """
    both = rate + decay
    small = h * both < SMALL
    formula = reach(h, decay) - exp(-decay * h) * reach(h, rate)
    formula = formula / torch.where(small, 1, both)
    powers, series, term = torch.ones_like(both), torch.zeros_like(both), h * h / 2
    for n in range(DEGREE + 1):
        series = series + term * powers
        powers = both * powers + decay ** (n + 1)
        term *= -h / (n + 3)
    return torch.where(small, series, formula)
