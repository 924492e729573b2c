"""What keeps a network a discretised ODE, and what destroys it?

Unless a row says something else, networks of width 32 with GELU, tied W of scale
sqrt(q) and V = 0 follow the flow to time 20, on 100 pairs of standard Gaussian inputs
and targets in R^8. A row is one practice: a start, an activation, clipping, or an
optimizer with its mini-batches. Each is trained at L = 32 and at L = 128, with three
seeds. Reported are

- the von Neumann ratio at L = 128: about 1 for independent layers, O(1/L^2) for a
  discretised ODE;
- the Lipschitz constant L max ||Z_{k+1} - Z_k||_F, the larger one of Z = V and Z = W;
- its exponent, log(ratio of the two depths) / log(4), of V or of W, whichever grows
  faster: 0 if the weights tend to a function that is Lipschitz in depth, 1/2 or 1 if
  they do not;
- the training loss: the squared error, summed over the outputs (8 at the start).

The verdict is "smooth" for an exponent of at most 1/4 and a von Neumann ratio of at
most 0.05, by the medians over the seeds.

Rows of SGD have as many epochs as make a flow time of 40, which is the number of steps
times the rate over 1 - momentum. Rows of AdamW have 200 steps. Both end with the
running average of the weights over the last steps that the estimators keep, except for
the cosine schedule. "AdamW, every layer" is torch's own: every layer has a second
moment of its own, where odenet has one for all layers. With the exponent beta = 1/2 of
L in place of 1, the rate of V and W is 1 in place of L, so that the outputs move as
fast.

Expected: independent layers have ratios of 1 and constants that grow like L, whatever
beta is. Tied and Gaussian-process starts with smooth activations have ratios below
0.005 and bounded constants. ReLU has small ratios too, but kinks, and so constants that
grow like the square root of L. Clipping, momentum, mini-batches, weight decay and
schedules keep smoothness. So does AdamW at small rates, with either second moment.
Rates of 0.4 destroy it, and so does 0.04 on the whole set, far into interpolation.

Run:  python benchmarks/paper/controls.py [--quick] [--json FILE] [--png FILE]
"""

import sys
from dataclasses import dataclass
from math import ceil, log, sqrt
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

sys.path.append(str(Path(__file__).parent))
from _runner import (
    Parts,
    Watch,
    describe,
    follow_flow,
    gaussian_pairs,
    machine,
    paper_regressor,
    parse_options,
    save,
    without_warnings_about_training,
)

from odenet import GradientFlow, ResidualNetwork, depth_smoothness
from odenet.schemes import GaussianProcess, Independent, Tied
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

N_SAMPLES, DIM, WIDTH = 100, 8, 32
STATE_DIM = DIM + 1 + DIM  # inputs, their constant 1, and outputs
SCALE = sqrt(STATE_DIM)  # of W, so that W h / sqrt(q) is as in the authors' scripts
DEPTHS = (32, 128)  # shallow and deep, for the exponent
SEEDS = (0, 1, 2)
HORIZON = 20.0  # flow time of the trainings, unless a row says something else
N_ADAMW_STEPS = 200  # about the number of steps of AdamW
QUICK_SHARE = 1 / 40  # of all flow times, in a quick run
MOST_EXPONENT, MOST_RATIO = 0.25, 0.05  # of a network that is called smooth
SMALLEST_DRAWN = 1e-7  # ratio in the figure, for those that are 0
COLOURS = {"smooth": "C0", "not": "C3"}


@dataclass(frozen=True)
class WithV:
    """A scheme that draws V as well."""

    scheme: object
    draws_V = True

    def __call__(self, depth, shape, generator):
        return self.scheme(depth, shape, generator)


class LayerAdamW(AdamW):
    """torch's AdamW, in which every layer has a second moment of its own."""

    def make_optimizer(self, module, horizon):
        return torch.optim.AdamW(
            module.parameters(),
            lr=self.learning_rate,
            betas=(0.9, 0.95),  # those of odenet's
            weight_decay=self.weight_decay,
        )


def sgd(learning_rate, momentum, batch_size, **settings):
    """Return the settings of SGD for as many epochs as make the flow time."""
    n_steps = 2 * HORIZON * (1 - momentum) / learning_rate
    n_epochs = max(1, round(n_steps / ceil(N_SAMPLES / batch_size)))
    solver = SGD(
        learning_rate, momentum, batch_size=batch_size, max_epochs=n_epochs, **settings
    )
    return {"solver": solver, "flow_times": None}


def adamw(kind, learning_rate, batch_size, weight_decay=0.0):
    """Return the settings of about 200 steps of one kind of AdamW."""
    n_epochs = N_ADAMW_STEPS // ceil(N_SAMPLES / batch_size)
    solver = kind(learning_rate, weight_decay, batch_size, n_epochs)
    return {"solver": solver, "flow_times": None}


