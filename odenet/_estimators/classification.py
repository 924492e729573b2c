"""What makes an estimator a classifier: labels, their weights, and probabilities."""

import warnings

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from odenet._estimators.base import fit_part
from odenet._estimators.calibration import predict_set
from odenet._estimators.preparation import takes_parts
from odenet._utils.sklearn_private import fit_context


class ClassificationMixin(ClassifierMixin):
    """Classes as outputs of the network: one logit each, or a single one of two.

    Of several labels, each has one.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @available_if(takes_parts)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one pass over a part of the data; for mini-batch solvers.

        The first call settles the standardisation and the categories, and starts the
        network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes; or a column of 0 and 1 for each of several labels.
        classes : array-like of shape (n_classes,), default=None
            All classes that any call will meet; required in the first call, unless it
            meets them all. Of several labels, the numbers of the columns of y.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        self : estimator
            Fitted.
        """
        self._check_announced(classes)
        for text, category in fit_part(self, X, y, sample_weight, classes):
            warnings.warn(text, category, stacklevel=3)
        return self

    @property
    def temperature_(self):
        """What the outputs of the network are divided by to be logits.

        Samples that are held out for good have the least log loss by it; it is 1
        without any.
        """
        check_is_fitted(self)
        return self._predictor.targets.temperature

    def _check_announced(self, classes):
        """Raise if a call names other classes than the first one did."""
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

    def predict(self, X):
        """Predict classes, or which of several labels a sample has.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Of labels, integers: 1 where the probability of a label is above 1/2, and 0
            elsewhere.
        """
        check_is_fitted(self)
        return self._predictor.predict(X)

    def decision_function(self, X):
        """Logits of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, the logit of ``classes_[1]``. For labels, one of each.
        """
        check_is_fitted(self)
        predictor = self._predictor
        return predictor.targets.logits(predictor.outputs(X))

    def predict_proba(self, X):
        """Probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Those of classes have the sum 1; every label has one of its own.
        """
        check_is_fitted(self)
        predictor = self._predictor
        return predictor.targets.probabilities(predictor.outputs(X))

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        predictor = self._predictor
        return predictor.targets.log_probabilities(predictor.outputs(X))

    def predict_set(self, X, confidence_level=0.9):
        """Sets of classes that hold the true one with a given probability.

        They are conformal: the probabilities that held-out samples had for their own
        class say which ones are too small (Sadinle, Lei and Wasserman, *Least ambiguous
        set-valued classifiers*, Journal of the American Statistical Association 2019).
        With several members, each has held out a fold; with one, it is the part that
        stopped mini-batches early, or ``X_val``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        confidence_level : float, default=0.9
            The probability, between 0 and 1, as of
            :meth:`odenet.ResODERegressor.predict_interval`.

        Returns
        -------
        sets : ndarray of shape (n_samples, n_classes), bool
            Whether each of ``classes_`` is in the set. It can be empty: where a model
            is right more often than is asked for, samples that no class suits are left
            out.

        Raises
        ------
        ValueError
            If no samples were held out for good, or too few of them.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from odenet import ResODEClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = ResODEClassifier(8, n_members=5, random_state=0)
        >>> sets = model.fit(X[::2], y[::2]).predict_set(X[1::2], 0.95)
        >>> bool(sets[range(75), y[1::2]].mean() > 0.85)
        True
        """
        return predict_set(self, X, confidence_level)
