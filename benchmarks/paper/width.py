"""How wide must a network be for its training to converge exponentially?

Networks with GELU and a tied start are trained on n = 32 pairs of standard Gaussian
inputs and targets in R^8. They have a width m from n / 4 to 8 n, and 8 layers or a
single one. They follow the gradient flow in float64 to flow time 100. Measured are, as
medians over seeds,

- the loss at the end, as a share of that at the start, and the largest of any seed;
- the constant mu of the Polyak-Lojasiewicz condition at the start, the least from flow
  time 1 on, and at the end;
- the rate -d log l / dt, from 1e-2 to 1e-6 of the loss at the start, or to the end.

Theory: as long as V = 0, outputs are not coupled, and the kernel of every output is
s s^T / m + 2 x x^T, where s are the n inner states and x the inputs with their
constant. Its rank is at most m + 9. So mu = 0 if m < n - 9, and all depths begin alike.

Expected: at the start mu is positive from m = 3/4 n on. It grows steeply up to 2 n
(1e-3 at n, 4e-3 at 2 n) and slowly beyond: m = n is enough, m = 2 n is comfortable.
From n on mu grows by a factor of 15 to 130 in training, and the loss falls at 1.3 to
1.8 times the mu of the end. The condition at the start is not needed: eight layers of m
= n / 4 converge too, at a third of the rate of m = 8 n, because mu becomes positive
with V (0.04 at the end). Depth is what does it: one layer of m = n / 4 has fewer
parameters (208, without those that have no effect) than there are targets (256), and
keeps mu = 0 and a tenth of its loss.

Run:  python benchmarks/paper/width.py [--quick] [--json FILE] [--png FILE]
"""

import sys
from pathlib import Path
from statistics import median

import torch

sys.path.append(str(Path(__file__).parent))
from _runner import (
    Parts,
    describe,
    machine,
    parse_options,
    save,
    without_warnings_about_training,
)
from long_time import Run, number

from odenet.solvers import Flow

N_SAMPLES = 32
WIDTHS = [8, 16, 24, 32, 64, 128, 256]  # from n / 4 to 8 n
DEPTHS = [8, 1]
SEEDS = [0, 1, 2]
SOLVER = Flow(rtol=1e-3, method="exponential")
EARLIEST = 1.0  # flow time from which the least constant is taken
# The settings of a full and of a quick run.
FULL = {"n_samples": N_SAMPLES, "dim": 8, "horizon": 100.0}
QUICK = {"n_samples": N_SAMPLES, "dim": 8, "horizon": 2.0}
MEASURES = (  # the columns of the table
    "loss",
    "mu at the start",
    "least mu",
    "mu at the end",
    "exponential rate",
    "gradients",
)


def measure(depth, width, seed, size):
    run = Run(seed, depth=depth, width=width, solver=SOLVER, **size)
    constants = {row["flow_time"]: row["pl_constant"] for row in run.snapshots}
    return {
        "loss": run.losses[-1] / run.losses[0],
        "mu at the start": constants[0.0],
        "least mu": min(mu for t, mu in constants.items() if t >= EARLIEST),
        "mu at the end": constants[max(constants)],
        "exponential rate": run.exponential_rate(),
        "gradients": run.n_grad_evals[-1],
        "seconds": run.seconds[-1],
        "stop_reason": run.stop_reason,
        "snapshots": run.snapshots,
    }


def summarise(runs):
    """Return medians over the seeds, None where a seed has no value."""
    row = {"largest loss": max(run["loss"] for run in runs)}
    for name in MEASURES:
        values = [run[name] for run in runs]
        row[name] = None if None in values else median(values)
    return row


LINES = {  # panel, colour and label of the lines of a figure
    "loss": (0, "k", None),
    "mu at the start": (1, "0.6", r"$\mu$ at the start"),
    "least mu": (1, "C1", rf"least $\mu$ from $t$ = {EARLIEST:.0f} on"),
    "mu at the end": (1, "C0", r"$\mu$ at the end"),
    "exponential rate": (1, "k", "observed rate"),
}


def draw(figure, results):
    """Draw losses, constants and rates against m / n, without zeros."""
    axes = figure.subplots(1, 2)
    for table, style in zip(results["tables"].values(), ("o-", "s--"), strict=True):
        for name, (panel, color, label) in LINES.items():
            values = {int(m) / N_SAMPLES: row[name] for m, row in table.items()}
            points = [(ratio, value) for ratio, value in values.items() if value]
            label = label if style == "o-" else None
            x, y = zip(*points, strict=True) if points else ((), ())
            axes[panel].plot(x, y, style, c=color, ms=4, label=label)
    labels = "loss at the end, of that at the start", r"constant $\mu$, and rate"
    for ax, label in zip(axes, labels, strict=True):
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", xlabel="width over samples, $m / n$", ylabel=label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[1].legend(fontsize="small")
    deep, single = results["tables"]
    axes[0].set_title(f"{deep} (solid), {single} (dashed)", fontsize="small")


def main():
    options = parse_options(__doc__)
    size, widths, seeds = FULL, WIDTHS, SEEDS
    if options.quick:
        size, widths, seeds = QUICK, WIDTHS[:4:3], SEEDS[:1]
    torch.set_num_threads(1)
    without_warnings_about_training()
    parts, tables = Parts(options), {}
    about = machine(options.quick)
    print(describe(about))
    for depth in DEPTHS:
        print(f"\nL = {depth}\n  m / n  largest loss  {'  '.join(MEASURES)}")
        table = tables[f"L = {depth}"] = {}
        for width in widths:
            runs = [
                parts(
                    f"L = {depth}, m = {width}, seed {seed}",
                    measure,
                    depth,
                    width,
                    seed,
                    size,
                )
                for seed in seeds
            ]
            row = table[str(width)] = summarise(runs)
            cells = (f"{number(row[name]):>{len(name)}}" for name in MEASURES)
            largest = number(row["largest loss"])
            ratio = width / N_SAMPLES
            print(f"{ratio:>7}  {largest:>12}  {'  '.join(cells)}", flush=True)
    save(options, parts.results(machine=about, tables=tables), draw)


if __name__ == "__main__":
    main()
