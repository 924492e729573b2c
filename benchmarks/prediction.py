"""What does a prediction cost beside its matrix products?

The estimator predicts 10,000 rows (10 features, q = m = 64), in float64. Beside it
stand its 2 L matrix products alone, written into memory that is kept, in blocks of rows
that stay in the cache, on one thread or all, whichever is faster. Seconds are medians,
measured in turn.

Expected: a prediction takes less than twice the time of its products.

Run:  python benchmarks/prediction.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial

import numpy as np
import torch
from _report import (
    alternate,
    best,
    describe,
    machine,
    parse_options,
    save,
    seconds_per_call,
)

from odenet import ResODERegressor

ROWS_AT_ONCE = 1000  # rows of a block, whose states (0.5 MB) stay in the cache


class Products:
    """The matrix products of a prediction, in blocks of rows, and nothing else."""

    def __init__(self, n, q, m, depth):
        generator = torch.Generator().manual_seed(0)
        draw = partial(torch.randn, generator=generator, dtype=torch.float64)
        self.blocks = draw(n, q).split(ROWS_AT_ONCE)
        self.layers = [(draw(q, m), draw(m, q)) for _ in range(depth)]
        self.inner = draw(ROWS_AT_ONCE, m)
        self.outer = draw(ROWS_AT_ONCE, q)

    def __call__(self):
        for block in self.blocks:
            inner, outer = self.inner[: len(block)], self.outer[: len(block)]
            for W_k, V_k in self.layers:
                torch.mm(block, W_k, out=inner)
                torch.mm(inner, V_k, out=outer)


def cost_of_prediction(depth, n, budget):
    """Measure the seconds of a prediction and of its products alone."""
    q = m = 64
    X = np.random.default_rng(0).normal(size=(n, 10))
    model = ResODERegressor(
        depth, width=m, state_dim=q, flow_time=1.0, early_stopping=False, random_state=0
    ).fit(X[:50], X[:50, 0])
    products = Products(n, q, m, depth)
    turns = {"predict": partial(seconds_per_call, partial(model.predict, X))}
    for k in {1, torch.get_num_threads()}:
        turns[f"products {k}"] = partial(seconds_per_call, products, 0.0, k)
    seconds = alternate(turns, budget)
    predict, alone = seconds["predict"], best(seconds, "products")
    return {"depth": depth, "predict": predict, "products": alone}


def draw(figure, results):
    axis = figure.subplots()
    rows = results["predictions"]
    for name in ("predict", "products"):
        values = [row[name] for row in rows]
        axis.loglog([row["depth"] for row in rows], values, marker="o", label=name)
    axis.set(xlabel="depth L", ylabel="seconds")
    axis.legend()


def main():
    options = parse_options(__doc__)
    depths, n_rows, budget = [16, 64], 10_000, 10.0
    if options.quick:
        depths, n_rows, budget = [2], 100, 0.0
    results = {"machine": machine(options.quick), "predictions": []}
    print(describe(results["machine"]))
    print(f"{'depth':>5} {'predict ms':>10} {'products ms':>11} {'ratio':>6}")
    for depth in depths:
        row = cost_of_prediction(depth, n_rows, budget)
        predict, alone = 1e3 * row["predict"], 1e3 * row["products"]
        print(f"{depth:>5} {predict:>10.2f} {alone:>11.2f} {predict / alone:>6.2f}")
        results["predictions"].append(row)
    save(options, results, draw)


if __name__ == "__main__":
    main()
