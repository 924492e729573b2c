"""What do depth and samples cost?

(a) Against the depth: the seconds of one gradient (100 samples, q = 16, m = 32) and of
a whole fit with the default schedule (Friedman-1, 400 samples, flow time 30).
(b) Against the number of samples of 10 features, at depth 16 and the default width: the
seconds of one gradient as the estimators compute it (in chunks that bound the memory),
and of a fit by one epoch of AdamW; and the most that each adds to the resident memory
besides the samples, in a process of its own. Seconds of gradients are medians.

Expected: the cost of a gradient is linear in both. A fit costs far less than in
proportion to the depth, since most of it is spent in shallow networks. The memory of a
gradient is bounded, except for the outputs.

Run:  python benchmarks/cost.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial
from statistics import median

import torch
from _plain import Gradient, random_network, random_samples
from _report import (
    alternate,
    describe,
    growth_mb,
    in_fresh_process,
    in_this_process,
    machine,
    parse_options,
    save,
    seconds_per_call,
)
from sklearn.datasets import make_friedman1

from odenet import ResidualNetwork, ResODERegressor
from odenet._losses.squared_error import SquaredError
from odenet._tables.samples import Samples
from odenet._training.net import TrainingNet
from odenet._utils.devices import torch_threads
from odenet.solvers import AdamW, GradientDescent


def cost_of_depths(depths, flow_time, settings):
    """Measure the seconds per gradient and per fit at every depth."""
    q, m, n = 16, 32, 100
    X, y = make_friedman1(400, noise=1.0, random_state=0)
    turns = {}
    for depth in depths:
        gradient = Gradient(random_network(q, m, depth), *random_samples(n, q - 2))
        turns[depth] = partial(seconds_per_call, gradient, 0.02)
    with torch_threads(n * q * m):
        seconds = alternate(turns, *settings)
    rows = []
    ResODERegressor(2, flow_time=0.1).fit(X[:50], y[:50])  # a warm-up
    for depth in depths:
        model = ResODERegressor(
            depth, flow_time=flow_time, early_stopping=False, random_state=0
        )
        fit_seconds = seconds_per_call(partial(model.fit, X, y))
        rows.append({"depth": depth, "gradient": seconds[depth], "fit": fit_seconds})
        rows[-1]["gradients"] = model.n_grad_evals_
    return rows


def gradient_of_samples(n, depth):
    """Measure the median seconds and the MB of one gradient by the training net."""
    X, y = random_samples(n, 10)
    samples = Samples(X, y, torch.ones(n))
    few = Samples(X[:20], y[:20], torch.ones(20))

    def descend(samples, n_steps):
        network = ResidualNetwork(10, 1, depth=depth)
        solver = GradientDescent(max_evals=n_steps, learning_rate=1e-3)
        net = TrainingNet(network, SquaredError(), solver).initialize()
        with torch_threads(n * network.state_dim * network.width):
            seconds = seconds_per_call(partial(net.partial_fit, (samples, None)))
        return seconds / net.n_grad_evals

    n_steps = max(1, min(20, 100_000 // n))
    descend(few, 1)
    return growth_mb(lambda: median(descend(samples, n_steps) for _ in range(3)))


def epoch_of_samples(n, depth):
    """Measure the seconds and the MB of one epoch of AdamW."""
    X, y = (t.double().numpy() for t in random_samples(n, 10))
    model = ResODERegressor(
        depth, solver=AdamW(max_epochs=1), early_stopping=False, random_state=0
    )
    model.fit(X[:20], y[:20])
    return growth_mb(lambda: seconds_per_call(partial(model.fit, X, y)))


def cost_of_samples(n, depth, run):
    gradient, gradient_mb = run(gradient_of_samples, n, depth)
    epoch, epoch_mb = run(epoch_of_samples, n, depth)
    return {
        "n": n,
        "gradient": gradient,
        "gradient_mb": gradient_mb,
        "epoch": epoch,
        "epoch_mb": epoch_mb,
    }


def show_depths(rows):
    print(f"{'depth':>6} {'ms/gradient':>12} {'fit s':>8} {'gradients':>10}")
    for row in rows:
        print(
            f"{row['depth']:>6} {1e3 * row['gradient']:>12.2f} {row['fit']:>8.2f} "
            f"{row['gradients']:>10}"
        )


def show_samples(row):
    print(
        f"{row['n']:>8} {1e3 * row['gradient']:>12.2f} "
        f"{1e6 * row['gradient'] / row['n']:>8.2f} {row['gradient_mb']:>7.0f} | "
        f"{row['epoch']:>8.2f} {1e6 * row['epoch'] / row['n']:>8.2f} "
        f"{row['epoch_mb']:>7.0f}",
        flush=True,
    )


def draw(figure, results):
    left, right = figure.subplots(1, 2)
    for axis, key, x, names in (
        (left, "depths", "depth", ("gradient", "fit")),
        (right, "samples", "n", ("gradient", "epoch")),
    ):
        rows = results[key]
        for name in names:
            values = [row[name] for row in rows]
            axis.loglog([r[x] for r in rows], values, marker="o", label=name)
        axis.set(xlabel=x, ylabel="seconds")
        axis.legend()


def main():
    options = parse_options(__doc__)
    depths, flow_time, settings = [16, 64, 256, 1024, 4096], 30.0, (10.0, (5, 15))
    samples, depth, run = [10**k for k in range(2, 7)], 16, in_fresh_process
    if options.quick:
        depths, flow_time, settings = [2, 4], 1.0, (0.0, (1, 1))
        samples, depth, run = [100], 2, in_this_process
    results = {"machine": machine(options.quick), "samples": []}
    print(describe(results["machine"]))
    results["depths"] = cost_of_depths(depths, flow_time, settings)
    show_depths(results["depths"])
    print(
        f"{'samples':>8} {'ms/gradient':>12} {'us/row':>8} {'MB':>7} | "
        f"{'epoch s':>8} {'us/row':>8} {'MB':>7}"
    )
    for n in samples:
        results["samples"].append(cost_of_samples(n, depth, run))
        show_samples(results["samples"][-1])
    save(options, results, draw)


if __name__ == "__main__":
    main()
