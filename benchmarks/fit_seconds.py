"""What does a whole fit cost per gradient, beside a plain torch loop of as many steps?

A fit of 30 steps of gradient descent by an estimator, with all that it does before and
after: validation, standardisation, the start, the loop, the gap to the neural ODE. The
plain loop is the formula in torch (``_plain.py``), autograd and `torch.optim.SGD`, on
tensors that are ready. Both take turns on one thread; ms are medians per gradient. The
fit computes a gradient more than it takes steps: that of the last point.

The first fit of a process has a column of its own: torch loads modules at the first
optimizer.

Expected: half of the plain loop or less where layers are thin, and no more than the
plain loop where the matrix products dominate.

Run:  python benchmarks/fit_seconds.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial
from statistics import median
from time import perf_counter

import torch
from _plain import Gradient, PlainNetwork, random_network, random_samples, with_constant
from _report import cell, describe, machine, parse_options, save

from odenet import ResODERegressor
from odenet.solvers import GradientDescent

N_STEPS = 300  # of descent in a fit
RATE = 0.01  # the learning rate
SIZES = [(100, 16, 32, 64), (100, 16, 32, 512), (256, 128, 256, 32)]  # n, q, m, L
QUICK_SIZES = [(20, 16, 8, 4)]  # for tests


def fit(X, y, q, m, depth):
    """Measure the seconds per gradient of a whole fit."""
    model = ResODERegressor(
        depth,
        width=m,
        state_dim=q,
        solver=GradientDescent(RATE),
        flow_time=N_STEPS * RATE,
        depth_schedule=None,
        early_stopping=False,
        random_state=0,
    )
    start = perf_counter()
    model.fit(X, y)
    return (perf_counter() - start) / model.n_grad_evals_


def plain_loop(X, y, q, m, depth):
    """Measure the seconds per gradient of the plain loop."""
    module = PlainNetwork(random_network(q, m, depth))
    gradient = Gradient(module, with_constant(X), y)
    layers = [module.V, module.W]
    ends = [module.embedding, module.head]
    start = perf_counter()
    groups = [{"params": ends}, {"params": layers, "lr": RATE * depth}]
    optimizer = torch.optim.SGD(groups, lr=RATE)
    for _ in range(N_STEPS):
        gradient()
        optimizer.step()
    return (perf_counter() - start) / N_STEPS


def measure(n, q, m, depth, n_rounds):
    """Measure both at one size: medians, the median ratio of a round, the first fit."""
    X, y = random_samples(n, q - 2)
    contestants = [
        partial(fit, X.numpy(), y[:, 0].numpy(), q, m, depth),
        partial(plain_loop, X, y, q, m, depth),
    ]
    first = [turn() for turn in contestants]
    rounds = [[turn() for turn in contestants] for _ in range(n_rounds)]
    ours, plain = map(median, zip(*rounds, strict=True))
    ratio = median(a / b for a, b in rounds)
    sizes = {"n": n, "q": q, "m": m, "depth": depth}
    return {**sizes, "first": first[0], "fit": ours, "plain": plain, "ratio": ratio}


def show(point):
    print(
        f"{point['n']:>6} {point['q']:>4} {point['m']:>4} {point['depth']:>5} | "
        + " ".join(cell(1000 * point[k], 9, 2) for k in ("first", "fit", "plain"))
        + f" | {point['ratio']:>5.2f}",
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    names = [f"{p['n']}, {p['q']}, {p['m']}, {p['depth']}" for p in results["points"]]
    axis.bar(names, [p["ratio"] for p in results["points"]])
    axis.axhline(1, color="grey", linewidth=1)
    axis.set(xlabel="n, q, m, L", ylabel="seconds per gradient, fit / plain loop")


def main():
    options = parse_options(__doc__)
    results = {"machine": machine(options.quick), "points": []}
    print(describe(results["machine"]))
    torch.set_num_threads(1)
    sizes, n_rounds = (QUICK_SIZES, 2) if options.quick else (SIZES, 15)
    print(f"{N_STEPS} steps, one thread, medians of {n_rounds} rounds")
    print(f"{'':>22} | {'ms per gradient':^29} |")
    print(
        f"{'n':>6} {'q':>4} {'m':>4} {'L':>5} | {'first fit':>9} {'fit':>9} "
        f"{'plain':>9} | ratio"
    )
    for size in sizes:
        results["points"].append(measure(*size, n_rounds))
        show(results["points"][-1])
    save(options, results, draw)


if __name__ == "__main__":
    main()
