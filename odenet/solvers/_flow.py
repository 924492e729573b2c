"""The gradient flow of all samples by an adaptive integrator."""

from odenet._optim.exponential_flow import ExponentialFlow
from odenet._optim.gradient_flow import GradientFlow
from odenet._utils.sklearn_private import StrOptions
from odenet.solvers._base import POSITIVE, FullBatch


class Flow(FullBatch):
    """The gradient flow, by an adaptive stabilised Runge-Kutta-Chebyshev method.

    See :class:`odenet.GradientFlow` for the method.

    Parameters
    ----------
    rtol : float, default=1e-2
        Relative tolerance of the local error of a step.
    atol : float, default=None
        Absolute tolerance of the local error; None is ``rtol / 10``.
    max_evals : int, default=10000
        Gradient evaluations after which a fit stops, with a warning.
    clip : float, default=None
        Bound on every entry of the right-hand side of the flow; None is no bound.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import Flow
    >>> ResODERegressor(solver=Flow(rtol=1e-3)).get_params()["solver__rtol"]
    0.001
    """

    _parameter_constraints = {
        **FullBatch._parameter_constraints,
        "rtol": [POSITIVE],
        "atol": [POSITIVE, None],
        "method": [StrOptions({"auto", "rkc", "exponential"})],
    }

    def __init__(
        self, rtol=1e-2, atol=None, max_evals=10_000, clip=None, method="auto"
    ):
        self.method = method
        self.rtol = rtol
        self.atol = atol
        self.max_evals = max_evals
        self.clip = clip

    def make_optimizer(self, module, horizon):
        """Make the torch optimizer for a network."""
        groups = module.parameter_groups()
        if self.method == "exponential":
            return ExponentialFlow(groups, rtol=self.rtol, horizon=horizon)
        return GradientFlow(
            groups,
            rtol=self.rtol,
            atol=self.atol,
            clip=self.clip,
            horizon=horizon,
        )
