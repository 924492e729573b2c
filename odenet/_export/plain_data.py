"""Values as plain data, JSON and arrays, and back: nothing in it is ever executed.

JSON has no tuples, no keys but strings, no NaN and no arrays. What it lacks is an
object with a single key that starts with "$". Arrays of numbers go into a dict beside
the JSON, by names.
"""

import math
from dataclasses import fields, is_dataclass

import numpy as np
import torch

from odenet._tables.columns import Columns
from odenet._tables.encoder import Encoder
from odenet._tables.normal_scores import NormalScores
from odenet._tables.standardizer import Standardizer
from odenet.schemes import GaussianProcess, Independent, Tied
from odenet.solvers import SOLVERS

CLASSES = {
    kind.__name__: kind
    for kind in (
        *(Columns, Encoder, NormalScores, Standardizer),
        *(GaussianProcess, Independent, Tied),
    )
}
NUMBERS = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
)


def _classes():
    """Return the classes of objects that files hold, by name: solvers as registered."""
    return CLASSES | {kind.__name__: kind for kind in SOLVERS.values()}


class NotData(TypeError):
    """A value that cannot be written as data."""


def to_data(value, arrays):
    """A value as JSON; its arrays are added to a dict."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, list):
        return [to_data(item, arrays) for item in value]
    for kind, (tag, encode, _) in _TAGGED.items():
        if isinstance(value, kind):
            return {tag: encode(value, arrays)}
    if isinstance(value, dict):
        return _dict_to_data(value, arrays)
    if _classes().get(type(value).__name__) is type(value):
        parts = {name: getattr(value, name) for name in _names(type(value))}
        return {"$object": [type(value).__name__, to_data(parts, arrays)]}
    raise NotData(f"{value!r}, of {type(value)}, is no plain data")


def from_data(data, arrays):
    """The value that was written by :func:`to_data`."""
    if isinstance(data, list):
        return [from_data(item, arrays) for item in data]
    if not isinstance(data, dict):
        return data
    tag = next(iter(data), "")
    if not tag.startswith("$"):
        return {name: from_data(item, arrays) for name, item in data.items()}
    if len(data) != 1 or tag not in _DECODERS:
        raise ValueError(f"unknown kind of data: {tag!r}")
    return _DECODERS[tag](data[tag], arrays)


def _dict_to_data(value, arrays):
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: to_data(item, arrays) for key, item in value.items()}
    return {"$dict": [to_data(list(pair), arrays) for pair in value.items()]}


def _names(kind):
    """Names of what an object of a class is made from."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return sorted(kind().get_params(deep=False))


def _object_from_data(data, arrays):
    name, parts = data
    classes = _classes()
    if name not in classes:
        raise ValueError(f"unknown class: {name!r}")
    parts = from_data(parts, arrays)
    if not set(parts) <= set(_names(classes[name])):
        raise ValueError(f"unknown fields of {name}: {sorted(parts)}")
    return classes[name](**parts)


def _array_to_data(array, arrays):
    """The name of an array of numbers; the values of any other."""
    if array.dtype.name in NUMBERS.split():
        name = f"array.{len(arrays)}"
        little_endian = array.dtype.newbyteorder("<")
        arrays[name] = np.array(array, dtype=little_endian, order="C")
        return name
    if array.dtype.kind not in "OU":
        raise NotData(f"an array of {array.dtype} is no plain data")
    values = to_data(array.ravel().tolist(), arrays)
    return [array.dtype.kind, list(array.shape), values]


def _array_from_data(data, arrays):
    if isinstance(data, str):
        return arrays[data]
    dtype, shape, values = data
    array = np.empty(len(values), dtype=object)
    array[:] = from_data(values, arrays)
    if dtype != "O":
        array = array.astype(str)
        if array.dtype.kind != np.dtype(dtype).kind:
            raise ValueError(f"unknown kind of array: {dtype!r}")
    return array.reshape(shape)


def _random_state_to_data(state, arrays):
    return to_data(list(state.get_state()), arrays)


def _random_state_from_data(data, arrays):
    kind, key, position, *normal = from_data(data, arrays)
    if not 0 <= position <= len(key):  # NumPy does not look
        raise ValueError(f"unknown position of a random state: {position!r}")
    state = np.random.RandomState(0)
    state.set_state((kind, key, position, *normal))
    return state


_TAGGED = {
    tuple: (
        "$tuple",
        lambda value, arrays: to_data(list(value), arrays),
        lambda data, arrays: tuple(from_data(data, arrays)),
    ),
    np.ndarray: ("$array", _array_to_data, _array_from_data),
    np.random.RandomState: (
        "$random_state",
        _random_state_to_data,
        _random_state_from_data,
    ),
    torch.device: (
        "$device",
        lambda value, arrays: str(value),
        lambda data, arrays: torch.device(data),
    ),
}
_DECODERS = {
    "$float": lambda data, arrays: float(data),
    "$dict": lambda data, arrays: dict(from_data(data, arrays)),
    "$object": _object_from_data,
    **{tag: decode for tag, _, decode in _TAGGED.values()},
}
