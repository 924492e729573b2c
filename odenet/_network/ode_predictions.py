"""Predictions of a neural ODE, in the units and classes of the estimator it is from."""

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if


def _estimator_has(name):
    return available_if(lambda ode: hasattr(ode.estimator, name))


class PredictionsMixin:
    """From arrays to arrays; without an estimator, those of the network itself."""

    @property
    def V(self):
        """The weights V of the network's layers."""
        return self.network.V

    def predict(self, X):
        """Predict as the estimator does, by the neural ODE.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Without an estimator, the outputs F(X).
        """
        if self.estimator is None:
            return self._of_array(self.forward, X)
        return self._model().predict(X)

    @_estimator_has("predict_proba")
    def predict_proba(self, X):
        """Probabilities of the classes, if the estimator is a classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self._model().predict_proba(X)

    @_estimator_has("decision_function")
    def decision_function(self, X):
        """Logits of the classes, if the estimator is a classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._model().decision_function(X)

    def trajectory(self, X, s):
        """States on the way from the first to the last.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        s : float, or sequence of float
            Depth times in [0, 1]; strictly increasing.

        Returns
        -------
        h : ndarray of shape (len(s), n_samples, state_dim)
        """
        s = np.atleast_1d(s).tolist()
        if self.estimator is None:
            return self._of_array(self.hidden_states, X, s)
        return self._model()._evaluate(X, "hidden_states", s, axis=1)

    def _model(self):
        """The estimator around this network."""
        return self.estimator._with_module(self)

    @torch.no_grad()
    def _of_array(self, function, X, *args):
        x = torch.tensor(np.asarray(X), dtype=self.V.dtype, device=self.V.device)
        return function(x, *args).cpu().numpy()
