"""For which depth scalings does training have a limit, and where is it an ODE?

Networks h_k = h_{k-1} + L^-beta m^-1/2 V_k sigma(W_k h_{k-1} / sqrt(q)) with GELU and
width m = 32 follow the flow on 100 pairs of standard Gaussian inputs and targets in
R^8, from four starts: tied W of scale sqrt(q), or independent W of that scale, with
V = 0; V and W from Gaussian processes, or independent, of scale 1. The rate is 1 for A
and B, and L^a for V and W, with a = 2 beta - 1 + delta. With delta = 0 the layers' part
of the tangent kernel is of order 1 where V = 0. The flow time is 10, and 10 L^-delta
for delta > 0, so that the layers have as much of it while A and B stay where they are
as L grows. Measured are, as medians over three seeds with exponents of L,

- the loss at the start (8 is that of the zero function) and at the end;
- the distance of the outputs at the training inputs from those at 4 L, relative to
  them. The distance from the deepest network would fall without a limit, too;
- the von Neumann ratio and the Lipschitz constant of the weights of the velocity,
  L^(1 - beta) V and W, with which the ODE is dh/ds = V sigma(W h / sqrt(q)) / sqrt(m);
- the variation of the states, the sum over k of ||h_k - h_{k-1}||^2 relative to
  ||h_0||^2: it falls like 1/L along an ODE, and not at all along an SDE;
- the relative change in training of the tangent kernel, with the rates of this flow, at
  20 of the inputs; that of W; and the root mean square change of the velocity at the
  first states, relative to them.

Something falls if its exponent is at most -0.1. The first verdict that applies is that
of a cell:

- explodes: some network has a loss above 1000 at the start and is not trained, or needs
  more than 1200 gradients; the loss is then that where it was given up;
- random: the distance does not fall, but layers are independent (von Neumann ratio
  above 0.05) and the median loss of the two deepest networks differs by at most 5 %;
- no limit: the distance does not fall;
- layers frozen: the change of the velocity falls;
- lazy: the change of the tangent kernel falls, with an exponent of at most -0.4. For
  delta = 1/2, A and B add a part that falls like L^-1/2 to any constant;
- ODE: the weights of the velocity are smooth (Lipschitz exponent at most 1/4, von
  Neumann ratio at most 0.05);
- averaged ODE: they are not, but the variation falls. The layers' independent parts
  average out, since networks of unrelated draws come to agree;
- "W frozen": the relative change of W falls.

Expected: with V = 0 there is a limit for every beta, with the same loss within 0.05,
and W is frozen for beta < 1. For delta >= 0 it is an ODE for tied W, and an averaged
one for independent W. The smooth start with V of scale 1 has a limit, an ODE, for
beta = 1 only; for beta <= 5/8 networks explode. With independent V and W of scale 1 the
limit is random for beta = 1/2. For larger beta it is an averaged ODE, which is reached
the faster, the larger beta is. For delta = -1/2 layers are frozen wherever there is a
limit that is not random. No cell is lazy: those that are ODEs, averaged or not, have
kernels that change by 0.7 to 5.1 times themselves for delta = 0, with exponents of
-0.09 and above, and exponents of -0.31 and above for delta = 1/2.

Run:  python benchmarks/paper/phase_diagram.py [--quick] [--json FILE] [--png FILE]
"""

import sys
from math import sqrt
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace

import torch
from matplotlib.patches import Rectangle

sys.path.append(str(Path(__file__).parent))
from _runner import (
    Parts,
    describe,
    follow_flow,
    gaussian_pairs,
    log_slope,
    machine,
    mean_loss,
    parse_options,
    save,
)
from controls import (
    DIM,
    MOST_EXPONENT,
    MOST_RATIO,
    N_SAMPLES,
    SCALE,
    STATE_DIM,
    WIDTH,
    WithV,
)

from odenet import GradientFlow, ResidualNetwork, depth_smoothness, tangent_kernel
from odenet._network.layers import velocity
from odenet.schemes import GaussianProcess, Independent, Tied

STARTS = {
    "tied": Tied(SCALE),
    "Gaussian process": GaussianProcess(draws_V=True),
    "iid W": Independent(SCALE),
    "iid V and W": WithV(Independent()),
}
BETAS = (1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)
DELTAS = (1 / 2, 0, -1 / 2)
DEPTHS = (16, 64, 256)
SEEDS = (0, 1, 2)
HORIZON = 10.0  # flow time, for delta <= 0
RTOL = 1e-2  # of the flow
# Runs that need more gradients are given up. Those from a larger loss are not begun:
# they would need many thousands.
MOST_GRADIENTS, MOST_LOSS = 1200, 1e3
N_KERNEL_SAMPLES = 20  # at which the tangent kernel is computed
FALLING = -0.1  # largest exponent of what is said to fall to zero as L grows
FALLING_OF_LAZY = -0.4  # largest exponent of the change of the kernel of lazy training
SETTLED = 0.05  # largest relative change of a loss that is said to have a limit
# The measures that have an exponent.
MEASURES = ("distance", "lipschitz", "variation", "kernel", "W", "velocity")
COLOURS = {
    "ODE": "#7fb8e6",
    "ODE, W frozen": "#b9dcf5",
    "averaged ODE": "#8fd19e",
    "averaged ODE, W frozen": "#c8ebce",
    "lazy": "#ffe08a",
    "layers frozen": "#dddddd",
    "random": "#f5b98e",
    "no limit": "#e88b8b",
    "explodes": "#c99a9a",
}


