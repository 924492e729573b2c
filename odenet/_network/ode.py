"""The neural ODE of a residual network."""

import copy
from itertools import pairwise
from math import inf
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from torch import nn
from torchdiffeq import odeint, odeint_adjoint

from odenet._network.layers import VectorField
from odenet._network.predictor import Predictor

METHODS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
# Of depth time. Given, because torchdiffeq would spend an evaluation on a guess of its
# own; a round value: from 0.01 to 1 the evaluations of a whole integration are the same
# within a factor of two at a tolerance of 1e-3, and within 7 % at 1e-9.
FIRST_STEP = 0.1


def _has_classes(ode):
    """Tell whether an ODE comes from a classifier."""
    return ode.targets is not None and ode.targets.has_classes


class NeuralODE(nn.Module):
    r"""The neural ODE that a residual network discretises.

    .. math::
        H(0) = A (x, 1), \qquad
        \frac{dH}{ds} = \frac{1}{\sqrt{m}} V(s) \, \sigma(W(s) H / \sqrt{q}), \qquad
        F(x) = B H(1),

    the limit of large depth in Marion, Wu, Sander and Biau (ICLR 2024), with V and W
    piecewise linear in depth time through the layers' :math:`s = (k - 1/2)/L`. (For
    the exponent ``depth_scaling`` :math:`\beta`, the velocity has the factor
    :math:`L^{1 - \beta}`.) An adaptive Runge-Kutta method of torchdiffeq integrates
    it, in the dtype and on the device of the weights.

    Parameters
    ----------
    network : ResidualNetwork
        It is copied.
    method : {"dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"}, \
            default="dopri5"
        The Runge-Kutta method.
    rtol : float, default=1e-6
        Relative tolerance of the error of one step.
    atol : float, default=1e-8
        Absolute one. The error is the root mean square over samples and coordinates.
    max_steps : int, default=10_000
        Largest number of steps of one integration, rejected ones included.
    adjoint : bool, default=False
        Whether gradients come from the adjoint equation, integrated backwards, instead
        of from backpropagation: the memory does not grow with the number of steps.
    inputs, targets : default=None
        What turns a table into inputs, and outputs into predictions: those of the
        estimator whose ``to_ode`` it comes from. None leaves both as they are.

    Attributes
    ----------
    network : ResidualNetwork
        The copy, with the trainable parameters.
    n_evals_ : int
        Number of evaluations of the vector field by the latest integration (of at most
        4096 rows in ``predict``), without those of the adjoint equation.

    Notes
    -----
    While gradients of V or W are recorded, the steps end at every layer's depth time:
    else layers between two evaluations would get no gradient. That is 7 evaluations
    per layer or more, so train further at a small depth, by ``network.with_depth``,
    and evaluate under ``torch.no_grad()``, where the steps are as large as the
    tolerances allow.

    Examples
    --------
    >>> import torch
    >>> from odenet import NeuralODE, ResidualNetwork
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = ResidualNetwork(2, 1, depth=16, generator=generator)
    >>> ode = NeuralODE(network, rtol=1e-3, atol=1e-5)
    >>> ode(torch.ones(5, 2)).shape
    torch.Size([5, 1])
    >>> ode.hidden_states(torch.ones(5, 2), s=[0.25, 0.5, 0.75]).shape
    torch.Size([3, 5, 16])
    """

    def __init__(
        self,
        network,
        *,
        method="dopri5",
        rtol=1e-6,
        atol=1e-8,
        max_steps=10_000,
        adjoint=False,
        inputs=None,
        targets=None,
    ):
        super().__init__()
        _check_choice("method", method, METHODS)
        _check_positive("rtol", rtol, Real, "number")
        _check_positive("atol", atol, Real, "number")
        _check_positive("max_steps", max_steps, Integral, "integer")
        self.network = copy.deepcopy(network)
        self.method = method
        self.rtol = rtol
        self.atol = atol
        self.max_steps = max_steps
        self.adjoint = adjoint
        self.inputs = inputs
        self.targets = targets

    def vector_field(self, s, h):
        """Evaluate the velocity dH/ds.

        Parameters
        ----------
        s : float
            Depth time in [0, 1].
        h : Tensor or ndarray of shape (n, state_dim)

        Returns
        -------
        velocity : Tensor or ndarray of shape (n, state_dim)
            Of the kind of h, in the dtype of the weights.
        """
        (s,) = _check_depth_times([s], torch.float64)
        if not isinstance(h, np.ndarray):
            return VectorField(self.network)(s, h)
        with torch.no_grad():
            V = self.network.V
            h = torch.tensor(h, dtype=V.dtype, device=V.device)
            return VectorField(self.network)(s, h).cpu().numpy()

    def forward(self, x):
        """Return the output F(x), shape (n, n_outputs), for x (n, n_features)."""
        return self.last_state(x) @ self.network.head.mT

    def last_state(self, x):
        """Return the state H(1), shape (n, state_dim)."""
        return self.hidden_states(x, [1.0])[0]

    def hidden_states(self, x, s):
        """Return the states H(s), shape (len(s), n, state_dim).

        Parameters
        ----------
        x : Tensor of shape (n, n_features)
        s : sequence of float
            Depth times in [0, 1], strictly increasing.
        """
        weights = self.network.V, self.network.W
        trained = torch.is_grad_enabled() and any(Z.requires_grad for Z in weights)
        return self.integrate(x, s, by_layer=trained)

    def integrate(self, x, s, by_layer):
        """Return the states H(s), for ``hidden_states`` and those who choose the steps.

        Parameters
        ----------
        x : Tensor of shape (n, n_features)
        s : sequence of float
            Depth times in [0, 1], strictly increasing.
        by_layer : bool
            Whether steps end at the depth time of every layer, where the weights have a
            kink: more evaluations, of which every layer gets some, and a method keeps
            its order.

        Returns
        -------
        h : Tensor of shape (len(s), n, state_dim)
        """
        h = self.network.embed(x)
        s = _check_depth_times(s, h.dtype)
        field = _Field(self)
        try:
            return (self._by_layer if by_layer else self._at_once)(field, h, s)
        finally:
            self.n_evals_ = field.n_evals
            field.n_steps = 0  # those of the adjoint equation are counted anew

    def _at_once(self, field, h, s):
        """Return the states at s, by steps that no layer ends."""
        times = torch.cat([s.new_zeros(int(s[0] > 0)), s])
        return self._solve(field, h, times)[-len(s) :]

    def _by_layer(self, field, h, s):
        """Return the states at s, by one integration per layer.

        The first and the last layer's depth times are no kinks: the line through two
        layers goes on beyond them.
        """
        depth = self.network.depth
        middles = (torch.arange(depth, dtype=s.dtype) + 0.5) / depth
        kinks = middles[1:-1]
        edges = torch.cat([s.new_zeros(1), kinks[kinks < s[-1]], s]).unique()
        states = [h] if s[0] == 0 else []
        for start, end in pairwise(edges.tolist()):
            h = self._solve(field, h, s.new_tensor([start, end]))[-1]
            if end in s:
                states.append(h)
        return torch.stack(states)

    def _solve(self, field, h, times):
        """Return the states at the times; the last step ends at the last of them."""
        times = times.to(h.device)
        solve, settings = odeint, {}
        if self.adjoint:
            layers = field.layers_at(times.mean().item())
            solve, settings = odeint_adjoint, {"adjoint_params": layers}
        return solve(
            field,
            h,
            times,
            method=self.method,
            rtol=self.rtol,
            atol=self.atol,
            options={
                "dtype": h.dtype,
                "first_step": FIRST_STEP,
                "step_t": times[[0, -1]].unique(),
            },
            **settings,
        )

    @property
    def V(self):
        """The weights V of the network's layers."""
        return self.network.V

    def predict(self, X):
        """Predict as the estimator does, by the neural ODE.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Without an estimator that it comes from, the outputs F(X).
        """
        if self.inputs is None:
            return self._of_array(self.forward, X)
        return self._predictor.predict(X)

    @available_if(_has_classes)
    def predict_proba(self, X):
        """Probabilities of the classes or labels, if the estimator is a classifier.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self.targets.probabilities(self._predictor.outputs(X))

    @available_if(_has_classes)
    def decision_function(self, X):
        """Logits of the classes or labels, if the estimator is a classifier.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self.targets.logits(self._predictor.outputs(X))

    @available_if(_has_classes)
    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes, if there are classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self.targets.log_probabilities(self._predictor.outputs(X))

    def score(self, X, y, sample_weight=None):
        """Score predictions as the estimator does.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            The accuracy of a classifier, for which all labels of a sample must be
            right, else the coefficient of determination R2; of several quantiles, that
            of the one nearest to 1/2.
        """
        score = accuracy_score if _has_classes(self) else r2_score
        predictions = self.predict(X)
        if self.targets is not None:
            predictions = self.targets.point(predictions)
        return score(y, predictions, sample_weight=sample_weight)

    def trajectory(self, X, s):
        """States on the way from the first to the last.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        s : float, or sequence of float
            Depth times in [0, 1]; strictly increasing.

        Returns
        -------
        h : ndarray of shape (len(s), n_samples, state_dim)
        """
        s = np.atleast_1d(s).tolist()
        if self.inputs is None:
            return self._of_array(self.hidden_states, X, s)
        return self._predictor.states(X, "hidden_states", s, axis=1)

    @property
    def _predictor(self):
        """This ODE between a table and predictions."""
        return Predictor(self, self.inputs, self.targets)

    @torch.no_grad()
    def _of_array(self, function, X, *args):
        """Call a function of tensors for an array."""
        x = torch.tensor(np.asarray(X), dtype=self.V.dtype, device=self.V.device)
        return function(x, *args).cpu().numpy()

    def extra_repr(self):
        """Return the settings, for the repr."""
        return (
            f"method={self.method!r}, rtol={self.rtol}, atol={self.atol}, "
            f"max_steps={self.max_steps}, adjoint={self.adjoint}"
        )


