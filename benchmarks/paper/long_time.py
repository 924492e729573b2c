"""Figure 2 of the paper: training goes on for long, and the weights stay smooth.

Networks of 64 layers and width 64 with GELU and a tied start are trained in float64 on
50 pairs of standard Gaussian inputs and targets in R^16, to flow time 400: by the
exponential integrator and by the Runge-Kutta-Chebyshev method ("rkc"), from W of unit
inputs and of scale 1 (see ``_runner.py``), and, for the first seed, by gradient descent
with 80,000 iterations of step 0.005 L. A run ends early if the loss is down to
rounding. Measured are

- the loss against flow time, the gradients and the seconds to get to some losses, and
  the rate of its fall, -d log l / dt, from 1e-2 to 1e-6 of the loss at the start, or to
  the end;
- the weights as functions of depth, with Lipschitz constant and von Neumann ratio;
- along the path, the constant mu of the Polyak-Lojasiewicz condition
  (``odenet.tangent_kernel``), which is the least rate at which the loss of a flow can
  fall; the rate that the kernel gives for the residual; and the rate observed;
- how well the loss falls by the energy of the flow, the column "energy_ratio" of the
  history, where the loss is above 1e-12.

Expected: from unit inputs the exponential integrator ends below 1e-20, and falls at the
rate mu there, within 2 %; descent takes more than 20 times its seconds to 1e-12. The
weights stay smooth: L ||dZ|| ends at 6 to 8 (4 to 5 for W of scale 1), and the ratio is
that of a straight line, 1.5e-3, up to a fifth. From start to end mu grows from 1e-2 to
0.11 or more (from 1e-4 to 0.02 or more). The loss falls faster than at the rate mu: 27
times as fast at t = 1, and at mu itself in the end, when only the slowest direction is
left. Descent shows the same, with an energy ratio of 1. "rkc" is faster down to 1e-6;
late, its ratio can be a tenth: its steps are as long as the tolerance allows, and each
damps stiff directions by a constant factor.

Run:  python benchmarks/paper/long_time.py [--quick] [--json FILE] [--png FILE]
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent))
from _runner import (
    Parts,
    Watch,
    describe,
    gaussian_pairs,
    machine,
    paper_regressor,
    parse_options,
    save,
    without_warnings_about_training,
)

from odenet import depth_smoothness, tangent_kernel
from odenet.solvers import Flow, GradientDescent

STEP = 5e-3  # of gradient descent, in flow time
METHODS = {"exponential": Flow(method="exponential"), "rkc": Flow(method="rkc")}
EXPERIMENTS = {  # settings of the runs, by name
    **{name: {"solver": solver} for name, solver in METHODS.items()},
    **{
        f"{name}, W of scale 1": {"solver": solver, "scale": 1.0}
        for name, solver in METHODS.items()
    },
    "gradient descent": {"solver": GradientDescent(learning_rate=STEP)},
}
# The settings of a full and of a quick run.
FULL = {"n_samples": 50, "dim": 16, "depth": 64, "width": 64, "horizon": 400.0}
QUICK = {"n_samples": 6, "dim": 3, "depth": 4, "width": 8, "horizon": 4.0}
SEEDS = [0, 1, 2]
# The flow times that are watched, as shares of the horizon.
SHARES = (0.0, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.7, 0.97, 1.0)
# The losses, as shares of that at the start, between which the fall is exponential.
EXPONENTIAL = 1e-2, 1e-6
N_KEPT = 500  # points of a curve in the file
N_FITTED = 200  # points of the exponential phase, evenly spaced, to fit a slope to
LOSSES = 1e-6, 1e-12, 1e-20  # to which the gradients and the seconds are counted
# What is expected of the exponential integrator: its loss at the end, and how many
# times the seconds descent takes to the second of these losses.
LARGEST_LOSS, LEAST_SPEEDUP = 1e-20, 20
N_ENTRIES = 2  # of V_k and of W_k in the figure
ABOVE_LOSSES = 1e25  # the end of their axis, which leaves room for the legend
MEASURES = (  # the columns of the table
    "flow_time",
    "loss",
    "pl_constant",
    "kernel_rate",
    "observed_rate",
    "curvature",
    "von_neumann_ratio",
    "lipschitz",
)


class Run:
    """One training: its losses, and what was measured at some flow times."""

    def __init__(self, seed, n_samples, dim, depth, width, horizon, **settings):
        self.X, self.y = gaussian_pairs(n_samples, dim, dim, seed)
        self.snapshots, self.weights = [], {"V": [], "W": []}
        flow_times = [horizon * share for share in SHARES]
        model = paper_regressor(
            self.X,
            self.y,
            depth,
            width=width,
            flow_time=horizon,
            callbacks=[Watch(self.visit, flow_times)],
            dtype="float64",
            random_state=seed,
            **settings,
        ).fit(self.X, self.y)
        self.stop_reason = model.stop_reason_
        names = "flow_time", "train_loss", "n_grad_evals", "energy_ratio", "dur"
        history = model.net_.history
        self.times, self.losses, self.n_grad_evals, energy, seconds = (
            np.array([row[name] for row in history], dtype=float) for name in names
        )
        self.seconds = np.cumsum(seconds)  # without those of the visits
        self.energy = energy[self.losses > LOSSES[1]]

    @torch.no_grad()
    def visit(self, module, flow_time):
        residual = module(torch.as_tensor(self.X)).numpy() - self.y
        kernel, smoothness = tangent_kernel(module, self.X), depth_smoothness(module)
        self.snapshots.append(
            {
                "flow_time": flow_time,
                "loss": np.square(residual).sum() / len(residual),
                "pl_constant": kernel.pl_constant,
                "kernel_rate": kernel.rate(residual),
                "curvature": kernel.curvature,
                "von_neumann_ratio": smoothness.von_neumann_ratio,
                "lipschitz": smoothness.lipschitz,
            }
        )
        for name, weights in self.weights.items():
            weights.append(getattr(module, name).flatten(1).numpy(force=True).copy())

    def log_loss(self, flow_times):
        return np.interp(flow_times, self.times, np.log(self.losses))

    def observed_rate(self, flow_time):
        """Return the mean rate from a little before to a little after a flow time."""
        around = np.minimum(flow_time * np.array([0.97, 1.1]), self.times[-1])
        before, after = self.log_loss(around)
        return (before - after) / (around[1] - around[0]) if flow_time else None

    def exponential_rate(self):
        """Fit the slope of the log loss over the exponential phase."""
        first, last = (self.first_below(c * self.losses[0]) for c in EXPONENTIAL)
        if first is None:
            return None
        end = self.times[-1 if last is None else last]
        grid = np.linspace(self.times[first], end, N_FITTED)
        return -np.polyfit(grid, self.log_loss(grid), 1)[0]

    def first_below(self, loss):
        """Return the index of the first step that ends below a loss, or None."""
        below = np.flatnonzero(self.losses <= loss)
        return int(below[0]) if len(below) else None

    def entries(self):
        """Return how entries change with flow time: those that vary most over depth."""
        result = {}
        for name, weights in self.weights.items():
            varying = np.argsort(np.ptp(weights[-1], axis=0))[-N_ENTRIES:]
            changes = np.stack(weights)[:, :, varying] - weights[0][:, varying]
            result[name] = changes.tolist()
        return result


def measure(experiment, size, seed):
    run = Run(seed, **size, **experiment)
    for snapshot in run.snapshots:
        snapshot["observed_rate"] = run.observed_rate(snapshot["flow_time"])
    reached = {f"{loss:.0e}": run.first_below(loss) for loss in LOSSES}
    kept = np.unique(np.linspace(0, len(run.times) - 1, N_KEPT).astype(int))
    return {
        "flow_time": run.times[-1],
        "loss": run.losses[-1],
        "n_grad_evals": run.n_grad_evals[-1],
        "seconds": run.seconds[-1],
        **{
            f"{name} to {loss}": None if at is None else values[at]
            for name, values in (
                ("gradients", run.n_grad_evals),
                ("seconds", run.seconds),
            )
            for loss, at in reached.items()
        },
        "energy_ratio": [np.nanmin(run.energy), np.nanmax(run.energy)],
        "stop_reason": run.stop_reason,
        "exponential_rate": run.exponential_rate(),
        "snapshots": run.snapshots,
        "flow_times": run.times[kept].tolist(),
        "losses": run.losses[kept].tolist(),
        "n_grad_evals_over_time": run.n_grad_evals[kept].tolist(),
        "entries": run.entries(),
    }


def show(run):
    """Print the table of a run."""
    least, most = run["energy_ratio"]
    print(
        f"t = {run['flow_time']:.0f} ({run['stop_reason']}), loss {run['loss']:.2e}, "
        f"{run['n_grad_evals']:.0f} gradients, {run['seconds']:.0f} s; "
        f"exponential rate {number(run['exponential_rate'])}, "
        f"energy {least:.3f} to {most:.3f}"
    )
    for loss in map("{:.0e}".format, LOSSES):
        n, seconds = (run[f"{name} to {loss}"] for name in ("gradients", "seconds"))
        print(f"  to {loss}: {number(n)} gradients, {number(seconds)} s")
    print(
        "       t      loss        mu  rate of K  observed  of mu  curvature   Neumann"
        "   L |dZ|"
    )
    for row in run["snapshots"]:
        t, loss, mu, rate, observed, *rest = (number(row[name]) for name in MEASURES)
        ratio = "-"
        if row["observed_rate"] and row["pl_constant"]:
            ratio = number(row["observed_rate"] / row["pl_constant"])
        curvature, neumann, lipschitz = rest
        print(
            f"{t:>8} {loss:>9} {mu:>9} {rate:>10} {observed:>9} {ratio:>6} "
            f"{curvature:>10} {neumann:>9} {lipschitz:>8}"
        )


def number(value):
    return "-" if value is None else f"{value:.3g}"


def compare(runs):
    """Compare the seconds to a low loss, and the rate at the end with mu."""
    ours, descent = runs["exponential"], runs["gradient descent"]
    name = f"seconds to {LOSSES[1]:.0e}"
    last = ours["snapshots"][-1]
    rates = [last[key] for key in ("observed_rate", "pl_constant")]
    result = {"loss": ours["loss"], "rate over mu": rates[0] / rates[1]}
    if None not in (ours[name], descent[name]):
        result["speedup"] = descent[name] / ours[name]
    return result


def draw(figure, results):
    parts = results["parts"]
    (losses, V), (rates, W) = figure.subplots(2, 2)
    for name, style in zip(EXPERIMENTS, ("C0", "C2", "C1", "C3", "k"), strict=True):
        runs = [run for key, run in parts.items() if key.startswith(f"{name}, seed")]
        for i, run in enumerate(runs):
            line = "--" if style == "k" else "-"
            label = name if i == 0 else None
            losses.semilogy(
                run["flow_times"], run["losses"], line, c=style, lw=1, label=label
            )
            rows = [r for r in run["snapshots"] if r["flow_time"] > 0]
            times = [row["flow_time"] for row in rows]
            for key, marker in [("pl_constant", "-"), ("observed_rate", "o")]:
                values = [row[key] for row in rows]
                rates.loglog(times, values, marker, c=style, ms=3, lw=1)
    losses.set(xlabel="flow time $t$", ylabel="loss", ylim=(None, ABOVE_LOSSES))
    losses.legend(fontsize="x-small", loc="upper right", frameon=False)
    rates.set(xlabel="flow time $t$", ylabel=r"$\mu$ (lines), observed rate (dots)")
    run = next(iter(parts.values()))
    V.set_title(f"t from 0 (light) to {run['flow_time']:.0f} (dark)", fontsize="small")
    for ax, name in [(V, "V"), (W, "W")]:
        draw_entries(ax, run["entries"][name])
        ax.set(
            xlabel="depth time $k / L$", ylabel=f"entries of ${name}_k - {name}_k(0)$"
        )
    for ax in (losses, rates, V, W):
        ax.spines[["top", "right"]].set_visible(False)


def draw_entries(ax, entries):
    """Draw entries against depth, from light to dark as training goes on."""
    for i, values in enumerate(entries):
        shade = str(0.85 * (1 - i / max(1, len(entries) - 1)))
        for curve in np.transpose(values):
            depth = len(curve)
            ax.plot(np.arange(1, depth + 1) / depth, curve, c=shade, lw=1)


def main():
    options = parse_options(__doc__)
    size, seeds = (QUICK, SEEDS[:1]) if options.quick else (FULL, SEEDS)
    torch.set_num_threads(1)
    without_warnings_about_training()
    parts, comparisons = Parts(options), {}
    about = machine(options.quick)
    print(describe(about))
    for seed in seeds:
        runs = {}
        for name, experiment in EXPERIMENTS.items():
            if name == "gradient descent" and seed > seeds[0]:
                continue
            key = f"{name}, seed {seed}"
            print(f"\n{key}: ", end="", flush=True)
            runs[name] = parts(key, measure, experiment, size, seed)
            show(runs[name])
        if "gradient descent" in runs:
            comparisons[f"seed {seed}"] = compare(runs)
    for name, row in comparisons.items():
        print(f"\n{name}, exponential: loss {row['loss']:.1e} at the end")
        print(f"  the observed rate there is {row['rate over mu']:.3f} times mu")
        if "speedup" in row:
            print(f"  descent takes {row['speedup']:.1f} times as long to 1e-12")
            print(
                f"  as expected: {row['loss'] <= LARGEST_LOSS}, "
                f"{row['speedup'] >= LEAST_SPEEDUP}"
            )
    save(options, parts.results(machine=about, comparisons=comparisons), draw)


if __name__ == "__main__":
    main()
