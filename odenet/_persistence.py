"""Fitted estimators in files: tensors and a JSON header, of which nothing is executed.

A file is one of safetensors. Its tensors are the weights of the network, such as
"module_.V", and other arrays; its metadata hold

- "odenet": the header, JSON with the versions, the class, and the state of the
  estimator as data (:mod:`odenet._data`);
- "sha256": of the header and of all tensors.
"""

import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import sklearn
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from sklearn.utils.validation import check_is_fitted

from odenet._data import NotData, from_data, to_data
from odenet._files import replacing
from odenet._version import __version__

SCHEMA = 1
WEIGHT = "module_."  # before the names of weights
LEFT_OUT = ("_skl", "_callback", "_metadata_request")  # what scikit-learn adds


class PersistenceMixin:
    """Saving a fitted estimator, and loading it."""

    def save(self, path):
        """Write the fitted estimator to a file of the safetensors format.

        The file holds parameters, weights, the history of the training and what else
        was fitted, as plain data; no training samples. A file that is there is
        replaced, once the new one is complete.

        Parameters
        ----------
        path : str or path-like
            The file, by custom with the suffix ".safetensors".

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter is no plain data, as callbacks are and functions.

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
        check_is_fitted(self)
        state, arrays = {}, {}
        for name, value in self.__getstate__().items():
            if name == "_frozen":
                arrays |= {WEIGHT + n: Z for n, Z in value.pop("weights").items()}
            if not name.startswith(LEFT_OUT):
                state[name] = self._as_data(name, value, arrays)
        header = json.dumps(_header(type(self), state), allow_nan=False)
        digest = _digest(header, arrays)
        with replacing(path) as part:
            save_file(arrays, part, metadata={"odenet": header, "sha256": digest})

    def _as_data(self, name, value, arrays):
        try:
            return to_data(value, arrays)
        except NotData as error:
            remedy = "pickle does"
            if name in self.get_params(deep=False):
                remedy = (
                    f"predictions do not need it, so `set_params({name}=...)` with "
                    f"plain data, as in {type(self).__name__}(), makes it possible"
                )
            raise ValueError(
                f"`{name}` cannot be saved: {error}. A file holds numbers, texts and "
                f"the objects of odenet only; {remedy}."
            ) from error

    @classmethod
    def load(cls, path):
        """Read a fitted estimator from a file that ``save`` has written.

        Nothing in the file is executed. A model that was trained on a device that is
        missing here comes to the CPU, with a warning.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        estimator : estimator
            Fitted, of the class that ``load`` is called on.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file is damaged or was changed, comes from something else or from a
            later version that this one does not understand, or holds an estimator of
            another class.
        """
        path = Path(path)
        header, arrays = _read(path)
        if header["estimator"] != cls.__name__:
            raise ValueError(
                f"{path} holds a {header['estimator']}, no {cls.__name__}: use "
                f"{header['estimator']}.load."
            )
        try:
            return _rebuilt(cls, header["state"], arrays)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
            raise ValueError(
                f"{path} holds a {cls.__name__} that odenet {__version__} cannot have "
                f"written: {e}."
            ) from e


def _header(kind, state):
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


def _read(path):
    """Header and arrays of a file, checked."""
    with path.open("rb"):  # raises the errors of the system
        pass
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file, or an incomplete one: {error}."
        ) from error
    if "odenet" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but odenet did not write it.")
    _check_schema(path, metadata["odenet"])
    if metadata.get("sha256") != _digest(metadata["odenet"], arrays):
        raise ValueError(f"{path} is damaged, or was changed after it was written.")
    return json.loads(metadata["odenet"]), arrays


def _check_schema(path, header):
    """A file of a later schema has a header and a digest of its own."""
    try:
        header = json.loads(header)
        schema, version = header["schema"], header["versions"]["odenet"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged: its header is unreadable.") from error
    if schema != SCHEMA:
        raise ValueError(
            f"{path} was written by odenet {version} in schema {schema!r}; odenet "
            f"{__version__} reads schema {SCHEMA}: install odenet {version} or later."
        )


def _digest(header, arrays):
    """SHA-256 of a header and of arrays with their names, types and shapes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _rebuilt(cls, state, arrays):
    """An estimator with a state, which has been tried."""
    state = from_data(state, arrays)
    weights = {n: Z for n, Z in arrays.items() if n.startswith(WEIGHT)}
    state["_frozen"]["weights"] = {
        n.removeprefix(WEIGHT): Z for n, Z in weights.items()
    }
    model = cls()
    names = set(model.get_params(deep=False))
    foreign = sorted(n for n in set(state) - names if hasattr(cls, n))
    if foreign:
        raise ValueError(f"{foreign} are no fitted attributes")
    model.set_params(**{name: state[name] for name in names & set(state)})
    model._validate_params()
    model.__setstate__(vars(model) | state)
    row = model._X_encoder(np.zeros((1, model.n_features_in_)))
    with torch.no_grad():
        model.module_(torch.tensor(row).to(model.module_.V))
    return model
