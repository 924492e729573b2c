"""The classifier that fits on the workers of Dask."""

from sklearn.metrics import accuracy_score

from odenet._dask.base import DaskMixin, with_client
from odenet._dask.parts import computed
from odenet._estimators.classifier import ResODEClassifier


@with_client
class DaskResODEClassifier(DaskMixin, ResODEClassifier):
    """ResODEClassifier on the workers of Dask, for Arrays and DataFrames of Dask.

    Parameters
    ----------
    depth : int or "auto", default=64
        As in :class:`odenet.ResODEClassifier`, as are all further parameters but
        ``processes``. What a fit by several processes cannot do is an error: several
        members, several labels, sparse tables, a ``scoring`` or a ``validation_split``
        of one's own.
    client : distributed.Client, default=None
        None is the client that was made last. It is not pickled.

    Attributes
    ----------
    client_ : distributed.Client
        The client that is used.

    All fitted attributes of :class:`odenet.ResODEClassifier` are there too.

    See Also
    --------
    odenet.ResODEClassifier : For tables that one process has room for.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from dask.distributed import Client  # doctest: +SKIP
    >>> from odenet.dask import DaskResODEClassifier
    >>> client = Client(processes=False, dashboard_address=None)  # doctest: +SKIP
    >>> X = da.random.default_rng(0).normal(size=(60, 3), chunks=20)  # doctest: +SKIP
    >>> model = DaskResODEClassifier(8, flow_time=1.0, random_state=0)
    >>> model = model.fit(X, X[:, 0] > 0)  # doctest: +SKIP
    >>> model.predict_proba(X).compute().shape  # doctest: +SKIP
    (60, 2)
    """

    def predict(self, X):
        """Predict classes: of a collection of Dask when they are asked for.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).

        Returns
        -------
        y : Array of Dask or ndarray of shape (n_samples,)
        """
        return self.predicted("predict", X)

    def predict_proba(self, X):
        """Predict probabilities: of a collection of Dask when they are asked for.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).

        Returns
        -------
        probabilities : Array of Dask or ndarray of shape (n_samples, n_classes)
        """
        return self.predicted("predict_proba", X)

    def predict_log_proba(self, X):
        """Predict logarithms of probabilities, as ``predict_proba`` does.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).

        Returns
        -------
        logarithms : Array of Dask or ndarray of shape (n_samples, n_classes)
        """
        return self.predicted("predict_log_proba", X)

    def decision_function(self, X):
        """Compute logits: of a collection of Dask when they are asked for.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).

        Returns
        -------
        logits : Array of Dask or ndarray of shape (n_samples,) or \
                (n_samples, n_classes)
        """
        return self.predicted("decision_function", X)

    def predict_set(self, X, confidence_level=0.9):
        """Predict sets of classes: of a collection of Dask when they are asked for.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).
        confidence_level : float, default=0.9
            As in :meth:`odenet.ResODEClassifier.predict_set`.

        Returns
        -------
        sets : Array of Dask or ndarray of bool of shape (n_samples, n_classes)
        """
        return self.predicted("predict_set", X, confidence_level=confidence_level)

    def score(self, X, y, sample_weight=None):
        """Compute the share of right predictions, in this process, at once.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).
        y : Array, Series or DataFrame of Dask, or array-like
            Targets, which come to this process, as the predictions do.
        sample_weight : Array or Series of Dask, or array-like, default=None

        Returns
        -------
        score : float
        """
        y, predictions, weight = computed(y, self.predict(X), sample_weight)
        return accuracy_score(y, predictions, sample_weight=weight)
