"""A header and arrays in a file of the safetensors format, sealed by a hash.

The header is a text, under a key that says what the file is. The tensor "sha256" is the
hash of the header and of all other tensors.
"""

import hashlib
import json

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from odenet._utils.files import readable, replacing

DIGEST = "sha256"  # the name of the tensor with the hash
# What reading a damaged or foreign file may raise, wherever it is noticed.
DAMAGES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
# What a file can hold many of per byte, so that Python's objects would fill the memory.
MOST_BRACKETS, BYTES_PER_BRACKET = 100_000, 16


class NotOurs(ValueError):
    """Says that a file was written by something else."""


def write_archive(path, key, header, arrays, check=None):
    """Write a header and arrays to a file, as a whole or not at all.

    Parameters
    ----------
    path : str, path-like or binary file object
    key : str
        What the file is.
    header : str
    arrays : dict of str to ndarray
    check : callable, default=None
        Called with the path of the new file before it takes the place of the old one.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    sealed = arrays | {DIGEST: digest_of(header, arrays)}
    try:
        content = save(sealed, metadata={key: header})
    except SafetensorError as error:  # such as of a header that is too long
        raise OSError(f"{path} cannot be written: {error}.") from error
    with replacing(path) as part:
        # safetensors would write to a file of its own first, which a kill would leave.
        try:
            part.write_bytes(content)
        except OSError as error:  # of a full disk, for instance
            told = f"{path} cannot be written: {error.strerror}"
            raise OSError(error.errno, told) from error
        if check is not None:
            check(part)


def read_archive(path, key, parse):
    """Read the header and the arrays of a file, and check them.

    Parameters
    ----------
    path : str, path-like or binary file object
    key : str
        What the file is to be.
    parse : callable
        ``parse(header, name)`` reads the header. It is called before the hash is
        compared, since a later version may have another one. ``name`` is that of the
        file in messages.

    Returns
    -------
    header : object
        What ``parse`` has returned.
    arrays : dict of str to ndarray
    name : str

    Raises
    ------
    OSError
        If the file cannot be read.
    NotOurs
        If the file is no safetensors file with such a header.
    ValueError
        If the file is damaged.
    """
    with readable(path) as (file, name):
        try:
            with safe_open(file, framework="np") as opened:
                text = (opened.metadata() or {}).get(key)
                if text is None:  # other types of numbers may be in it
                    raise NotOurs(
                        f"{name} is a safetensors file, but odenet did not write it."
                    )
                header = parse(text, name)
                names = opened.keys()
                arrays = {n: opened.get_tensor(n) for n in names}
        except SafetensorError as error:
            raise NotOurs(
                f"{name} is not a safetensors file, or it is incomplete: {error}."
            ) from error
        except (AttributeError, TypeError) as error:
            raise ValueError(f"{name} is damaged: {error}.") from error
    digest = arrays.pop(DIGEST, np.zeros(0))
    if not np.array_equal(digest, digest_of(text, arrays)):
        raise ValueError(
            f"{name} is damaged, or was changed after it was written: write it again, "
            "or take another copy of it."
        )
    return header, arrays, name


def parsed_json(header):
    """Parse a header, unless it has more lists than any model.

    Raises
    ------
    ValueError
    """
    n_brackets = header.count("[") + header.count("{")
    if n_brackets > MOST_BRACKETS + len(header) / BYTES_PER_BRACKET:
        raise ValueError("more lists than any model has")
    return json.loads(header)


def digest_of(header, arrays):
    """Compute the SHA-256 of a header and of arrays with names, types and shapes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)
