"""The gradient flow by an adaptive stabilised Runge-Kutta-Chebyshev method."""

from math import inf, isfinite

import torch

from odenet._optim.chebyshev import chebyshev, stages_for
from odenet._optim.flow_optimizer import FlowOptimizer

MAX_REJECTIONS = 30

RELAXING_STAGES = 6


class _Rejected(Exception):
    """A step that failed: the step length and spectral radius to go on with."""

    def __init__(self, step_size, spectral_radius):
        super().__init__()
        self.step_size = step_size
        self.spectral_radius = spectral_radius


class GradientFlow(FlowOptimizer):
    r"""Gradient flow by an adaptive stabilised explicit Runge-Kutta method.

    Integrates :math:`d\theta/dt = -r \nabla l(\theta)` with the second-order
    Runge-Kutta-Chebyshev method (Sommeijer, Shampine and Verwer 1998). A step of s
    gradient evaluations is stable up to length :math:`0.65 s^2 / \lambda`, where
    :math:`\lambda` is the largest curvature, against :math:`2 / \lambda` for one step
    of gradient descent. The step length follows an embedded error estimate, s follows a
    running estimate of :math:`\lambda` (nonlinear power iteration), and a step that
    raises the loss, or meets a value that is not finite, is rejected and taken again
    shorter. Works for the parameters of any module, with a deterministic closure.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters, or groups of them, as for every torch optimizer.
    lr : float, default=1.0
        The rate r of a group. For layers whose residuals are scaled by 1/L it is L.
    rtol : float, default=1e-2
        Relative tolerance of the local error.
    atol : float, default=None
        Absolute tolerance of the local error; None is ``rtol / 10``.
    max_stages : int, default=100
        Most gradient evaluations in one step.
    clip : float, default=None
        Bound of every entry of the right-hand side: the clipped gradient flow of
        Marion, Wu, Sander and Biau (ICLR 2024, theorem 4). None is no bound.
    horizon : float, default=inf
        Flow time at which to stop: the last step ends there exactly.

    Attributes
    ----------
    flow_time : float
        Flow time t reached.
    n_grad_evals : int
        Number of gradient evaluations, those of rejected steps and of the power
        iteration included.
    n_rejected, n_wasted_evals : int
        Number of rejected steps, and of gradient evaluations spent on them.
    spectral_radius : float
        Latest estimate of the largest curvature, in scaled parameters.
    stalled : bool
        Whether the last step could not lower the loss: it is minimal to rounding.
    diverged : bool
        Whether the last step could not lower the loss for another reason.

    References
    ----------
    B. P. Sommeijer, L. F. Shampine, J. G. Verwer, *RKC: an explicit solver for
    parabolic PDEs*, J. Comput. Appl. Math. 88 (1998), 315-326.

    Examples
    --------
    >>> import torch
    >>> from odenet import GradientFlow
    >>> x = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    >>> flow = GradientFlow([x], rtol=1e-6, horizon=1.0)
    >>> def closure():
    ...     flow.zero_grad()
    ...     loss = (torch.tensor([0.5, 50.0]) * x**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> while flow.flow_time < 1.0:
    ...     loss = flow.step(closure)
    >>> print(f"{x[0].item():.4f}")  # exp(-1)
    0.3679
    """

    def __init__(
        self,
        params,
        lr=1.0,
        *,
        rtol=1e-2,
        atol=None,
        max_stages=100,
        clip=None,
        horizon=inf,
    ):
        super().__init__(params, lr, clip, horizon)
        if not rtol > 0:
            raise ValueError(f"`rtol` must be positive, got {rtol!r}.")
        if max_stages < 2:
            raise ValueError(f"`max_stages` must be at least 2, got {max_stages!r}.")
        self.rtol = rtol
        self.atol = rtol / 10 if atol is None else atol
        self.max_stages = max_stages
        self._progress.update(
            n_rejected=0,
            n_wasted_evals=0,
            step_size=None,
            spectral_radius=None,
            growth=1.0,
            step_size_before=None,
        )

    @property
    def n_rejected(self):
        """Number of rejected steps."""
        return self._progress["n_rejected"]

    @property
    def n_wasted_evals(self):
        """Number of gradient evaluations spent on rejected steps."""
        return self._progress["n_wasted_evals"]

    @property
    def spectral_radius(self):
        """Latest estimate of the largest curvature, in scaled parameters."""
        return self._progress["spectral_radius"]

    def reach(self, n_evals):
        """Flow time that one step of so many gradient evaluations covers."""
        radius = self._radius_ahead()
        length = chebyshev(max(2, n_evals)).stability_length
        return length / radius if radius > 0 else inf

    def _radius_ahead(self):
        """The curvature expected along the next step."""
        return 1.1 * self._progress["growth"] * (self.spectral_radius or 0.0)

    def _advance(self, start, closure):
        self._update_radius(start, closure)
        gain = self._choose_step()[0] * _norm(start.velocity) ** 2
        rounding = 1e3 * torch.finfo(start.y.dtype).eps * abs(start.loss)
        for _ in range(MAX_REJECTIONS):
            h, method = self._choose_step()
            evals_before = self.n_grad_evals
            try:
                end = self._integrate(start, h, method, closure)
                self._progress["step_size"] = h * self._judge(start, end, h)
            except _Rejected as rejected:
                self._progress["n_rejected"] += 1
                self._progress["n_wasted_evals"] += self.n_grad_evals - evals_before
                self._progress["step_size"] = rejected.step_size
                self._progress["spectral_radius"] = rejected.spectral_radius
            else:
                self.stalled = not bool(start.velocity.any())
                self._forget_jump()
                return end, h
        self.stalled, self.diverged = gain <= rounding, gain > rounding
        return start, 0.0

    def _jumped(self):
        """A first step after a jump is short: what is stiff of it fades."""
        progress = self._progress
        if progress["step_size"] is not None:
            if progress["step_size_before"] is None:
                progress["step_size_before"] = progress["step_size"]
            shortest = self.reach(RELAXING_STAGES)
            progress["step_size"] = min(progress["step_size"], shortest)

    def _forget_jump(self):
        """Go on with the step length from before a jump."""
        before = self._progress["step_size_before"]
        if before is not None:
            self._progress.update(step_size=before, step_size_before=None)

    def _choose_step(self):
        """Step length and method, for the curvature expected along the step."""
        h = min(self._progress["step_size"], self.horizon - self.flow_time)
        h = min(h, self.reach(self.max_stages))
        return h, chebyshev(stages_for(h * self._radius_ahead()))

    @torch.no_grad()
    def _integrate(self, start, h, method, closure):
        """The stages of one step; the velocity at its end starts the next one."""
        before, y = start, start.y + method.stages[0].mu_tilde * h * start.velocity
        for stage in method.stages[1:]:
            point = self._evaluate(y, closure)
            self._check_loss(start, before, point, h, slack=0.1)
            y = start.y * (1 - stage.mu - stage.nu)
            y.add_(point.y, alpha=stage.mu).add_(before.y, alpha=stage.nu)
            y.add_(point.velocity, alpha=h * stage.mu_tilde)
            y.add_(start.velocity, alpha=h * stage.gamma_tilde)
            before = point
        end = self._evaluate(y, closure)
        rounding = 10 * torch.finfo(y.dtype).eps
        self._check_loss(start, before, end, h, slack=rounding)
        return end

    def _check_loss(self, start, before, point, h, slack):
        """The true flow never raises the loss: a rise means a larger curvature."""
        if point.loss <= start.loss + slack * abs(start.loss):
            return
        radius, change = self.spectral_radius, point.velocity - before.velocity
        seen = _ratio(change, point.y - before.y)
        if isfinite(seen):
            self._progress["direction"] = change
            radius = max(radius, seen)
        raise _Rejected(0.5 * h, radius)

    def _judge(self, start, end, h):
        """The factor for the next step length, or a rejection."""
        error = self._local_error(start, end, h)
        if error == 0:
            return 2.0
        factor = min(2.0, max(0.1, 0.8 * error ** (-1 / 3)))
        if not error <= 1:
            raise _Rejected(h * min(0.8, factor), self.spectral_radius)
        return factor

    def _local_error(self, start, end, h):
        """Embedded estimate over the tolerance: the largest RMS of a parameter."""
        local = 0.8 * (start.y - end.y) + 0.4 * h * (start.velocity + end.velocity)
        size = torch.maximum(start.y.abs(), end.y.abs()) * self._scale
        ratio = local * self._scale / (self.atol + self.rtol * size)
        squares = [rows.square().mean(dim=1).max() for rows in self._rows(ratio)]
        return torch.stack(squares).max().sqrt().item()

    def _update_radius(self, point, closure):
        """Re-estimate the spectral radius, and how fast it grows from step to step."""
        progress, old = self._progress, self.spectral_radius
        if progress["step_size_before"] is not None:
            return  # just jumped: the estimate from before is as good
        if old is None:
            progress["direction"] = point.velocity
            radius = self._power_iteration(point, closure, n_iter=10)
            progress["step_size"] = 0.25 / radius if radius > 0 else 1.0
        else:
            radius = self._power_iteration(point, closure, n_iter=2)
            progress["growth"] = min(4.0, max(1.0, radius / old)) if old > 0 else 1.0
        progress["spectral_radius"] = radius

    @torch.no_grad()
    def _power_iteration(self, point, closure, n_iter):
        """Largest curvature at a point, by differences of the velocity."""
        eps = torch.finfo(point.y.dtype).eps ** 0.5
        radius = 0.0
        for _ in range(n_iter):
            direction = self._progress["direction"]
            length = _norm(direction)
            if not 0 < length < inf:
                break
            shift = direction * (eps * max(_norm(point.y), eps) / length)
            change = self._evaluate(point.y + shift, closure).velocity - point.velocity
            previous, radius = radius, _ratio(change, shift)
            if not isfinite(radius):
                return self.spectral_radius or 0.0
            self._progress["direction"] = change
            if abs(radius - previous) <= 0.05 * radius:
                break
        return radius


def _ratio(change, shift):
    """Length of a change of the velocity per length of the shift that caused it."""
    length = _norm(shift)
    return _norm(change) / length if length > 0 else 0.0


def _norm(vector):
    """Euclidean norm as a float, of magnitudes whose squares may overflow too."""
    largest = vector.abs().max().item()
    if not 0 < largest < inf:
        return largest
    return largest * (vector / largest).norm().item()
