"""Collections of Dask as parts of rows, on the workers that hold them."""

import numpy as np

from odenet._stored.sources import is_collection


def parts_of(X, y, sample_weight):
    """Return the rows of a training set as delayed tuples, one for each part of X.

    Parameters
    ----------
    X : Array of shape (n_samples, n_features) or DataFrame of Dask
    y : Array, Series or DataFrame of Dask
    sample_weight : Array or Series of Dask, or None

    Returns
    -------
    parts : list of Delayed
        Of tuples of X, y and weights, which are None if ``sample_weight`` is.

    Raises
    ------
    TypeError
        If they are no collections of Dask.
    ValueError
        If y or the weights are not divided into parts as X is.
    """
    from dask import delayed

    given = {"X": X, "y": y}
    if sample_weight is not None:
        given["sample_weight"] = sample_weight
    blocks = []
    for name, data in given.items():
        if not is_collection(data):
            raise TypeError(
                f"`{name}` must be an Array or a DataFrame of Dask, got "
                f"{type(data).__name__}: use dask.array.from_array, or the estimator "
                "of odenet itself, which fits in this process."
            )
        blocks.append(_blocks(data, X))
        if len(blocks[-1]) != len(blocks[0]):
            raise ValueError(
                f"`{name}` must be divided into parts of the same rows as `X`: it has "
                f"{len(blocks[-1])} parts, X has {len(blocks[0])}. Use rechunk or "
                "repartition."
            )
    return [delayed(_part)(*part) for part in zip(*blocks, strict=True)]


def _blocks(data, X):
    """Return the delayed blocks of rows of a collection, divided as X if it can be."""
    if hasattr(data, "chunks"):
        rows = data.chunks[0]
        known = hasattr(X, "chunks") and not np.isnan(X.chunks[0]).any()
        if known and not np.isnan(rows).any() and sum(rows) == sum(X.chunks[0]):
            rows = X.chunks[0]
        data = data.rechunk({0: rows, **{axis: -1 for axis in range(1, data.ndim)}})
    return list(np.ravel(data.to_delayed()))


def _part(X, y, sample_weight=None):
    """Return the rows of one part."""
    return X, y, sample_weight


def joined(parts):
    """Return the rows of several parts as one X, one y, and weights or None."""
    return tuple(_joined(list(of_all)) for of_all in zip(*parts, strict=True))


def _joined(pieces):
    """Return arrays or frames of pandas below each other."""
    if pieces[0] is None:
        return None
    if hasattr(pieces[0], "iloc"):
        import pandas as pd

        return pd.concat(pieces)
    return np.concatenate(pieces)


def computed(*data):
    """Return collections as arrays or frames of this process, other data as given."""
    return tuple(d.compute() if is_collection(d) else d for d in data)
