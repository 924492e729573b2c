"""Texts by which another process sees whether a parameter is the same as before."""

import re
from dataclasses import is_dataclass
from functools import partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    WrapperDescriptorType,
)
from uuid import uuid4

import joblib
import numpy as np
from scipy.sparse import issparse

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# So many hexadecimal digits of a hash are shown: two hashes that differ are taken for
# the same once in 2^48 times.
DIGITS = 12
# Objects that their reprs do not tell.
TOLD_BY_HASH = (np.random.RandomState, np.random.Generator)
# Callables that their names tell.
TOLD_BY_NAME = (type, BuiltinFunctionType, WrapperDescriptorType, np.ufunc)


def comparable_text(value):
    """Return a text of a parameter that is the same in every process.

    Functions are the same if their names, their code, their defaults and the values
    that they have closed over are. Global names that they use are not followed. Objects
    that have no text of their own are the same if their types, their attributes and the
    code of ``__call__`` are. A callable that cannot be looked into is different from
    all others.

    Parameters
    ----------
    value : object

    Returns
    -------
    text : str
    """
    return _text(value, ())


def _text(value, inside):
    """Return the text of a value that is inside of others, which are given by id."""
    if id(value) in inside:
        return "itself"
    inside = (*inside, id(value))
    if hasattr(value, "get_params") and not isinstance(value, type):
        if len(inside) == 1:  # a parameter, whose own have texts of their own
            return type(value).__qualname__
        params = value.get_params(deep=False)
        return f"{type(value).__qualname__}({_text(params, inside)})"
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__qualname__}({_text(vars(value), inside)})"
    if hasattr(value, "__array__") and not isinstance(value, (type, np.generic)):
        return f"array {joblib.hash(np.asarray(value))[:DIGITS]}"
    if issparse(value) or isinstance(value, TOLD_BY_HASH):
        return f"{type(value).__qualname__} {joblib.hash(value)[:DIGITS]}"
    if isinstance(value, dict):
        items = [f"{_text(k, inside)}: {_text(v, inside)}" for k, v in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(_text(item, inside) for item in value))}}}"
    if type(value) in (list, tuple):
        return repr(value) if _is_plain(value) else str(_texts(value, inside))
    if isinstance(value, CodeType):
        return str(_texts(_parts_of_code(value), inside))
    text = ADDRESS.sub("", repr(value))
    if isinstance(value, TOLD_BY_NAME):
        return text
    if callable(value) or (text != repr(value) and hasattr(value, "__dict__")):
        return f"{text} {joblib.hash(_texts(_parts_of(value), inside))[:DIGITS]}"
    return text


def _texts(values, inside):
    """Return the text of every value."""
    return [_text(value, inside) for value in values]


def _is_plain(values):
    """Tell whether values are numbers, texts or None, or lists and tuples of them."""
    return all(
        _is_plain(value)
        if type(value) in (list, tuple)
        else isinstance(value, (int, float, str, type(None), np.generic))
        for value in values
    )


def _parts_of(value):
    """Return what an object is made of; something unique if that is unknown."""
    if isinstance(value, FunctionType):
        cells = [_content_of(cell) for cell in value.__closure__ or ()]
        return value.__code__, value.__defaults__, value.__kwdefaults__, cells
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if hasattr(value, "__dict__"):
        bases = map(vars, type(value).__mro__)
        call = next((base["__call__"] for base in bases if "__call__" in base), None)
        return type(value).__qualname__, vars(value), call
    return (uuid4().hex,)


def _content_of(cell):
    """Return what a cell of a closure holds; one of a name without a value is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _parts_of_code(code):
    """Return what code does, without the places where it stands."""
    names = code.co_names, code.co_freevars
    return code.co_code, code.co_exceptiontable, code.co_consts, *names
