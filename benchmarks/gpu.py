"""What of odenet works on a GPU, and how fast, in ten minutes?

One command for a machine with a GPU of NVIDIA. In this order:

tests      the tests that need a GPU, ``pytest -m gpu``
gradients  ms beside autograd and a plain loop on the GPU, and beside the CPU (as
           ``gpu_seconds.py`` measures them), and whether a graph of CUDA was captured
solvers    one fit of every solver on both devices: how far the predictions are from
           each other, relative to the spread of the targets, and the seconds of both
sizes      covertype and CIFAR-10 (of the folder ODENET_DATA; without it, generated rows
           and scikit-learn's digits): seconds per epoch on both devices, and the
           accuracy after the epochs on the GPU

A part that would begin after ``--seconds`` is left out, which is said. Where there is
no GPU, the CPU stands for it: that shows that the script runs, and nothing else.

Expected: predictions agree to some per cent of the spread, as sums are rounded
otherwise and training carries that on; gradients of thin layers are captured. A fit of
few rows takes about as long on the GPU, and one of many rows a tenth or less.

Run:  python benchmarks/gpu.py [--seconds 600] [--quick] [--json FILE]
"""

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import gpu_seconds
import numpy as np
import torch
from _report import describe, machine, parse_options, save
from _tables import load
from sklearn.datasets import load_digits, make_classification, make_friedman1
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier, ResODEImageClassifier, ResODERegressor
from odenet._network.gradients import add_gradients
from odenet._network.scratch import current_scratch, scratch
from odenet.losses import SquaredError
from odenet.solvers import SGD, SOAP, AdamW, Flow, GradientDescent

ROOT = Path(__file__).parents[1]
HAS_GPU = torch.cuda.is_available()
GPU = "cuda" if HAS_GPU else "cpu"
# Samples, sizes q and m, and depths of the gradients.
POINTS = [(100, 16, 32, 64), (100, 64, 64, 256), (10_000, 64, 64, 64)]
QUICK_POINTS = [(50, 16, 32, 8)]
# Solvers by a name, with the number of rows and the depth of a fit; short ones, because
# rounding grows with the steps of a training.
FITS = {
    "flow, rkc": (Flow(method="rkc"), 400, 64),
    "flow, exponential": (Flow(method="exponential"), 400, 64),
    "gd": (GradientDescent(), 400, 64),
    "sgd": (SGD(max_epochs=10), 4000, 64),
    "adamw": (AdamW(max_epochs=10), 4000, 64),
    "soap": (SOAP(max_epochs=10), 4000, 64),
}
FLOW_TIME = 5.0
EPOCHS_ON_GPU, EPOCHS_ON_CPU = 12, 1  # of the large fits
N_TRAIN = 80_000, 10_000  # rows of covertype, images


def measure_tests(quick):
    """Run the tests that need a GPU, quickly those of one file, and show the end."""
    part = ["tests/network/test_gradients.py"] if quick else []
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *part]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    shown = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    print("\n".join([*shown, lines[-1]]), flush=True)
    return {"status": done.returncode, "failed": shown, "end": lines[-1]}


def measure_gradients(quick):
    """Measure gradients on all devices, and tell which of them were captured."""
    results = []
    for point in QUICK_POINTS if quick else POINTS:
        settings = (0.0, 0.0, (2, 2)) if quick else (0.02, 2.0, (3, 15))
        result = gpu_seconds.measure(point, *settings)
        result["captured"] = is_captured(*point)
        ms = {name: result[name] and 1e3 * result[name] for name in ("graph", "cpu")}
        print(
            f"n={point[0]:<6} q={point[1]:<3} m={point[2]:<3} L={point[3]:<4}"
            + "".join(f" {name} {t:.2f} ms" for name, t in ms.items() if t)
            + f"  captured: {result['captured']}",
            flush=True,
        )
        results.append(result)
    return results


def is_captured(n, q, m, depth):
    """Tell whether the gradient of a network is replayed from a graph."""
    network = gpu_seconds.random_network(q, m, depth).to(GPU)
    X, y = (t.to(GPU) for t in gpu_seconds.random_samples(n, q - 2))
    with scratch():
        for _ in range(2):
            add_gradients(network, SquaredError(), X, y, torch.ones_like(X[:, 0]) / n)
        graphs = list(current_scratch().graphs.values())
    return bool(graphs) and all(graph is not None for graph in graphs)


