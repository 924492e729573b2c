"""Files behind a right checksum that are changed by somebody who knows the format."""

import copy
import json

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from odenet._export.archive import DIGEST, digest_of

VALUES = [
    *(None, True, 0, -1, 1, 2, 3, 10**6, 10**10, 2**63, 10**400, 0.5, -1e308),
    *("", "x", "relu", "\ud800", "<script>", "array.4", "module_.V", "cuda:7"),
    *([], [[]], [1, 2], {}, {"a": 1}, [None], {"$tuple": []}, {"$dict": [[1, 2]]}),
    *({"$float": "nan"}, {"$float": "inf"}, {"$float": "1_0"}, {"$device": "meta"}),
    *({"$array": "array.4"}, {"$array": "module_.V"}, {"$array": ["U", [1], ["x"]]}),
    *({"$array": ["O", [0], []]}, {"$array": ["U", [2, 2], ["x"] * 4]}),
    *({"$object": ["Flow", {}]}, {"$object": ["NormalScores", {"knots": []}]}),
    {"$random_state": ["MT19937", [0] * 624, 625, 0, 0.0]},
]
NAMES = [
    "depth",
    "predict",
    "_plan",
    "__class__",
    "n_features_in_",
    "$tuple",
    "_frozen",
]


def parts_of(path):
    """Return the header and the arrays of a file."""
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["odenet"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del arrays[DIGEST]
    return header, arrays


def write(path, header, arrays):
    """Write a file, with the digest that belongs to it."""
    header = json.dumps(header)
    arrays = {**arrays, DIGEST: digest_of(header, arrays)}
    save_file(arrays, path, metadata={"odenet": header})


def mutated(header, arrays, rng):
    """Return a header and arrays with one or two changes."""
    header, arrays = copy.deepcopy(header), dict(arrays)
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.7:
            _change_header(header["state"], rng)
        else:
            _change_array(arrays, rng)
    return header, arrays


def _change_header(node, rng):
    """Change an entry of the header: at a random place, at any depth."""
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not len(keys):
            return
        key = keys[rng.integers(len(keys))]
        inner = node[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.3:
            break
        node = inner
    kind, value = rng.integers(5), copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[NAMES[rng.integers(len(NAMES))]] = value
    elif kind == 2 and isinstance(node, list):
        node[:] = node * int(rng.integers(2, 4))
    elif kind == 3:
        other = keys[rng.integers(len(keys))]
        node[key], node[other] = node[other], node[key]
    else:
        node[key] = value


def _change_array(arrays, rng):
    """Change dtype, shape or numbers of an array, or remove it."""
    names = sorted(arrays)
    name = names[rng.integers(len(names))]
    array = arrays[name]
    kind = rng.integers(6)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        dtypes = ["int8", "float16", "float64", "uint64", "bool"]
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(dtypes[rng.integers(len(dtypes))])
    elif kind == 2 and array.size:
        array = array.copy()
        array.flat[rng.integers(array.size)] = rng.choice([0, 1, 100])
        arrays[name] = array
    elif kind == 3:
        numbers = [np.nan, np.inf, -1, 1e300] if array.dtype.kind == "f" else [-1, 99]
        with np.errstate(all="ignore"):
            arrays[name] = np.full_like(array, numbers[rng.integers(len(numbers))])
    elif kind == 4:
        shapes = [(0, *array.shape), (-1, 1), (1, -1), (*array.shape, 1)]
        shape = shapes[rng.integers(len(shapes))]
        array = np.zeros(shape, array.dtype) if 0 in shape else array
        arrays[name] = array.reshape(shape)
    else:
        arrays[name] = arrays[names[rng.integers(len(names))]].copy()
