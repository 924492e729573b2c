"""Tables of the tests of this folder, and as collections of Dask."""

import numpy as np
import pandas as pd

TINY = {"depth": 4, "width": 8, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
Y = np.sin(2.0 * X[:, 0]) + X[:, 1]
WEIGHT = RNG.uniform(0.5, 2.0, size=200)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
FRAME["kind"] = pd.Categorical(np.where(X[:, 2] > 0, "up", "down"))


def arrays(*given, size=40):
    """Return arrays of Dask, in parts of so many rows."""
    from dask import array

    return [array.from_array(a, chunks=(size, *a.shape[1:])) for a in given]


def frames(*given, n=5):
    """Return collections of Dask of frames or columns of pandas, in so many parts."""
    from dask import dataframe

    return [dataframe.from_pandas(frame, npartitions=n) for frame in given]