class _Field(VectorField):
    """The vector field as torchdiffeq calls it: stopped when the integration fails."""

    def __init__(self, ode):
        super().__init__(ode.network)
        self.ode = ode
        self.n_steps = 0

    def callback_step(self, s, h, ds):
        """Judge a step; torchdiffeq calls this before each."""
        self.callback_step_adjoint(s, (h,), ds)

    def callback_step_adjoint(self, s, states, ds):
        """Judge a step of the adjoint equation; torchdiffeq calls this before each."""
        self.n_steps += 1
        reason = self._failure(s, states, ds)
        if reason is not None:
            ode = self.ode
            raise RuntimeError(
                f"The integration by {ode.method!r} with rtol={ode.rtol}, "
                f"atol={ode.atol} failed at depth time s={float(s):.4g}: {reason}. "
                "Raise the tolerances or `max_steps`, or compute in float64. Where the "
                "weights are huge or not smooth in depth (see `depth_smoothness`), the "
                "network is no discretised ODE."
            )

    def _failure(self, s, states, ds):
        """Return why the integration cannot go on, or None if it can."""
        if not all(state.isfinite().all() for state in states):
            return "the state is not finite"
        if ds == 0:  # torchdiffeq's answer to an error that is not finite
            return "the velocity is not finite"
        if s + ds == s:
            return "the steps became too small for the number format"
        if self.n_steps > self.ode.max_steps:
            return f"it takes more than max_steps={self.ode.max_steps} steps"
        return None


def _check_depth_times(s, dtype):
    """Return depth times as a tensor, if they are in order and in [0, 1]."""
    times = torch.as_tensor(s, dtype=dtype, device="cpu")
    inside = times.dim() == 1 and len(times) > 0 and times[0] >= 0 and times[-1] <= 1
    if not inside or not (times.diff() > 0).all():
        raise ValueError(
            f"`s` must be strictly increasing depth times in [0, 1], got {s!r}."
        )
    return times


def _check_choice(name, value, choices):
    """Tell which values there are, unless this is one of them."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {list(choices)}, got {value!r}.")


def _check_positive(name, value, kind, noun):
    """Tell that a value is not a positive one, nor finite, of a kind of number."""
    if not isinstance(value, kind) or not 0 < value < inf:
        raise ValueError(f"`{name}` must be a positive {noun}, got {value!r}.")
