"""Depth after training: another number of layers, the neural ODE, the gap between."""

from math import nan

from sklearn.utils.validation import check_is_fitted

from odenet._diagnostics.gap import (
    ExtrapolatedNetwork,
    is_rough,
    ode_gap,
    warn_if_rough,
)
from odenet._network.ode import NeuralODE
from odenet._utils.devices import torch_threads

GAP_ROWS = 64  # samples that a fit estimates its gap at


class DepthMixin:
    """What a fitted estimator can do with its depth."""

    def with_depth(self, depth, interpolation="linear", *, imitate=False):
        """The model with another number of layers, which sample the same function.

        Predictions differ by O(1/L) of the smaller depth where the weights are smooth
        in depth (see ``depth_smoothness_``).

        Parameters
        ----------
        depth : int
            Number of layers of the new network, larger or smaller.
        interpolation : {"linear", "constant"}, default="linear"
            "linear" is piecewise linear through the layers' depth times
            :math:`s = (k - 1/2)/L`, with an error of the weights of O(1/L^2);
            "constant" is piecewise constant on :math:`[(k-1)/L, k/L)`, as in Marion,
            Wu, Sander and Biau (ICLR 2024, section 2), with an error of O(1/L).
        imitate : bool, default=False
            Whether the new model is to predict as this one up to O(1/L'^2) of its own
            depth L', by layers that look ahead: the better way to serve few layers. It
            is then no plain residual network.

        Returns
        -------
        model : estimator
            A fitted copy with ``depth`` and ``depth_`` changed, and the other fitted
            attributes those of this one, which stays as it is.

        Raises
        ------
        ValueError
            If the depth is no positive integer, or the interpolation unknown.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> shallow = model.with_depth(8)
        >>> shallow.depth_, abs(shallow.predict(X) - model.predict(X)).max() < 0.1
        (8, np.True_)
        """
        check_is_fitted(self)
        network = self.module_.with_depth(depth, interpolation, imitate=imitate)
        model = self._around(network)
        if network.imitated_depth != self.module_.imitated_depth or (
            depth != self.depth_
        ):
            model.ode_gap_ = None
        return model

    def to_ode(
        self, *, method="dopri5", rtol=1e-6, atol=1e-8, max_steps=10_000, adjoint=False
    ):
        """The neural ODE whose discretisation this model is, as a model of its own.

        Parameters
        ----------
        method : {"dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"}, \
                default="dopri5"
            The adaptive Runge-Kutta method of torchdiffeq.
        rtol, atol : float, default=1e-6 and 1e-8
            Tolerances of the error of one step.
        max_steps : int, default=10_000
            Largest number of steps of one integration.
        adjoint : bool, default=False
            Whether gradients come from the adjoint equation.

        Returns
        -------
        ode : NeuralODE
            With a copy of the weights in float64, and the standardisation and the
            classes of this model.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> ode = model.to_ode(rtol=1e-3)
        >>> ode.predict(X).shape, ode.trajectory(X, [0.0, 0.5, 1.0]).shape
        ((4,), (3, 4, 16))
        """
        check_is_fitted(self)
        return NeuralODE(
            self._module_for_evaluation(),
            method=method,
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
            adjoint=adjoint,
            estimator=self._with_module(None),
        )

    def ode_gap(self, X, method="solver"):
        r"""Distance between this network and its neural ODE, at given samples.

        .. math::
            \|F_L(X) - F_{ode}(X)\|_F \,/\, \|F_{ode}(X)\|_F,

        of the network's outputs, which are standardised targets or logits, in float64.
        For weights that are smooth in depth it is O(1/L) (Marion, Wu, Sander and Biau,
        ICLR 2024, theorem 4).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        method : {"solver", "richardson"}, default="solver"
            "solver" integrates the ODE adaptively. "richardson" estimates its output by
            2 F_2L - F_L, from a network of twice the depth: cheap, and right up to
            O(1/L^2) where the weights are smooth in depth, but not where they are not.

        Returns
        -------
        gap : float

        Warns
        -----
        UserWarning
            If the weights are not smooth in depth, as with ``init="iid"``: there is no
            neural ODE that the network comes near to, and no estimate of its distance
            can be trusted.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> 0 < model.ode_gap(X) < 0.02
        True
        """
        check_is_fitted(self)
        X = self._read(X)
        with torch_threads(len(X) * self.module_.V[0].numel()):
            return ode_gap(self.module_, self._X_encoder(X), method)

    def _note_gap(self, samples):
        if samples is None:
            self.ode_gap_ = None
            return
        module, X = self.module_, samples.X
        with torch_threads(min(len(X), GAP_ROWS) * module.V[0].numel()):
            self.ode_gap_ = (
                nan if is_rough(module) else ode_gap(module, X[:GAP_ROWS], "richardson")
            )

    def richardson_predict(self, X):
        r"""Predict by :math:`2 F_{2L} - F_L`, which is the neural ODE's up to O(1/L^2).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As from ``predict``; of a classifier, the classes of extrapolated logits.

        Warns
        -----
        UserWarning
            If the weights are not smooth in depth: see ``ode_gap``.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> error = model.richardson_predict(X) - model.to_ode().predict(X)
        >>> abs(error).max() < 0.01
        np.True_
        """
        check_is_fitted(self)
        warn_if_rough(self.module_)
        network = ExtrapolatedNetwork(self._module_for_evaluation())
        return self._with_module(network).predict(X)
