"""What does a prediction cost beside its matrix products, and beside float64?

A regression of 8 features by the default width (q = 18, m = 64), the same with two
columns of categories, and 5 members; depths 16 and 64; 100 to 100,000 rows. The layers
are evaluated in float32. Beside them stand the same network in float64
(``dtype="float64"``) and the 2 L matrix products alone, of float32, written into memory
that is kept, in blocks of rows that stay in the cache.

All run in turn on one thread. CPU seconds are medians, "f64/f32" and "f32/mm" are
medians of the ratios of a turn, and "peak" is the share of the speed of a large product
that the arithmetic of the two products reaches within a prediction.

Expected: of 10,000 rows at 64 layers, four times as fast as in float64, in twice the
time of the products.

Run:  python benchmarks/prediction.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial
from statistics import median
from time import process_time

import numpy as np
import pandas as pd
import torch
from _report import describe, machine, on_threads, parse_options, progress, save

from odenet import ResODERegressor

ROWS_AT_ONCE = 2048  # rows of a block, whose states (0.5 MB) stay in the cache
FIT_ROWS = 60
WIDTH = 64


class Products:
    """The matrix products of a prediction, in blocks of rows, and nothing else."""

    def __init__(self, n, shape, n_members):
        depth, q, m = shape
        generator = torch.Generator().manual_seed(0)
        draw = partial(torch.randn, generator=generator)
        self.blocks = n_members * draw(n, q).split(ROWS_AT_ONCE)
        self.layers = [(draw(q, m), draw(m, q)) for _ in range(depth)]
        self.inner, self.outer = draw(ROWS_AT_ONCE, m), draw(ROWS_AT_ONCE, q)

    def __call__(self):
        for block in self.blocks:
            inner, outer = self.inner[: len(block)], self.outer[: len(block)]
            for W_k, V_k in self.layers:
                torch.mm(block, W_k, out=inner)
                torch.mm(inner, V_k, out=outer)


def table(kind, n):
    """Draw a table of so many rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 8))
    if kind != "categories":
        return X
    texts = {"c": list("uvwxyz"), "d": list("pq")}
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(8)]).assign(
        **{name: np.resize(values, n) for name, values in texts.items()}
    )


def fitted(kind, depth, dtype):
    """Fit for a moment: the weights do not matter for the time."""
    X, y = table(kind, FIT_ROWS), table("numbers", FIT_ROWS)[:, 0]
    n_members = 5 if kind == "members" else 1
    return ResODERegressor(
        depth,
        width=WIDTH,
        flow_time=0.1,
        n_members=n_members,
        dtype=dtype,
        random_state=0,
    ).fit(X, y)


def cpu_seconds(call, n_calls):
    """Measure the CPU seconds of a call."""
    start = process_time()
    for _ in range(n_calls):
        call()
    return (process_time() - start) / n_calls


def flops_per_second(size, n_rounds):
    """Measure the speed of the fastest large product, by CPU seconds, of float32."""
    a, b, out = (torch.ones(size, size) for _ in range(3))
    call = partial(torch.mm, a, b, out=out)
    return 2 * size**3 / min(cpu_seconds(call, 5) for _ in range(n_rounds))


def cost_of_prediction(kind, depth, n, models, n_turns, peak):
    """Measure a prediction, the one in float64, and the products."""
    X, network = table(kind, n), models[0].module_
    shape = depth, network.state_dim, network.width
    products = Products(n, shape, network.n_models)
    calls = [*(partial(model.predict, X) for model in models), products]
    n_calls = max(1, 2000 // n)
    for call in calls:
        call()
    turns = [[cpu_seconds(call, n_calls) for call in calls] for _ in range(n_turns)]
    single, double, alone = map(median, zip(*turns, strict=True))
    flops = 2 * n * (network.V.numel() + network.W.numel())
    return {
        **{"kind": kind, "depth": depth, "rows": n},
        **{"float32": single, "float64": double, "products": alone},
        "rows_per_second": n / single,
        "faster": median(turn[1] / turn[0] for turn in turns),
        "beside_products": median(turn[0] / turn[2] for turn in turns),
        "share_of_peak": flops / single / peak,
    }


def draw(figure, results):
    axis = figure.subplots()
    rows = [row for row in results["predictions"] if row["kind"] == "numbers"]
    for depth in sorted({row["depth"] for row in rows}):
        of_depth = [row for row in rows if row["depth"] == depth]
        for name in ("float32", "float64", "products"):
            values = [row[name] for row in of_depth]
            label = f"{name}, L = {depth}"
            axis.loglog([row["rows"] for row in of_depth], values, "o-", label=label)
    axis.set(xlabel="rows", ylabel="CPU seconds")
    axis.legend()


def main():
    options = parse_options(__doc__)
    kinds, depths, sizes = ["numbers", "categories", "members"], [16, 64], [2, 4, 5]
    n_turns = 7
    if options.quick:
        depths, sizes, n_turns = [2], [1], 1
    results = {"machine": machine(options.quick), "predictions": []}
    print(describe(results["machine"]))
    print(
        f"{'':<10} {'depth':>5} {'rows':>7} {'f32 ms':>8} {'f64 ms':>8} {'mm ms':>8} "
        f"{'rows/s':>9} {'f64/f32':>7} {'f32/mm':>6} {'peak':>5}"
    )
    cases = [(kind, depth) for kind in kinds for depth in depths]
    with on_threads(1):
        peak = flops_per_second(*((256, 2) if options.quick else (1024, 30)))
        results["flops_per_second"] = peak
        for kind, depth in progress(cases, "predictions"):
            models = [fitted(kind, depth, dtype) for dtype in ("float32", "float64")]
            for n in (10**size for size in sizes):
                turns = max(1, n_turns // 2) if n > 10_000 else n_turns
                row = cost_of_prediction(kind, depth, n, models, turns, peak)
                results["predictions"].append(row)
                times = (1e3 * row[k] for k in ("float32", "float64", "products"))
                print(
                    f"{kind:<10} {depth:>5} {n:>7}",
                    *(f"{ms:>8.2f}" for ms in times),
                    f"{row['rows_per_second']:>9,.0f} {row['faster']:>7.2f} "
                    f"{row['beside_products']:>6.2f} {row['share_of_peak']:>5.0%}",
                )
    save(options, results, draw)


if __name__ == "__main__":
    main()
