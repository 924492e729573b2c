"""The gradient flow by explicit Euler: gradient descent of small steps."""

from math import inf, isfinite

import torch

from odenet._optim.flow_optimizer import FlowOptimizer, all_finite

# The last step may be longer than the learning rate by this share, if it then ends at
# the horizon. Without it, rounding could leave a tiny step: the flow time is a sum of n
# steps, with a relative rounding of at most n * 1.1e-16. The share covers ten million
# steps, and is too small to have any other effect.
ROUNDING = 1e-9


class ExplicitEuler(FlowOptimizer):
    """Gradient flow by explicit Euler: gradient descent of small steps.

    A step changes a parameter by ``learning_rate * lr`` times its gradient.

    Parameters
    ----------
    params, lr, clip, horizon, cone
        As in :class:`GradientFlow`.
    learning_rate : float, default=0.01
        Step length in flow time.
    """

    def __init__(
        self,
        params,
        lr=1.0,
        *,
        learning_rate=0.01,
        clip=None,
        horizon=inf,
        cone=None,
    ):
        super().__init__(params, lr, clip, horizon, cone)
        self.learning_rate = learning_rate
        self._spare = None

    def __getstate__(self):
        return {**super().__getstate__(), "_spare": None}

    def reach(self, n_evals):
        """Return the flow time that so many gradient evaluations cover."""
        return n_evals * self.learning_rate

    def _start(self, closure):
        """Evaluate the flow at the current parameters, whose shapes may be new."""
        self._spare = None
        return super()._start(closure)

    @torch.no_grad()
    def _advance(self, start, closure):
        """Take one step, whose end uses the memory of the point before the last."""
        left = self.horizon - self.flow_time
        is_last = left <= self.learning_rate * (1 + ROUNDING)
        h = left if is_last else self.learning_rate
        y, velocity = self._spare or (torch.empty_like(start.y) for _ in range(2))
        torch.add(start.y, start.velocity, alpha=h, out=y)
        end = self._evaluate(y, closure, out=velocity)
        self.diverged = not (isfinite(end.loss) and all_finite(end.velocity))
        if self.diverged:
            return start, 0.0
        self._spare = start.y, start.velocity
        return end, h
