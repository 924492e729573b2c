"""The memory of a fit to a table that is ten times as large as what it may use."""

import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest

N_ROWS, N_COLUMNS, LIMIT = 160_000, 100, 6_400_000
SCRIPT = """
import sys, warnings
from pathlib import Path
import numpy as np
from odenet import ResODERegressor
from odenet.solvers import AdamW

def resident(row):
    status = Path("/proc/self/status").read_text().splitlines()
    return 1000 * int(next(s for s in status if s.startswith(row)).split()[1])

warnings.simplefilter("ignore")
X, y = (np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode="r") for name in "Xy")
model = ResODERegressor(2, width=8, solver=AdamW(max_epochs=1), random_state=0)
model.fit(X[:1000], y[:1000])
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
model.set_params(memory_limit=int(sys.argv[2])).fit(X, y)
print(resident("VmHWM") - before, model.score(X[:2000], y[:2000]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory"
)
def test_memory_is_bounded_whatever_the_size_of_the_table(tmp_path, rng):
    for name, shape in (("X", (N_ROWS, N_COLUMNS)), ("y", (N_ROWS,))):
        path = tmp_path / f"{name}.npy"
        np.lib.format.open_memmap(path, "w+", np.float32, shape)[:] = 0
    X, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r+") for name in "Xy")
    assert X.nbytes == 10 * LIMIT
    for i in range(0, N_ROWS, 10_000):
        X[i : i + 10_000] = rng.normal(size=(10_000, N_COLUMNS))
        y[i : i + 10_000] = X[i : i + 10_000, 0]
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(LIMIT)]
    found = run(command, capture_output=True, text=True, check=True).stdout.split()
    added, score = map(float, found)
    assert added < LIMIT
    assert score > 0.9
