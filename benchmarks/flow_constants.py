"""How much do the constants of the gradient flow's integrator matter?

`GradientFlow` follows the flow of small networks to the same flow time with each of its
constants halved and doubled. The table has the number of gradients, relative to that
with the constants as they are (a mean over networks), the largest share of them that
rejected steps took, and the largest relative difference of the last losses.

Expected: only three of them matter. Half of SAFETY takes 1.4 times the gradients, twice
MARGIN takes 1.3 times, and half of it makes the steps unstable, so that the error
estimate shortens them again and again. All others change the gradients by less than a
tenth: they are for the exceptions, which these networks do not meet.

Run:  python benchmarks/flow_constants.py [--quick] [--json FILE] [--png FILE]
"""

from contextlib import contextmanager

import torch
from _report import cell, describe, machine, parse_options, progress, save

from odenet import GradientFlow, ResidualNetwork
from odenet._optim import curvature, gradient_flow

CONSTANTS = {  # by name: the module that holds it
    "SAFETY": gradient_flow,
    "MOST_SHRINKING": gradient_flow,
    "MOST_GROWING": gradient_flow,
    "SHRINKING_AFTER_A_RISE": gradient_flow,
    "RISE_INSIDE": gradient_flow,
    "ROUNDINGS_OF_A_LOSS": gradient_flow,
    "ROUNDINGS_OF_A_MINIMUM": gradient_flow,
    "MAX_REJECTIONS": gradient_flow,
    "MARGIN": gradient_flow,
    "MOST_GROWTH": gradient_flow,
    "FIRST_ITERATIONS": gradient_flow,
    "ITERATIONS": gradient_flow,
    "FIRST_STEP": gradient_flow,
    "CONVERGENCE": curvature,
}
# Factors that shorten a step must stay below 1, and one that lets it grow above 1.
LARGEST = {"SAFETY": 0.95, "SHRINKING_AFTER_A_RISE": 0.9}
SMALLEST = {"MOST_GROWING": 1.2}
MOST_EVALS = 5000  # a bound for runs that a changed constant would make very long


@contextmanager
def changed(module, name, factor):
    """Multiply a constant of a module by a factor for the time of the context."""
    before = getattr(module, name)
    value = max(SMALLEST.get(name, 0), type(before)(factor * before))
    value = min(value, LARGEST.get(name, value))
    setattr(module, name, value)
    try:
        yield value
    finally:
        setattr(module, name, before)


def follow(seed, horizon):
    """Follow a flow; return its gradients, those of rejected steps, the last loss."""
    generator = torch.Generator().manual_seed(seed)
    network = ResidualNetwork(3, 1, depth=8, width=32, generator=generator)
    x = torch.randn(60, 3, generator=generator)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:]
    flow = GradientFlow(network.parameter_groups(), horizon=horizon)

    def closure():
        flow.zero_grad()
        loss = (network(x) - y).square().mean()
        loss.backward()
        return loss

    loss = torch.tensor(torch.nan)
    while flow.flow_time < horizon and flow.n_grad_evals < MOST_EVALS:
        loss = flow.step(closure)
    return flow.n_grad_evals, flow.n_wasted_evals, loss.item()


def compare(runs, reference):
    """Compare runs with a changed constant with those as they are."""
    pairs = list(zip(runs, reference, strict=True))
    return {
        "gradients": sum(a[0] / b[0] for a, b in pairs) / len(pairs),
        "wasted": max(a[1] / a[0] for a in runs),
        "loss": max(abs(a[2] / b[2] - 1) for a, b in pairs),
    }


def show(name, value, row):
    print(
        f"{name:<24} {value:>9.4g} | {row['gradients']:>9.2f} "
        f"{100 * row['wasted']:>8.1f}% {cell(100 * row['loss'], 8, 1)}%",
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    rows = results["rows"]
    names = [f"{row['name']} {row['value']:.3g}" for row in rows]
    axis.barh(names, [row["gradients"] for row in rows])
    axis.axvline(1, color="grey", linewidth=1)
    axis.set(xlabel="gradients, relative to those with the constants as they are")
    axis.tick_params(axis="y", labelsize=6)


def main():
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    seeds, horizon = (range(1), 1.0) if options.quick else (range(6), 100.0)
    results = {"machine": machine(options.quick), "rows": []}
    print(describe(results["machine"]))
    reference = [follow(seed, horizon) for seed in seeds]
    counts = [run[0] for run in reference]
    print(f"to flow time {horizon:g}, {min(counts)} to {max(counts)} gradients")
    print(f"{'':<34} | {'gradients':>9} {'wasted':>9} {'loss':>9}")
    show("as they are", 1.0, compare(reference, reference))
    for name, module in progress(CONSTANTS.items(), "constants"):
        for factor in (0.5, 2):
            with changed(module, name, factor) as value:
                runs = [follow(seed, horizon) for seed in seeds]
            row = {"name": name, "value": value, **compare(runs, reference)}
            show(name, value, row)
            results["rows"].append(row)
    save(options, results, draw)


if __name__ == "__main__":
    main()
