"""The gradient flow in the space of the outputs, with a frozen tangent kernel."""

from math import inf, isfinite, sqrt

import torch

from odenet._optim.flow_optimizer import FlowOptimizer, all_finite
from odenet._optim.frozen_flow import frozen, reach

# Numbers without another source are choices.

# The error of a step is that of Euler's method, which the method's own is far below. It
# is of second order in the length of the step. The next step aims at SAFETY times the
# length that the error allows, and its length changes at most by these factors.
EULER = 3.0
ERROR_EXPONENT, SAFETY = 1 / 2, 0.8
MOST_SHRINKING, MOST_GROWING = 0.1, 5.0
# The factor of a step after which the loss has risen, or was not finite.
SHRINKING_AFTER_A_RISE = 0.5
# A rejection shortens the step by a fifth or more: thirty, by a factor of over 800.
MAX_REJECTIONS = 30
# The length of the first step times the curvature there.
FIRST_STEP = 1.0
# Outputs are known up to several units of rounding of the largest of them, and the loss
# up to several units of its own.
ROUNDINGS = 10
# The loss is minimal to rounding if it has not fallen in so many steps.
STEPS_OF_REST = 5


class _Rejected(Exception):
    """Says that a step failed, with the factor of its length to go on with."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor


class ExponentialFlow(FlowOptimizer):
    r"""Gradient flow by an exponential integrator in the space of the outputs.

    Let u be the outputs at the samples, J their derivative by the scaled parameters y,
    and l the loss as a function of u. Along the flow :math:`y' = -J^T \nabla l(u)` and
    :math:`u' = -K \nabla l(u)`, with the tangent kernel :math:`K = J J^T`. All its
    stiffness is in K, which changes only as fast as features move. So a step freezes
    K, solves the flow of the outputs, and pulls its integral back,

    .. math:: y_1 = y_0 - J^T \int_0^h \nabla l(u(t))\,dt.

    J and K are those at the middle of the step, where half a step with those at the
    start leads: the exponential midpoint rule, of order two (Hochbruck and Ostermann,
    *Exponential integrators*, Acta Numerica 19 (2010), 209-286, section 5). It is
    stable for steps of any length. Their length follows from the error of the outputs:
    the difference to a step with the kernel at its start.

    A decay of all parameters by the L2 penalty is part of the flow that is solved. The
    smoothness penalty is a flow :math:`y' = -R y` of its own, which is split off
    (Strang), and balanced: its force at the start of the step is added to the other
    flow, and only what it changes on the way is left. So a point where the sum of both
    flows rests is kept by a step of any length (Speth, Green, MacNamara and Strang,
    *Balanced splitting and rebalanced splitting*, SIAM J. Numer. Anal. 51 (2013),
    3084-3105).

    Parameters
    ----------
    params, lr, horizon
        As in :class:`odenet.GradientFlow`.
    rtol : float, default=1e-2
        The largest error of the outputs in a step, in units in which the outputs'
        distance from the minimum is 1: the loss which it would cost at the minimum is
        ``rtol ** 2`` times the loss.

    Attributes
    ----------
    n_kernels : int
        Number of tangent kernels that were computed.
    n_rejected : int
        Number of rejected steps.
    """

    def __init__(self, params, lr=1.0, *, rtol=1e-2, horizon=inf):
        super().__init__(params, lr, None, horizon)
        if not rtol > 0:
            raise ValueError(f"`rtol` must be positive, got {rtol!r}.")
        self.rtol = rtol
        self._at_start = None
        self._progress.update(
            n_kernels=0, n_rejected=0, step_size=None, lowest=None, n_flat=0
        )

    def __getstate__(self):
        return {**super().__getstate__(), "_at_start": None}

    @property
    def n_kernels(self):
        """Number of tangent kernels that were computed."""
        return self._progress["n_kernels"]

    @property
    def n_rejected(self):
        """Number of rejected steps."""
        return self._progress["n_rejected"]

    def reach(self, n_evals):
        """Return the flow time that the next step covers, whatever it takes."""
        return self._progress["step_size"] or inf

    def _advance(self, start, closure):
        """Take one step, shorter and shorter until it is accurate and lowers the loss.

        ``closure.sample_space()`` returns the :class:`SampleSpace` of the loss.
        """
        space, progress = closure.sample_space(), self._progress
        here, outputs = self._at(start, space)
        if progress["step_size"] is None:
            progress["step_size"] = FIRST_STEP / here.curvature(outputs)
        for _ in range(MAX_REJECTIONS):
            h = min(progress["step_size"], self.horizon - self.flow_time)
            try:
                end, factor = self._integrate(start, h, here, outputs, closure, space)
            except _Rejected as rejected:
                progress["n_rejected"] += 1
                progress["step_size"] = h * rejected.factor
            else:
                progress["step_size"] = max(h * factor, progress["step_size"])
                self._notice_rest(start, end)
                return end, h
        self.diverged = True
        return start, 0.0

    def _at(self, start, space):
        """Return the frozen kernel at the start of a step, and the outputs there."""
        if self._at_start is None or self._at_start[0] is not start:
            self._write(start.y)
            self._at_start = start, *self._freeze(space)
        return self._at_start[1:]

    def _freeze(self, space):
        """Return the frozen kernel and the outputs at the present parameters."""
        self._progress["n_kernels"] += 1
        kernel, outputs = space.linearise()
        return frozen(kernel, space.loss), outputs

    @torch.no_grad()
    def _integrate(self, start, h, here, outputs, closure, space):
        """Take a step of length h, or reject it.

        ``here`` is the kernel at the start, frozen, and ``outputs`` are those there.
        The step's end is returned with a factor for the length of the next. Its energy
        is what the loss falls by along the flow with a frozen kernel.
        """
        penalty, y, force = space.penalty, start.y, None
        decay = 0.0 if penalty is None else penalty.decay
        if penalty is not None:
            force = self._by_parts(penalty.velocity, y)
        self._write(y)
        drift, times = self._pushed(force, space), (h / 2, h)
        (half, _), (_, by_euler) = here.follow(outputs, times, drift, decay)
        self._write(self._displaced(y, half, force, reach(h / 2, decay), space))
        middle, _ = self._freeze(space)
        drift = self._pushed(force, space)
        ((integral, expected),) = middle.follow(outputs, (h,), drift, decay)
        error = expected - by_euler
        y = self._displaced(y, integral, force, reach(h, decay), space)
        if penalty is not None and penalty.smooths:
            change = y - start.y
            y = start.y + self._by_parts(penalty.smoothed, change, h / 2)
            error = error.abs() + self._pushed(y - start.y - change, space).abs()
        rounding = self._rounding(start, outputs, space.loss)
        factor = self._judge(error, expected, space.loss, rounding)
        end = self._evaluate(y, closure)
        if not (end.loss <= start.loss + rounding and all_finite(end.velocity)):
            raise _Rejected(SHRINKING_AFTER_A_RISE)  # no flow raises the loss
        self._energy = (space.loss(outputs) - space.loss(expected)).item()
        if penalty is not None:
            after = self._by_parts(penalty.velocity, y)
            self._energy += (after.dot(y) - force.dot(start.y)).item() / 2
        return end, factor

    def _displaced(self, y, integral, force, time, space):
        """Return y moved by the pull-back of an integral, and by a force for a time."""
        space.pull_back(integral)
        self._progress["n_grad_evals"] += 1
        moved = torch.empty_like(y)
        self._write_velocity(moved)
        moved.add_(y)
        return moved if force is None else moved.add_(force, alpha=time)

    def _pushed(self, change, space):
        """Return how the outputs change with y, to first order; None of None."""
        return None if change is None else space.push_forward(self._unscaled(change))

    def _by_parts(self, function, y, *args):
        """Apply a function to the part of every parameter, and 0 to frozen ones."""
        kinds = [
            g.get("has_depth", False) for g in self.param_groups for _ in g["params"]
        ]
        parts = zip(self._params, kinds, self._parts(y), strict=True)
        return torch.cat(
            [
                (function(kind, part, *args) * p.requires_grad).flatten()
                for p, kind, part in parts
            ]
        )

    def _judge(self, error, expected, loss, rounding):
        """Return the factor of the next step, or reject this one for its error.

        The error is compared with what is left of the loss at the end of the step, so
        that a loss falls at its own rate as far as rounding lets it.
        """
        curvature = loss.curvature(expected)
        cost = (error[..., None, :] @ curvature @ error[..., None]).sum().item() / 2
        if cost == 0:
            return MOST_GROWING
        ratio = sqrt(cost / (loss(expected).item() + rounding)) / (EULER * self.rtol)
        factor = SAFETY * ratio**-ERROR_EXPONENT if isfinite(ratio) else 0.0
        factor = min(MOST_GROWING, max(MOST_SHRINKING, factor))
        if not ratio <= 1:
            raise _Rejected(min(SAFETY, factor))
        return factor

    @staticmethod
    def _rounding(start, outputs, loss):
        """Return how much the loss may change by the rounding of the outputs."""
        eps = ROUNDINGS * torch.finfo(outputs.dtype).eps
        error = eps * outputs.abs().max()
        slope, curvature = loss.gradient(outputs), loss.curvature(outputs)
        change = error * slope.abs().sum() + error**2 * curvature.abs().sum() / 2
        return change.item() + eps * abs(start.loss)

    def _notice_rest(self, start, end):
        """Notice that the loss has not fallen for several steps, ever longer ones."""
        progress = self._progress
        if progress["lowest"] is None:
            progress["lowest"] = start.loss
        falls = end.loss < progress["lowest"]
        progress["n_flat"] = 0 if falls else progress["n_flat"] + 1
        progress["lowest"] = min(progress["lowest"], end.loss)
        at_rest = not bool(end.velocity.any())
        self.stalled = at_rest or progress["n_flat"] >= STEPS_OF_REST
