"""The memory of a fit: a table is not copied as often as anybody would notice."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from odenet import ResODEClassifier, ResODERegressor
from odenet._tables import rows
from odenet._tables.reading import TableInputs
from odenet._training import batches
from odenet.solvers import AdamW

# What a fit of so many rows of float32 adds to the resident memory, over the size of
# the table, in a process of its own. The small fit before loads what is loaded late.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from odenet import ResODEClassifier, ResODERegressor
from odenet.solvers import AdamW

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(s for s in lines if s.startswith(name)).split()[1])

X = np.random.default_rng(0).standard_normal((200_000, 40), dtype=np.float32)
y = X[:, 0] > 0 if sys.argv[1] == "ResODEClassifier" else X[:, 0] + X[:, 1]
solver = AdamW(max_epochs=1, batch_size=1024)
model = globals()[sys.argv[1]](1, solver=solver, random_state=0)
model.fit(X[:2000], y[:2000])
before = resident("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
model.fit(X, y)
print((resident("VmHWM:") - before) / X.nbytes)
"""
# The inputs, which are values and their normal scores, are twice the table. Beside them
# there is one copy of the table in another order, or what is computed of its columns,
# but not at the same time. Held-out samples of a classifier are no neighbours, and are
# copied. Each bound is about half a table above what was measured.
MOST_TABLES = {"ResODERegressor": 3.2, "ResODEClassifier": 3.8}
MOST_TABLES_OF_ARRAYS = 2.2


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs the /proc of Linux"
)
@pytest.mark.parametrize("name", MOST_TABLES)
def test_a_fit_does_not_copy_the_table_again_and_again(name):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MOST_TABLES[name]


@pytest.fixture(params=[ResODERegressor, ResODEClassifier])
def problem(request):
    """An estimator that is soon fitted, a table of 5 MB in float32, and targets."""
    X = np.random.default_rng(0).standard_normal((40_000, 32), dtype=np.float32)
    y = X[:, 0] if request.param is ResODERegressor else X[:, 0] > 0
    solver = AdamW(max_epochs=1, batch_size=8192)
    settings = {"width": 2, "state_dim": 4, "random_state": 0}
    settings["numeric_embedding"] = "scores"  # as a larger table has by itself
    return request.param(1, solver=solver, **settings), X, y


def test_the_arrays_of_a_fit_are_few(problem, monkeypatch):
    """Those of numpy, which are the rows as they are read; tensors are not counted."""
    monkeypatch.setattr(rows, "NUMBERS_AT_ONCE", 2**13)  # as few beside a large table
    monkeypatch.setattr(TableInputs, "rows_at_once", 256)
    model, X, y = problem
    model.fit(X[:1000], y[:1000])
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_TABLES_OF_ARRAYS * X.nbytes


def test_mini_batches_take_their_inputs_from_those_of_all_samples(problem, monkeypatch):
    model, X, y = problem
    seen = []

    class Loader(batches.SliceLoader):
        def __iter__(self):
            yield from super().__iter__()
            seen.append((self.is_training, self.samples))

    monkeypatch.setattr("odenet._training.net.SliceLoader", Loader)
    model.fit(X, y)
    (train,) = [samples for is_training, samples in seen if is_training]
    if isinstance(model, ResODERegressor):  # the held-out rows come first
        (judges,) = [samples for is_training, samples in seen if not is_training]
        storages = {s.X.untyped_storage().data_ptr() for s in (train, judges)}
        assert len(storages) == 1
    else:
        assert "X" not in vars(train)


@pytest.mark.parametrize("embedding", ["scores", "piecewise_linear", "periodic"])
def test_float32_and_float64_are_fitted_alike(problem, embedding):
    """Numbers of float32 are kept as they are, and computed with in float64."""
    model, X, y = problem
    model.set_params(numeric_embedding=embedding)
    some, X = slice(3000), X[:, :5].copy()
    found = [model.fit(Z[some], y[some]).predict(Z[:50]) for Z in (X, X.astype(float))]
    np.testing.assert_array_equal(*found)
    found = [
        model.fit(Z[some], y[some]).transform(X[:50]) for Z in (X, np.asfortranarray(X))
    ]
    np.testing.assert_array_equal(*found)