class RatedNetwork(ResidualNetwork):
    """A residual network whose layers have any rate in the flow, in place of L."""

    def __init__(self, layer_rate, **settings):
        super().__init__(DIM, DIM, width=WIDTH, state_dim=STATE_DIM, **settings)
        self.layer_rate = layer_rate

    def parameter_groups(self):
        """Return the parameters with their rates, which the tangent kernel reads."""
        ends, layers = super().parameter_groups()
        return [ends, {**layers, "lr": self.layer_rate}]


class State:
    """What is compared of a network at two flow times."""

    @torch.no_grad()
    def __init__(self, network, x, points):
        self.outputs = network(x)
        self.W = network.W.clone()
        self.velocity = velocity_of_ode(network, points)
        self.kernel = torch.tensor(tangent_kernel(network, x[:N_KERNEL_SAMPLES]).matrix)


def velocity_of_ode(network, points):
    """Return L times what every layer adds to the points: the velocity of the ODE."""
    V, W, activation, scale = network.layers()
    return network.depth * scale * velocity(points, V, W, activation)


def train(network, x, y, horizon):
    """Follow the flow; return the share of the flow time that was reached."""
    # V is of order L^(beta - 1) where the velocity is of order 1.
    atol = RTOL / 10 * network.depth ** (network.depth_scaling - 1)
    flow = GradientFlow(
        network.parameter_groups(), rtol=RTOL, atol=atol, horizon=horizon
    )
    if mean_loss(network(x), y) <= MOST_LOSS:
        follow_flow(flow, network, x, y, MOST_GRADIENTS)
    return flow.flow_time / horizon


def measure(start, beta, delta, seed, depths, horizon):
    """Train at all depths; return a row for each, and distances between neighbours."""
    X, y = gaussian_pairs(N_SAMPLES, DIM, DIM, seed)
    x, y = (torch.tensor(array, dtype=torch.float32) for array in (X, y))
    rows, outputs = [], []
    for depth in depths:
        row, end = train_once(start, beta, delta, seed, depth, x, y, horizon)
        rows.append(row)
        outputs.append(end)
    for row, shallow, deep in zip(rows[:-1], outputs[:-1], outputs[1:], strict=True):
        row["distance"] = relative_change(shallow, deep)
    return rows


def train_once(start, beta, delta, seed, depth, x, y, horizon):
    """Train one network; return what is measured of it, and its outputs."""
    begin = perf_counter()
    network = RatedNetwork(
        depth ** (2 * beta - 1 + delta),
        depth=depth,
        init=STARTS[start],
        depth_scaling=beta,
        generator=torch.Generator().manual_seed(seed),
    )
    points = network.embed(x).detach()
    before = State(network, x, points)
    reached = train(network, x, y, horizon * depth ** -max(delta, 0))
    after = State(network, x, points)
    row = {
        "depth": depth,
        "reached": reached,
        "loss_at_start": mean_loss(before.outputs, y).item(),
        "loss": mean_loss(after.outputs, y).item(),
        **smoothness(network, x),
        **changes(before, after, points),
        "seconds": perf_counter() - begin,
    }
    return row, after.outputs


@torch.no_grad()
def smoothness(network, x):
    """Measure how smooth in depth the weights of the velocity and the states are."""
    factor = network.depth ** (1 - network.depth_scaling)
    weights = depth_smoothness(SimpleNamespace(V=factor * network.V, W=network.W))
    states = network.hidden_states(x)
    return {
        "ratio": weights.von_neumann_ratio,
        "lipschitz": weights.lipschitz,
        "variation": (states.diff(dim=0).norm() / states[0].norm()).square().item(),
    }


def changes(before, after, points):
    """Measure how much training has changed the kernel, W and the velocity."""
    gap = (after.velocity - before.velocity).norm() / sqrt(len(after.velocity))
    return {
        "kernel": relative_change(after.kernel, before.kernel),
        "W": relative_change(after.W, before.W),
        "velocity": (gap / points.norm()).item(),
    }


def relative_change(value, reference):
    """Return the norm of a difference over that of the reference."""
    return ((value - reference).norm() / reference.norm()).item()


def summarise(runs):
    """Return the medians over the seeds of all measures, and of their exponents."""
    depths = column(runs, "depth")[0]
    row = {
        name: [median(values) for values in zip(*column(runs, name), strict=True)]
        for name in ("loss_at_start", "loss", "ratio", *MEASURES)
    }
    row["exponents"] = {
        name: median(
            log_slope(depths[: len(values)], values)[0] for values in column(runs, name)
        )
        for name in MEASURES
    }
    row["reached"] = min(min(reached) for reached in column(runs, "reached"))
    return {**row, "verdict": verdict(row)}


