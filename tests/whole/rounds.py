"""How often a fault is injected.

A few times in every run, more often under the marker ``slow``, and as often as the
variable ODENET_ROUNDS says in a run of one's own:

    ODENET_ROUNDS=100 python -m pytest -m slow tests/whole/test_faults.py
"""

import os

import pytest


def rounds(n, n_slow):
    """Return a decorator that runs a test with a number of rounds, as ``n``."""
    n_slow = int(os.environ.get("ODENET_ROUNDS", n_slow))
    many = pytest.param(n_slow, marks=pytest.mark.slow, id="slow")
    return pytest.mark.parametrize("n", [n, many])
