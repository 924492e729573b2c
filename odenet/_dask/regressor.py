"""The regressor that fits on the workers of Dask."""

from sklearn.metrics import r2_score

from odenet._dask.base import DaskMixin, with_client
from odenet._dask.parts import computed
from odenet._estimators.regressor import ResODERegressor


@with_client
class DaskResODERegressor(DaskMixin, ResODERegressor):
    """ResODERegressor on the workers of Dask, for Arrays and DataFrames of Dask.

    Parameters
    ----------
    depth : int or "auto", default=64
        As in :class:`odenet.ResODERegressor`, as are all further parameters but
        ``processes``. What a fit by several processes cannot do is an error: several
        members, sparse tables, a ``scoring`` or a ``validation_split`` of one's own.
    client : distributed.Client, default=None
        None is the client that was made last. It is not pickled.

    Attributes
    ----------
    client_ : distributed.Client
        The client that is used.

    All fitted attributes of :class:`odenet.ResODERegressor` are there too.

    See Also
    --------
    odenet.ResODERegressor : For tables that one process has room for.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from dask.distributed import Client  # doctest: +SKIP
    >>> from odenet.dask import DaskResODERegressor
    >>> client = Client(processes=False, dashboard_address=None)  # doctest: +SKIP
    >>> X = da.random.default_rng(0).normal(size=(60, 3), chunks=20)  # doctest: +SKIP
    >>> model = DaskResODERegressor(8, flow_time=1.0, random_state=0)
    >>> model = model.fit(X, X[:, 0])  # doctest: +SKIP
    >>> model.predict(X).compute().shape  # doctest: +SKIP
    (60,)
    >>> model.to_local()  # doctest: +SKIP
    ResODERegressor(depth=8, flow_time=1.0, random_state=0)
    """

    def predict(self, X):
        """Predict targets: of a collection of Dask when they are asked for.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).

        Returns
        -------
        y : Array of Dask or ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self.predicted("predict", X)

    def predict_interval(self, X, confidence_level=0.9):
        """Predict intervals: of a collection of Dask when they are asked for.

        Parameters
        ----------
        X : Array or DataFrame of Dask, or array-like
            Of shape (n_samples, n_features).
        confidence_level : float, default=0.9
            As in :meth:`odenet.ResODERegressor.predict_interval`.

        Returns
        -------
        intervals : Array of Dask or ndarray of shape (n_samples, 2)
        """
        return self.predicted("predict_interval", X, confidence_level=confidence_level)

    def score(self, X, y, sample_weight=None):
        """Compute the coefficient of determination R2, in this process, at once.

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
        points = self._predictor.targets.point(predictions)
        return r2_score(y, points, sample_weight=weight)
