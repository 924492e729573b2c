"""What does depth cost when it is refined while training?

Fits on Friedman-1 (400 samples) go to the same flow time with depth_schedule="doubling"
and, up to depth 256, at full depth all the time. The table has the seconds (medians),
the training losses and the gradient evaluations.

Expected: depth 1024 takes less than 4 times the seconds of depth 16, where a cost in
proportion to depth would be 64 times. The losses are within 1 % of those of training at
full depth.

Run:  python benchmarks/depth_schedule.py [--quick] [--json FILE]
"""

import argparse
import json
from statistics import median
from time import perf_counter

import torch
from sklearn.datasets import make_friedman1

from odenet import ResODERegressor


def fit(depth, schedule, flow_time, X, y):
    model = ResODERegressor(
        depth,
        depth_schedule=schedule,
        flow_time=flow_time,
        early_stopping=False,
        random_state=0,
    )
    start = perf_counter()
    model.fit(X, y)
    return model, perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n_samples, flow_time, n_repeats, full_up_to = 400, 300.0, 3, 256
    depths = [16, 64, 256, 1024]
    if options.quick:
        n_samples, flow_time, n_repeats, depths = 50, 3.0, 1, [16, 32]
    X, y = make_friedman1(n_samples, noise=1.0, random_state=0)
    fit(16, "doubling", 1.0, X, y)

    results = []
    print(
        f"{'L':>5} {'seconds':>8} {'ratio':>6} {'loss':>9} {'gradients':>9}"
        f" | {'full depth: s':>13} {'ratio':>6} {'loss':>9} {'gradients':>9}"
        f" | {'speed-up':>8} {'loss difference':>15}"
    )
    for depth in depths:
        row = {"depth": depth}
        for schedule in ("doubling", None):
            if schedule is None and depth > full_up_to:
                continue
            fits = [
                fit(depth, schedule, flow_time, X, y)
                for _ in range(n_repeats if schedule or depth <= 16 else 1)
            ]
            model = fits[0][0]
            row[str(schedule)] = {
                "seconds": median(seconds for _, seconds in fits),
                "loss": model.loss_curve_[-1],
                "n_grad_evals": model.n_grad_evals_,
                "path": [step["depth"] for step in model.depth_path_],
            }
        results.append(row)
        print_row(row, results[0])
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


def print_row(row, first):
    line, parts = f"{row['depth']:>5}", []
    for schedule, width in (("doubling", 8), ("None", 13)):
        part = row.get(schedule)
        parts.append(part)
        if part is None:
            line += f" | {'-':>{width}} {'-':>6} {'-':>9} {'-':>9}"
            continue
        line += " |" if schedule == "None" else ""
        line += (
            f" {part['seconds']:>{width}.2f}"
            f" {part['seconds'] / first[schedule]['seconds']:>6.2f}"
            f" {part['loss']:>9.5f} {part['n_grad_evals']:>9}"
        )
    if None in parts:
        print(line + f" | {'-':>8} {'-':>15}")
        return
    walked, full = parts
    print(
        line + f" | {full['seconds'] / walked['seconds']:>8.1f}"
        f" {walked['loss'] / full['loss'] - 1:>+15.2%}"
    )


if __name__ == "__main__":
    main()
