"""Fitted estimators in files: tensors and a JSON header, of which nothing is executed.

The format is safetensors. The tensors are the weights of the network, such as
"module_.V", and other arrays. The metadata are JSON with the versions, the class, and
the state of the estimator as data (:mod:`odenet._export.plain_data`).
"""

import json
import platform
from functools import partial

import numpy as np
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted

from odenet._export.archive import (
    DAMAGES,
    DIGEST,  # noqa: F401
    digest_of,
    parsed_json,
    read_archive,
    write_archive,
)
from odenet._export.parts import FROZEN, parts_of_state, state_of_parts
from odenet._export.plain_data import NotData, from_data, to_data
from odenet._export.schema import check_state, is_known
from odenet._export.sharing import without_single_values
from odenet._network.start import network_from_weights
from odenet._utils.sklearn_private import CALLBACK_STATE
from odenet._version import __version__

KEY = "odenet"  # what a file says it is
_digest = digest_of  # those who craft files, to attack `load`, seal them by this name
SCHEMA = 1  # the version of the format, to be raised if old readers would fail
WEIGHT = "module_."  # the beginning of the names of weights
# A network is tried with so many of its layers: they all have the same shape.
LAYERS_TO_TRY = 64
# The attributes that scikit-learn adds to an estimator for its own use; and the path
# of a file of this machine, which a model from elsewhere must not write to.
LEFT_OUT = (*CALLBACK_STATE, "_metadata_request", "checkpoint")


