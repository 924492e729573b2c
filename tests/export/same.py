"""What it means that a value came back as it was."""

import numpy as np


def assert_same(a, b):
    """Equal values of the same types."""
    if isinstance(a, (float, np.generic)):
        assert a == b or (a != a and b != b)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert_same(list(a.values()), list(b.values()))
    elif type(a).__module__.startswith("odenet"):
        assert type(a) is type(b)
        assert_same(vars(a), vars(b))
    else:
        assert a == b
