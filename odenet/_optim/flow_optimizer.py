"""The gradient flow of a loss as an ordinary differential equation y' = f(y)."""

from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, log, nan, sqrt

import torch

from odenet._optim.cone import keep_inside
from odenet._optim.optimizer import Optimizer

# Rates that differ by less than this share have the mean of both as their logarithmic
# mean, up to a twelfth of its square.
FLAT = 1e-3

# The most rejections of a step. Each shortens it by a fifth or more: thirty, by a
# factor of over 800.
MAX_REJECTIONS = 30


@dataclass(frozen=True)
class Point:
    """A point of a trajectory: scaled parameters, and the flow there.

    Along a gradient flow ``fall`` is the square of the velocity; a clipped one falls
    slower.
    """

    y: torch.Tensor
    loss: float
    velocity: torch.Tensor
    fall: float  # the rate -dl/dt at which the loss falls


class Rejected(Exception):
    """Says that a step failed, with the step length to go on with."""

    def __init__(self, step_size):
        super().__init__()
        self.step_size = step_size


class FlowOptimizer(Optimizer):
    r"""Base of the optimizers that follow :math:`d\theta/dt = -r \nabla l(\theta)`.

    The rate r of a parameter group is its ``lr``. If a group holds several models along
    an axis, its ``models_axis`` is the number of that axis. In the scaled parameters
    :math:`y = \theta / \sqrt{r}` the flow is :math:`dy/dt = -\nabla_y l`, without a
    rate, so that lengths and curvatures are measured there. All parameters together are
    one vector y. With a ``cone``, a pair of bounds for every parameter that are 0 or
    infinite, it is the projected flow, which stays between them. A subclass implements
    ``reach``, and ``_advance(start, closure) -> (end, h)``, which takes one step of
    length h in flow time from one :class:`Point` to another. It may set
    ``self.energy``, the integral of ``fall`` on the way, if it knows more of it than
    the two ends do.

    Attributes
    ----------
    energy_ratio : float
        The fall of the loss over the last step, divided by the integral of the rate
        :math:`|\nabla_y l|^2` at which the flow lowers it: 1 where the step has
        followed the flow. NaN before the first step, and where nothing fell.
    """

    def __init__(self, params, lr, clip, horizon, cone=None):
        super().__init__(params, {"lr": lr})
        if clip is not None and not clip > 0:
            raise ValueError(f"`clip` must be positive or None, got {clip!r}.")
        if not horizon > 0:
            raise ValueError(f"`horizon` must be positive, got {horizon!r}.")
        self.clip = clip
        self.horizon = horizon
        self.stalled = False
        self.diverged = False
        self.energy, self.energy_ratio = None, nan
        self.params = [p for group in self.param_groups for p in group["params"]]
        self.cone = cone
        self._point = None
        self._progress.update(flow_time=0.0, n_grad_evals=0, direction=None)

    def __getstate__(self):
        return self.__dict__.copy()

    @property
    def _progress(self):
        """The dict of everything that is saved with the optimizer.

        torch saves a state for each parameter. Like ``torch.optim.LBFGS``, this
        optimizer has one state only, which is that of the first parameter.
        """
        return self.state[self.params[0]]

    @property
    def flow_time(self):
        """Flow time t reached."""
        return self._progress["flow_time"]

    @contextmanager
    def reparametrised(self, groups, resample):
        """Let the parameters be replaced by ones of other shapes within the context.

        Parameters
        ----------
        groups : callable
            Returns the parameter groups afterwards, with their new rates.
        resample : callable
            Maps a tensor in the old shape of a parameter to the new shape.
        """
        flat = self._progress["direction"]
        parts = None if flat is None else [resample(p) for p in self.unscaled(flat)]
        yield
        self._point = None
        for group, new in zip(self.param_groups, groups(), strict=True):
            group["lr"] = new["lr"]
        self._progress["direction"] = None if flat is None else self._scaled(parts)

    @property
    def n_grad_evals(self):
        """Number of times the closure was evaluated."""
        return self._progress["n_grad_evals"]

    def resume(self, flow_time, n_grad_evals):
        """Go on counting where an earlier integration of the same flow ended."""
        self._progress.update(flow_time=flow_time, n_grad_evals=n_grad_evals)

    def position(self):
        """Return where the trajectory is, beside what ``state_dict`` has.

        Another optimizer of the same parameters, with the same state, goes on from
        there, to the last bit, without another gradient.

        Returns
        -------
        position : dict
        """
        point = self._point
        if point is not None and self._moved():
            point = None
        return {
            "point": None if point is None else tuple(vars(point).values()),
            "horizon": self.horizon,
            "stalled": self.stalled,
            "diverged": self.diverged,
        }

    def go_to(self, position):
        """Go on where ``position`` was taken; the parameters are those of there."""
        self.horizon = position["horizon"]
        self.stalled, self.diverged = position["stalled"], position["diverged"]
        self._point = None
        if position["point"] is not None:
            self._settle(Point(*position["point"]))

    def step(self, closure):
        """Follow the flow for one step.

        Parameters
        ----------
        closure : callable
            A function that clears the gradients, computes the loss, calls ``backward``
            and returns the loss, always for the same data.

        Returns
        -------
        loss : Tensor
            The loss at the flow time reached.

        Raises
        ------
        ValueError
            If a rate is not positive.
        FloatingPointError
            If the loss or its gradient is not finite where the step starts.
        """
        closure = torch.enable_grad()(closure)
        if self._point is None or self._moved():
            self._point = self._start(closure)
        if self.flow_time >= self.horizon:
            return torch.tensor(self._point.loss, dtype=torch.float64)
        self.stalled = self.diverged = False
        try:
            start, self.energy = self._point, None
            self._point, h = self._advance(start, closure)
            self._progress["flow_time"] += h
            self.energy_ratio = self._ratio_of_energies(start, self._point, h)
        finally:
            if self._written is not self._point.y:
                self.write(self._point.y)
            self._marks = [_mark(p) for p in self.params]
        return torch.tensor(self._point.loss, dtype=torch.float64)

    def reach(self, n_evals):
        """Return the flow time that so many gradient evaluations cover."""
        raise NotImplementedError

    def _advance(self, start, closure):
        """Take one step from a point: return its end and its length in flow time."""
        raise NotImplementedError

    def _ratio_of_energies(self, start, end, h):
        """Return the fall of the loss in a step over what it is along the flow."""
        energy = self.energy
        if energy is None:
            energy = fallen(h, (start.fall, end.fall))
        return (start.loss - end.loss) / energy if h > 0 and energy > 0 else nan

    def _start(self, closure):
        """Evaluate the flow at the current parameters, for the first step or anew."""
        self._read_rates()
        start = self._evaluate(self._scaled(self.params), closure)
        if not isfinite(start.loss) or not all_finite(start.velocity):
            raise FloatingPointError(
                f"The loss (or its gradient) is not finite: loss = {start.loss}. "
                "Scale the data, or start from smaller weights."
            )
        self._marks = [_mark(p) for p in self.params]
        return start

    def _settle(self, point):
        """Take a point as that of the current parameters, as after a step."""
        self._read_rates()
        self._point, self._written = point, point.y
        self._marks = [_mark(p) for p in self.params]

    def _read_rates(self):
        """Read the rates of the groups, which scale the parameters."""
        self._rates = self._current_rates()
        if not min(self._rates) > 0:
            raise ValueError(f"`lr` must be positive, got {min(self._rates)!r}.")
        scales = zip(self.params, self._rates, strict=True)
        self._scale = torch.cat(
            [torch.full_like(p, sqrt(rate)).flatten() for p, rate in scales]
        )

    def _moved(self):
        """Tell whether somebody else has changed the parameters or the rates."""
        marks = [_mark(p) for p in self.params]
        return marks != self._marks or self._rates != self._current_rates()

    def _scaled(self, parts):
        """Flatten tensors in the parameters' shapes into one scaled vector y."""
        pairs = zip(parts, self._current_rates(), strict=True)
        return torch.cat([part.detach().flatten() / sqrt(rate) for part, rate in pairs])

    def unscaled(self, y):
        """Split a scaled vector y into tensors in the parameters' shapes."""
        parts = zip(self.parts(y), self._current_rates(), strict=True)
        return [part * sqrt(rate) for part, rate in parts]

    def _current_rates(self):
        """List the rate of every parameter."""
        return [group["lr"] for group in self.param_groups for _ in group["params"]]

    def _evaluate(self, y, closure, out=None):
        """Evaluate the loss and the velocity at y.

        Parameters
        ----------
        y : Tensor
        closure : callable
        out : Tensor, default=None
            Memory for the velocity. In large networks, new memory costs more than the
            arithmetic, because the system must supply its pages.
        """
        self.project(y)
        self.write(y)
        loss = closure()
        self._progress["n_grad_evals"] += 1
        velocity = torch.empty_like(y) if out is None else out
        fall = self.write_velocity(velocity)
        return Point(y, loss.item(), velocity, fall)

    @torch.no_grad()
    def write_velocity(self, velocity):
        """Write the flow's right-hand side, from the gradients of the parameters.

        A bound c on its entries v is that of :math:`c \tanh(v / c)`: a smooth one, as
        a kink would cost the integrator as many steps as entries pass it.

        Returns
        -------
        fall : float
            The rate at which the loss falls.
        """
        parts = zip(self.params, self._rates, self.parts(velocity), strict=True)
        for p, rate, part in parts:
            if p.grad is None:
                part.zero_()
            else:
                torch.mul(p.grad, -sqrt(rate), out=part)
        if self.cone is not None:
            for p, part, bounds in zip(
                self.params, self.parts(velocity), self.cone, strict=True
            ):
                keep_inside(part, p, bounds)
        if self.clip is None:
            return velocity.dot(velocity).item()
        steepest, c = velocity.clone(), self.clip
        velocity.mul_(self._scale / c).tanh_().mul_(c / self._scale)
        return velocity.dot(steepest).item()

    @torch.no_grad()
    def project(self, y):
        """Project a scaled vector y to the cone, in place; bounds have no scale."""
        if self.cone is not None:
            for part, bounds in zip(self.parts(y), self.cone, strict=True):
                torch.clamp(part, *bounds, out=part)

    @torch.no_grad()
    def write(self, y):
        """Set the parameters to those of a scaled vector y."""
        self._written = y
        for p, part, rate in zip(self.params, self.parts(y), self._rates, strict=True):
            torch.mul(part, sqrt(rate), out=p)

    def _relative_error(self, local, size, rtol, atol):
        """Return the largest RMS of a parameter's error over its tolerance.

        Parameters
        ----------
        local, size : Tensor
            The error and the absolute values, as scaled vectors.
        rtol, atol : float
            The tolerances, for the parameters before they are scaled.
        """
        ratio = local * self._scale / (atol + rtol * (size * self._scale))
        squares = [rows.square().mean(dim=1).max() for rows in self._rows(ratio)]
        return torch.stack(squares).max().sqrt().item()

    def _rows(self, flat):
        """Yield the part of every parameter as a matrix, with a row for each model."""
        axes = (g.get("models_axis") for g in self.param_groups for _ in g["params"])
        for part, axis in zip(self.parts(flat), axes, strict=True):
            whole = part.flatten()[None]
            yield whole if axis is None else part.movedim(axis, 0).flatten(1)

    def parts(self, flat):
        """Return views of a vector as tensors in the parameters' shapes."""
        parts = flat.split([p.numel() for p in self.params])
        return [part.view(p.shape) for part, p in zip(parts, self.params, strict=True)]


