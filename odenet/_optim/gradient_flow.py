"""The gradient flow by an adaptive stabilised Runge-Kutta-Chebyshev method."""

from contextlib import contextmanager
from math import inf, isfinite, isnan

import torch

from odenet._optim.chebyshev import chebyshev, stages_for
from odenet._optim.curvature import largest_curvature, norm, stretch
from odenet._optim.flow_optimizer import (
    MAX_REJECTIONS,
    FlowOptimizer,
    Rejected,
    fallen,
)

# "RKC" is the code of Sommeijer, Shampine and Verwer (1998), rkc.f of netlib.org/ode.
# Numbers without another source are round. benchmarks/flow_constants.py measures what
# halving and doubling each of them does to the number of gradients: SAFETY and MARGIN
# matter, and steps must be able to grow; for the others it stays within a tenth.

# The error of a step of length h is estimated as
# 0.8 (y_0 - y_1) + 0.4 h (f_0 + f_1), which is of third order in h (RKC, section 2). So
# the step length that meets the tolerance goes with the cube root of the error.
WEIGHT_OF_VALUES, WEIGHT_OF_VELOCITIES = 0.8, 0.4
ERROR_EXPONENT = 1 / 3

# The next step aims at 0.8 of the length that the estimate allows, as in RKC. It is at
# least a tenth and at most twice as long as the last one. RKC lets it grow tenfold at
# once, but here the estimate of the curvature must keep up.
SAFETY = 0.8
MOST_SHRINKING, MOST_GROWING = 0.1, 2.0

# The factor of a step after which the loss has risen: that says that the step was too
# long, but not by how much.
SHRINKING_AFTER_A_RISE = 0.5

# To first order an error may cost so many times the loss that is left. Stiff directions
# decay by a constant factor a step, however long it is, and their errors count in full
# here: so a loss falls to rounding at its own rate. 1, 3 and 10 took 4031, 3778 and
# 2701 gradients to flow time 400 in benchmarks/paper/long_time.py, at rtol=1e-3; with
# no such bound it took 1952, and the loss stopped at 2e-10.
LARGEST_COST = 10.0

# The stages inside a step are not points of the flow. Their loss may be above that of
# the start by this share of it. An unstable step raises it by far more.
RISE_INSIDE = 0.1

# A loss that is a mean of many terms is known up to several units of rounding.
ROUNDINGS_OF_A_LOSS = 10

# If no step lowers the loss, and a step should have lowered it by less than so many
# units of rounding, it is minimal to rounding; otherwise something is wrong.
ROUNDINGS_OF_A_MINIMUM = 1e3

# The curvature along a step is assumed to be this multiple of that where it starts. RKC
# takes 1.2 times an estimate that serves for up to 25 steps. Here the estimate is
# renewed at every step, and multiplied by its growth over the last step, at most
# fourfold.
MARGIN = 1.1
MOST_GROWTH = 4.0

# The most gradients for an estimate of the curvature: at the first step, which begins
# with any direction, and at the others, which go on with the direction that is known.
FIRST_ITERATIONS, ITERATIONS = 10, 2

# The length of the first step times the curvature. It is an eighth of that of the
# longest stable step of explicit Euler, 2, because nothing is known of the error yet.
# Without any curvature, any length will do.
FIRST_STEP = 0.25
STEP_WITHOUT_CURVATURE = 1.0

# The first step after a change of the depth is one that so many gradients can take.
RELAXING_STAGES = 6


