"""The gradient flow of a loss as an ordinary differential equation y' = f(y)."""

from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, sqrt

import torch


@dataclass(frozen=True)
class Point:
    """A point of a trajectory: scaled parameters, the loss and the velocity there."""

    y: torch.Tensor
    loss: float
    velocity: torch.Tensor


class FlowOptimizer(torch.optim.Optimizer):
    r"""Base of the optimizers that follow :math:`d\theta/dt = -r \nabla l(\theta)`.

    The rate r of a parameter group is its ``lr``; a group of stacked models has their
    axis as ``models_axis``. In the scaled parameters
    :math:`y = \theta / \sqrt{r}` the flow is Euclidean, :math:`dy/dt = -\nabla_y l`, so
    that lengths and curvatures are measured there. A subclass implements
    ``_advance(start, closure) -> (end, h)``: one step of length h in flow time.
    """

    def __init__(self, params, lr, clip, horizon):
        super().__init__(params, {"lr": lr})
        if clip is not None and not clip > 0:
            raise ValueError(f"`clip` must be positive or None, got {clip!r}.")
        if not horizon > 0:
            raise ValueError(f"`horizon` must be positive, got {horizon!r}.")
        self.clip = clip
        self.horizon = horizon
        self.stalled = False
        self.diverged = False
        self._params = [p for group in self.param_groups for p in group["params"]]
        self._point = None
        self._progress.update(flow_time=0.0, n_grad_evals=0, direction=None)

    def __getstate__(self):
        return self.__dict__.copy()

    @property
    def _progress(self):
        """What is saved with the optimizer's state, as LBFGS does it."""
        return self.state[self._params[0]]

    @property
    def flow_time(self):
        """Flow time t reached."""
        return self._progress["flow_time"]

    @contextmanager
    def reparametrised(self, groups, resample):
        """While in the context, the parameters may be replaced by ones of other shapes.

        Parameters
        ----------
        groups : callable
            Returns the parameter groups afterwards, with their new rates.
        resample : callable
            Maps what is shaped like a parameter before to the shape after.
        """
        flat = self._progress["direction"]
        parts = None if flat is None else [resample(p) for p in self._unscaled(flat)]
        yield
        self._point = None
        for group, new in zip(self.param_groups, groups(), strict=True):
            group["lr"] = new["lr"]
        self._progress["direction"] = None if flat is None else self._scaled(parts)
        self._jumped()

    def _jumped(self):
        """Called when the parameters have been replaced."""

    @property
    def n_grad_evals(self):
        """Number of times the closure was evaluated."""
        return self._progress["n_grad_evals"]

    def resume(self, flow_time, n_grad_evals):
        """Count on from an earlier integration of the same flow."""
        self._progress.update(flow_time=flow_time, n_grad_evals=n_grad_evals)

    def step(self, closure):
        """Follow the flow for one step.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes the loss, calls ``backward`` and returns the
            loss, always of the same data.

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
            self._point, h = self._advance(self._point, closure)
            self._progress["flow_time"] += h
        finally:
            self._write(self._point.y)
        return torch.tensor(self._point.loss, dtype=torch.float64)

    def _advance(self, start, closure):
        raise NotImplementedError

    def _start(self, closure):
        self._rates = self._current_rates()
        if not min(self._rates) > 0:
            raise ValueError(f"`lr` must be positive, got {min(self._rates)!r}.")
        self._scale = torch.cat(
            [
                torch.full_like(p, sqrt(rate)).flatten()
                for p, rate in zip(self._params, self._rates, strict=True)
            ]
        )
        self._theta = torch.empty_like(self._scale)
        parts = zip(self._params, self._split(self._theta), strict=True)
        self._theta_parts = [part.view_as(p) for p, part in parts]
        start = self._evaluate(self._scaled(self._params), closure)
        if not isfinite(start.loss) or not start.velocity.isfinite().all():
            raise FloatingPointError(
                f"The loss (or its gradient) is not finite: loss = {start.loss}."
            )
        return start

    def _moved(self):
        """Whether somebody else has changed the parameters or the rates."""
        torch.mul(self._point.y, self._scale, out=self._theta)
        same = all(map(torch.equal, self._params, self._theta_parts))
        return not same or self._rates != self._current_rates()

    def _scaled(self, parts):
        """One vector y of tensors in the parameters' shapes."""
        pairs = zip(parts, self._current_rates(), strict=True)
        return torch.cat([part.detach().flatten() / sqrt(rate) for part, rate in pairs])

    def _unscaled(self, y):
        """The tensors of a vector y."""
        parts = zip(self._params, self._split(y), self._current_rates(), strict=True)
        return [part.view_as(p) * sqrt(rate) for p, part, rate in parts]

    def _current_rates(self):
        return [group["lr"] for group in self.param_groups for _ in group["params"]]

    def _evaluate(self, y, closure):
        """Loss and velocity at y."""
        self._write(y)
        loss = closure()
        self._progress["n_grad_evals"] += 1
        gradient = torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                for p in self._params
            ]
        )
        return Point(y, loss.item(), self._velocity(gradient))

    @torch.no_grad()
    def _velocity(self, gradient):
        """The flow's right-hand side, in memory of the gradient."""
        velocity = gradient.mul_(self._scale).neg_()
        if self.clip is None:
            return velocity
        velocity.mul_(self._scale).clamp_(-self.clip, self.clip)
        return velocity.div_(self._scale)

    @torch.no_grad()
    def _write(self, y):
        torch.mul(y, self._scale, out=self._theta)
        for p, values in zip(self._params, self._theta_parts, strict=True):
            p.copy_(values)

    def _rows(self, flat):
        """The parts of a vector y as matrices, with one row for each stacked model."""
        axes = (g.get("models_axis") for g in self.param_groups for _ in g["params"])
        for p, part, axis in zip(self._params, self._split(flat), axes, strict=True):
            yield (
                part[None]
                if axis is None
                else part.view_as(p).movedim(axis, 0).flatten(1)
            )

    def _split(self, flat):
        return flat.split([p.numel() for p in self._params])
