"""Do mini-batches follow a gradient flow as the learning rate tends to 0?

Networks of width 32 with GELU and the tied start of the paper are trained in float64 on
64 pairs of standard Gaussian inputs and targets in R^8, with the rates 1 for A and B
and L for the layers, by odenet's SGD and AdamW on batches that are shuffled in every
epoch. The time of SGD is ``learning_rate * n_steps / (1 - momentum)``, that of AdamW
``learning_rate * n_steps``. The time is fixed, and the learning rate tends to 0.

The limits are, by the averaging principle:

- of SGD the gradient flow of the whole set;
- of AdamW with fixed betas the flow dtheta/dt = -G(theta), where G is the mean of
  m / (sqrt(v) + eps) over the random batches at frozen theta, and m and v are the
  running means. For every entry, m is a sum of gradients of samples, and v is one
  number for all layers. So G(s) = sum_i R_i g_i(s), where g_i is the gradient of sample
  i, and the matrices R_i do not depend on the depth s: G is as smooth in depth as the
  gradients are. If m and v were independent, G would be P g with the gradient g and one
  preconditioner P for all layers;
- of AdamW on the whole set, G = g / (rms of g over depth + eps). It jumps where an
  entry of the gradient changes its sign at all depths at once. At a tied start with
  V = 0 the gradient of V is the same at all depths, and G is its sign.

Flows are integrated by the midpoint rule; in that of mini-batches, every G is a mean
over random batches. "check" is how far the reference moves if it has half as many
steps, and other batches. Distances of weights are root mean squares over layers and
entries of V and W, and the largest norm over layers, both relative to the distance
travelled. Those of outputs on the training set are relative to the outputs. They are
root mean squares over three orders of the batches. Measured are

- the distance from the limit against the step in time, with its slope;
- the same against the batch size, at the smallest step;
- the same against L, with L max ||Z_{k+1} - Z_k||_F and the von Neumann ratio. Here the
  limit of AdamW is a run of steps 8 times shorter than the short ones;
- the relative distance of G from the nearest P g, with one factor for each entry, the
  same at all layers; beside it, that of a G that is constant in depth, and that of the
  Adam of torch, where every layer has a v of its own.

Expected: SGD has slopes of about 1 in the step. They are not 1/2, because the batches
of an epoch make up the whole set, so that most of their noise cancels. AdamW has slopes
between 1/2 and 1. Its default rate of 0.04 is far from the limit: the distance is about
as large as the way, or larger. On the whole set AdamW does not come near the limit at
any of these steps, unless the time is short: there not even the reference is accurate.
In depth all slopes are 0 within 0.1, at small and at default rates, for the distance
and for the Lipschitz constant, and the von Neumann ratio falls like 1/L^2. G is nearer
to some P g than the Adam of torch, by a factor of ten or more.

Run:  python benchmarks/paper/small_steps.py [--quick] [--json FILE] [--png FILE]
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil, inf, sqrt
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent))
from _averaged_flow import (
    N_SAMPLES,
    TIED,
    averaged_direction,
    compute_gradient,
    follow,
    gradient,
    make_network,
    samples,
    whole_set_direction,
)
from _runner import (
    Parts,
    describe,
    log_slope,
    machine,
    parse_options,
    save,
)

from odenet import depth_smoothness
from odenet.schemes import GaussianProcess
from odenet.solvers import SGD, AdamW

VARIED = GaussianProcess(draws_V=True)  # a start that varies in depth
DEPTH = 8  # of all experiments but those against L
N_FITTED = 4  # smallest steps, in the fit of a slope
LEAST_SIZE = 4  # of a batch, where numbers of steps are in proportion to the size
SHARE_OF_LIMIT = 1 / 8  # of the short step, in runs that stand for a limit
N_DRAWN = 128  # batches at once in that comparison, as fit into memory
SHARES = (0.25, 0.5, 1.0)  # of the horizon, where G is compared with P g
MEASURES = ("rms", "sup", "outputs")


def adamw(step):
    return AdamW(step)


def sgd(step, momentum):
    return SGD(step * (1 - momentum), momentum)


@dataclass(frozen=True)
class Case:
    """One kind of training: a solver for every step in time, and a horizon."""

    solver: Callable
    batch_size: int
    horizon: float
    n_steps: tuple
    init: object = TIED


ADAMW_STEPS = tuple(32 * 2**i for i in range(7))  # the first has the default rate 0.04
SGD_STEPS = tuple(256 * 2**i for i in range(5))
PLAIN, HEAVY = partial(sgd, momentum=0.0), partial(sgd, momentum=0.9)
CASES = {
    **{
        f"SGD, momentum 0, batch {size}": Case(PLAIN, size, 6.4, SGD_STEPS)
        for size in (4, 8, 16, 32)
    },
    "SGD, momentum 0, all": Case(PLAIN, N_SAMPLES, 6.4, SGD_STEPS),
    "SGD, momentum 0.9, batch 8": Case(HEAVY, 8, 6.4, SGD_STEPS),
    "SGD, momentum 0.9, all": Case(HEAVY, N_SAMPLES, 6.4, SGD_STEPS),
    **{
        f"AdamW, batch {size}": Case(adamw, size, 1.28, ADAMW_STEPS)
        for size in (2, 4, 8, 16)
    },
    "AdamW, all": Case(adamw, N_SAMPLES, 1.28, ADAMW_STEPS),
    "AdamW, all, short": Case(adamw, N_SAMPLES, 0.04, ADAMW_STEPS),
    "AdamW, all, short, varied start": Case(
        adamw, N_SAMPLES, 0.16, ADAMW_STEPS, VARIED
    ),
}
BY_DEPTH = {  # case, and the numbers of long steps and of short ones
    "SGD, momentum 0.9, batch 8": (64, 1024),  # the first has the default rate 0.01
    "AdamW, batch 8": (32, 512),
}


@dataclass(frozen=True)
class Effort:
    """How much is computed."""

    n_seeds: int = 3
    depths: tuple = (8, 16, 32, 64, 128)
    n_gradient_steps: int = 1024  # of the gradient flow
    n_whole_steps: int = 4096  # of the limit of AdamW on the whole set
    n_averaged_steps: int = 96  # of its limits on mini-batches, times the batch size
    n_samples: int = 512  # of the random batches of a mean, all together
    n_compared: int = 4096  # batches in the mean that is compared with P g
    share: float = 1  # of all horizons and numbers of steps

    def shortened(self, case):
        """Return a case of a share of the time, with the same steps in time."""
        n_steps = self.shortened_numbers(case.n_steps)
        return replace(case, horizon=self.share * case.horizon, n_steps=n_steps)

    def shortened_numbers(self, n_steps):
        """Return a share of numbers of steps."""
        return tuple(ceil(self.share * n) for n in n_steps)


QUICK = Effort(1, (4, 8), 32, 32, 1, 64, 64, 1 / 32)


def train(case, depth, n_steps, seed):
    """Return a network after so many steps on shuffled batches."""
    network = make_network(depth, case.init)
    solver = case.solver(case.horizon / n_steps)
    optimizer = solver.make_optimizer(network, inf)
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(n_steps):
        if not batches:
            order = torch.randperm(N_SAMPLES, generator=generator)
            batches = list(order.split(case.batch_size))
        chosen = batches.pop()
        optimizer.step(lambda chosen=chosen: compute_gradient(network, chosen))
    return network


def limit_direction(case, effort, seed=0):
    """Return the direction of AdamW's limit flow, and a number of steps.

    The less the batches vary, the steeper G becomes where a gradient changes its sign,
    mostly for A and B, and the shorter the steps must be.
    """
    if case.batch_size == N_SAMPLES:
        return whole_set_direction, effort.n_whole_steps
    size = max(case.batch_size, LEAST_SIZE)
    direction = partial(
        averaged_direction,
        batch_size=case.batch_size,
        n_batches=effort.n_samples // size,
        generator=torch.Generator().manual_seed(seed),
    )
    return direction, size * effort.n_averaged_steps


@cache
def gradient_limit(depth, horizon, n_steps):
    """Return the network at the end of the gradient flow, the limit of SGD."""
    return follow(make_network(depth), gradient, horizon, n_steps)


def limit(case, depth, effort, coarse=False):
    """Return the network at the end of the limit flow; coarse for the check."""
    if case.solver is not adamw:
        n_steps = effort.n_gradient_steps // (1 + coarse)
        return gradient_limit(depth, case.horizon, n_steps)
    direction, n_steps = limit_direction(case, effort, seed=int(coarse))
    n_steps //= 1 + coarse
    return follow(make_network(depth, case.init), direction, case.horizon, n_steps)


def of_layers(tensors):
    """Return those of V and W side by side, shape (L, n_entries)."""
    _, V, W, _ = tensors
    return torch.cat([V.flatten(1), W.flatten(1)], dim=1)


@torch.no_grad()
def distance(network, reference, start):
    """Return how far a network is from the reference, by every measure."""
    x, _ = samples()
    Z, limit, origin = (of_layers(n.parameters()) for n in (network, reference, start))
    gap, way, outputs = Z - limit, limit - origin, reference(x)
    return {
        "rms": (gap.norm() / way.norm()).item(),
        "sup": (gap.norm(dim=1).max() / way.norm(dim=1).max()).item(),
        "outputs": ((network(x) - outputs).norm() / outputs.norm()).item(),
    }


def distances(networks, reference, start):
    """Return the root mean squares over networks of their distances."""
    each = [distance(network, reference, start) for network in networks]
    return {name: sqrt(np.mean([d[name] ** 2 for d in each])) for name in MEASURES}


def describe_networks(networks):
    """Return the means of the losses, and of how smooth the networks are in depth."""
    smoothness = [depth_smoothness(network) for network in networks]
    return {
        "loss": np.mean([compute_gradient(network).item() for network in networks]),
        "lipschitz": np.mean([s.lipschitz for s in smoothness]),
        "ratio": np.mean([s.von_neumann_ratio for s in smoothness]),
    }


def measure_step(case, reference, n_steps, effort):
    """Train with every order of the batches; the whole set has only one."""
    depth, n_seeds = reference.depth, effort.n_seeds
    if case.batch_size == N_SAMPLES:
        n_seeds = 1
    networks = [train(case, depth, n_steps, seed) for seed in range(n_seeds)]
    return {
        "step": case.horizon / n_steps,
        **distances(networks, reference, make_network(depth, case.init)),
        **describe_networks(networks),
    }


def measure_steps(case, effort):
    """Measure the distance from the limit for all steps of a case."""
    began = perf_counter()
    start, reference = make_network(DEPTH, case.init), limit(case, DEPTH, effort)
    check = distance(limit(case, DEPTH, effort, coarse=True), reference, start)
    return {
        "start_loss": compute_gradient(start).item(),
        "limit": describe_networks([reference]),
        "check": check,
        "rows": [measure_step(case, reference, n, effort) for n in case.n_steps],
        "seconds": perf_counter() - began,
    }


def measure_depth(case, numbers, depth, effort):
    """Measure the distance from the limit, and smoothness, for long and short steps."""
    began = perf_counter()
    if case.solver is adamw:
        n_steps = round(numbers[-1] / SHARE_OF_LIMIT)
        reference = train(case, depth, n_steps, effort.n_seeds)  # an order of its own
    else:
        reference = limit(case, depth, effort)
    rows = [measure_step(case, reference, n, effort) for n in numbers]
    return {"depth": depth, "rows": rows, "seconds": perf_counter() - began}


def mean_direction(network, case, effort, seed, pooled=True):
    """Return G of V and W, shape (L, n_entries), as a mean over very many batches."""
    generator = torch.Generator().manual_seed(seed)
    n_draws = ceil(effort.n_compared / N_DRAWN)
    draws = [
        averaged_direction(network, case.batch_size, N_DRAWN, generator, pooled)
        for _ in range(n_draws)
    ]
    return sum(of_layers(direction) for direction in draws) / n_draws


def remainder(G, g):
    """Return the distance of G from the nearest P g, with one P for all layers."""
    P = (G * g).sum(dim=0) / g.square().sum(dim=0)
    return (G - P * g).norm().item()


def measure_preconditioner(case, effort):
    """Measure how far G is from P g, at some times of the limit flow."""
    direction, n_steps = limit_direction(case, effort)
    network, time, rows = make_network(DEPTH, case.init), 0.0, []
    for share in SHARES:
        further = share * case.horizon - time
        follow(network, direction, further, ceil(n_steps * further / case.horizon / 2))
        time += further
        rows.append({"time": time} | compare_with_gradient(network, case, effort))
    return rows


def compare_with_gradient(network, case, effort):
    """Return relative distances of G, and of the same with a v for every layer."""
    first, second = (mean_direction(network, case, effort, seed) for seed in (0, 1))
    own = mean_direction(network, case, effort, 0, pooled=False)
    G, g = (first + second) / 2, of_layers(gradient(network))
    length = G.norm().item()
    return {
        "G": remainder(G, g) / length,
        "noise": remainder((first - second) / 2, g) / length,
        "constant": remainder(G, torch.ones_like(G)) / length,
        "torch": remainder(own, g) / own.norm().item(),
    }


def print_steps(name, result):
    limit, check, slopes = (result[key] for key in ("limit", "check", "slopes"))
    print(
        f"\n{name}: loss {result['start_loss']:.2f} to {limit['loss']:.2f}, check "
        + ", ".join(f"{check[key]:.1e}" for key in MEASURES)
    )
    print_rows("step", result["rows"])
    print_slopes(slopes)


def print_summary(by_case):
    """Print a line for every case: its longest and its shortest steps, and slopes."""
    titles = "  ".join(f"{f'slope of {name}':<16}" for name in MEASURES)
    columns = f"{'step':>9}{'rms':>9} |{'step':>9}{'rms':>9}{'check':>9}"
    print(f"\n{'':<32}{columns} |  {titles}".rstrip())
    for name, result in by_case.items():
        first, *_, last = result["rows"]
        fitted = "  ".join(
            f"{f'{slope:.2f} ± {width:.2f}':<16}"
            for slope, width in result["slopes"].values()
        )
        print(
            f"{name:<32}{first['step']:>9.2g}{first['rms']:>9.2g} |"
            f"{last['step']:>9.2g}{last['rms']:>9.2g}{result['check']['rms']:>9.1e} |"
            f"  {fitted}".rstrip()
        )


def print_rows(first, rows):
    """Print distances and smoothness against a step or a depth."""
    columns = (*MEASURES, "loss", "lipschitz", "ratio")
    print(f"{first:>9}" + "".join(f"{name:>11}" for name in columns))
    for row in rows:
        print(
            f"{row[first]:>9g}" + "".join(f"{row[name]:>11.3g}" for name in columns),
            flush=True,
        )


def print_slopes(slopes):
    print(
        "   slopes  "
        + "  ".join(f"{n} {s:.2f} ± {w:.2f}" for n, (s, w) in slopes.items())
    )


def slopes(x, rows, names=MEASURES):
    """Fit the slopes of some columns, with their 95 % intervals."""
    return {name: log_slope(x, [row[name] for row in rows]) for name in names}


def report_steps(parts, effort):
    """Print the distances against the step; return the results by case."""
    results = {}
    for name, case in CASES.items():
        result = parts(name, measure_steps, effort.shortened(case), effort)
        fitted = result["rows"][-N_FITTED:]
        result["slopes"] = slopes([row["step"] for row in fitted], fitted)
        results[name] = result
        print_steps(name, result)
    print_summary(results)
    return results


def report_batches(by_case):
    """Print the slopes of the distance against the batch size, at the smallest step."""
    print("\nslopes in the batch size, at the smallest step")
    found = {}
    for kind in ("SGD, momentum 0", "AdamW"):
        names = [name for name in CASES if name.startswith(f"{kind}, batch")]
        rows = [by_case[name]["rows"][-1] for name in names]
        found[kind] = slopes([CASES[name].batch_size for name in names], rows)
        print(kind)
        print_slopes(found[kind])
    return found


def report_depths(parts, effort):
    """Print distances and smoothness against L; return the results."""
    results = {}
    for name, numbers in BY_DEPTH.items():
        found = [
            parts(
                f"{name}, L = {depth}",
                measure_depth,
                effort.shortened(CASES[name]),
                effort.shortened_numbers(numbers),
                depth,
                effort,
            )
            for depth in effort.depths
        ]
        for i in range(len(numbers)):
            rows = [{"depth": f["depth"], **f["rows"][i]} for f in found]
            key = f"{name}, step {rows[0]['step']:g}"
            print(f"\n{key}")
            print_rows("depth", rows)
            in_depth = slopes(effort.depths, rows, (*MEASURES, "lipschitz", "ratio"))
            print_slopes(in_depth)
            results[key] = {"rows": rows, "slopes": in_depth}
    return results


def report_preconditioner(parts, effort):
    """Print the distance of G from P g; return the results."""
    columns = ("G", "noise", "constant", "torch")
    results = {}
    print("\nrelative distance of G from P g")
    print(f"{'':<16}{'time':>6}" + "".join(f"{name:>10}" for name in columns))
    for name in ("AdamW, batch 4", "AdamW, batch 16"):
        rows = parts(
            f"{name}, G", measure_preconditioner, effort.shortened(CASES[name]), effort
        )
        results[name] = rows
        for row in rows:
            numbers = "".join(f"{row[column]:>10.3g}" for column in columns)
            print(f"{name:<16}{row['time']:>6g}{numbers}")
    return results


SHOWN = (  # in the figure
    "SGD, momentum 0, all",
    "SGD, momentum 0.9, batch 8",
    "AdamW, batch 8",
    "AdamW, batch 16",
    "AdamW, all",
    "AdamW, all, short, varied start",
)


def draw(figure, results):
    figure.set_size_inches(11, 4.2)
    left, middle, right = figure.subplots(1, 3, width_ratios=(4, 3, 3))
    draw_steps(left, results["steps"])
    draw_depths(middle, results["depths"], "rms")
    draw_depths(right, results["depths"], "lipschitz")
    middle.set_ylabel("distance of the weights, relative")
    right.set_ylabel(r"$L\ \max_k\ \|Z_{k+1} - Z_k\|_F$")
    middle.set_ylim(bottom=1e-3)  # room for the legend
    middle.legend(frameon=False, fontsize=7, loc="lower left")
    for ax in (left, middle, right):
        ax.spines[["top", "right"]].set_visible(False)


def draw_steps(ax, results):
    """Draw the distances against the step, and lines of slopes 1 and 1/2."""
    for name in SHOWN:
        rows, style = results[name]["rows"], "x--" if "all" in name else "o-"
        steps, distances = ([row[key] for row in rows] for key in ("step", "rms"))
        ax.loglog(steps, distances, style, ms=4, label=name)
    steps = np.array([2e-5, 2e-4])
    for slope, style in ((1, "k:"), (0.5, "k-.")):
        line = (steps / steps[1]) ** slope
        ax.loglog(steps, line, style, lw=1, label=f"slope {slope:g}")
    ax.set_xlabel("step in time")
    ax.set_ylabel("distance of the weights, relative")
    ax.set_ylim(bottom=5e-5)  # room for the legend
    ax.legend(frameon=False, fontsize=7, loc="lower left")


def draw_depths(ax, results, column):
    for name, result in results.items():
        depths, values = (
            [row[key] for row in result["rows"]] for key in ("depth", column)
        )
        ax.loglog(depths, values, "o-", ms=4, label=name)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("depth $L$")


def main():
    options = parse_options(__doc__)
    effort = QUICK if options.quick else Effort()
    torch.set_num_threads(1)
    parts, about = Parts(options), machine(options.quick)
    print(describe(about))
    steps = report_steps(parts, effort)
    results = {
        "steps": steps,
        "batches": report_batches(steps),
        "depths": report_depths(parts, effort),
        "preconditioner": report_preconditioner(parts, effort),
    }
    save(options, parts.results(machine=about, **results), draw)


if __name__ == "__main__":
    main()