class GradientFlow(FlowOptimizer):
    r"""Gradient flow by an adaptive stabilised explicit Runge-Kutta method.

    Integrates :math:`d\theta/dt = -r \nabla l(\theta)` with the second-order
    Runge-Kutta-Chebyshev method (Sommeijer, Shampine and Verwer 1998). A step of s
    gradient evaluations is stable up to length :math:`0.65 s^2 / \lambda`, where
    :math:`\lambda` is the largest curvature. One step of gradient descent is stable up
    to :math:`2 / \lambda`. The step length follows from an embedded error estimate, and
    s from a running estimate of :math:`\lambda` (nonlinear power iteration). If a step
    raises the loss, or meets a value that is not finite, it is rejected and taken
    again, but shorter. The method works for the parameters of any module, if the
    closure is deterministic.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters, or groups of them, as for every torch optimizer.
    lr : float, default=1.0
        The rate r of a group. It should be L for layers whose residuals are scaled by
        1/L.
    rtol : float, default=1e-2
        Relative tolerance of the local error.
    atol : float, default=None
        Absolute tolerance of the local error; None is ``rtol / 10``.
    max_stages : int, default=100
        The most gradient evaluations in one step.
    clip : float, default=None
        Bound c on every entry v of the right-hand side, by :math:`c \tanh(v / c)`: a
        clipped gradient flow as Marion, Wu, Sander and Biau (ICLR 2024, theorem 4)
        allow it. None is no bound.
    horizon : float, default=inf
        Flow time at which to stop: the last step ends there exactly.
    cone : list of tuple (lower, upper), default=None
        Tensors for every parameter, in the order of the groups, whose entries are 0 or
        infinite: the parameters stay between them, along the projected flow. They must
        be there at the start.

    Attributes
    ----------
    flow_time : float
        Flow time t reached.
    n_grad_evals : int
        Number of gradient evaluations, including those of rejected steps and of the
        power iteration.
    n_rejected, n_wasted_evals : int
        Number of rejected steps, and of gradient evaluations spent on them.
    spectral_radius : float
        Latest estimate of the largest curvature, in scaled parameters.
    energy_ratio : float
        The fall of the loss over the last step, divided by the integral of
        :math:`|\nabla l|^2` in the flow's metric: 1 where the step has followed the
        flow.
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
        cone=None,
    ):
        super().__init__(params, lr, clip, horizon, cone)
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
        """Return the flow time that one step of so many gradient evaluations covers."""
        radius = self._radius_ahead()
        length = chebyshev(max(2, n_evals)).stability_length
        return length / radius if radius > 0 else inf

    def _radius_ahead(self):
        """Return the largest curvature that is expected along the next step."""
        return MARGIN * self._progress["growth"] * (self.spectral_radius or 0.0)

    def _advance(self, start, closure):
        """Take one step, shorter and shorter until it lowers the loss."""
        self._update_radius(start, closure)
        speed = norm(start.velocity)
        gain = self._choose_step()[0] * speed * speed  # ** 2 may raise OverflowError
        eps = torch.finfo(start.y.dtype).eps
        rounding = ROUNDINGS_OF_A_MINIMUM * eps * abs(start.loss)
        for _ in range(MAX_REJECTIONS):
            h, method = self._choose_step()
            evals_before = self.n_grad_evals
            try:
                end = self._integrate(start, h, method, closure)
                self._progress["step_size"] = h * self._judge(start, end, h)
            except Rejected as rejected:
                self._progress["n_rejected"] += 1
                self._progress["n_wasted_evals"] += self.n_grad_evals - evals_before
                self._progress["step_size"] = rejected.step_size
            else:
                self.stalled = not bool(start.velocity.any())
                self._forget_jump()
                return end, h
        self.stalled, self.diverged = gain <= rounding, gain > rounding
        return start, 0.0

    @contextmanager
    def reparametrised(self, groups, resample):
        """Let the parameters be replaced, see :class:`FlowOptimizer`.

        The first step after such a jump is short, so that the stiff part of what the
        jump has added decays.
        """
        with super().reparametrised(groups, resample):
            yield
        progress = self._progress
        if progress["step_size"] is not None:
            if progress["step_size_before"] is None:
                progress["step_size_before"] = progress["step_size"]
            shortest = self.reach(RELAXING_STAGES)
            progress["step_size"] = min(progress["step_size"], shortest)

    def _forget_jump(self):
        """Restore the step length from before a jump, if there was one."""
        before = self._progress["step_size_before"]
        if before is not None:
            self._progress.update(step_size=before, step_size_before=None)

    def _choose_step(self):
        """Choose step length and method by the curvature expected along the step."""
        h = min(self._progress["step_size"], self.horizon - self.flow_time)
        h = min(h, self.reach(self.max_stages))
        return h, chebyshev(stages_for(h * self._radius_ahead()))

    @torch.no_grad()
    def _integrate(self, start, h, method, closure):
        """Run the stages of one step; return its end, where the next step starts."""
        before, y = start, start.y + method.stages[0].mu_tilde * h * start.velocity
        free_y = free_velocity = None  # memory of the stage before the last
        falls = [start.fall]
        for stage in method.stages[1:]:
            point = self._evaluate(y, closure, out=free_velocity)
            self._check_loss(start, before, point, h, slack=RISE_INSIDE)
            falls.append(point.fall)
            y = torch.mul(start.y, 1 - stage.mu - stage.nu, out=free_y)
            y.add_(point.y, alpha=stage.mu).add_(before.y, alpha=stage.nu)
            y.add_(point.velocity, alpha=h * stage.mu_tilde)
            y.add_(start.velocity, alpha=h * stage.gamma_tilde)
            if before is not start:
                free_y, free_velocity = before.y, before.velocity
            before = point
        end = self._evaluate(y, closure, out=free_velocity)
        rounding = ROUNDINGS_OF_A_LOSS * torch.finfo(y.dtype).eps
        self._check_loss(start, before, end, h, slack=rounding)
        self.energy = fallen(h, [*falls, end.fall], (0.0, *method.times))
        return end

    def _check_loss(self, start, before, point, h, slack):
        """Reject the step if the loss has risen, and raise the estimate of curvature.

        The loss never rises along the flow. If it does, the step was unstable, because
        the curvature is larger than estimated.
        """
        if point.loss <= start.loss + slack * abs(start.loss):
            return
        radius, change = self.spectral_radius, point.velocity - before.velocity
        seen = stretch(change, point.y - before.y)
        if isfinite(seen):
            self._progress["direction"] = change
            self._progress["spectral_radius"] = max(radius, seen)
        raise Rejected(SHRINKING_AFTER_A_RISE * h)

    def _judge(self, start, end, h):
        """Return the factor of the next step length, or reject this step."""
        error = self._local_error(start, end, h)
        if error == 0:
            return MOST_GROWING
        factor = SAFETY * error**-ERROR_EXPONENT
        factor = min(MOST_GROWING, max(MOST_SHRINKING, factor))
        if not error <= 1:
            raise Rejected(h * min(SAFETY, factor))
        return factor

    def _local_error(self, start, end, h):
        """Estimate the error of a step, as a multiple of the tolerance."""
        local = WEIGHT_OF_VALUES * (start.y - end.y)
        local = local + WEIGHT_OF_VELOCITIES * h * (start.velocity + end.velocity)
        size = torch.maximum(start.y.abs(), end.y.abs())
        error = self._relative_error(local, size, self.rtol, self.atol)
        if not end.loss > 0:
            return error
        cost = abs(local.dot(end.velocity).item()) / (LARGEST_COST * end.loss)
        return cost if isnan(cost) else max(error, cost)

    def _update_radius(self, point, closure):
        """Estimate the spectral radius anew, and its growth since the last step."""
        progress, old = self._progress, self.spectral_radius
        if progress["step_size_before"] is not None:
            return  # the depth has just changed: the estimate from before is as good
        if old is None:
            progress["direction"] = point.velocity
            radius = self._estimate_radius(point, closure, FIRST_ITERATIONS)
            progress["step_size"] = (
                FIRST_STEP / radius if radius > 0 else STEP_WITHOUT_CURVATURE
            )
        else:
            radius = self._estimate_radius(point, closure, ITERATIONS)
            growth = radius / old if old > 0 else 1.0
            progress["growth"] = min(MOST_GROWTH, max(1.0, growth))
        progress["spectral_radius"] = radius

    def _estimate_radius(self, point, closure, n_iterations):
        """Estimate the largest curvature, or keep the last estimate if that fails."""
        direction = self._progress["direction"]
        kept = None if self.cone is None else point.velocity != 0

        def velocity_at(y):
            """Return the velocity there; what stands still at the point does so too.

            The projected flow jumps where a weight leaves the border.
            """
            velocity = self._evaluate(y, closure).velocity
            return velocity if kept is None else velocity.mul_(kept)

        radius, self._progress["direction"] = largest_curvature(
            velocity_at,
            point,
            direction if kept is None else direction * kept,
            n_iterations,
        )
        return (self.spectral_radius or 0.0) if radius is None else radius
