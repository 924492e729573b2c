"""How many seconds to the same training loss?

Friedman-1, 100 standardised samples, q = 16, m = 32, float32, one torch thread, the
paper's start (tied weights of scale 1, V = 0), the same for all. The target is the loss
that odenet's fit ends with, at flow time 100 and depth 64. The contestants:

odenet       a whole fit of the estimator, with its schedule of depths (really measured)
plain        gradient descent, step lr for A and B and lr L for V and W, by a loop over
             the layers in torch, with the largest step that is stable (bisection at
             depth 16; the flow, and so the step, hardly depend on the depth)
torchdiffeq  the same descent, the gradients by backpropagation through dopri5
... adjoint  or by its adjoint equation
diffrax      or through diffrax's Dopri5, compiled, on all cores (where installed; not
             with --quick, for it takes seconds to compile)

Gradient descent runs for real at depth 64, by the loop: this counts the gradients. The
rows marked "product" multiply this number by the median seconds of one gradient (and of
the step, for the loop) at the trained weights, because the runs would take very long.

Expected: some 20 times faster than the loop at depth 64, over 100 times at depth 1024.

Run:  python benchmarks/seconds_to_loss.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial
from importlib.util import find_spec
from statistics import median

import torch
from _descent import SIZES, Descent, largest_stable_step, run_descent, same_start
from _ode_solvers import TorchODE, diffrax_gradient
from _plain import Gradient, PlainNetwork, with_constant
from _report import (
    alternate,
    cell,
    describe,
    machine,
    on_threads,
    parse_options,
    save,
    seconds_per_call,
)
from sklearn.datasets import make_friedman1

from odenet import ResODERegressor


def make_samples():
    X, y = make_friedman1(100, noise=1.0, random_state=0)
    return (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()


def fit(X, y, depth, flow_time, n_rounds):
    """Fit an estimator; return it with the median seconds of its fits."""
    model = ResODERegressor(
        depth,
        **SIZES,
        init=same_start,
        flow_time=flow_time,
        early_stopping=False,
        standardize=False,
        random_state=0,
    )
    return model, median(
        seconds_per_call(partial(model.fit, X, y)) for _ in range(n_rounds)
    )


def seconds_per_gradient(model, X, y, learning_rate, settings, compiles):
    """Measure every way to compute a gradient, at the weights of a fitted estimator."""
    network, X_1 = model.module_, with_constant(X)
    calls = {"plain": Descent(network, X_1, y, 1e-9 * learning_rate)}
    for name, adjoint in {"torchdiffeq": False, "torchdiffeq adjoint": True}.items():
        calls[name] = Gradient(TorchODE(PlainNetwork(network), adjoint), X_1, y)
    if compiles and find_spec("diffrax"):
        calls["diffrax"] = diffrax_gradient(PlainNetwork(network), X_1, y)
    losses = {name: float(call()) for name, call in calls.items()}
    if max(losses.values()) > 1.2 * min(losses.values()):
        raise RuntimeError(f"Not all compute the same loss: {losses}.")
    turns = {name: partial(seconds_per_call, call) for name, call in calls.items()}
    return alternate(turns, *settings)


def compare(depth, fitted, descent, seconds):
    """Return the rows of the table for one depth."""
    model, fit_seconds = fitted
    n_gradients = model.n_grad_evals_
    rows = [("odenet", n_gradients, fit_seconds / n_gradients, fit_seconds, False)]
    n_gradients = descent["gradients"]
    if depth == descent["depth"]:
        took = descent["seconds"]
        rows.append(("plain", n_gradients, took / n_gradients, took, False))
    rows += [
        (name, n_gradients, s, s * n_gradients, True) for name, s in seconds.items()
    ]
    names = ("name", "gradients", "per_gradient", "seconds", "product")
    rows = [dict(zip(names, row, strict=True), depth=depth) for row in rows]
    return [{**row, "ratio": row["seconds"] / fit_seconds} for row in rows]


def show(row):
    print(
        f"{row['depth']:>5} {row['name']:<20} {row['gradients']:>9} "
        f"{cell(1e3 * row['per_gradient'], 8, 2)} {cell(row['seconds'], 9, 2)} "
        f"{'product' if row['product'] else 'measured':<8} {cell(row['ratio'], 7)}",
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    for name in dict.fromkeys(row["name"] for row in results["rows"]):
        rows = {r["depth"]: r["seconds"] for r in results["rows"] if r["name"] == name}
        axis.loglog(list(rows), list(rows.values()), marker="o", label=name)
    axis.set(xlabel="depth L", ylabel="seconds to the same loss")
    axis.legend()


def main():
    options = parse_options(__doc__)
    depths, cheap, flow_time, n_fits = [64, 1024], 16, 100.0, 3
    settings = (20.0, (3, 15))
    if options.quick:
        depths, cheap, flow_time, n_fits, settings = [4], 2, 1.0, 1, (0.0, (1, 1))
    results = {"machine": machine(options.quick), "rows": []}
    print(describe(results["machine"]))
    X, y = make_samples()
    tensors = [torch.tensor(t, dtype=torch.float32) for t in (X, y[:, None])]
    X_1 = with_constant(tensors[0])
    with on_threads(1):
        fit(X, y, cheap, flow_time / 10, 1)  # a warm-up
        fitted = {depth: fit(X, y, depth, flow_time, n_fits) for depth in depths}
        target = fitted[depths[0]][0].loss_curve_[-1]
        goal = (X_1, tensors[1]), target, flow_time
        step = largest_stable_step(cheap, *goal[0], *goal[1:])
        descent = run_descent(depths[0], *goal[0], step, *goal[1:])
        descent["depth"] = depths[0]
        results |= {"target": target, "descent": descent}
        print(
            f"target loss {target:.5f}, step of descent {descent['learning_rate']:.4f}"
        )
        print(
            f"{'depth':>5} {'':<20} {'gradients':>9} {'ms each':>8} {'seconds':>9} "
            f"{'':<8} {'ratio':>7}"
        )
        for depth, (model, _) in fitted.items():
            seconds = seconds_per_gradient(
                model, *tensors, step, settings, not options.quick
            )
            for row in compare(depth, fitted[depth], descent, seconds):
                show(row)
                results["rows"].append(row)
    save(options, results, draw)


if __name__ == "__main__":
    main()