def save(model, path, *, share=False):
    """Write the fitted estimator to a file of the safetensors format.

    The file holds parameters, weights, the history of the training and everything
    else that was fitted, as plain data. That includes up to 256 values of every column
    of numbers (and up to 129 edges of bins), the categories, and the labels of classes,
    but no row of the training set. A file does not hold the state of an optimizer
    (``partial_fit`` starts it anew), callbacks that were set by ``set_callbacks``, or
    requests of metadata routing. A file of the same name is replaced, but only when the
    new one is complete and has been read successfully.

    Parameters
    ----------
    path : str, path-like or binary file object
        The file, by custom with the suffix ".safetensors". A file object, such as of
        ``open(path, "wb")`` or ``io.BytesIO()``, is written to at its position.
    share : bool, default=False
        Whether the file is for others who must not know single samples: it then tells
        no value of a column, and no category, that fewer than ten samples have. The
        ranks of numbers are kept by means of ten or more neighbouring values, so that
        predictions differ a little. Labels of classes and names of columns are told.
        What held-out samples say of errors is left out, so that ``predict_interval``
        and ``predict_set`` are missing.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    OSError
        If the file cannot be written.
    TypeError
        If a file object is not in binary mode.
    ValueError
        If a parameter is not plain data. Callbacks and functions are not. With
        ``share=True``, if categories of fewer than ten samples were not pooled
        (``min_frequency=10`` does that), if there are fewer than twenty samples, or
        after ``partial_fit``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from odenet import ResODERegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(8, flow_time=10.0, random_state=0).fit(X, y)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.safetensors"
    ...     model.save(path)
    ...     loaded = ResODERegressor.load(path)
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    check_is_fitted(model)
    state, arrays, named = {}, {}, state_of_parts(model.__getstate__())
    if share:
        named = without_single_values(model, named)
    for name, value in named.items():
        if name == FROZEN:
            arrays |= {WEIGHT + n: Z for n, Z in value.pop("weights").items()}
        if not name.startswith(LEFT_OUT):
            _check_known(model, name)
            state[name] = _as_data(model, name, value, arrays)
    header = json.dumps(_header(type(model), state), allow_nan=False)
    write_archive(path, KEY, header, arrays, partial(_check_readable, type(model)))


def load(cls, path):
    """Read a fitted estimator from a file that ``save`` has written.

    Nothing in the file is executed. If the device that the model was trained on is
    missing here, the model comes to the CPU, with a warning.

    Parameters
    ----------
    path : str, path-like or binary file object
        A file object is read from its position to its end.

    Returns
    -------
    estimator : estimator
        Fitted, of the class that ``load`` is called on.

    Raises
    ------
    OSError
        If the file cannot be read.
    TypeError
        If a file object is not in binary mode.
    ValueError
        If the file is damaged or was changed, if odenet did not write it, if a later
        version wrote it that this one does not understand, or if it holds an
        estimator of another class.
    """
    model, state = _model_and_state(cls, path)
    model.__setstate__(vars(model) | state)
    return model


def _model_and_state(cls, path):
    """Return an estimator with the parameters of a file, and the state that it has.

    What was fitted is checked and tried out, but not set: no network is made, and
    nobody is warned of a device that is missing.
    """
    header, arrays, name = read_archive(path, KEY, _parsed)
    if header["estimator"] != cls.__name__:
        raise ValueError(
            f"{name} holds a {header['estimator']}, not a {cls.__name__}: use "
            f"{header['estimator']}.load."
        )
    try:
        return _rebuilt(cls, header["state"], arrays)
    except DAMAGES as e:
        raise ValueError(
            f"{name} holds a {cls.__name__} that odenet {__version__} cannot have "
            f"written: {e}."
        ) from e


def _check_readable(cls, path):
    """Raise an error if a file that was just written cannot be read."""
    try:
        _model_and_state(cls, path)
    except ValueError as error:
        raise ValueError(
            f"This {cls.__name__} cannot be saved, since it could not be "
            f"loaded: {error.__cause__ or error}."
        ) from error


def _check_known(model, name):
    """Raise an error for an attribute that files have no place for."""
    if not is_known(type(model), name):
        raise ValueError(
            f"`{name}` cannot be saved: it is no attribute of a "
            f"{type(model).__name__} that a fit sets. Delete it, or use pickle instead."
        )


def _as_data(model, name, value, arrays):
    """Turn a value of an estimator into data, or say in an error what to do."""
    try:
        return to_data(value, arrays)
    except NotData as error:
        remedy = "Use pickle instead"
        if name in ("loss", "_y_loss"):
            remedy = (
                "Make its class a frozen dataclass with a line in "
                "odenet.losses.LOSSES, here and where the file is read, or use pickle "
                "instead"
            )
        elif name in model.get_params(deep=False) and name != "solver":
            remedy = (
                f"Predictions do not need it: replace it by `set_params({name}=...)`, "
                "for instance by its default, and save again"
            )
        raise ValueError(
            f"`{name}` cannot be saved: {error}. A file holds only numbers, texts and "
            f"objects of odenet. {remedy}."
        ) from error


def _header(kind, state):
    """Return the header of a file: schema, class, versions and state."""
    return {
        "schema": SCHEMA,
        "estimator": kind.__name__,
        "versions": {
            "odenet": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__,
        },
        "state": state,
    }


def _parsed(header, name):
    """Parse the header of a file of some name, and check its schema.

    The schema is checked before the digest, since a later schema may have another one.
    """
    try:
        header = parsed_json(header)
        schema, version = header["schema"], header["versions"]["odenet"]
        if schema == SCHEMA:
            header["estimator"], header["state"]
    except DAMAGES as error:
        raise ValueError(f"{name} is damaged: its header is unreadable.") from error
    if schema != SCHEMA:
        raise ValueError(
            f"{name} was written by odenet {version} in schema {schema!r}; odenet "
            f"{__version__} reads schema {SCHEMA}: install odenet-learn {version} or "
            "later."
        )
    return header


def _rebuilt(cls, state, arrays):
    """Return an estimator with parameters, and its state, after a trial prediction."""
    state = from_data(state, arrays)
    weights = {n: Z for n, Z in arrays.items() if n.startswith(WEIGHT)}
    state[FROZEN]["weights"] = {n.removeprefix(WEIGHT): Z for n, Z in weights.items()}
    check_state(cls, state)
    state = parts_of_state(state, cls.__name__)
    _try_out(state)
    model = cls()
    names = model.get_params(deep=False).keys() & state.keys()
    model.set_params(**{name: state[name] for name in names})
    model._validate_params()
    return model, state


def _try_out(state):
    """Raise an error if a row cannot be predicted, with some of the layers."""
    frozen, n = state[FROZEN], state["n_features_in_"]
    weights = {
        name: Z[:LAYERS_TO_TRY] if name[0] in "VW" else Z
        for name, Z in frozen["weights"].items()
    }
    inputs, targets = frozen["parts"].inputs, frozen["parts"].targets
    network = network_from_weights(weights, frozen["settings"]).eval()
    row = torch.tensor(inputs(np.zeros((1, n)))).to(network.V)
    with torch.no_grad():
        output = network(row).double().numpy()
    if network.has_models_axis:
        output = targets.combine(output)
    if output.shape != (1, targets.n_outputs) or not np.isfinite(output).all():
        raise ValueError(f"its output has shape {output.shape}, or is not finite")
    targets.decode(output)
