"""Theorem 6 of the paper: the limit as both the depth L and the flow time t grow.

Networks of width 32 with GELU and a tied start are trained in float64 on ten pairs of
standard Gaussian inputs and targets in R^2, at depths L = 2 to 2^14 (2^12 for all seeds
but the first), by the exponential integrator until the loss is down to rounding: as
far as t = infinity can be told from a finite one. All of a seed take the steps that are
chosen at 64 layers: chosen at every depth, they can differ by a decision, and with them
the networks by the tolerance. Measured are

- the distance of the weights from those of the deepest network, the largest over depth,
  sup over s of ||Z^L(s, t) - Z(s, t)||_F as in ``large_depth.py``, at t = 1, 10, 100
  and at the end;
- the distance of the hidden states and of the outputs there;
- the loss at the end, and that of the neural ODE of the same weights, which tends to
  interpolate the data if the limit does.

Expected: at all flow times the distances of weights and states fall like 1/L, with
slopes of -1 within 0.1 for L >= 16 and every seed, and they stop growing with t: the
limits commute. Every network interpolates, its outputs are those of every other to
rounding, and the loss of its neural ODE falls like 1/L^2.

Run:  python benchmarks/paper/joint_limit.py [--quick] [--json FILE] [--png FILE]
"""

import sys
from math import inf
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps

sys.path.append(str(Path(__file__).parent))
from _runner import (
    Parts,
    describe,
    log_slope,
    machine,
    mean_loss,
    parse_options,
    save,
    without_warnings_about_training,
)
from large_depth import (
    DEEPEST_OF_OTHER_SEEDS,
    SEEDS,
    SHALLOWEST_OF_SLOPE,
    Run,
    distance,
)

from odenet import NeuralODE
from odenet.solvers import Flow

N_SAMPLES, DIM = 10, 2
DEEPEST = 2**14
FLOW_TIMES = (1.0, 10.0, 100.0)  # at which the weights are compared, beside the end
ODE_RTOL = 1e-10
# The depth that steps are chosen at, with the first tolerance. At the others they are
# accepted with the second.
STEPS_DEPTH, CHOOSING_RTOL, ACCEPTING_RTOL = 64, 1e-2, 5e-2


class LongRun(Run):
    """A training to the end, which is flow time infinity here.

    Parameters
    ----------
    depth, seed : int
    steps : list of float, default=None
        Flow times at which the steps end; None lets the integrator choose.
    """

    def __init__(self, depth, seed, steps=None):
        rtol = CHOOSING_RTOL if steps is None else ACCEPTING_RTOL
        super().__init__(
            depth,
            seed,
            Flow(method="exponential", rtol=rtol),
            inf,
            n_samples=N_SAMPLES,
            dim=DIM,
            flow_times=FLOW_TIMES if steps is None else steps,
            dtype="float64",
        )
        super().visit(self.module, inf)
        ode = NeuralODE(self.module, rtol=ODE_RTOL, atol=ODE_RTOL)
        with torch.no_grad():
            outputs = ode(torch.as_tensor(self.X))
        self.ode_loss = mean_loss(outputs, torch.as_tensor(self.y)).item()

    def visit(self, module, flow_time):
        if flow_time in FLOW_TIMES:
            super().visit(module, flow_time)


def measure(seed, deepest):
    """Train at all depths of one seed; the deepest comes first, as the reference."""
    steps = LongRun(STEPS_DEPTH, seed).ends
    reference = LongRun(deepest, seed, steps)
    rows = [describe_run(reference, deepest)]
    for exponent in range(deepest.bit_length() - 3, 0, -1):
        run = LongRun(2**exponent, seed, steps)
        rows.append(describe_run(run, 2**exponent) | distance(run, reference))
        print_row(rows[-1])
    return rows[::-1]


def describe_run(run, depth):
    return {
        "depth": depth,
        "n_steps": len(run.ends),
        "final_loss": run.loss,
        "ode_loss": run.ode_loss,
        "step": run.largest_step,
        "seconds": run.seconds,
    }


