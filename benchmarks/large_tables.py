"""Is the memory of a fit bounded, whatever the size of the table?

A table is written to a file, and fitted from there with a `memory_limit` of a tenth of
its bytes: as a memory map, with mini-batches and along the flow, and as a dataset of
Parquet, if pyarrow is installed. For each, the most that the fit adds to the resident
memory of a fresh process, in which a small fit has loaded what is loaded late.

Expected: less than the limit for mini-batches, whatever the rows; the flow has the
states of some hundred rows beside it, and Parquet the row groups that it reads. Some
megabytes are code and what allocators keep: of a small limit they are a large part.

Run:  python benchmarks/large_tables.py [--rows 400000] [--quick] [--json FILE]
"""

import warnings
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from _report import describe, growth_mb, in_fresh_process, machine, parse_options, save

from odenet import ResODERegressor
from odenet.solvers import AdamW, Flow

N_COLUMNS, TIMES_THE_LIMIT = 100, 10
ROWS_OF_A_GROUP = 2000  # of Parquet
SOLVERS = {"adamw": AdamW(max_epochs=1), "flow": Flow(max_evals=3)}
FITS = (("memory map", "adamw"), ("memory map", "flow"), ("parquet", "adamw"))


def write(folder, n_rows):
    """Write a table of float32, and its targets, as arrays and as Parquet."""
    settings = {"mode": "w+", "dtype": np.float32}
    X = np.lib.format.open_memmap(
        folder / "X.npy", shape=(n_rows, N_COLUMNS), **settings
    )
    y = np.lib.format.open_memmap(folder / "y.npy", shape=(n_rows,), **settings)
    rng = np.random.default_rng(0)
    for i in range(0, n_rows, ROWS_OF_A_GROUP):
        here = slice(i, min(n_rows, i + ROWS_OF_A_GROUP))
        X[here] = rng.normal(size=X[here].shape)
        y[here] = np.sin(X[here, 0]) + X[here, 1]
    if find_spec("pyarrow"):
        import pyarrow
        from pyarrow.parquet import write_table

        columns = {f"x{j}": X[:, j] for j in range(N_COLUMNS)}
        table = pyarrow.table({**columns, "y": y})
        write_table(table, folder / "table.parquet", row_group_size=ROWS_OF_A_GROUP)


def opened(folder, kind):
    """Return X and y as they are given to ``fit``."""
    if kind == "parquet":
        from pyarrow import dataset

        return dataset.dataset(folder / "table.parquet"), "y"
    return [np.load(folder / name, mmap_mode="r") for name in ("X.npy", "y.npy")]


def measure(folder, kind, solver, limit):
    """Return the seconds, the MB and the R2 of one fit."""
    warnings.simplefilter("ignore")  # that a fit ended early
    torch.set_num_threads(1)
    folder = Path(folder)
    model = ResODERegressor(4, solver=SOLVERS[solver], random_state=0)
    few = np.random.default_rng(0).normal(size=(1000, N_COLUMNS))
    model.fit(few, few[:, 0])
    task = opened(folder, kind)
    model.set_params(memory_limit=limit)
    start = perf_counter()
    _, added = growth_mb(lambda: model.fit(*task))
    seconds = perf_counter() - start
    X, y = (part[:5000] for part in opened(folder, "memory map"))
    row = {"kind": kind, "solver": solver, "added_mb": added, "seconds": seconds}
    return {**row, "r2": model.score(X, y)}


def main():
    options = parse_options(__doc__, {"rows": (400_000, "rows of the table")})
    n_rows = 20_000 if options.quick else options.rows
    print(describe(machine(options.quick)))
    n_bytes = n_rows * N_COLUMNS * 4
    limit = n_bytes // (1 if options.quick else TIMES_THE_LIMIT)
    print(f"{n_rows} rows, {n_bytes / 1e6:.0f} MB, memory_limit {limit / 1e6:.1f} MB")
    print(f"{'':<11} {'':<6} {'MB added':>8} {'seconds':>8} {'R2':>6}")
    rows = []
    with TemporaryDirectory() as folder:
        write(Path(folder), n_rows)
        for kind, solver in FITS:
            if kind == "parquet" and not find_spec("pyarrow"):
                print("pyarrow is not installed: Parquet is left out")
                continue
            row = in_fresh_process(measure, folder, kind, solver, limit)
            print(
                f"{kind:<11} {solver:<6} {row['added_mb']:>8.1f} "
                f"{row['seconds']:>8.1f} {row['r2']:>6.3f}"
            )
            rows.append(row)
    save(options, {"limit_mb": limit / 1e6, "rows": rows})


if __name__ == "__main__":
    main()
