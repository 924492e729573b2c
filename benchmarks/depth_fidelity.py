"""Does the flow depend on the depth of the network that follows it?

The table has training losses at equal flow times, and the smoothness of the trained
weights, for depths 8 to 128 and three starts, on Friedman-1 (400 samples).

Expected (Marion, Wu, Sander and Biau, ICLR 2024, theorem 4): for "tied" and
"gaussian_process", the differences of the losses halve as the depth doubles, and the
Lipschitz constant stays the same. For "iid" the differences do not halve, and the
Lipschitz constant doubles.

Run:  python benchmarks/depth_fidelity.py [--quick] [--json FILE]
"""

import argparse
import json

import torch
from sklearn.datasets import make_friedman1

from odenet import ResODERegressor
from odenet.solvers import Flow


def losses_and_smoothness(depth, init, flow_times, X, y):
    model = ResODERegressor(
        depth,
        init=init,
        depth_schedule=None,
        solver=Flow(rtol=1e-3),
        early_stopping=False,
        warm_start=True,
        random_state=0,
    )
    losses = []
    for flow_time in flow_times:
        model.set_params(flow_time=flow_time).fit(X, y)
        losses.append(model.loss_curve_[-1])
    return losses, model.depth_smoothness_, model.n_grad_evals_


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n_samples, depths, flow_times = 400, [8, 16, 32, 64, 128], [10.0, 30.0, 100.0]
    if options.quick:
        n_samples, depths, flow_times = 50, [2, 4, 8], [1.0, 3.0]
    X, y = make_friedman1(n_samples, noise=1.0, random_state=0)

    results = []
    for init in ("tied", "gaussian_process", "iid"):
        print(f"\n{init}: training loss, and its change against half the depth")
        print(
            f"{'L':>4} "
            + "".join(f"{f'T={t:g}':>9} {'change':>10}" for t in flow_times)
            + f" {'Lipschitz':>10} {'von Neumann':>12} {'gradients':>10}"
        )
        before = None
        for depth in depths:
            losses, smoothness, n_evals = losses_and_smoothness(
                depth, init, flow_times, X, y
            )
            changes = [
                f"{a - b:+.1e}" for a, b in zip(losses, before or [], strict=False)
            ]
            changes = changes or [""] * len(losses)
            print(
                f"{depth:>4} "
                + "".join(
                    f"{loss:>9.5f} {change:>10}"
                    for loss, change in zip(losses, changes, strict=True)
                )
                + f" {smoothness.lipschitz:>10.3f}"
                + f" {smoothness.von_neumann_ratio:>12.1e}"
                + f" {n_evals:>10}"
            )
            before = losses
            results.append(
                {
                    "init": init,
                    "depth": depth,
                    "losses": losses,
                    "lipschitz": smoothness.lipschitz,
                    "von_neumann_ratio": smoothness.von_neumann_ratio,
                    "n_grad_evals": n_evals,
                }
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
