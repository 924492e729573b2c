"""The gradient flow by explicit Euler: gradient descent of small steps."""

from math import inf, isfinite

import torch

from odenet._optim.flow_optimizer import FlowOptimizer

ROUNDING = 1e-9  # of flow times, which are sums of steps


class ExplicitEuler(FlowOptimizer):
    """Gradient flow by explicit Euler: gradient descent of small steps.

    A step changes a parameter by ``learning_rate * lr`` times its gradient.

    Parameters
    ----------
    params, lr, clip, horizon
        As in :class:`GradientFlow`.
    learning_rate : float, default=0.01
        Step length in flow time.
    """

    def __init__(self, params, lr=1.0, *, learning_rate=0.01, clip=None, horizon=inf):
        super().__init__(params, lr, clip, horizon)
        self.learning_rate = learning_rate

    def reach(self, n_evals):
        """Flow time that so many gradient evaluations cover."""
        return n_evals * self.learning_rate

    @torch.no_grad()
    def _advance(self, start, closure):
        left = self.horizon - self.flow_time
        is_last = left <= self.learning_rate * (1 + ROUNDING)
        h = left if is_last else self.learning_rate
        end = self._evaluate(start.y + h * start.velocity, closure)
        self.diverged = not (isfinite(end.loss) and end.velocity.isfinite().all())
        return (start, 0.0) if self.diverged else (end, h)
