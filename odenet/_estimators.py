"""The two estimators."""

import numpy as np
import torch
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from odenet._base import BaseResODE, _has_mini_batches
from odenet._losses import CrossEntropy, LogisticLoss, SquaredError
from odenet._module import ResidualNetwork
from odenet._standardizer import Standardizer, fit_standardizer
from odenet._validation import StrOptions


class ResODERegressor(RegressorMixin, BaseResODE):
    """Regression by a deep residual network that is a neural ODE."""
    _estimator_type_r = True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            float64, in the units and the shape of the training targets.
        """
        y = self._y_standardizer.inverse(self._evaluate(X, ResidualNetwork.forward))
        return y.ravel() if self._y_is_1d else y

    def _check_X_y(self, X, y, reset):
        return validate_data(
            self, X, y, reset=reset, dtype=np.float64, multi_output=True, y_numeric=True
        )

    def _encode_target(self, y, reset):
        columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if reset:
            self._y_is_1d = y.ndim == 1
            self.n_outputs_ = columns.shape[1]
        elif columns.shape[1] != self.n_outputs_:
            raise ValueError(
                f"`y` has {columns.shape[1]} outputs, but {self.n_outputs_} were fitted."
            )
        return columns

    def _strata(self, y):
        return None

    @property
    def _n_network_outputs(self):
        return self.n_outputs_

    def _fit_y_standardizer(self, y, weight):
        if not self.standardize:
            return Standardizer.identity(y.shape[1])
        return fit_standardizer(y, weight, gain=1.0, constant_scale=1.0)

    def _target_tensor(self, y, standardizer):
        return torch.tensor(standardizer(y))

    def _loss(self):
        return SquaredError()


class ResODEClassifier(ClassifierMixin, BaseResODE):
    """Classification by a deep residual network that is a neural ODE."""
    _estimator_type_r = False

    _parameter_constraints = {
        **BaseResODE._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        depth=64,
        *,
        width=64,
        state_dim=None,
        activation="gelu",
        init="tied",
        solver="flow",
        flow_time=None,
        alpha=0.0,
        smoothness_penalty=0.0,
        early_stopping="auto",
        validation_fraction=0.1,
        standardize=True,
        class_weight=None,
        callbacks=None,
        device="auto",
        dtype="float32",
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            depth,
            width=width,
            state_dim=state_dim,
            activation=activation,
            init=init,
            solver=solver,
            flow_time=flow_time,
            alpha=alpha,
            smoothness_penalty=smoothness_penalty,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            standardize=standardize,
            callbacks=callbacks,
            device=device,
            dtype=dtype,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    @available_if(_has_mini_batches)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one pass over a part of the data; for mini-batch solvers.

        The first call settles the standardisation and starts the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that any call will meet; required in the first call, unless it
            meets them all.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        self : estimator
            Fitted.
        """
        self._classes_to_come = classes
        try:
            return super().partial_fit(X, y, sample_weight=sample_weight)
        finally:
            del self._classes_to_come

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        logits = self.decision_function(X)
        index = logits.argmax(axis=1) if logits.ndim == 2 else (logits > 0).astype(int)
        return self.classes_[index]

    def decision_function(self, X):
        """Logits of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, the logit of ``classes_[1]``.
        """
        logits = self._evaluate(X, ResidualNetwork.forward)
        return logits.ravel() if len(self.classes_) == 2 else logits

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        logits = self.decision_function(X)
        if logits.ndim == 2:
            return softmax(logits, axis=1)
        return np.column_stack([expit(-logits), expit(logits)])

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        logits = self.decision_function(X)
        if logits.ndim == 2:
            return log_softmax(logits, axis=1)
        return np.column_stack([log_expit(-logits), log_expit(logits)])

    def _check_X_y(self, X, y, reset):
        X, y = validate_data(self, X, y, reset=reset, dtype=np.float64)
        check_classification_targets(y)
        return X, y

    def _encode_target(self, y, reset):
        """Index of every label in ``classes_``."""
        if reset:
            announced = getattr(self, "_classes_to_come", None)
            classes = np.unique(y if announced is None else announced)
            if len(classes) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs samples of at least two classes, "
                    f"got one class: {classes[0]!r}."
                )
            self.classes_ = classes
            self.n_outputs_ = len(classes) if len(classes) > 2 else 1
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"`y` has labels that are not among the classes {self.classes_}: "
                f"{unknown}."
            )
        return np.searchsorted(self.classes_, y)

    def _weigh_classes(self, y, weight):
        if self.class_weight == "balanced":
            mass = np.bincount(y, weight, minlength=len(self.classes_))
            factor = mass.sum() / (np.count_nonzero(mass) * np.maximum(mass, mass[mass > 0].min()))
        else:
            factor = compute_class_weight(
                self.class_weight, classes=self.classes_, y=self.classes_[y]
            )
        return weight * factor[y]

    def _strata(self, y):
        return y

    @property
    def _n_network_outputs(self):
        return self.n_outputs_

    def _fit_y_standardizer(self, y, weight):
        return None

    def _target_tensor(self, y, standardizer):
        y = torch.tensor(y)
        return y if len(self.classes_) > 2 else y.double()

    def _loss(self):
        return CrossEntropy() if len(self.classes_) > 2 else LogisticLoss()
