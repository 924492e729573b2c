"""How many seconds does one gradient take, beside a plain torch loop, skorch and JAX?

A gradient is a forward pass, the mean squared error of all samples and a backward pass
to all parameters, in float32. All compute the same formula from the same weights, which
is checked by the loss. The contestants:

odenet  a gradient as the estimators compute it, on the threads that they would use
module  `ResidualNetwork` and autograd, on the same threads
plain   the formula as a loop over the layers in torch (``_plain.py``)
skorch  an epoch of `NeuralNetRegressor` with that loop, one batch, without callbacks
jax     `lax.scan` over the layers, compiled ("-" where JAX is not installed)

The others run on one thread and on all of them, and the faster run counts. All take
turns, and ms are medians. GFLOP/s counts the six matrix products of a layer, 12 n q m
operations. The share is relative to the fastest float32 matrix product of this machine,
on as many threads.

The cores must be free: two threads on one free core take 10 to 1000 times as long. The
load is printed first.

Expected: on few samples and thin layers, where the overhead of a layer counts, odenet
is two to three times faster than the plain loop; where the products dominate, both are
about level. skorch adds its loader to the loop. JAX is ahead in shallow networks of
thin layers.

Run:  python benchmarks/gradient_seconds.py [--quick] [--json FILE] [--png FILE]
"""

import tempfile
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from _jax_worker import JaxGradient, numbers_of_cores
from _plain import (
    Gradient,
    OdenetGradient,
    PlainNetwork,
    SkorchEpoch,
    random_network,
    random_samples,
    with_constant,
)
from _report import (
    alternate,
    best,
    cell,
    describe,
    machine,
    parse_options,
    save,
    seconds_per_call,
)

from odenet._utils.devices import torch_threads

OURS = ("odenet", "module")  # contestants on the threads that estimators would use
OTHERS = ("module", "plain", "skorch", "jax")  # contestants beside odenet
LARGEST = 3e9  # n q m L of the largest points, which take seconds each


def make_contestants(n, q, m, depth):
    """Make the gradients of all contestants but JAX, and the arrays for JAX."""
    network = random_network(q, m, depth)
    X, y = random_samples(n, q - 2)
    X_1 = with_constant(X)
    calls = {
        "odenet": OdenetGradient(network, X, y),
        "module": Gradient(network, X, y),
        "plain": Gradient(PlainNetwork(network), X_1, y),
        "skorch": SkorchEpoch(PlainNetwork(network), X_1, y),
    }
    arrays = {name: p.detach().numpy() for name, p in network.named_parameters()}
    return calls, {**arrays, "X": X_1.numpy(), "y": y.numpy()}


def check_losses(calls, arrays, workers):
    """Raise an error if a contestant computes another loss."""
    losses = {name: call().item() for name, call in calls.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "problem.npz")
        np.savez(path, **arrays)
        losses |= {f"jax {n}": worker.load(path) for n, worker in workers.items()}
    for name, loss in losses.items():
        if not abs(loss - losses["odenet"]) <= 1e-4 * losses["odenet"]:
            raise RuntimeError(f"{name} computes another loss: {losses}.")


def n_threads_of_estimators(n, q, m):
    """Return the number of threads on which an estimator computes a gradient."""
    with torch_threads(n * q * m):
        return torch.get_num_threads()


def measure(point, workers, shortest, budget, n_rounds):
    """Measure the median seconds of all contestants at one point."""
    n, q, m, depth = point
    calls, arrays = make_contestants(*point)
    check_losses(calls, arrays, workers)
    turn = partial(seconds_per_call, warm_up=True)
    k = n_threads_of_estimators(n, q, m)
    turns = {name: partial(turn, calls[name], shortest, k) for name in OURS}
    for name, k in product(("plain", "skorch"), {1, torch.get_num_threads()}):
        turns[f"{name} {k}"] = partial(turn, calls[name], shortest, k)
    for k, worker in workers.items():
        turns[f"jax {k}"] = partial(worker.turn, shortest)
    seconds = alternate(turns, budget, n_rounds)
    result = {"n": n, "q": q, "m": m, "depth": depth, "turns": seconds}
    result |= {name: best(seconds, name) for name in ("odenet", *OTHERS)}
    result["gflops"] = 12 * n * q * m * depth / result["odenet"] / 1e9
    return result


def show(result, machine):
    alone = n_threads_of_estimators(result["n"], result["q"], result["m"]) == 1
    peak = machine["gflops_one_thread" if alone else "gflops_all_threads"]
    ms = [result[name] and 1e3 * result[name] for name in ("odenet", *OTHERS)]
    ratios = [t and t / ms[0] for t in ms[1:]]
    result["ratios"] = dict(zip(OTHERS, ratios, strict=True))
    result["share"] = result["gflops"] / peak
    print(
        f"{result['n']:>6} {result['q']:>4} {result['m']:>4} {result['depth']:>5} | "
        + " ".join(cell(t, 8, 2) for t in ms)
        + " | "
        + " ".join(cell(r, 6, 2) for r in ratios)
        + f" | {result['gflops']:>7.1f} {result['share']:>6.0%}",
        flush=True,
    )


def draw(figure, results):
    axes = figure.subplots(1, len(OTHERS), sharey=True)
    for name, axis in zip(OTHERS, axes, strict=True):
        lines = {}
        for point in results["points"]:
            if point[name]:
                line = lines.setdefault(f"{point['n']}, {point['q']}, {point['m']}", [])
                line.append((point["depth"], point["ratios"][name]))
        for label, line in lines.items():
            axis.loglog(*zip(*line, strict=True), marker="o", label=label)
        axis.axhline(1, color="grey", linewidth=1)
        axis.set(xlabel="depth L", title=f"{name} / odenet")
    axes[0].set_ylabel("ratio of seconds per gradient")
    axes[0].legend(title="n, q, m", fontsize="x-small")


def main():
    options = parse_options(__doc__)
    sizes, depths = [(16, 32), (64, 64), (128, 256)], [16, 64, 256, 1024]
    samples, settings = [100, 1000, 10_000], (0.05, 8.0, (3, 15))
    if options.quick:
        sizes, depths, samples, settings = [(16, 32)], [8], [50], (0.0, 0.0, (2, 2))
    results = {"machine": machine(options.quick), "points": []}
    print(describe(results["machine"]))
    print(
        f"{'':>22} | {'ms per gradient':^44} | {'ratio to odenet':^27} | odenet\n"
        f"{'n':>6} {'q':>4} {'m':>4} {'L':>5} | {'odenet':>8} {'module':>8} "
        f"{'plain':>8} {'skorch':>8} {'jax':>8} | {'module':>6} {'plain':>6} "
        f"{'skorch':>6} {'jax':>6} | "
        f"{'GFLOP/s':>7} {'share':>6}"
    )
    cores = numbers_of_cores()[: 1 if options.quick else None]
    workers = {n_cores: JaxGradient(n_cores) for n_cores in cores}
    for n, (q, m), depth in product(samples, sizes, depths):
        if n * q * m * depth <= LARGEST:
            result = measure((n, q, m, depth), workers, *settings)
            show(result, results["machine"])
            results["points"].append(result)
    for worker in workers.values():
        worker.close()
    save(options, results, draw)


if __name__ == "__main__":
    main()