def print_row(row):
    over_time = " ".join(f"{value:>9.2e}" for value in row["weights_over_time"])
    print(
        f"{row['depth']:>6} {row['seconds']:>8.1f} {row['n_steps']:>6}"
        f" {row['final_loss']:>9.1e} {row['ode_loss']:>9.1e} | {over_time} |"
        f" {row['states']:>9.2e} {row['outputs']:>9.1e}",
        flush=True,
    )


def slopes(rows):
    """Fit slopes in log L, with 95 % intervals: of the weights, at every flow time.

    Distances from the reference are too small at depths near its own, so that only
    depths up to an eighth of it count.
    """
    most = rows[-1]["depth"] // 8
    chosen = [r for r in rows if SHALLOWEST_OF_SLOPE <= r["depth"] <= most]
    depths = [row["depth"] for row in chosen]
    over_time = zip(*(row["weights_over_time"] for row in chosen), strict=True)
    ends = {name: [row[name] for row in chosen] for name in ("states", "ode_loss")}
    return {
        "weights": [log_slope(depths, values) for values in over_time],
        **{name: log_slope(depths, values) for name, values in ends.items()},
    }


def print_slopes(seed, row):
    fits = [*row["weights"], row["states"], row["ode_loss"]]
    print(f"{seed:>6} " + "  ".join(f"{s:>6.3f} ± {w:.3f}" for s, w in fits))


def draw(figure, results):
    """Draw the first seed: distances of the weights, and losses of the neural ODEs."""
    rows = next(iter(results["parts"].values()))
    left, right = figure.subplots(1, 2)
    figure.set_size_inches(9, 4)
    shown = [row for row in rows if "states" in row]
    depths = np.array([row["depth"] for row in shown])
    for i, flow_time in enumerate((*FLOW_TIMES, inf)):
        values = [row["weights_over_time"][i] for row in shown]
        label = "∞" if flow_time == inf else f"{flow_time:g}"
        color = colormaps["viridis_r"](0.1 + 0.28 * i)
        left.loglog(depths, values, "o-", ms=3, color=color, label=label)
    left.loglog(depths, 2 * values[0] / depths, "k:", label="slope −1")
    left.set_ylabel(r"$\sup_s\ \|Z^L(s, t) - Z(s, t)\|_F$")
    left.legend(title="flow time $t$", frameon=False)
    losses = [row["ode_loss"] for row in rows]
    depths = np.array([row["depth"] for row in rows])
    right.loglog(depths, losses, "o-", ms=3, color="C0", label="neural ODE")
    ends = [row["final_loss"] for row in rows]
    right.loglog(depths, ends, "o-", ms=3, color="C7", label="network")
    right.loglog(depths, 4 * losses[0] / depths**2.0, "k:", label="slope −2")
    right.set_ylabel("loss at the end")
    right.legend(frameon=False)
    for ax in (left, right):
        ax.set_xlabel("depth $L$")
        ax.spines[["top", "right"]].set_visible(False)


def main():
    options = parse_options(__doc__)
    seeds, deepest = SEEDS, DEEPEST
    if options.quick:
        seeds, deepest = SEEDS[:1], 256
    torch.set_num_threads(1)
    without_warnings_about_training()
    parts, table = Parts(options), {}
    about = machine(options.quick)
    print(describe(about))
    at = " ".join(f"{f't={t:g}':>9}" for t in (*FLOW_TIMES, inf))
    for seed in seeds:
        if seed > seeds[0]:
            deepest = min(deepest, DEEPEST_OF_OTHER_SEEDS)
        print(
            f"\nseed {seed}\n     L  seconds  steps      loss  ODE loss | {at} |",
            end="",
        )
        print("    states   outputs")
        key = f"seed {seed}"
        table[key] = slopes(parts(key, measure, seed, deepest))
    print(
        "\nslopes, with 95 % intervals: weights at these flow times, states, ODE loss"
    )
    for seed, row in zip(seeds, table.values(), strict=True):
        print_slopes(seed, row)
    save(options, parts.results(machine=about, slopes=table), draw)


if __name__ == "__main__":
    main()
