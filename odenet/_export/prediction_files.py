"""Predictions of a table that need not fit into memory, written into a file."""

import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from odenet._stored.sources import (
    blocks_of,
    default_rows_at_once,
    n_rows_of,
)
from odenet._tables.table_values import is_frame
from odenet._utils.files import replacing

# Methods that return something for every row, whatever the rows beside it are.
METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "predict_interval",
    "predict_set",
    "richardson_predict",
    "score_samples",
    "transform",
    "attribution",
)
# Those that return a column for every class, if there are as many.
BY_CLASSES = {"predict_proba", "predict_log_proba", "decision_function", "predict_set"}


def predict_to_file(estimator, X, path, *, method="predict", rows_at_once=None):
    """Predict a table that need not fit into memory, block by block, into a file.

    Neither the table nor the predictions are in memory as a whole. The file is written
    beside its place and put there when it is complete. If an error is raised, or the
    process is killed, what was there before stays as it was.

    Parameters
    ----------
    estimator : estimator
        Fitted: one of odenet, or any with scikit-learn's methods, such as a pipeline.
    X : array-like, data frame, sparse matrix, or source of pyarrow or Dask
        The table, of at least one row: an array, a numpy memory map, a data frame of
        pandas or polars, a sparse matrix of scipy; a ``Dataset``, a ``Table`` or a
        ``ParquetFile`` of pyarrow; an Array or a DataFrame of Dask. The estimator gets
        blocks of its rows; those of pyarrow as frames of pandas, in which dictionaries
        are categories. Of Parquet some row groups are in memory at once, of Dask a
        partition.
    path : str or path-like
        The file. It ends in ".npy" for an array of numpy, or in ".parquet" for columns
        of Parquet, which need the extra "parquet". An old one is replaced.
    method : str, default="predict"
        The method to call: "predict", "predict_proba", "predict_log_proba",
        "decision_function", "predict_interval", "predict_set", "richardson_predict",
        "score_samples", "transform" or "attribution".
    rows_at_once : int, default=None
        How many rows a block has. None takes as many as hold about four million values,
        and at most 65,536.

    Returns
    -------
    predictions : memmap or pyarrow.dataset.Dataset
        What the file holds, not read yet. Of ".npy" a read-only memory map, of the
        shape and the dtype that the method returns; texts are fixed-width strings. Of
        ".parquet" a dataset with a row group for every block. Its column is called
        "prediction". Several are called by the classes, if there is one for each of
        ``classes_``; by the names that ``get_feature_names_out`` gives for "transform";
        "lower" and "upper" for "predict_interval"; else "prediction_0",
        "prediction_1", and so on.

    Raises
    ------
    ValueError
        If ``path`` has another ending, ``method`` is another one, ``rows_at_once`` is
        no positive integer, X has no rows, or the predictions do not suit the file.
    AttributeError
        If the estimator lacks the method.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ImportError
        If ``path`` ends in ".parquet" and pyarrow is not installed.
    OSError
        If the file cannot be written, for instance since its folder is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from odenet import ResODERegressor, predict_to_file
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> model = ResODERegressor(4, flow_time=1.0, random_state=0).fit(X, X[:, 0] ** 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "X.npy", X)
    ...     table = np.load(Path(folder) / "X.npy", mmap_mode="r")
    ...     found = predict_to_file(model, table, Path(folder) / "y.npy")
    ...     np.array_equal(found, model.predict(X))
    ...     del found, table  # Windows removes no file that is mapped
    True
    """
    path, write = _checked_path(path)
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {METHODS}, got {method!r}.")
    if hasattr(estimator, "fit"):  # a neural ODE only predicts
        check_is_fitted(estimator)
    if rows_at_once is None:
        rows_at_once = default_rows_at_once(X)
    predict, n_rows = _method_of(estimator, method), n_rows_of(X)
    if not n_rows:
        raise ValueError("X must have at least one row, got none.")
    blocks = (
        _checked_block(predict(block), block, method)
        for (block,) in blocks_of(X, rows_at_once=rows_at_once)
    )
    with replacing(path) as part:
        write(part, blocks, n_rows, estimator, method)
    return _opened(path)


def _checked_path(path):
    """Return a path, and the function that writes a file of its ending, or raise."""
    path = Path(os.fspath(path))
    writers = {".npy": _write_npy, ".parquet": _write_parquet}
    if path.suffix.lower() not in writers:
        raise ValueError(
            f"`path` must end in {' or '.join(writers)}, got {str(path)!r}."
        )
    if path.is_dir():
        raise IsADirectoryError(f"`path` must be a file, {str(path)!r} is a folder.")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "A file of Parquet needs pyarrow: pip install "
                '"odenet-learn[parquet]", or let `path` end in .npy.'
            ) from error
    return path, writers[path.suffix.lower()]


def _method_of(estimator, method):
    """Return a method of an estimator, or raise if it has none of this name."""
    try:
        return getattr(estimator, method)
    except AttributeError as error:
        raise AttributeError(
            f"{type(estimator).__name__} has no method {method!r}: {error}"
        ) from error