def measure_solvers(quick):
    """Fit the same samples by every solver on the CPU and on the GPU."""
    results = {}
    for name, (solver, n_rows, depth) in FITS.items():
        if quick:
            n_rows, depth = n_rows // 20, 8
        X, y = make_friedman1(n_rows, noise=1.0, random_state=0)
        predictions, seconds = {}, {}
        for device in ("cpu", GPU):
            model = ResODERegressor(
                depth,
                solver=solver,
                flow_time=FLOW_TIME if solver.follows_flow else None,
                early_stopping=False,
                device=device,
                random_state=0,
            )
            for _ in range(1 if quick else 2):  # the first fit sets libraries up
                start = perf_counter()
                model.fit(X, y)
                seconds[device] = perf_counter() - start
            predictions[device] = model.predict(X)
        difference = predictions["cpu"] - predictions[GPU]
        far = float(np.sqrt(np.mean(difference**2)) / np.std(y))
        print(
            f"{name:<18} {n_rows:>5} rows: apart by {far:.1e}, "
            f"CPU {seconds['cpu']:.2f} s, GPU {seconds[GPU]:.2f} s",
            flush=True,
        )
        results[name] = {"apart": far, "cpu": seconds["cpu"], "gpu": seconds[GPU]}
    return results


def measure_sizes(quick):
    """Fit many rows and images on both devices, and score those of the GPU."""
    n_rows, n_images = (400, 100) if quick else N_TRAIN
    table = ResODEClassifier(
        8 if quick else 64, solver=AdamW(), early_stopping=False, random_state=0
    )
    of_images = ResODEImageClassifier(4 if quick else 32, solver=SGD(), random_state=0)
    results = {}
    for name, model, (X, X_test, y, y_test) in (
        ("rows", table, rows(n_rows)),
        ("images", of_images, pictures(n_images)),
    ):
        result = {"n": len(y)}
        for device, n_epochs in (("cpu", EPOCHS_ON_CPU), (GPU, EPOCHS_ON_GPU)):
            n_epochs = 1 if quick else n_epochs
            model.set_params(solver__max_epochs=n_epochs, device=device)
            start = perf_counter()
            model.fit(X, y)
            result[device] = (perf_counter() - start) / n_epochs
        result["accuracy"] = model.score(X_test, y_test)
        print(
            f"{len(y)} {name}: CPU {result['cpu']:.2f} s per epoch, GPU "
            f"{result[GPU]:.2f} s; accuracy {result['accuracy']:.3f} after {n_epochs}",
            flush=True,
        )
        results[name] = result
    return results


def rows(n_train):
    """Return rows of covertype, or generated ones, split for training and test."""
    if os.environ.get("ODENET_DATA"):
        table = load("covertype_100k")
        X, y = table.X, table.y
    else:
        X, y = make_classification(
            n_train + 5000, 50, n_informative=20, n_classes=5, random_state=0
        )
    n_test = min(20_000, len(y) - n_train)
    return train_test_split(
        X, y, train_size=n_train, test_size=n_test, stratify=y, random_state=0
    )


def pictures(n_train):
    """Return images of CIFAR-10, or digits, split for training and test."""
    if folder := os.environ.get("ODENET_DATA"):
        with np.load(Path(folder) / "cifar10_12k.npz") as file:
            X, y = file["X_train"], file["y_train"]
    else:
        X, y = load_digits(return_X_y=True)
        X = X.reshape(-1, 8, 8)
    n_train = min(n_train, 4 * len(y) // 5)
    return train_test_split(X, y, train_size=n_train, stratify=y, random_state=0)


PARTS = {
    "tests": measure_tests,
    "gradients": measure_gradients,
    "solvers": measure_solvers,
    "sizes": measure_sizes,
}


def main():
    budget = {"seconds": (600.0, "after these no part is begun")}
    options = parse_options(__doc__, budget)
    results = {"machine": machine(options.quick)}
    print(describe(results["machine"]))
    name = torch.cuda.get_device_name() if HAS_GPU else "no GPU: the CPU stands for it"
    results["machine"]["gpu"] = name
    print(f"{name}, CUDA {torch.version.cuda}")
    start = perf_counter()
    for part, measure in PARTS.items():
        elapsed = perf_counter() - start
        print(f"\n{part} (after {elapsed:.0f} s)")
        if elapsed > options.seconds:
            print(f"left out: {options.seconds:.0f} seconds are over")
            continue
        results[part] = measure(options.quick)
    save(options, results)


if __name__ == "__main__":
    main()