def column(runs, name):
    """Return the values of a measure at all depths that have one, for every seed."""
    return [[row[name] for row in rows if name in row] for rows in runs]


def verdict(row):
    """Judge a cell by the thresholds; the head of this file says how."""
    if row["reached"] < 1:
        return "explodes"
    exponents, ratio = row["exponents"], row["ratio"][-1]
    falls = {name: value <= FALLING for name, value in exponents.items()}
    if not falls["distance"]:
        is_random = ratio > MOST_RATIO and is_settled(row["loss"])
        return "random" if is_random else "no limit"
    if falls["velocity"]:
        return "layers frozen"
    if exponents["kernel"] <= FALLING_OF_LAZY:
        return "lazy"
    is_smooth = exponents["lipschitz"] <= MOST_EXPONENT and ratio <= MOST_RATIO
    if not (is_smooth or falls["variation"]):
        return "random"
    return ("" if is_smooth else "averaged ") + "ODE" + falls["W"] * ", W frozen"


def is_settled(losses):
    """Tell whether the losses of the two deepest networks are about the same."""
    *_, shallow, deep = losses
    return abs(shallow - deep) <= SETTLED * deep


def print_head(start, depths):
    """Print the name of a start, and the columns of its table."""
    losses = " ".join(f"{f'L = {depth}':>8}" for depth in depths)
    print(
        f"\n{start}\n beta delta    start {losses}         distance           kernel  "
        "  ratio  Lip.  var.     W  vel.  verdict"
    )


def print_row(row):
    """Print values and exponents of the deepest network, and only exponents of some."""
    exponents = row["exponents"]
    losses = " ".join(f"{x:>8.3g}" for x in (row["loss_at_start"][-1], *row["loss"]))
    pairs = "  ".join(
        f"{row[name][-1]:>8.1e} {exponents[name]:>6.2f}"
        for name in ("distance", "kernel")
    )
    others = " ".join(
        f"{exponents[name]:>5.2f}"
        for name in ("lipschitz", "variation", "W", "velocity")
    )
    if row["reached"] < 1:
        pairs, others = f"{'-':>15}  {'-':>15}", " ".join([f"{'-':>5}"] * 4)
    print(
        f"{row['beta']:>5g} {row['delta']:>5g} {losses}  {pairs}  "
        f"{row['ratio'][-1]:>7.1e} {others}  {row['verdict']}",
        flush=True,
    )


def draw(figure, results):
    """Draw a panel for every start, with the verdicts as colours."""
    figure.set_size_inches(9, 5)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for ax, (start, rows) in zip(panels.flat, results["table"].items(), strict=True):
        for row in rows:
            draw_cell(ax, row)
        ax.set_title(start, fontsize=10)
        ax.set_xlim(-0.5, len(BETAS) - 0.5)
        ax.set_ylim(-0.5, len(DELTAS) - 0.5)
        ax.set_xticks(range(len(BETAS)), [f"{beta:g}" for beta in BETAS])
        ax.set_yticks(
            range(len(DELTAS)),
            [f"{delta:g}".replace("-", "−") for delta in DELTAS[::-1]],
        )
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.supxlabel(r"$\beta$: residuals are scaled by $L^{-\beta}$", fontsize=10)
    figure.supylabel(
        r"$\delta$: the rate of layers is $L^{2\beta-1+\delta}$", fontsize=10
    )


def draw_cell(ax, row):
    """Draw a cell with its verdict, and the exponent of the distance between depths."""
    x, y = BETAS.index(row["beta"]), DELTAS[::-1].index(row["delta"])
    corner, size = (x - 0.48, y - 0.47), (0.96, 0.94)
    ax.add_patch(Rectangle(corner, *size, color=COLOURS[row["verdict"]]))
    exponent = row["exponents"]["distance"]
    text = row["verdict"].replace(", ", ",\n").replace("averaged ", "averaged\n")
    if row["reached"] == 1:
        text += f"\n({exponent:.2f})".replace("-", "−")
    ax.text(x, y, text, ha="center", va="center", fontsize=7)


def main():
    options = parse_options(__doc__)
    betas, depths, seeds, horizon = BETAS, DEPTHS, SEEDS, HORIZON
    if options.quick:
        betas, depths, seeds, horizon = BETAS[::2], (2, 4, 8), SEEDS[:1], HORIZON / 40
    torch.set_num_threads(1)
    parts, table = Parts(options), {}
    about = machine(options.quick)
    print(describe(about))
    for start in STARTS:
        print_head(start, depths)
        table[start] = []
        for beta in betas:
            for delta in DELTAS:
                runs = [
                    parts(
                        f"{start}, beta = {beta}, delta = {delta}, seed {seed}",
                        measure,
                        start,
                        beta,
                        delta,
                        seed,
                        depths,
                        horizon,
                    )
                    for seed in seeds
                ]
                row = summarise(runs)
                table[start].append({"beta": beta, "delta": delta, **row})
                print_row(table[start][-1])
    save(options, parts.results(machine=about, depths=depths, table=table), draw)


if __name__ == "__main__":
    main()
