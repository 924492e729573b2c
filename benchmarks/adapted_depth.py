r"""How many layers does a loss need, on a uniform and on an adapted grid of depth?

The effect of a finer grid on the loss is, to first order, the sum over the layers of

    2 / n sum_i <p_k(x_i), e_k(x_i)>,

with p_k the gradient of the loss of a sample by the state h_k, the adjoint, and e_k the
local error of layer k: two layers of half its length, minus it, both from h_{k-1}. The
factor 2 makes of twice as many layers infinitely many (the dual-weighted residuals of
Becker and Rannacher, *Acta Numerica* 10, 2001). A step of length d in depth time has an
effect in proportion to d^2, so that the best grid of so many layers has steps in
proportion to the inverse root of the effects of layers of equal length. Steps of any
length are layers: V takes up the length.

Networks of 128 layers are trained from a tied start and from one that varies in depth.
Reported are

- the estimate for the same function of depth in 32 layers, and what it estimates;
- the spread of the effects: the largest step of the adapted grid over the smallest;
- the fewest layers (up to 512) whose loss is within 0.1 % of that of the neural ODE, on
  the uniform and on the adapted grid, and, uniform, of layers that look ahead and so
  imitate the ODE (``with_depth(l, imitate=True)``).

Expected: from the tied start the estimate is within a fifth of the effect as long as
that is below one percent of the loss, and too large where it is not. From the other
start it misses what few layers lose of the weights. The adapted grid saves a tenth of
the layers at most where many are needed; where the effects of layers cancel, it can
need more than the uniform one. Looking ahead saves four fifths and more where many
layers are needed. So the grid of the package is uniform.

Run:  python benchmarks/adapted_depth.py [--quick] [--json FILE]
"""

import json
import os
from math import inf
from pathlib import Path

import numpy as np
import torch
from _report import describe, machine, parse_options
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.preprocessing import scale

from odenet import ResidualNetwork, ResODERegressor
from odenet._diagnostics.serving_depth import fewest_layers
from odenet._network.layers import residual_states, velocity
from odenet._network.resampling import interpolate
from odenet.schemes import GaussianProcess

INITS = {"tied": "tied", "Gaussian process": GaussianProcess(length_scale=0.25)}
FLOW_TIMES = (30.0, 100.0)
DEPTH, FEW = 128, 32  # layers of the training, and of the estimate beside its value
MOST = 4  # times the layers of the training, that are tried
TOLERANCE = 1e-3  # of the loss
# The least density of an adapted grid, as a share of the mean: a layer whose effect
# vanishes by chance must not become as long as the network.
LEAST_DENSITY = 0.1


def load_all():
    """Yield the names and the samples, standardised."""
    rng = np.random.default_rng(0)
    sets = {
        "Friedman": make_friedman1(300, noise=0.5, random_state=0),
        "diabetes": load_diabetes(return_X_y=True),
        "Gaussian pairs": (rng.standard_normal((100, 8)), rng.standard_normal(100)),
    }
    if "ODENET_DATA" in os.environ:
        path = Path(os.environ["ODENET_DATA"], "uci_concrete.npz")
        with np.load(path) as arrays:
            sets["concrete"] = arrays["X"][:500], arrays["y"][:500]
    for name, (X, y) in sets.items():
        yield name, (scale(X.astype(float)), scale(y.astype(float))[:, None])


def train(X, y, init, flow_time, depth):
    """Return a trained network, in float64."""
    model = ResODERegressor(
        depth,
        init=init,
        flow_time=flow_time,
        early_stopping=False,
        standardize=False,
        dtype="float64",
        random_state=0,
    )
    return model.fit(X, y).module_


def loss_of(outputs, y):
    """Return the mean over the samples of the squared error."""
    return (outputs - y).square().sum(dim=1).mean()