def _checked_block(found, X, method):
    """Return what a method has found of a block of X, if it has a row for each row."""
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if isinstance(found, list | tuple) or issparse(found):
        kind = "a sparse matrix" if issparse(found) else "several arrays"
        raise ValueError(
            f"`{method}` must return one dense array or frame to be written, got "
            f"{kind}: {type(found).__name__}."
        )
    if not is_frame(found):
        found = np.asarray(found)
    if found.shape[:1] != (n_rows,):
        raise ValueError(
            f"`{method}` must return a row for every row of X, got the shape "
            f"{found.shape} of {n_rows} rows."
        )
    return found


def _write_npy(path, blocks, n_rows, estimator, method):
    """Write blocks as one array in the format of numpy.

    They are not written into a memory map: that would end the process by a signal if
    the disk were full, in place of an error.
    """
    dtype = shape = None
    n_written = 0
    with path.open("wb") as file:
        for block in blocks:
            block = np.asarray(block)
            if dtype is None:
                dtype, shape = _dtype_for_npy(block.dtype, estimator), block.shape[1:]
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (n_rows, *shape),
                }
                np.lib.format.write_array_header_1_0(file, header)
            file.write(_as_before(block, dtype, shape, method).tobytes())
            n_written += len(block)
    _check_all_are_written(n_written, n_rows)


def _dtype_for_npy(dtype, estimator):
    """Return the dtype of a file for predictions of a dtype.

    Labels that are texts are objects of Python. They get as many characters as the
    longest of the classes has.
    """
    if not dtype.hasobject and dtype.kind != "U":
        return dtype
    classes = getattr(estimator, "classes_", [])
    if isinstance(classes, list):  # of several targets
        classes = [label for each in classes for label in each]
    classes = list(classes)
    if dtype.kind == "U":
        return np.result_type(dtype, *[np.array(label).dtype for label in classes])
    if not classes or not all(isinstance(label, str) for label in classes):
        raise ValueError(
            "Predictions that are objects of Python cannot be written into a .npy file "
            "without pickle, got dtype object: let `path` end in .parquet."
        )
    return np.array(classes, dtype=str).dtype


def _as_before(block, dtype, shape, method):
    """Return a block in the dtype of the first one, or raise if it is another kind."""
    if block.dtype.hasobject and dtype.kind == "U":
        block = block.astype(str)
    if not np.can_cast(block.dtype, dtype) or block.shape[1:] != shape:
        raise ValueError(
            f"`{method}` must return the same dtype and number of columns for all "
            f"blocks of X, got {block.dtype}, {block.shape[1:]} after {dtype}, {shape}."
        )
    return block.astype(dtype)


def _check_all_are_written(n_written, n_rows):
    """Raise if a table had another number of rows than it had said."""
    if n_written != n_rows:
        raise ValueError(
            f"X must not change while it is read: it had {n_rows} rows, and "
            f"{n_written} were found."
        )


def _write_parquet(path, blocks, n_rows, estimator, method):
    """Write blocks as the row groups of a file of Parquet."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    names = writer = None
    n_written = 0
    with ExitStack() as stack:
        for block in blocks:
            if names is None:
                names = _names_of(block, estimator, method)
            table = pa.table(dict(zip(names, _columns_of(block), strict=True)))
            if writer is None:
                writer = stack.enter_context(ParquetWriter(path, table.schema))
            try:
                table = table.cast(writer.schema)
            except pa.ArrowException as error:
                raise ValueError(
                    f"`{method}` must return columns of the same types for all blocks "
                    f"of X: {error}."
                ) from error
            writer.write_table(table)
            n_written += len(block)
    _check_all_are_written(n_written, n_rows)


def _columns_of(block):
    """Return the columns of a frame or of an array of up to two axes."""
    if is_frame(block):
        return [np.asarray(block[name]) for name in block.columns]
    return [block] if block.ndim == 1 else list(np.ascontiguousarray(block.T))


def _names_of(block, estimator, method):
    """Return the names of the columns of predictions."""
    if is_frame(block):
        names = list(map(str, block.columns))
        if len({*names}) < len(names):
            raise ValueError(
                f"`{method}` must return columns of different names, got {names}."
            )
        return names
    if block.ndim > 2:
        raise ValueError(
            f"`{method}` returns an array of {block.ndim} axes here, which are no "
            "columns of a table: let `path` end in .npy."
        )
    if block.ndim == 1:
        return ["prediction"]
    names = [f"prediction_{i}" for i in range(block.shape[1])]
    asked = []
    if method in BY_CLASSES:
        asked = list(getattr(estimator, "classes_", []))
    elif method == "predict_interval":
        asked = ["lower", "upper"]
    elif method == "transform" and hasattr(estimator, "get_feature_names_out"):
        asked = list(estimator.get_feature_names_out())
    asked = list(map(str, asked))
    return asked if len({*asked}) == len(asked) == len(names) else names


def _opened(path):
    """Return what a file holds, which is read only where it is asked for."""
    if path.suffix.lower() == ".npy":
        return np.load(path, mmap_mode="r")
    from pyarrow import dataset

    return dataset.dataset(path, format="parquet")
