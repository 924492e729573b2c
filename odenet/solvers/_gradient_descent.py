"""The gradient flow of all samples by gradient descent."""

from odenet._optim.explicit_euler import ExplicitEuler
from odenet.solvers._base import POSITIVE, FullBatch


class GradientDescent(FullBatch):
    r"""The gradient flow by explicit Euler: gradient descent on all samples.

    A step is ``learning_rate`` times the gradient for A and B, and ``learning_rate *
    L`` times the gradient for V and W, as in Marion, Wu, Sander and Biau (ICLR 2024,
    section 5).

    Parameters
    ----------
    learning_rate : float, default=0.01
        Length of a step in flow time.
    max_evals : int, default=200000
        Gradient evaluations after which a fit stops, with a warning.
    clip : float, default=None
        Bound c on every entry v of the right-hand side of the flow, by
        :math:`c \tanh(v / c)`; None is no bound.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import GradientDescent
    >>> solver = GradientDescent(learning_rate=0.1)
    >>> X = [[0.0], [1.0], [2.0]]
    >>> model = ResODERegressor(4, solver=solver, flow_time=2.0, random_state=0)
    >>> model.fit(X, [1, 2, 3]).n_iter_
    20
    """

    _parameter_constraints = {
        **FullBatch._parameter_constraints,
        "learning_rate": [POSITIVE],
    }

    def __init__(self, learning_rate=0.01, max_evals=200_000, clip=None):
        self.learning_rate = learning_rate
        self.max_evals = max_evals
        self.clip = clip

    def confined(self):
        """Return this solver, which follows a projected flow as well."""
        return self

    def make_optimizer(self, module, horizon):
        """Make the torch optimizer for a network."""
        return ExplicitEuler(
            module.parameter_groups(),
            learning_rate=self.learning_rate,
            clip=self.clip,
            horizon=horizon,
            cone=module.cone(),
        )
