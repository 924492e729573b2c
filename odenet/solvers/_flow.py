"""The gradient flow of all samples by an adaptive integrator."""

from sklearn.base import clone

from odenet._optim.exponential_flow import ExponentialFlow
from odenet._optim.gradient_flow import GradientFlow
from odenet._utils.sklearn_private import StrOptions
from odenet.solvers._base import POSITIVE, FullBatch

# The method "auto" is "exponential" for the squared error from this flow time on, and
# from n d'^2 on, since a kernel costs as much as some n d'^2 / 100 gradients. There it
# took .33 to .93 of the seconds of "rkc", at 16 and at 64 layers, and where the flow is
# followed to its end .03 to .39 (benchmarks/flow_methods.py).
SHORTEST_FLOW_TIME = 100.0
# The most unknowns n d': their kernel takes 200 megabytes in float64. A round value.
MOST_UNKNOWNS = 5000


class Flow(FullBatch):
    r"""The gradient flow, by an adaptive integrator.

    Parameters
    ----------
    rtol : float, default=1e-2
        Relative tolerance of the local error of a step: of the weights for "rkc", of
        what is left of the outputs' way for "exponential".
    atol : float, default=None
        Absolute tolerance of the local error for "rkc"; None is ``rtol / 10``.
    max_evals : int, default=10000
        Gradient evaluations after which a fit stops, with a warning.
    clip : float, default=None
        Bound c on every entry v of the right-hand side of the flow, by
        :math:`c \tanh(v / c)`; None is no bound. "exponential" has none.
    method : {"auto", "rkc", "exponential"}, default="auto"
        "rkc" is a stabilised Runge-Kutta-Chebyshev method, see
        :class:`odenet.GradientFlow`. "exponential" freezes the tangent kernel over a
        step, and solves the flow of the outputs: for flows that are followed for long,
        or to their end (``flow_time=inf``), of few samples times outputs. It stores
        their kernel, a square matrix. "auto" is "exponential" for the squared error if
        a ``flow_time`` is given that is at least 100 and at least the number of samples
        times the square of the number of outputs; ``solver_`` tells which it was.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import Flow
    >>> ResODERegressor(solver=Flow(rtol=1e-3)).get_params()["solver__rtol"]
    0.001

    A flow to its end, where the network interpolates:

    >>> from math import inf
    >>> model = ResODERegressor(8, flow_time=inf, random_state=0)
    >>> model = model.fit([[0.0], [1.0], [2.0]], [1, 2, 4])
    >>> model.solver_, model.stop_reason_
    (Flow(method='exponential'), 'stationary')
    >>> model.predict([[2.0]]).round(3)
    array([4.])
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
        self.rtol = rtol
        self.atol = atol
        self.max_evals = max_evals
        self.clip = clip
        self.method = method

    def validate(self):
        """Raise a ValueError for a setting that is not allowed."""
        super().validate()
        if self.method == "exponential" and self.clip is not None:
            raise ValueError(
                f"`clip` must be None for method='exponential', got {self.clip!r}: the "
                "flow of the outputs is that of the gradients as they are. Use "
                "method='rkc'."
            )

    def settled(self, loss, n_rows, n_outputs, flow_time):
        """Return the solver with the method chosen that suits a task."""
        if self.method != "auto":
            return self
        is_long = flow_time is not None and flow_time >= max(
            SHORTEST_FLOW_TIME, n_rows * n_outputs**2
        )
        has_small_kernel = n_rows * n_outputs <= MOST_UNKNOWNS
        is_linear = loss.constant_curvature is not None and self.clip is None
        suits = is_long and has_small_kernel and is_linear
        return clone(self).set_params(method="exponential" if suits else "rkc")

    def confined(self):
        """Return the solver with the only method that follows a projected flow."""
        if self.method == "exponential":
            raise ValueError(
                "`method` must be 'rkc' or 'auto' with `monotonic_cst`, got "
                "'exponential': the flow of the outputs knows no signs of weights."
            )
        return self if self.method == "rkc" else clone(self).set_params(method="rkc")

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
            cone=module.cone(),
        )
