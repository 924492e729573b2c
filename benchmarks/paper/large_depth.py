"""Figure 1 of the paper: as the depth L grows, training has a limit.

Networks of width 32 with GELU and a tied start are trained on 100 pairs of standard
Gaussian inputs and targets in R^16: by gradient descent, with 500 iterations of step
0.01 L, from L = 2 to 2^14 (2^12 for all seeds but the first), and by the adaptive
solver to the same flow time 5. Measured are

- the largest step between layers, max over k and t of ||Z_{k+1} - Z_k||_F, over all
  iterations, or over all steps of the adaptive solver;
- the distance sup over s of ||Z^L(s, t) - Z(s, t)||_F, with weights that are piecewise
  constant in s as in the paper's section 2, and the deepest network in place of the
  limit;
- the same for the hidden states and the outputs (root mean squares over the samples),
  and the difference of the losses, at the end.

Expected: all of them fall like 1/L, with slopes of -1 within 0.1 for L >= 16 and every
seed.

Run:  python benchmarks/paper/large_depth.py [--quick] [--json FILE] [--png FILE]
"""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from matplotlib import colormaps

sys.path.append(str(Path(__file__).parent))
from _runner import (
    Parts,
    Watch,
    describe,
    gaussian_pairs,
    increments,
    log_slope,
    machine,
    paper_regressor,
    parse_options,
    save,
    without_warnings_about_training,
)

from odenet.solvers import Flow, GradientDescent

STEP = 0.01  # of gradient descent, in flow time, as in the paper
EXPERIMENTS = {  # settings of the runs, by name
    "gradient descent": {
        "solver": GradientDescent(learning_rate=STEP),
        "horizon": 500 * STEP,
        "deepest": 2**14,
    },
    "flow": {"solver": Flow(rtol=1e-3), "horizon": 500 * STEP, "deepest": 2**12},
    "flow, W of scale 1": {
        "solver": Flow(rtol=1e-3),
        "horizon": 50.0,
        "deepest": 2**12,
        "scale": 1.0,
    },
}
SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the horizon, at which runs are compared
SEEDS = [0, 1, 2]
DEEPEST_OF_OTHER_SEEDS = 2**12  # of all but the first
SHALLOWEST_OF_SLOPE = 16  # the least depth in the fit of a slope
# The distances from the reference.
MEASURES = ("weights", "states", "outputs", "loss")


class Run:
    """What is kept of one training at one depth."""

    def __init__(
        self,
        depth,
        seed,
        solver,
        horizon,
        *,
        deepest=None,
        n_samples=100,
        dim=16,
        flow_times=None,
        **settings,
    ):
        X, y = gaussian_pairs(n_samples, dim, dim, seed)
        shown = flow_times or [horizon * share for share in SHARES]
        self.largest_step, self.steps, self.weights = 0.0, {}, {}
        start = perf_counter()
        model = paper_regressor(
            X,
            y,
            depth,
            width=32,
            solver=solver,
            flow_time=horizon,
            callbacks=[Watch(self.visit, shown, self.every_step)],
            random_state=seed,
            **settings,
        ).fit(X, y)
        self.seconds = perf_counter() - start
        self.X, self.y, self.module = X, y, model.module_
        self.ends = model.net_.history[:, "flow_time"]  # of the steps
        self.n_grad_evals = model.n_grad_evals_
        self.loss = model.loss_curve_[-1]
        self.outputs = model.predict(X)
        self.states = torch.as_tensor(every(model.hidden_states(X), 2**11))

    def every_step(self, module):
        self.largest_step = max(self.largest_step, increments(module).max().item())

    def visit(self, module, flow_time):
        self.steps[flow_time] = self.largest_step
        Z = torch.cat([module.V.detach().mT, module.W.detach()], dim=2)
        self.weights[flow_time] = Z


