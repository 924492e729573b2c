"""How many gradients does the stabilised flow save against explicit Euler?

Both follow the gradient flow of the same network on Friedman-1 from the same point in
its stiff phase (flow time 300) over the same stretch of flow time. Explicit Euler takes
the largest step that is stable all along the stretch, found by bisection.

Expected: at least 10 times fewer gradient evaluations, at the same loss.

Run:  python benchmarks/flow_vs_euler.py [--quick] [--json FILE]
"""

import argparse
import copy
import json
from math import isfinite
from statistics import median
from time import perf_counter

import torch
from sklearn.datasets import make_friedman1

from odenet import GradientFlow, ResidualNetwork
from odenet._optim.explicit_euler import ExplicitEuler

# The loss has risen if it is so many times that at the start: more than by rounding.
HIGHEST = 1.01
# Explicit Euler is stable up to 2 / curvature. The largest stable step, times the
# curvature at the end, is sought between these bounds, up to this ratio of the two.
STABLE, UNSTABLE, CLOSE = 1.0, 6.0, 1.1


def make_problem(depth, n_samples, seed):
    """Make a network, and standardised Friedman-1 data."""
    X, y = make_friedman1(n_samples, noise=1.0, random_state=seed)
    X = torch.tensor((X - X.mean(axis=0)) / X.std(axis=0), dtype=torch.float32)
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]
    generator = torch.Generator().manual_seed(seed)
    network = ResidualNetwork(10, 1, depth=depth, generator=generator)
    return network, X, y


def follow(optimizer, network, X, y, horizon):
    """Follow a flow; return loss and seconds at the end, None if the loss has risen."""

    def closure():
        optimizer.zero_grad()
        loss = (network(X) - y).square().mean()
        loss.backward()
        return loss

    start, first = perf_counter(), None
    while optimizer.flow_time < horizon:
        loss = optimizer.step(closure).item()
        first = loss if first is None else first
        if optimizer.diverged or not isfinite(loss) or loss > HIGHEST * first:
            return None
    return loss, perf_counter() - start


def run_flow(network, X, y, stretch):
    network = copy.deepcopy(network)
    optimizer = GradientFlow(network.parameter_groups(), horizon=stretch)
    loss, seconds = follow(optimizer, network, X, y, stretch)
    return {
        "gradients": optimizer.n_grad_evals,
        "rejected": optimizer.n_rejected,
        "radius": optimizer.spectral_radius,
        "loss": loss,
        "seconds": seconds,
    }


def run_euler(network, X, y, stretch, learning_rate):
    network = copy.deepcopy(network)
    optimizer = ExplicitEuler(
        network.parameter_groups(), learning_rate=learning_rate, horizon=stretch
    )
    result = follow(optimizer, network, X, y, stretch)
    if result is None:
        return None
    loss, seconds = result
    return {"gradients": optimizer.n_grad_evals, "loss": loss, "seconds": seconds}


def largest_stable_euler(network, X, y, stretch, radius):
    """Find the run with the largest step that is stable, by bisection to a tenth."""
    stable, unstable = STABLE / radius, UNSTABLE / radius
    best = run_euler(network, X, y, stretch, stable)
    while unstable / stable > CLOSE:
        middle = (stable * unstable) ** 0.5
        result = run_euler(network, X, y, stretch, middle)
        if result is None:
            unstable = middle
        else:
            stable, best = middle, result
    return {**best, "learning_rate": stable}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a small network, one seed"
    )
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    depth, n_samples, until, stretch, seeds = 16, 400, 300.0, 200.0, range(3)
    if options.quick:
        depth, n_samples, until, stretch, seeds = 4, 100, 30.0, 20.0, range(1)

    print(f"Friedman-1, n={n_samples}, L={depth}, flow time {until:g} + {stretch:g}")
    print(
        f"{'seed':>4} {'radius':>7} | "
        f"{'flow':>6} {'rejected':>8} {'loss':>8} {'s':>6} | "
        f"{'Euler':>6} {'step':>7} {'loss':>8} {'s':>6} | {'gradients':>9} {'time':>6}"
    )
    results = []
    for seed in seeds:
        network, X, y = make_problem(depth, n_samples, seed)
        optimizer = GradientFlow(network.parameter_groups(), horizon=until)
        follow(optimizer, network, X, y, until)
        flow = run_flow(network, X, y, stretch)
        euler = largest_stable_euler(network, X, y, stretch, flow["radius"])
        ratio = euler["gradients"] / flow["gradients"]
        speed = euler["seconds"] / flow["seconds"]
        print(
            f"{seed:>4} {flow['radius']:>7.1f} | {flow['gradients']:>6} "
            f"{flow['rejected']:>8} {flow['loss']:>8.5f} {flow['seconds']:>6.2f} | "
            f"{euler['gradients']:>6} {euler['learning_rate']:>7.4f} "
            f"{euler['loss']:>8.5f} {euler['seconds']:>6.2f} | "
            f"{ratio:>9.1f} {speed:>6.1f}"
        )
        results.append({"seed": seed, "flow": flow, "euler": euler, "ratio": ratio})
    ratio = median(result["ratio"] for result in results)
    print(f"median: {ratio:.1f} times fewer gradients")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
