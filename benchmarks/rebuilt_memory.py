"""How much memory and time does a gradient take with stored and with rebuilt states?

One forward and backward of the residual stack, for 2000 samples in float32, state
dimension 16, width 64, and weights that are smooth functions of depth time.

MB is the largest sum of the tensors alive at any time, counted to the byte by torch's
profiler. (The size of the process says less, because it uses freed memory again.)
Samples and weights do not count, since they were there before. The gradients, which
both ways return, are subtracted and have a column of their own. Seconds are medians,
measured side by side. The error is the largest relative difference between the two
gradients of the first states, of V or of W.

Expected: the memory of stored states grows in proportion to the depth. That of rebuilt
states is nearly the same at every depth: at depth 1024 it is 1/200 (1/80 with the
gradients), for less than three times the seconds. The errors are those of rounding.

Run:  python benchmarks/rebuilt_memory.py [--quick] [--json FILE]
"""

import argparse
import json
import tempfile
from itertools import accumulate
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile

from odenet._network.activations import ACTIVATIONS
from odenet._network.fast_layers import residual_stack
from odenet._network.rebuilt_layers import rebuilt_stack
from odenet._network.scratch import current_scratch

# The two ways to compute the layers.
STACKS = {"stored": residual_stack, "rebuilt": rebuilt_stack}


def make_problem(depth, n_samples, q=16, m=64):
    generator = torch.Generator().manual_seed(0)
    s = (torch.arange(depth) + 0.5)[:, None, None] / depth

    def wave(*shape):
        a, b = torch.randn(2, *shape, generator=generator)
        return torch.sin(3 * s) * a + torch.cos(2 * s) * b

    h = torch.randn(n_samples, q, generator=generator)
    return [t.requires_grad_() for t in (h, wave(q, m), wave(m, q))]


def gradients(stack, h, V, W):
    last = stack(h, V, W, ACTIVATIONS["gelu"], 1 / len(V))
    return torch.autograd.grad(last.square().sum(), (h, V, W))


def megabytes(stack, problem):
    """Measure the peak of the tensors without the gradients, and the gradients."""
    current_scratch().free()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        n_bytes = sum(t.nbytes for t in gradients(stack, *problem))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]"]
    peak = max(accumulate(n for _, n in sorted(changes, key=lambda change: change[0])))
    return (peak - n_bytes) / 1e6, n_bytes / 1e6


def seconds(stack, problem):
    start = perf_counter()
    gradients(stack, *problem)
    return perf_counter() - start


def error(problem):
    """Return the largest relative difference of the gradients of h, V and W."""
    pairs = zip(*(gradients(stack, *problem) for stack in STACKS.values()), strict=True)
    return max(((a - b).norm() / a.norm()).item() for a, b in pairs)


def compare(depth, n_samples, n_rounds):
    problem = make_problem(depth, n_samples)
    result = {"depth": depth, "error": error(problem)}
    rounds = [
        [seconds(stack, problem) for stack in STACKS.values()] for _ in range(n_rounds)
    ]
    for name, times in zip(STACKS, zip(*rounds, strict=True), strict=True):
        result[f"{name}_seconds"] = median(times)
        result[f"{name}_mb"], result["gradients_mb"] = megabytes(STACKS[name], problem)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n_samples, depths, n_rounds = 2000, [16, 64, 256, 1024], 7
    if options.quick:
        n_samples, depths, n_rounds = 50, [4, 32], 1

    print(f"one gradient, {n_samples} samples, medians of {n_rounds} rounds")
    print(
        f"{'':>5} {'MB':>15} {'':>14} {'seconds':>14}\n"
        f"{'depth':>5} {'stored':>7} {'rebuilt':>7} {'ratio':>6} {'gradients':>10} "
        f"{'stored':>7} {'rebuilt':>7} {'ratio':>6} {'error':>8}"
    )
    results = []
    for depth in depths:
        result = compare(depth, n_samples, n_rounds)
        stored, rebuilt = result["stored_mb"], result["rebuilt_mb"]
        slow, slower = result["stored_seconds"], result["rebuilt_seconds"]
        print(
            f"{depth:>5} {stored:>7.1f} {rebuilt:>7.1f} {stored / rebuilt:>6.1f} "
            f"{result['gradients_mb']:>10.1f} {slow:>7.3f} {slower:>7.3f} "
            f"{slower / slow:>6.2f} {result['error']:>8.0e}"
        )
        results.append(result)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