def every(states, most):
    """Return the states at depth times j / most, or all if there are fewer layers."""
    depth = len(states) - 1
    return states[:: max(1, depth // most)]


def piecewise_constant(Z, depth):
    """Return the weights at more layers, each constant on [(k-1)/L, k/L)."""
    return Z[torch.arange(depth) * len(Z) // depth]


def distance(run, reference):
    """Return how far a run is from the reference, by every measure."""
    weights = {}
    for flow_time, Z in run.weights.items():
        limit = reference.weights[flow_time]
        gaps = (piecewise_constant(Z, len(limit)) - limit).flatten(1).norm(dim=1)
        weights[flow_time] = gaps.max().item()
    stride = (len(reference.states) - 1) // (len(run.states) - 1)
    states = (run.states - reference.states[::stride]).square().sum(dim=2).mean(dim=1)
    outputs = np.square(run.outputs - reference.outputs).sum(axis=1).mean()
    return {
        "weights": weights[max(weights)],
        "weights_over_time": list(weights.values()),
        "states": states.max().sqrt().item(),
        "outputs": float(np.sqrt(outputs)),
        "loss": abs(run.loss - reference.loss),
    }


def measure(experiment, seed):
    """Train at all depths of one seed; the deepest comes first, as the reference."""
    deepest = experiment["deepest"]
    depths = [2**i for i in range(1, 15) if 4 * 2**i <= deepest]
    reference = Run(deepest, seed, **experiment)
    rows = [describe_run(reference, deepest)]
    for depth in reversed(depths):
        run = Run(depth, seed, **experiment)
        rows.append(describe_run(run, depth) | distance(run, reference))
        print_row(rows[-1])
    return rows[::-1]


def describe_run(run, depth):
    return {
        "depth": depth,
        "step": run.largest_step,
        "steps_over_time": list(run.steps.values()),
        "flow_times": list(run.steps),
        "seconds": run.seconds,
        "n_grad_evals": run.n_grad_evals,
        "final_loss": run.loss,
    }


def print_row(row):
    numbers = " ".join(f"{row[name]:>10.3e}" for name in ("step", *MEASURES))
    print(
        f"{row['depth']:>6} {row['n_grad_evals']:>9} {row['seconds']:>8.1f} "
        f"{row['final_loss']:>9.5f} {numbers}",
        flush=True,
    )


def slopes(rows):
    """Fit the slope in log L of every measure, with its 95 % confidence interval.

    Distances from the reference are too small at depths near its own, so that only
    depths up to an eighth of it count.
    """
    deepest, result = rows[-1]["depth"], {}
    for name in ("step", *MEASURES):
        most = deepest if name == "step" else deepest // 8
        chosen = [r for r in rows if SHALLOWEST_OF_SLOPE <= r["depth"] <= most]
        depths, values = ([row[key] for row in chosen] for key in ("depth", name))
        result[name] = log_slope(depths, values)
    return result


def draw(figure, results):
    """Draw the first seed of gradient descent."""
    rows = next(iter(results["parts"].values()))
    panels = figure.subplots(1, 2)
    figure.set_size_inches(9, 4)
    names = ("steps_over_time", "weights_over_time")
    for ax, name in zip(panels, names, strict=True):
        shown = [row for row in rows if name in row]
        depths = np.array([row["depth"] for row in shown])
        for i, flow_time in enumerate(rows[0]["flow_times"]):
            values = [row[name][i] for row in shown]
            color = colormaps["viridis_r"](0.1 + 0.18 * i)
            label = f"{round(flow_time / STEP)}"
            ax.loglog(depths, values, "o-", ms=3, color=color, label=label)
        ax.loglog(depths, 2.5 * values[0] / depths, "k:", label="slope −1")
        ax.set_xlabel("depth $L$")
        ax.spines[["top", "right"]].set_visible(False)
    left, right = panels
    left.set_ylabel(r"$\max_{k,t}\ \|Z_{k+1} - Z_k\|_F$")
    left.legend(title="iterations", frameon=False)
    right.set_ylabel(r"$\sup_s\ \|Z^L(s, t) - Z(s, t)\|_F$")


def main():
    options = parse_options(__doc__)
    experiments, seeds = EXPERIMENTS, SEEDS
    if options.quick:
        quick = {"deepest": 256, "horizon": 20 * STEP}
        experiments = {name: e | quick for name, e in EXPERIMENTS.items()}
        seeds = SEEDS[:1]
    torch.set_num_threads(1)
    without_warnings_about_training()
    parts, table = Parts(options), {}
    about = machine(options.quick)
    print(describe(about))
    columns = " ".join(f"{name:>10}" for name in ("step", *MEASURES))
    for seed in seeds:
        for name, experiment in experiments.items():
            if seed > seeds[0]:
                deepest = min(experiment["deepest"], DEEPEST_OF_OTHER_SEEDS)
                experiment = {**experiment, "deepest": deepest}
            key = f"{name}, seed {seed}"
            print(f"\n{key}\n     L gradients  seconds      loss {columns}")
            table[key] = slopes(parts(key, measure, experiment, seed))
    print(f"\n{'slopes, with 95 % intervals':<28}  {'   '.join(('step', *MEASURES))}")
    for name, row in table.items():
        print(f"{name:<28}", "  ".join(f"{s:.3f} ± {w:.3f}" for s, w in row.values()))
    save(options, parts.results(machine=about, slopes=table), draw)


if __name__ == "__main__":
    main()