LENGTHS = (0.1, 0.25, 0.5, 1, 2)  # length scales of Gaussian processes
# The rows by group: parameters of the estimator, flow times to watch, or beta.
PRACTICES = {
    "start": {
        "tied": {},
        **{
            f"Gaussian process, length {length}": {
                "init": GaussianProcess(length, SCALE)
            }
            for length in LENGTHS
        },
        "Gaussian process of V and W, scale 1": {
            "init": GaussianProcess(draws_V=True),
        },
        "iid W": {"init": Independent(SCALE)},
        "iid V and W, scale 1": {"init": WithV(Independent())},
        "beta = 1/2, tied": {"init": Tied(SCALE), "beta": 0.5},
        "beta = 1/2, iid W": {"init": Independent(SCALE), "beta": 0.5},
        "beta = 1/2, iid V and W, scale 1": {
            "init": WithV(Independent()),
            "beta": 0.5,
        },
    },
    "activation": {
        name: {"activation": name, "flow_times": (10.0, 40.0)}
        for name in ("gelu", "silu", "softplus", "tanh", "relu")
    },
    "clipping": {
        "none, descent of step 0.05": {"solver": GradientDescent(0.05)},
        "at most 0.1, descent of step 0.05": {
            "solver": GradientDescent(0.05, clip=0.1)
        },
        "at most 0.01, descent of step 0.05": {
            "solver": GradientDescent(0.05, clip=0.01)
        },
    },
    "SGD": {
        "momentum 0, batch 8, rate 0.05": sgd(0.05, 0.0, 8),
        "momentum 0, batch 32, rate 0.1": sgd(0.1, 0.0, 32),
        "momentum 0, all 100, rate 0.1": sgd(0.1, 0.0, 100),
        "momentum 0.9, batch 8, rate 0.005": sgd(0.005, 0.9, 8),
        "momentum 0.9, batch 32, rate 0.01": sgd(0.01, 0.9, 32),
        "momentum 0.9, all 100, rate 0.01": sgd(0.01, 0.9, 100),
        "momentum 0.9, batch 32, rate 0.03": sgd(0.03, 0.9, 32),
        "the same, weight decay 0.01": sgd(0.03, 0.9, 32, weight_decay=0.01),
        "the same, cosine schedule": sgd(0.03, 0.9, 32, schedule="cosine"),
    },
    **{
        kind: {
            "batch 32, rate 0.004": adamw(solver, 0.004, 32),
            "batch 32, rate 0.04": adamw(solver, 0.04, 32),
            "batch 32, rate 0.4": adamw(solver, 0.4, 32),
            "batch 8, rate 0.04": adamw(solver, 0.04, 8),
            "all 100, rate 0.04": adamw(solver, 0.04, 100),
            "batch 32, rate 0.04, decay 0.1": adamw(solver, 0.04, 32, 0.1),
        }
        for kind, solver in (("AdamW", AdamW), ("AdamW, every layer", LayerAdamW))
    },
}


def measure(practice, depth, seed, quick):
    """Train once; return a record for every flow time that is watched, or the end."""
    settings = {"flow_times": (HORIZON,), "solver": Flow(), **practice}
    flow_times, beta = settings.pop("flow_times"), settings.pop("beta", None)
    if quick:
        flow_times = flow_times and [t * QUICK_SHARE for t in flow_times]
        settings["solver"].set_params(**({} if flow_times else {"max_epochs": 1}))
    X, y = gaussian_pairs(N_SAMPLES, DIM, DIM, seed)
    tensors = [torch.tensor(array, dtype=torch.float32) for array in (X, y)]
    records, start = [], perf_counter()

    def visit(module, flow_time):
        seconds = perf_counter() - start
        records.append(record(module, *tensors, flow_time, seconds))

    if beta is not None:
        horizon = flow_times[-1]
        visit(
            train_with_beta(*tensors, depth, seed, settings["init"], beta, horizon),
            horizon,
        )
        return records
    model = paper_regressor(
        X,
        y,
        depth,
        width=WIDTH,
        callbacks=[Watch(visit, flow_times)] if flow_times else None,
        random_state=seed,
        **settings,
        **({"flow_time": flow_times[-1]} if flow_times else {}),
    ).fit(X, y)
    for _ in (flow_times or [None])[len(records) :]:
        visit(model.module_, model.flow_time_)  # of mini-batches, or where it ended
    return records


def train_with_beta(x, y, depth, seed, init, beta, horizon):
    """Train a network with an exponent beta that no estimator has."""
    network = ResidualNetwork(
        DIM,
        DIM,
        depth=depth,
        width=WIDTH,
        state_dim=STATE_DIM,
        init=init,
        depth_scaling=beta,
        generator=torch.Generator().manual_seed(seed),
    )
    ends, layers = network.parameter_groups()
    rated = {**layers, "lr": depth ** (2 * beta - 1)}
    flow = GradientFlow([ends, rated], horizon=horizon)
    follow_flow(flow, network, x, y)
    return network


@torch.no_grad()
def record(module, x, y, flow_time, seconds):
    smoothness = depth_smoothness(module)
    return {
        "flow_time": flow_time,
        "ratio": smoothness.von_neumann_ratio,
        "lipschitz": smoothness.per_weight,
        "loss": (module(x) - y).square().sum(dim=1).mean().item(),
        "seconds": seconds,
    }


