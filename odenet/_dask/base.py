"""What the estimators of Dask share."""

import warnings
from inspect import Parameter, signature

from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from odenet._dask.group_fit import fit_on_workers
from odenet._dask.parts import parts_of
from odenet._dask.predictions import lazily
from odenet._stored.sources import is_collection
from odenet._utils.sklearn_private import linked_to_site

# Parameters that one of the two kinds lacks: workers hold their rows in memory.
NOT_SHARED = {"client", "memory_limit", "processes"}


def with_client(cls):
    """Give a class the parameters of its estimator and ``client``, as a decorator."""

    given = signature(local_class(cls).__init__)
    kept = [p for name, p in given.parameters.items() if name not in NOT_SHARED]
    client = Parameter("client", Parameter.KEYWORD_ONLY, default=None)
    own = given.replace(parameters=[*kept, client])

    def __init__(self, *args, client=None, **params):
        own.bind(self, *args, **params)  # raises for unknown parameters
        super(cls, self).__init__(*args, **params)
        self.client = client

    __init__.__signature__ = own
    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = __init__
    return linked_to_site(cls, "odenet.dask")


def local_class(cls):
    """Return the class of odenet that a class of Dask fits."""
    return next(kind for kind in cls.__mro__ if not issubclass(kind, DaskMixin))


class DaskMixin:
    """Fits on the workers of Dask, and predicts on them."""

    @property
    def client_(self):
        """The client of Dask that is used: ``client``, or the one made last."""
        if self.client is not None:
            return self.client
        try:
            from distributed import default_client
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} needs Dask: pip install 'odenet-learn[dask]'."
            ) from error
        return default_client()

    @available_if(lambda self: False)
    def partial_fit(self):
        """Refuse: parts that follow each other are for one process."""

    def fit(self, X, y, sample_weight=None):
        """Train the network on the workers that hold the rows.

        Rows stay where they are. A worker trains with all its rows, and the workers
        agree on every step: see "Many processes" in the user guide. If a worker or the
        scheduler dies, the fit ends with an error and leaves this model as it was.

        Parameters
        ----------
        X : Array of shape (n_samples, n_features) or DataFrame of Dask
            Training inputs.
        y : Array, Series or DataFrame of Dask
            Targets, divided into parts as X is.
        sample_weight : Array or Series of Dask, default=None
            Weights of the samples, divided into parts as X is.

        Returns
        -------
        self : estimator
            Fitted.

        Raises
        ------
        TypeError
            If the data are no collections of Dask.
        ValueError
            If there is no client, if the parts do not match, or if two workers with
            rows are one process.
        RuntimeError
            If a worker or the scheduler died.
        """
        client, params = self.client_, self._shared_params()
        estimator = local_class(type(self))(**params)
        parts = parts_of(X, y, sample_weight)
        fitted, notices = fit_on_workers(client, estimator, parts)
        for name in learnt(self):
            delattr(self, name)
        for name in learnt(fitted):
            setattr(self, name, getattr(fitted, name))
        for text, category in notices:
            warnings.warn(text, category, stacklevel=2)
        return self

    def to_local(self):
        """Return the fitted model as an estimator that knows nothing of Dask.

        Returns
        -------
        model : ResODERegressor or ResODEClassifier
            It predicts what this one does, and can be saved.
        """
        check_is_fitted(self)
        model = local_class(type(self))(**self._shared_params())
        for name in learnt(self):
            setattr(model, name, getattr(self, name))
        return model

    def predicted(self, method, X, **params):
        """Return what a method of the local model predicts: lazily, of a collection."""
        if is_collection(X):
            return lazily(self.to_local(), method, X, **params)
        return getattr(self.to_local(), method)(X, **params)

    def _shared_params(self):
        """Return the parameters of the estimator that is fitted."""
        params = self.get_params(deep=False)
        return {k: v for k, v in params.items() if k not in NOT_SHARED}

    def __getstate__(self):
        """Return a state without the client, which belongs to this process."""
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self):
        """Return an unfitted copy with the same client."""
        params = self._shared_params()
        params = {name: clone(value, safe=False) for name, value in params.items()}
        return type(self)(client=self.client, **params)


def learnt(model):
    """Return the names of what a fit has set, in a list."""
    params = {*model.get_params(deep=False), *NOT_SHARED}
    return [name for name in vars(model) if name not in params]
