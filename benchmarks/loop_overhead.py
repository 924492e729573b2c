"""What does the training loop cost beside the gradients?

The same training runs twice, side by side: by the skorch net of the estimators, and by
a bare loop with the same optimizer, network and samples, at depth 16 on 100 samples.
The share is the part of the net's seconds that the bare loop does not need.

Expected: the share is below 15 % with the flow.

Run:  python benchmarks/loop_overhead.py [--quick] [--json FILE]
"""

import argparse
import json
from statistics import median
from time import perf_counter

import torch

from odenet import ResidualNetwork
from odenet._losses.squared_error import SquaredError
from odenet._tables.samples import Samples
from odenet._training.net import TrainingNet
from odenet.solvers import AdamW, Flow, GradientDescent


def make_problem(depth):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(100, 8, generator=generator)
    y = torch.sin(X[:, :1]) + X[:, 1:2] * X[:, 2:3]
    network = ResidualNetwork(8, 1, depth=depth, generator=generator)
    return network, Samples(X, y, torch.ones(100))


def seconds_of_net(solver, depth, horizon):
    network, samples = make_problem(depth)
    net = TrainingNet(
        network,
        SquaredError(),
        solver,
        horizon=horizon,
        generator=torch.Generator().manual_seed(0),
    ).initialize()
    start = perf_counter()
    net.partial_fit((samples, None))
    return perf_counter() - start, net.n_grad_evals


def seconds_of_bare_loop(solver, depth, horizon, n_grad_evals):
    network, samples = make_problem(depth)
    optimizer = solver.make_optimizer(network, horizon)
    batches = [(samples.X, samples.y)]
    if solver.batch_size:
        batches = list(
            zip(*(t.split(solver.batch_size) for t in batches[0]), strict=True)
        )
    n_done, start = 0, perf_counter()
    while n_done < n_grad_evals:
        for X, y in batches:

            def closure(X=X, y=y):
                nonlocal n_done
                n_done += 1
                optimizer.zero_grad()
                loss = (network(X) - y).square().sum(dim=1).mean()
                loss.backward()
                return loss

            optimizer.step(closure)
    return perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps, two rounds")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    depth, horizon, epochs, n_rounds = (
        (4, 1.0, 5, 2) if options.quick else (16, 100.0, 100, 7)
    )
    solvers = {
        "flow": Flow(),
        "gd": GradientDescent(max_evals=10 * epochs),
        "adamw": AdamW(batch_size=25, max_epochs=epochs),
    }
    print(f"depth {depth}, 100 samples, medians of {n_rounds} rounds")
    print(f"{'solver':<8} {'gradients':>9} {'net ms':>8} {'bare ms':>8} {'share':>7}")
    results = {}
    for name, solver in solvers.items():
        pairs = []
        for _ in range(n_rounds):
            net, n_grad_evals = seconds_of_net(solver, depth, horizon)
            bare = seconds_of_bare_loop(solver, depth, horizon, n_grad_evals)
            pairs.append((net, bare))
        net, bare = (median(column) for column in zip(*pairs, strict=True))
        share = median(1 - bare / net for net, bare in pairs)
        per_gradient = 1000 / n_grad_evals
        print(
            f"{name:<8} {n_grad_evals:>9} {net * per_gradient:>8.2f} "
            f"{bare * per_gradient:>8.2f} {share:>7.1%}"
        )
        results[name] = {"net": net, "bare": bare, "share": share}
    print("ms per gradient")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