def fallen(h, falls, times=(0.0, 1.0)):
    """Return the integral of a rate of fall over a step.

    Between two times the rate is taken to change exponentially, as it does late.

    Parameters
    ----------
    h : float
        Length of the step.
    falls, times : sequence of float
        The rates, not negative, and where they are met, as shares of the step.
    """
    total = 0.0
    for a, b, begin, end in zip(falls, falls[1:], times, times[1:], strict=False):
        is_flat = min(a, b) <= 0 or abs(a - b) <= FLAT * max(a, b)
        mean = (a + b) / 2 if is_flat else (a - b) / log(a / b)
        total += h * (end - begin) * mean
    return total


def _mark(p):
    """Return numbers that change if a parameter does: a counter of torch, and a sum.

    The counter misses what is written through ``p.data``, which the sum hardly ever
    misses. To compare all values would take five times as long.
    """
    return p._version, p.shape, p.requires_grad, p.detach().sum().item()


def all_finite(vector):
    """Tell whether all entries are finite, by their sum if it is finite.

    If any entry is not finite, neither is the sum. If the sum is not finite, every
    entry is tested, since the sum may have overflowed. The sum takes a fiftieth of the
    time of that test.
    """
    return isfinite(vector.sum().item()) or bool(vector.isfinite().all())
