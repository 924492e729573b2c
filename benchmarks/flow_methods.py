"""Which integrator of the flow is faster, for how many samples and which flow time?

Fits by `Flow(method="rkc")` and by `Flow(method="exponential")` take turns, on one
thread: noisy samples of the first Friedman function (a single output), or five targets,
to several flow times and to the end (inf). The columns are the seconds of both, their
ratio, the training losses, and the gradients and kernels. The last column says which
method "auto" takes. Runs of "rkc" to the end stop at `max_evals`, and say so by a +.

Expected: "exponential" is slower on short ways, and faster on long ones: from about
t = 100 with a single output, and by far to the end, where "rkc" often does not get. At
equal times both have the same loss within a few percent. Five outputs make kernels 25
times as dear. Where "auto" takes it, it is faster.

Run:  python benchmarks/flow_methods.py [--quick] [--json FILE] [--png FILE]
"""

import warnings
from math import inf
from statistics import median
from time import perf_counter

import numpy as np
import torch
from _report import describe, machine, parse_options, save
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning

from odenet import ResODERegressor
from odenet._losses.squared_error import SquaredError
from odenet.solvers import Flow

METHODS = "rkc", "exponential"
SIZES = [(50, 1), (150, 1), (300, 1), (500, 1), (100, 5)]  # samples, outputs
DEPTHS = 16, 64
FLOW_TIMES = 30.0, 100.0, 300.0, inf
LARGEST_TO_THE_END = 150  # samples: "rkc" would take minutes with more
N_ROUNDS = 3


def targets(n_samples, n_outputs):
    """Draw samples with one target or several, all noisy."""
    X, y = make_friedman1(n_samples, noise=1.0, random_state=0)
    rng = np.random.default_rng(0)
    others = [X[:, i] * X[:, i + 1] for i in range(n_outputs - 1)]
    others = [t + 0.1 * rng.standard_normal(n_samples) for t in others]
    return X, (y if n_outputs == 1 else np.column_stack([y, *others]))


def fit(method, X, y, depth, flow_time):
    solver = Flow(method=method)
    model = ResODERegressor(depth, solver=solver, flow_time=flow_time, random_state=0)
    start = perf_counter()
    model.fit(X, y)
    seconds = perf_counter() - start
    return seconds, {
        "loss": model.loss_,
        "gradients": model.n_grad_evals_,
        "kernels": model.net_.history[-1].get("n_kernels", 0),
        "has_ended": model.stop_reason_ != "max_evals",
    }


def measure(n_samples, n_outputs, depth, flow_time, n_rounds):
    """Measure both methods, by turns; one round where "rkc" goes to its end."""
    X, y = targets(n_samples, n_outputs)
    rounds = [
        {method: fit(method, X, y, depth, flow_time) for method in METHODS}
        for _ in range(1 if flow_time == inf else n_rounds)
    ]
    point = {"n": n_samples, "outputs": n_outputs, "depth": depth, "t": flow_time}
    for method in METHODS:
        point[f"{method} seconds"] = median(each[method][0] for each in rounds)
        for name, value in rounds[-1][method][1].items():
            point[f"{method} {name}"] = value
    point["ratio"] = median(each["exponential"][0] / each["rkc"][0] for each in rounds)
    settled = Flow().settled(SquaredError(), n_samples, n_outputs, flow_time)
    return {**point, "auto": settled.method}


def show(p):
    ended = " " if p["rkc has_ended"] else "+"
    print(
        f"{p['n']:>5} {p['outputs']:>2} {p['depth']:>5} {p['t']:>6.0f} | "
        f"{p['rkc seconds']:>7.2f}{ended} {p['exponential seconds']:>7.2f} "
        f"{p['ratio']:>6.2f} | {p['rkc loss']:>9.2e} {p['exponential loss']:>9.2e} | "
        f"{p['rkc gradients']:>6} {p['exponential gradients']:>5} "
        f"{p['exponential kernels']:>4} | {p['auto']}",
        flush=True,
    )


def draw(figure, results):
    axis = figure.subplots()
    finite = [p for p in results["points"] if p["t"] < inf]
    for key in sorted({(p["n"], p["outputs"], p["depth"]) for p in finite}):
        own = [p for p in finite if (p["n"], p["outputs"], p["depth"]) == key]
        label = "{} samples, {} outputs, {} layers".format(*key)
        times, ratios = ([p[name] for p in own] for name in ("t", "ratio"))
        axis.loglog(times, ratios, "o-", label=label)
    axis.axhline(1, color="grey", linewidth=1)
    axis.set(xlabel="flow time", ylabel="seconds, exponential / rkc")
    axis.legend(fontsize="x-small")


def main():
    options = parse_options(__doc__)
    results = {"machine": machine(options.quick), "points": []}
    print(describe(results["machine"]))
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    for method in METHODS:  # the first fits of a process load modules
        fit(method, *targets(20, 1), 4, 1.0)
    print(
        f"{'n':>5} {'d':>2} {'L':>5} {'t':>6} | {'rkc s':>7}  {'exp. s':>7} "
        f"{'ratio':>6} | {'rkc loss':>9} {'exp. loss':>9} | {'grads':>6} {'grads':>5} "
        f"{'K':>4} | auto"
    )
    sizes, depths, times = SIZES, DEPTHS, FLOW_TIMES
    if options.quick:
        sizes, depths, times = [(20, 1)], (4,), (10.0, 30.0)
    for n_samples, n_outputs in sizes:
        for depth in depths:
            for t in times:
                if t == inf and n_samples > LARGEST_TO_THE_END:
                    continue
                point = measure(n_samples, n_outputs, depth, t, N_ROUNDS)
                results["points"].append(point)
                show(point)
    save(options, results, draw)


if __name__ == "__main__":
    main()
