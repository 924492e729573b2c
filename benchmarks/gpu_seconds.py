"""What does a gradient cost on a GPU, beside autograd there, and beside the CPU?

A gradient is a forward pass, the mean squared error of all samples and a backward pass
to all parameters, in float32, from the same weights. The contestants:

graph   a gradient as the estimators compute it on CUDA: captured once and replayed
module  `ResidualNetwork` and autograd, on CUDA
plain   the formula as a loop over the layers in torch (``_plain.py``), on CUDA
cpu     a gradient as the estimators compute it on the CPU

They take turns, and each turn ends when the GPU has finished; ms are medians. Where
there is no GPU, only the CPU is measured.

Expected: for thin layers or few samples a replayed graph is three to ten times as fast
as the two others, which wait for the launches of their kernels. Where the products
dominate, it is still ahead. The GPU is little faster than the CPU for few samples and
thin layers, and much faster for many samples and wide layers.

Run:  python benchmarks/gpu_seconds.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial
from itertools import product

import torch
from _plain import (
    Gradient,
    OdenetGradient,
    PlainNetwork,
    random_network,
    random_samples,
    with_constant,
)
from _report import (
    alternate,
    cell,
    describe,
    machine,
    parse_options,
    save,
    seconds_per_call,
)

# The columns: the first three are on CUDA.
CONTESTANTS = ("graph", "module", "plain", "cpu")
# Sizes (q, m), depths and numbers of samples, of a full and of a quick run.
SIZES, DEPTHS, SAMPLES = [(16, 32), (64, 64), (128, 256)], [16, 64, 256], [100, 10_000]
QUICK = [(16, 32)], [8], [50]


def gradients_on(device, n, q, m, depth):
    """Return odenet's gradient, autograd's and the plain loop's on a device."""
    X, y = (t.to(device) for t in random_samples(n, q - 2))
    networks = [random_network(q, m, depth).to(device) for _ in range(3)]
    return (
        OdenetGradient(networks[0], X, y),
        Gradient(networks[1], X, y),
        Gradient(PlainNetwork(networks[2]), with_constant(X.cpu()).to(device), y),
    )


def until_finished(call):
    """Call a function, and wait until the GPU has finished."""
    result = call()
    torch.cuda.synchronize()
    return result


def make_contestants(point):
    """Return the gradients that can be computed here, all of the same loss."""
    calls = {"cpu": gradients_on("cpu", *point)[0]}
    if torch.cuda.is_available():
        on_gpu = zip(CONTESTANTS, gradients_on("cuda", *point), strict=False)
        calls |= {name: partial(until_finished, call) for name, call in on_gpu}
    losses = {name: call().item() for name, call in calls.items()}
    for name, loss in losses.items():
        if not abs(loss - losses["cpu"]) <= 1e-4 * losses["cpu"]:
            raise RuntimeError(f"{name} computes another loss: {losses}.")
    return calls


def measure(point, shortest, budget, n_rounds):
    """Return the median seconds of all contestants at one point."""
    turns = {
        name: partial(seconds_per_call, call, shortest, warm_up=True)
        for name, call in make_contestants(point).items()
    }
    seconds = alternate(turns, budget, n_rounds)
    sizes = dict(zip(("n", "q", "m", "depth"), point, strict=True))
    return {**sizes, **{name: seconds.get(name) for name in CONTESTANTS}}


def show(point):
    ms = [point[name] and 1e3 * point[name] for name in CONTESTANTS]
    ratios = [ms[0] and t / ms[0] for t in ms[1:]]
    print(
        f"{point['n']:>6} {point['q']:>4} {point['m']:>4} {point['depth']:>5} | "
        + " ".join(cell(t, 8, 2) for t in ms)
        + " | "
        + " ".join(cell(r, 6, 2) for r in ratios),
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    for name in CONTESTANTS:
        points = [p for p in results["points"] if p[name]]
        labels = [f"{p['n']}, {p['q']}, {p['m']}, {p['depth']}" for p in points]
        axis.semilogy(labels, [p[name] for p in points], marker="o", label=name)
    axis.tick_params(axis="x", rotation=90)
    axis.set(xlabel="n, q, m, L", ylabel="seconds per gradient")
    axis.legend()


def main():
    options = parse_options(__doc__)
    results = {"machine": machine(options.quick), "points": []}
    print(describe(results["machine"]))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(gpu)
    results["machine"]["gpu"] = gpu
    print(f"{'':>22} | {'ms per gradient':^35} | ratio to graph")
    print(
        f"{'n':>6} {'q':>4} {'m':>4} {'L':>5} | "
        + " ".join(f"{name:>8}" for name in CONTESTANTS)
        + " | "
        + " ".join(f"{name:>6}" for name in CONTESTANTS[1:])
    )
    (sizes, depths, samples), settings = (
        (QUICK, (0.0, 0.0, (2, 2)))
        if options.quick
        else ((SIZES, DEPTHS, SAMPLES), (0.02, 2.0, (3, 15)))
    )
    for n, (q, m), depth in product(samples, sizes, depths):
        results["points"].append(measure((n, q, m, depth), *settings))
        show(results["points"][-1])
    save(options, results, draw)


if __name__ == "__main__":
    main()