def effects_of_refinement(network, x, y):
    """Estimate the effect of infinite depth on the loss, for each layer: shape (L,)."""
    _, _, activation, length = network.layers()
    states = residual_states(network.embed(x), *network.layers())
    loss = loss_of(states[-1] @ network.head.T, y)
    adjoints = torch.autograd.grad(loss, states[1:])
    with torch.no_grad():
        fine = network.with_depth(2 * network.depth)
        h = torch.stack(states[:-1])
        for half in (slice(0, None, 2), slice(1, None, 2)):
            V, W = fine.V[half], fine.W[half]
            h = h + length / 2 * velocity(h, V, W, activation)
        errors = h - torch.stack(states[1:])
        return 2 * (torch.stack(adjoints) * errors).sum(dim=(1, 2))


def adapted_grid(effects, depth):
    """Return the ends of the layers, of lengths like the inverse root of the effects.

    Returns
    -------
    ends : ndarray of shape (depth + 1,)
        From 0 to 1.
    """
    density = effects.abs().sqrt().numpy()
    density = np.maximum(density, LEAST_DENSITY * density.mean())
    share = np.concatenate([[0.0], np.cumsum(density) / density.sum()])
    edges = np.linspace(0, 1, len(share))
    return np.interp(np.linspace(0, 1, depth + 1), share, edges)


def on_grid(network, ends):
    """Return the network of a function of depth whose layers end at given times."""
    ends = torch.as_tensor(ends)
    lengths, middles = ends.diff(), (ends[:-1] + ends[1:]) / 2
    V, W = (interpolate(p.detach(), middles) for p in (network.V, network.W))
    weights = dict(network.state_dict())
    weights |= {"V": V * (len(V) * lengths)[:, None, None], "W": W}
    return ResidualNetwork.from_weights(
        {name: value.numpy() for name, value in weights.items()}, network.activation
    )


def measure(x, y, network):
    """Return the row of a trained network."""
    few = network.with_depth(FEW)
    estimate = effects_of_refinement(few, x, y).sum().item()
    effects = effects_of_refinement(network, x, y)
    steps = np.diff(adapted_grid(effects, network.depth))
    with torch.no_grad():
        most = MOST * network.depth
        deep, deeper = (
            loss_of(network.with_depth(depth)(x), y).item()
            for depth in (most, 2 * most)
        )
        limit = 2 * deeper - deep

        def is_enough(other):
            return abs(loss_of(other(x), y).item() - limit) <= TOLERANCE * limit

        def fewest(way):
            if not is_enough(way(most)):
                return None
            return fewest_layers(lambda depth: is_enough(way(depth)), most)

        ode = network.with_depth(network.depth)
        ode.imitated_depth = inf
        ways = {
            "uniform": network.with_depth,
            "adapted": lambda depth: on_grid(network, adapted_grid(effects, depth)),
            "ahead": lambda depth: ode.with_depth(depth, imitate=True),
        }
        return {
            "loss": limit,
            "estimate": estimate / limit,
            "effect": (limit - loss_of(few(x), y).item()) / limit,
            "spread": steps.max() / steps.min(),
            **{name: fewest(way) for name, way in ways.items()},
        }


def main():
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    flow_times, depth = FLOW_TIMES, DEPTH
    if options.quick:
        flow_times, depth = [0.5], FEW
    about = machine(options.quick)
    print(describe(about))
    print(
        f"{'':<16} {'start':<16} {'t':>4} {'loss':>8} | {'estimate':>8} {'effect':>8} |"
        f" {'spread':>6} | {'uniform':>7} {'adapted':>7} {'ahead':>7}"
    )
    rows = []
    for name, (X, y) in load_all():
        for start, init in INITS.items():
            for flow_time in flow_times:
                network = train(X, y, init, flow_time, depth)
                row = measure(torch.as_tensor(X), torch.as_tensor(y), network)
                rows.append(
                    {"data": name, "start": start, "flow_time": flow_time, **row}
                )
                print_row(rows[-1])
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": about, "rows": rows}))


def print_row(row):
    layers = (row[name] or "more" for name in ("uniform", "adapted", "ahead"))
    print(
        f"{row['data']:<16} {row['start']:<16} {row['flow_time']:>4.0f}"
        f" {row['loss']:>8.5f} | {row['estimate']:>+8.2%} {row['effect']:>+8.2%} |"
        f" {row['spread']:>6.2f} | " + " ".join(f"{n:>7}" for n in layers),
        flush=True,
    )


if __name__ == "__main__":
    main()
