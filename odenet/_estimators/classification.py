"""What makes an estimator a classifier: labels, their weights, and probabilities."""

import numpy as np
import torch
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet.solvers._registry import takes_parts


class ClassificationMixin(ClassifierMixin):
    """Classes as outputs of the network: one logit each, or a single one of two."""

    @available_if(takes_parts)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one pass over a part of the data; for mini-batch solvers.

        The first call settles the standardisation and the categories, and starts the
        network.

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
        known = getattr(self, "classes_", classes)
        if classes is not None and not np.array_equal(
            np.unique(classes), np.sort(known)
        ):
            raise ValueError(
                f"`classes={classes}` is not the same as on last call to partial_fit, "
                f"was: {known}."
            )
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does "
                "not know the frequencies to come; pass a dict of weights."
            )
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
        check_is_fitted(self)
        logits = self._evaluate(X, "forward")
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
        X, y = self._read(X, y, reset)
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
                    f"got one class: {classes.tolist()[0]!r}."
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
            factor = mass.sum() / (
                np.count_nonzero(mass) * np.maximum(mass, mass[mass > 0].min())
            )
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
        loss = CrossEntropy if len(self.classes_) > 2 else LogisticLoss
        return loss(self.label_smoothing)
