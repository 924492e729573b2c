"""Cases to draw: tables, targets, weights and parameters; and how many of them."""

import importlib.util
import tempfile

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odenet.solvers import SGD, AdamW, Flow, GradientDescent

# How columns are drawn; each is a function of a generator and the number of rows.
COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "few": lambda rng, n: rng.integers(-1, 2, size=n).astype(float),
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "heavy tails": lambda rng, n: rng.standard_cauchy(size=n) ** 3,
    "huge": lambda rng, n: 1e200 * rng.normal(size=n),
    "tiny": lambda rng, n: 1e-200 * rng.normal(size=n),
    "far": lambda rng, n: 1e6 + rng.normal(size=n),
}
TAME = ("normal", "few", "constant")


def holds(n_cases, n_slow_cases, **drawn):
    """Make a test of a property, of so many cases in every run and if it may be slow.

    The cases of every run are the same, so that a failure can be looked into.

    Parameters
    ----------
    n_cases, n_slow_cases : int
    **drawn : dict of str to strategy
        What the property is given.
    """

    def decorate(function):
        @pytest.mark.filterwarnings("ignore")  # of trainings that are short
        @pytest.mark.parametrize(
            "n", [n_cases, pytest.param(n_slow_cases, marks=pytest.mark.slow)]
        )
        def test(n):
            chosen = settings(
                max_examples=n,
                derandomize=True,
                database=None,
                deadline=None,
                # A fit takes longer than what hypothesis expects of a case.
                suppress_health_check=[HealthCheck.too_slow],
            )
            chosen(given(**drawn)(function))()

        test.__name__, test.__doc__ = function.__name__, function.__doc__
        return test

    return decorate


@st.composite
def tables(draw, kinds=tuple(COLUMNS), least=2, most=40):
    """Draw a matrix; a third of them have rows that are there several times."""
    n, d = draw(st.integers(least, most)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    drawn = [draw(st.sampled_from(kinds)) for _ in range(d)]
    X = np.column_stack([COLUMNS[kind](rng, n) for kind in drawn])
    if draw(st.integers(0, 2)) == 0:
        X = X[rng.integers(max(1, n // 2), size=n)]
    return X


@st.composite
def problems(draw, kinds=TAME, least=4, most=40, classes=False):
    """Draw a table and targets: numbers, or labels of two to four classes."""
    X = draw(tables(kinds, least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    signal = np.tanh(X[:, 0]) + 0.5 * rng.normal(size=len(X))
    if not classes:
        return X, signal * draw(st.sampled_from([1.0, 100.0, 1e-3])) + draw(
            st.sampled_from([0.0, -3.0])
        )
    n_classes = draw(st.integers(2, min(4, len(X))))
    ranks = signal.argsort().argsort()
    return X, (ranks * n_classes) // len(X)


@st.composite
def problems_of_labels(draw, kinds=TAME, least=4, most=40):
    """Draw a table and two to four labels, of which all samples or none may have some.

    The sets of labels differ in how many rows have them.
    """
    X = draw(tables(kinds, least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_labels = draw(st.integers(2, 4))
    signal = np.tanh(X[:, :1]) + 0.5 * rng.normal(size=(len(X), n_labels))
    return X, (signal > rng.uniform(-1.5, 1.5, size=n_labels)).astype(int)


def layouts(X):
    """Return the same table in every form that is read, Arrow's if it is installed."""
    read_only = X.copy()
    read_only.flags.writeable = False
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=X.dtype, shape=X.shape)
    mapped[:] = X
    nullable = pd.DataFrame(X).add_prefix("x").astype("Float64")
    arrow = []
    if importlib.util.find_spec("pyarrow"):
        arrow = [nullable.astype("float64[pyarrow]")]
    return [
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        X[::-1].copy()[::-1],
        read_only,
        mapped,
        X.astype(np.float16),
        X.astype(np.float32),
        X.tolist(),
        nullable,
        pl.from_numpy(X),
        *arrow,
    ]


def generators():
    """Draw a generator of numpy."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def trainings(draw, solvers=("flow", "folds", "gd", "sgd", "adamw")):
    """Draw parameters that say how a small network in float64 is trained."""
    solver = draw(st.sampled_from(solvers))
    batch_size = draw(st.sampled_from([3, 8, 1000]))
    epochs = draw(st.integers(1, 3))
    chosen = {
        "flow": {"solver": "flow", "flow_time": draw(st.sampled_from([0.3, 1.0]))},
        "folds": {"solver": Flow(max_evals=100), "flow_time": None},
        "gd": {"solver": GradientDescent(0.1, max_evals=50), "flow_time": 1.0},
        "sgd": {"solver": SGD(0.01, batch_size=batch_size, max_epochs=epochs)},
        "adamw": {"solver": AdamW(batch_size=batch_size, max_epochs=epochs)},
    }[solver]
    return {
        "depth": draw(st.integers(1, 4)),
        "width": draw(st.sampled_from([1, 4, 8])),
        "early_stopping": draw(st.sampled_from(["auto", True, False])),
        "random_state": draw(st.integers(0, 100)),
        "dtype": "float64",
        **chosen,
    }
