"""Solvers: how a network is trained. Small objects that carry their own settings."""

from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator

from odenet._flow import ExplicitEuler, GradientFlow
from odenet._validation import Interval, validate_parameters

__all__ = ["SOLVERS", "AdamW", "Flow", "GradientDescent", "SGD", "resolve_solver"]

_POSITIVE = Interval(Real, 0, None, closed="neither")
_NON_NEGATIVE = Interval(Real, 0, None, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")


class Solver(BaseEstimator):
    """What all solvers have in common."""

    def validate(self):
        """Raise for a setting that is not allowed."""
        validate_parameters(self._parameter_constraints, self)


class _FullBatch(Solver):
    """Solvers that follow the gradient flow of the whole training set."""

    _parameter_constraints = {"max_evals": [_COUNT], "clip": [_POSITIVE, None]}
    batch_size = None

    @property
    def max_epochs(self):
        """Number of steps, never more than of gradient evaluations."""
        return self.max_evals


class _MiniBatch(Solver):
    """Solvers that train on mini-batches."""

    _parameter_constraints = {
        "learning_rate": [_POSITIVE],
        "batch_size": [_COUNT],
        "max_epochs": [_COUNT],
        "patience": [_COUNT],
    }


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
    gradients that are multiplied by L.

    Parameters
    ----------
    learning_rate : float, default=0.01
    momentum : float, default=0.9
    batch_size : int, default=128
    max_epochs : int, default=100
        Passes over the training set.
    patience : int, default=20
        Epochs without a lower validation loss after which early stopping ends a fit.

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
    }

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.9,
        batch_size=128,
        max_epochs=100,
        patience=20,
    ):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience

    def make_optimizer(self, module, horizon):
        """The torch optimizer for a network; a mini-batch solver has no horizon."""
        return torch.optim.SGD(
            module.parameters(), lr=self.learning_rate, momentum=self.momentum
        )


class AdamW(_MiniBatch):
    """Adam with decoupled weight decay on mini-batches.

    The gradients of V and W are multiplied by L, as the flow's are. Adam divides every
    gradient by its own size, so that this matters only where gradients are tiny.

    Parameters
    ----------
    learning_rate : float, default=0.003
    weight_decay : float, default=0.0
    batch_size : int, default=128
    max_epochs : int, default=100
        Passes over the training set.
    patience : int, default=20
        Epochs without a lower validation loss after which early stopping ends a fit.

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
        learning_rate=0.003,
        weight_decay=0.0,
        batch_size=128,
        max_epochs=100,
        patience=20,
    ):
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience

    def make_optimizer(self, module, horizon):
        """The torch optimizer for a network; a mini-batch solver has no horizon."""
        return torch.optim.AdamW(
            module.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )


SOLVERS = {"flow": Flow, "gd": GradientDescent, "sgd": SGD, "adamw": AdamW}


def resolve_solver(solver):
    """The solver object behind a name, or the object itself, validated."""
    solver = SOLVERS[solver]() if isinstance(solver, str) else solver
    solver.validate()
    return solver


def has_mini_batches(estimator):
    """Whether the solver of an estimator trains on mini-batches."""
    return resolve_solver(estimator.solver).batch_size is not None
