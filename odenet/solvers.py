"""Solvers: how a network is trained. Small objects that carry their own settings.

"auto" is :class:`Flow` for up to 500 distinct training samples, or where a
``flow_time`` is given, else :class:`AdamW`.
"""

from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator

from odenet._depth_adam import DepthAdamW
from odenet._flow import ExplicitEuler, GradientFlow
from odenet._validation import Interval, StrOptions, validate_parameters

__all__ = ["SOLVERS", "AdamW", "Flow", "GradientDescent", "SGD", "resolve_solver"]

_POSITIVE = Interval(Real, 0, None, closed="neither")
_NON_NEGATIVE = Interval(Real, 0, None, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")

MOST_FLOW_ROWS = 500  # distinct samples up to which "auto" is the flow
BATCHES_OF_AN_EPOCH = 16
FEWEST_ROWS, MOST_ROWS = 32, 256  # of a mini-batch, if they are chosen automatically


class Solver(BaseEstimator):
    """What all solvers have in common."""

    has_constant_rate = True

    def validate(self):
        """Raise for a setting that is not allowed."""
        validate_parameters(self._parameter_constraints, self)


class _FullBatch(Solver):
    """Solvers that follow the gradient flow of the whole training set."""

    _parameter_constraints = {"max_evals": [_COUNT], "clip": [_POSITIVE, None]}
    batch_size = None

    def rows_of_a_batch(self, n_rows):
        """All of them."""
        return n_rows

    @property
    def max_epochs(self):
        """Number of steps, never more than of gradient evaluations."""
        return self.max_evals


class _MiniBatch(Solver):
    """Solvers that train on mini-batches."""

    flow_rates = True

    _parameter_constraints = {
        "learning_rate": [_POSITIVE],
        "batch_size": [_COUNT, StrOptions({"auto"})],
        "max_epochs": [_COUNT],
        "patience": [_COUNT],
    }

    def rows_of_a_batch(self, n_rows):
        """The most samples of a mini-batch of so many."""
        if self.batch_size != "auto":
            return self.batch_size
        return min(MOST_ROWS, max(FEWEST_ROWS, n_rows // BATCHES_OF_AN_EPOCH))


class Flow(_FullBatch):
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
        Bound of every entry of the flow's right-hand side; None is no bound.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import Flow
    >>> ResODERegressor(solver=Flow(rtol=1e-3)).get_params()["solver__rtol"]
    0.001
    """

    _parameter_constraints = {
        **_FullBatch._parameter_constraints,
        "rtol": [_POSITIVE],
        "atol": [_POSITIVE, None],
    }

    def __init__(self, rtol=1e-2, atol=None, max_evals=10_000, clip=None):
        self.rtol = rtol
        self.atol = atol
        self.max_evals = max_evals
        self.clip = clip

    def make_optimizer(self, module, horizon):
        """The torch optimizer for a network."""
        return GradientFlow(
            module.parameter_groups(),
            rtol=self.rtol,
            atol=self.atol,
            clip=self.clip,
            horizon=horizon,
        )


class GradientDescent(_FullBatch):
    """The gradient flow, by explicit Euler: gradient descent on the whole training set.

    The step is ``learning_rate`` for A and B and ``learning_rate * L`` for V and W, as
    in Marion, Wu, Sander and Biau (ICLR 2024, section 5).

    Parameters
    ----------
    learning_rate : float, default=0.01
        Length of a step in flow time.
    max_evals : int, default=200000
        Gradient evaluations after which a fit stops, with a warning.
    clip : float, default=None
        Bound of every entry of the flow's right-hand side; None is no bound.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import GradientDescent
    >>> solver = GradientDescent(learning_rate=0.1)
    >>> X = [[0.0], [1.0], [2.0]]
    >>> model = ResODERegressor(4, solver=solver, flow_time=2.0).fit(X, [1, 2, 3])
    >>> model.n_iter_
    20
    """

    _parameter_constraints = {
        **_FullBatch._parameter_constraints,
        "learning_rate": [_POSITIVE],
    }

    def __init__(self, learning_rate=0.01, max_evals=200_000, clip=None):
        self.learning_rate = learning_rate
        self.max_evals = max_evals
        self.clip = clip

    def make_optimizer(self, module, horizon):
        """The torch optimizer for a network."""
        return ExplicitEuler(
            module.parameter_groups(),
            learning_rate=self.learning_rate,
            clip=self.clip,
            horizon=horizon,
        )


class SGD(_MiniBatch):
    """Stochastic gradient descent with momentum on mini-batches.

    The step is ``learning_rate`` for A and B and ``learning_rate * L`` for V and W, by
    gradients that are multiplied by L, where it has the rates of the flow. Its length
    falls like 1/L where a depth schedule refines the network. It is constant besides
    that if the schedule of rates says so: then the weights of a fit are a running
    average of those after the last steps, a tenth of all.

    Parameters
    ----------
    learning_rate : float, default=0.01
    momentum : float, default=0.9
    weight_decay : float, default=0.0
        Times the weights, added to their gradients.
    flow_rates : bool, default=True
        Whether the gradients of the layers are multiplied by L, as in the gradient
        flow; otherwise all parameters have the same rate, as is usual.
    schedule : {"constant", "cosine"}, default="constant"
        The learning rate over the epochs: "cosine" lets it fall to zero at the last of
        ``max_epochs``, along half a cosine, and a warm start begins anew; there is no
        average then, and no ``partial_fit``.
    batch_size : int or "auto", default="auto"
        "auto" is a sixteenth of the training samples, from 32 to 256.
    max_epochs : int, default=300
        Passes over the training set.
    patience : int, default=20
        Epochs without a lower validation loss after which early stopping ends a fit,
        unless half as many as before are more; a refined network has fewer.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import SGD
    >>> model = ResODERegressor(4, solver=SGD(batch_size=2, max_epochs=5))
    >>> model.fit([[0.0], [1.0], [2.0]], [1, 2, 3]).n_grad_evals_
    10
    """

    _parameter_constraints = {
        **_MiniBatch._parameter_constraints,
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [_NON_NEGATIVE],
        "flow_rates": ["boolean"],
        "schedule": [StrOptions({"constant", "cosine"})],
    }

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=0.0,
        flow_rates=True,
        schedule="constant",
        batch_size="auto",
        max_epochs=300,
        patience=20,
    ):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.flow_rates = flow_rates
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience

    def make_optimizer(self, module, horizon):
        """The torch optimizer for a network; a mini-batch solver has no horizon."""
        return torch.optim.SGD(
            module.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    @property
    def has_constant_rate(self):
        """Whether the steps stay as long as they are."""
        return self.schedule == "constant"


class AdamW(_MiniBatch):
    r"""Adam with decoupled weight decay on mini-batches.

    The gradients of V and W are multiplied by L, as the flow's are, and the running
    size that Adam divides them by is one for all layers, a mean over depth. So a step
    is as smooth in depth as the gradient is, and does not depend on L
    (:math:`|\Delta Z_{k+1} - \Delta Z_k| = O(1/L)`); with a size of every layer's own,
    which is usual, it would jump where a gradient changes its sign.

    The length of the steps is constant but that it falls like 1/L where a depth
    schedule refines the network; the weights of a fit are a running average of those
    after the last steps, a tenth of all.

    Parameters
    ----------
    learning_rate : float, default=0.04
    weight_decay : float, default=0.0
        A step multiplies all weights by ``1 - learning_rate * weight_decay``.
    batch_size : int or "auto", default="auto"
        "auto" is a sixteenth of the training samples, from 32 to 256.
    max_epochs : int, default=300
        Passes over the training set.
    patience : int, default=20
        Epochs without a lower validation loss after which early stopping ends a fit,
        unless half as many as before are more; a refined network has fewer.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import AdamW
    >>> model = ResODERegressor(4, solver=AdamW(max_epochs=5))
    >>> model.fit([[0.0], [1.0], [2.0]], [1, 2, 3]).stop_reason_
    'max_epochs'
    """

    _parameter_constraints = {
        **_MiniBatch._parameter_constraints,
        "weight_decay": [_NON_NEGATIVE],
    }

    def __init__(
        self,
        learning_rate=0.04,
        weight_decay=0.0,
        batch_size="auto",
        max_epochs=300,
        patience=20,
    ):
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience

    def make_optimizer(self, module, horizon):
        """The torch optimizer for a network; a mini-batch solver has no horizon."""
        return DepthAdamW(
            module.parameter_groups(),
            self.learning_rate,
            weight_decay=self.weight_decay,
        )


SOLVERS = {"flow": Flow, "gd": GradientDescent, "sgd": SGD, "adamw": AdamW}


def resolve_solver(solver, n_rows=0, flow_time=None):
    """The solver object behind a name, or the object itself, validated.

    Parameters
    ----------
    solver : {"auto", "flow", "gd", "sgd", "adamw"} or solver object
    n_rows : int, default=0
        Number of distinct training samples, for "auto".
    flow_time : float, default=None
        The horizon that is asked for, for "auto".

    Returns
    -------
    solver : solver object

    Raises
    ------
    ValueError
        If a setting is not allowed.

    Examples
    --------
    >>> from odenet.solvers import resolve_solver
    >>> resolve_solver("auto", n_rows=100), resolve_solver("auto", n_rows=1000)
    (Flow(), AdamW())
    """
    if isinstance(solver, str):
        if solver == "auto":
            is_flow = n_rows <= MOST_FLOW_ROWS or flow_time is not None
            solver = "flow" if is_flow else "adamw"
        solver = SOLVERS[solver]()
    solver.validate()
    return solver


def has_mini_batches(estimator):
    """Whether the solver of an estimator trains on mini-batches."""
    return resolve_solver(estimator.solver).batch_size is not None


def takes_parts(estimator):
    """Whether an estimator can be trained on one part of the data at a time."""
    solver = estimator._resolve_solver()
    if solver.batch_size is not None and solver.has_constant_rate:
        return True
    raise AttributeError(
        "partial_fit needs a solver of mini-batches with a constant rate, as "
        f"solver='adamw' or solver='sgd' are, got solver={estimator.solver!r}."
    )
