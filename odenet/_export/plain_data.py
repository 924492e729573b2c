"""Values as plain data (JSON and arrays) and back: nothing in it is ever executed.

JSON has no tuples, no keys but strings, no NaN and no arrays. A value of these kinds is
written as an object with a single key that starts with "$". Arrays of numbers go into a
dict beside the JSON, under names that the JSON refers to.
"""

import dataclasses
import math
from dataclasses import is_dataclass

import numpy as np
import torch

from odenet._diagnostics.conformal import Calibration
from odenet._losses.registry import LOSSES
from odenet._tables.columns import Columns
from odenet._tables.embeddings.periodic import Periodic
from odenet._tables.embeddings.piecewise_linear import PiecewiseLinear
from odenet._tables.encoder import Encoder
from odenet._tables.normal_scores import NormalScores
from odenet._tables.standardizer import Standardizer
from odenet.schemes import SCHEMES
from odenet.solvers import SOLVERS

# The fitted parts of estimators, which no registry lists.
PARTS = (
    Calibration,
    Columns,
    Encoder,
    NormalScores,
    Periodic,
    PiecewiseLinear,
    Standardizer,
)
# The dtypes that safetensors can hold; it has no complex numbers, dates or texts.
NUMBERS = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
)
# The most characters that an array of texts may have beyond three times its texts.
MOST_PADDING = 2_000_000


class NotData(TypeError):
    """Says that a value cannot be written as plain data."""


def classes_of_names():
    """Return the classes that a file may hold objects of, by their names in the file.

    The registries are read at every call. So a solver, a scheme or a loss that a user
    has registered can be saved, and loaded where it is registered as well. Of two
    classes with the same name the first counts, so that none can replace one of the
    package. A scheme that is a mere function is left out: it has no parameters to be
    written.
    """
    schemes = (type(scheme) for scheme in SCHEMES.values())
    known = {}
    for cls in (*PARTS, *schemes, *SOLVERS.values(), *LOSSES.values()):
        if is_dataclass(cls) or hasattr(cls, "get_params"):
            known.setdefault(cls.__name__, cls)
    return known


def to_data(value, arrays):
    """Return a value as JSON, and add its arrays of numbers to a dict.

    Parameters
    ----------
    value : object
    arrays : dict of str to ndarray
        New arrays are added under names that the JSON refers to.

    Returns
    -------
    data : None, bool, int, float, str, list or dict
        Data that the module ``json`` can write.

    Raises
    ------
    NotData
        If the value, or something in it, is not plain data.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, list):
        return [to_data(item, arrays) for item in value]
    for cls, (tag, encode, _) in _TAGGED.items():
        if isinstance(value, cls):
            return {tag: encode(value, arrays)}
    if isinstance(value, dict):
        return _dict_to_data(value, arrays)
    cls = type(value)
    if classes_of_names().get(cls.__name__) is cls:  # A subclass is another class.
        fields = {name: getattr(value, name) for name in _fields_of(cls)}
        return {"$object": [cls.__name__, to_data(fields, arrays)]}
    raise NotData(f"{value!r}, of {type(value)}, is not plain data")


def from_data(data, arrays):
    """Return the value that :func:`to_data` has written.

    Parameters
    ----------
    data : None, bool, int, float, str, list or dict
    arrays : dict of str to ndarray

    Returns
    -------
    value : object

    Raises
    ------
    ValueError, TypeError, LookupError
        If :func:`to_data` cannot have written the data.
    """
    if isinstance(data, list):
        if not any(isinstance(item, (list, dict)) for item in data):
            return data  # not copied: a long list would be in memory twice
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
    """Return a dict as a JSON object if its keys allow it, else as a list of pairs."""
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: to_data(item, arrays) for key, item in value.items()}
    return {"$dict": [to_data(list(pair), arrays) for pair in value.items()]}


def _fields_of(cls):
    """Return the names of the arguments that an object of a class is made from."""
    if is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return sorted(cls().get_params(deep=False))


def _object_from_data(data, arrays):
    """Make an object of a known class from its fields, by the class's own __init__.

    Fields that the class does not have are refused here, because a class whose __init__
    takes any keyword would not refuse them.
    """
    name, fields = data
    known = classes_of_names()
    if name not in known:
        raise ValueError(f"unknown class: {name!r}")
    fields = from_data(fields, arrays)
    foreign = sorted(set(fields) - set(_fields_of(known[name])))
    if foreign:
        raise ValueError(f"unknown fields of {name}: {foreign}")
    return known[name](**fields)


def _array_to_data(array, arrays):
    """Return the name of an array of numbers, or else dtype, shape and values.

    Numbers are written as little-endian in C order, as safetensors has them.
    """
    if array.dtype.name in NUMBERS.split():
        name = f"array.{len(arrays)}"
        little_endian = array.dtype.newbyteorder("<")
        arrays[name] = np.array(array, dtype=little_endian, order="C")
        return name
    if array.dtype.kind not in "OU":
        raise NotData(f"an array of {array.dtype} is not plain data")
    values = to_data(array.ravel().tolist(), arrays)
    return [array.dtype.kind, list(array.shape), values]


def _array_from_data(data, arrays):
    """Return the array with a name, or make one from dtype, shape and values.

    NumPy chooses the length of texts by the values. If the dtype in the file chose it,
    a damaged file could ask for any amount of memory.
    """
    if isinstance(data, str):
        return arrays[data]
    dtype, shape, values = data
    array = np.empty(len(values), dtype=object)
    array[:] = from_data(values, arrays)
    if dtype != "O":
        # All texts of an array have the room of the longest.
        lengths = [len(str(text)) for text in array]
        if len(lengths) * max(lengths, default=0) > MOST_PADDING + 3 * sum(lengths):
            raise ValueError("an array of texts is far larger than its texts")
        array = array.astype(str)
        if array.dtype.kind != np.dtype(dtype).kind:
            raise ValueError(f"unknown kind of array: {dtype!r}")
    return array.reshape(shape)


def _random_state_to_data(state, arrays):
    """Return the algorithm, key, position and kept normal number of a random state."""
    return to_data(list(state.get_state()), arrays)


def _random_state_from_data(data, arrays):
    """Return a random state with the state that was written."""
    algorithm, key, position, *normal = from_data(data, arrays)
    state = np.random.RandomState(0)
    # NumPy checks neither length nor position, and would read memory beyond the key.
    n_words = len(state.get_state()[1])
    if len(key) != n_words or not 0 <= position <= n_words:
        raise ValueError(f"unknown position of a random state: {position!r}")
    state.set_state((algorithm, key, position, *normal))
    return state


# What JSON lacks: class, tag in the file, function to data, function from data.
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
# The functions from data, by the tags in the file.
_DECODERS = {
    "$float": lambda data, arrays: float(data),
    "$dict": lambda data, arrays: dict(from_data(data, arrays)),
    "$object": _object_from_data,
    **{tag: decode for tag, _, decode in _TAGGED.values()},
}