def summarise(records, depths):
    """Return a row: medians and ranges over the seeds, for pairs (shallow, deep)."""
    growth = log(depths[1] / depths[0])
    exponents = [
        max(
            (log(deep[Z] / shallow[Z]) / growth for Z in ("V", "W") if shallow[Z] > 0),
            default=0.0,
        )
        for shallow, deep in ([r["lipschitz"] for r in pair] for pair in records)
    ]
    ratios = [deep["ratio"] for _, deep in records]
    times = [run["flow_time"] for pair in records for run in pair]
    row = {
        "flow_time": None if None in times else min(times),
        "ratios": ratios,
        "exponents": exponents,
        "lipschitz": [
            median(max(pair[i]["lipschitz"].values()) for pair in records)
            for i in range(2)
        ],
        "losses": [median(pair[i]["loss"] for pair in records) for i in range(2)],
    }
    is_smooth = median(exponents) <= MOST_EXPONENT and median(ratios) <= MOST_RATIO
    return {**row, "verdict": "smooth" if is_smooth else "not"}


def print_row(name, row):
    time = "-" if row["flow_time"] is None else f"{row['flow_time']:g}"
    ratio, exponent = (
        f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
        for values, form in ((row["ratios"], ".1e"), (row["exponents"], ".2f"))
    )
    lipschitz = " ".join(f"{value:>8.3g}" for value in row["lipschitz"])
    losses = " ".join(f"{value:>6.3f}" for value in row["losses"])
    print(
        f"{name:<40} {time:>3}  {ratio:>30}  {lipschitz}  {exponent:>22}  {losses}  "
        f"{row['verdict']}",
        flush=True,
    )


def draw(figure, results):
    rows = [
        (group, label(name, row), row)
        for group, names in results["table"].items()
        for name, rows in names.items()
        for row in rows
    ]
    figure.set_size_inches(9, 0.19 * len(rows) + 1)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for y, (_, _, row) in enumerate(rows):
        colour = COLOURS[row["verdict"]]
        style = {"color": colour, "marker": "o", "ms": 4, "lw": 0, "alpha": 0.7}
        left.plot(
            [max(r, SMALLEST_DRAWN) for r in row["ratios"]],
            [y] * len(row["ratios"]),
            **style,
        )
        right.plot(row["exponents"], [y] * len(row["exponents"]), **style)
    draw_groups((left, right), [group for group, _, _ in rows])
    left.set_xscale("log")
    left.axvline(MOST_RATIO, color="0.5", lw=0.8, ls="--")
    right.axvline(MOST_EXPONENT, color="0.5", lw=0.8, ls="--")
    left.set_yticks(range(len(rows)), [name for _, name, _ in rows], fontsize=7.5)
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.set_xlabel(f"von Neumann ratio, L = {results['depths'][1]}")
    right.set_xlabel("exponent of L in the Lipschitz constant")
    for verdict, colour in COLOURS.items():
        right.plot([], [], "o", ms=4, color=colour, label=verdict)
    figure.legend(
        *right.get_legend_handles_labels(), loc="outside upper right", ncols=2
    )


def label(name, row):
    """Return the name of a row, with its flow time if that is not the usual one."""
    if row["flow_time"] in (None, HORIZON):
        return name
    return f"{name}, t = {row['flow_time']:g}"


def draw_groups(axes, groups):
    """Shade every other group, and write its name."""
    for i, group in enumerate(dict.fromkeys(groups)):
        first, last = groups.index(group), len(groups) - 1 - groups[::-1].index(group)
        for ax in axes:
            ax.axhspan(
                first - 0.5, last + 0.5, color="0.94" if i % 2 else "1", zorder=0
            )
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(axis="y", length=0)
        axes[1].text(
            0.98,
            last + 0.35,
            group,
            transform=axes[1].get_yaxis_transform(),
            ha="right",
            fontsize=8,
            style="italic",
        )


def main():
    options = parse_options(__doc__)
    depths, seeds = ((4, 8), SEEDS[:1]) if options.quick else (DEPTHS, SEEDS)
    torch.set_num_threads(1)
    without_warnings_about_training()
    parts, table = Parts(options), {}
    about = machine(options.quick)
    print(describe(about))
    print(
        f"\n{'':<40} {'t':>3}  {'von Neumann ratio':>30}  "
        f"{f'Lipschitz, L = {depths[0]}, {depths[1]}':>17}  {'exponent':>22}  "
        f"{'loss':>13}  verdict"
    )
    for group, practices in PRACTICES.items():
        print(f"\n{group}")
        table[group] = {}
        for name, practice in practices.items():
            runs = [
                [
                    parts(
                        f"{group}: {name}, L = {depth}, seed {seed}",
                        measure,
                        practice,
                        depth,
                        seed,
                        options.quick,
                    )
                    for depth in depths
                ]
                for seed in seeds
            ]
            times = range(len(runs[0][0]))
            table[group][name] = [
                summarise([[run[i] for run in pair] for pair in runs], depths)
                for i in times
            ]
            for row in table[group][name]:
                print_row(f"  {name}", row)
    save(options, parts.results(machine=about, depths=depths, table=table), draw)


if __name__ == "__main__":
    main()
