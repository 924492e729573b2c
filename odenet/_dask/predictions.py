"""Predictions of collections of Dask, part by part, when they are asked for."""

import numpy as np


def lazily(model, method, X, **params):
    """Return what a method predicts of a collection, as an Array that is not computed.

    Parameters
    ----------
    model : estimator
        Fitted. It is sent to each worker once.
    method : str
        The name of a method whose result has a row for every row of X.
    X : Array of shape (n_samples, n_features) or DataFrame of Dask
    **params : dict
        Further arguments of the method.

    Returns
    -------
    predicted : Array of Dask
        Of the parts of X. Those of a DataFrame have sizes that are not known before
        they are computed.
    """
    from dask import array, delayed

    is_frame = not hasattr(X, "chunks")
    blocks = X.to_delayed() if is_frame else X.rechunk({1: -1}).to_delayed().ravel()
    rows = [np.nan] * len(blocks) if is_frame else X.chunks[0]
    empty = _predicted(_example(X), model, method, params)[:0]
    sent = delayed(model, pure=True, traverse=False)
    of_part = delayed(_predicted, pure=True)
    return array.concatenate(
        [
            array.from_delayed(
                of_part(block, sent, method, params, empty),
                (n, *empty.shape[1:]),
                meta=empty,
            )
            for n, block in zip(rows, blocks, strict=True)
        ],
        allow_unknown_chunksizes=True,
    )


def _example(X):
    """Return a row of the kind of X: of zeros, or the one that Dask has for a frame."""
    if hasattr(X, "chunks"):
        return np.zeros((1, X.shape[1]), X.dtype)
    return X._meta_nonempty.iloc[:1]


def _predicted(part, model, method, params, empty=None):
    """Return what a method predicts of a part; of one without rows, no rows."""
    return getattr(model, method)(part, **params) if len(part) else empty
