"""Figure 3 and table 1 of the paper: images, by a convolutional residual network.

The paper trains a network of depth 256 on CIFAR-10 for 180 epochs on a GPU. Here, on a
CPU, the network has 24 layers of 8 channels, and is trained on 10,000 images of
CIFAR-10 for 12 epochs and on 10,000 of MNIST for 4. The settings are: momentum 0.9,
weight decay 5e-4, batches of 64, random shifts (and flips, on CIFAR-10), and one
learning rate for all parameters, which falls along a cosine from 0.1 (in the paper,
0.04). The three starts with GELU have two seeds on CIFAR-10. A last row has the rates
of the gradient flow, L times as large for the layers, from 0.04. ``--full`` runs what
the paper runs, for a GPU. The data are cifar10_12k.npz and mnist.npz (arrays X_train,
y_train, X_test, y_test) in the folder ODENET_DATA, or without it the digits of
scikit-learn.

For every activation and start: accuracies, the von Neumann ratio and the Lipschitz
constant of the filters after training, and the test accuracy of the same functions of
depth in half and twice as many layers.

Expected: from the tied start, GELU and the identity stay smooth (ratios below 0.05, and
the accuracy survives a change of depth), and ReLU nearly so. Independent layers stay
independent (ratio near 1), and a change of depth destroys what the network has learned.

Run:  python benchmarks/paper/images.py [--quick] [--full] [--json FILE] [--png FILE]
"""

import os
import sys
from functools import cache
from itertools import product
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

sys.path.append(str(Path(__file__).parent))
from _runner import WATCHED, Parts, describe, machine, parse_options, save

from odenet import ResODEImageClassifier
from odenet.solvers import SGD

# Activation and start of the trainings; the last has the rates of the gradient flow.
CONFIGURATIONS = [
    ("gelu", "tied"),
    ("gelu", "gaussian_process"),
    ("gelu", "iid"),
    ("relu", "tied"),
    ("relu", "iid"),
    ("identity", "tied"),
    ("gelu", "tied", "flow rates"),
]
SIZES = {"depth": 24, "channels": 8}  # that a CPU can train
SETS = {  # epochs, and the augmentation of images
    "cifar10_12k": (12, {"random_shift": 4, "random_flip": True}),
    "mnist": (4, {"random_shift": 2}),
    "digits": (15, {"random_shift": 1}),
}
MOST_IMAGES = 10_000  # to train with, on a CPU
# What the paper trains.
FULL_SIZES = {"depth": 256, "channels": 64}
FULL_EPOCHS = 180
# The entries of a filter that the figure shows.
SHOWN = [(0, 0, 0, 0), (1, 2, 1, 1), (3, 1, 2, 0), (2, 3, 1, 2)]


@cache
def load(name, n_train):
    """Load training and test images, with their labels."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        split = train_test_split(X.reshape(-1, 8, 8), y, random_state=0)
        X_train, X_test, y_train, y_test = split
    else:
        with np.load(Path(os.environ["ODENET_DATA"]) / f"{name}.npz") as file:
            arrays = [file[k] for k in ("X_train", "y_train", "X_test", "y_test")]
        X_train, y_train, X_test, y_test = arrays
    chosen = np.random.default_rng(0).permutation(len(X_train))[:n_train]
    return X_train[chosen], y_train[chosen], X_test, y_test


def sets_here():
    """Return the sets of the folder of data, or that of scikit-learn without one."""
    folder = os.environ.get("ODENET_DATA")
    names = [name for name in ("cifar10_12k", "mnist") if folder]
    found = [name for name in names if (Path(folder) / f"{name}.npz").exists()]
    return found or ["digits"]


def seeds_of(name, configuration):
    """Return two seeds where starts are compared, with GELU on CIFAR-10, else one."""
    compares = name == "cifar10_12k" and configuration in CONFIGURATIONS[:3]
    return [0, 1] if compares else [0]


def measure(name, configuration, seed, sizes, n_epochs, n_train):
    """Train once, and return scores and smoothness."""
    X, y, X_test, y_test = load(name, n_train)
    activation, init, *flow_rates = configuration
    solver = SGD(
        learning_rate=0.04 if flow_rates or n_epochs == FULL_EPOCHS else 0.1,
        weight_decay=5e-4,
        flow_rates=bool(flow_rates),
        schedule="cosine",
        batch_size=64,
        max_epochs=n_epochs,
    )
    model = ResODEImageClassifier(
        **sizes,
        activation=activation,
        init=init,
        solver=solver,
        random_state=seed,
        verbose=int(WATCHED),
        **SETS[name][1],
    )
    start = perf_counter()
    model.fit(X, y)
    seconds = perf_counter() - start
    smoothness, depth = model.depth_smoothness_, model.depth_
    return {
        "train": model.score(X, y),
        "test": model.score(X_test, y_test),
        "von_neumann": smoothness.von_neumann_ratio,
        "lipschitz": smoothness.lipschitz,
        "half": model.with_depth(depth // 2).score(X_test, y_test),
        "twice": model.with_depth(2 * depth).score(X_test, y_test),
        "seconds": seconds,
        "filters": [model.module_.W[(slice(None), *i)].tolist() for i in SHOWN],
    }


def print_row(name, rows):
    def column(key):
        return np.array([row[key] for row in rows])

    accuracies = " ".join(
        f"{column(key).mean():>6.3f} ±{column(key).std():.3f}"
        for key in ("train", "test", "half", "twice")
    )
    ratios = column("von_neumann")
    print(
        f"{name:<48} {accuracies} "
        f"{np.median(ratios):>7.4f} ({ratios.min():.4f} to {ratios.max():.4f}) "
        f"{np.median(column('lipschitz')):>7.1f} {np.median(column('seconds')):>7.0f}",
        flush=True,
    )


def draw(figure, results):
    """Draw entries of the filters W against depth, one panel for each training."""
    sets = list(dict.fromkeys(key.split(", ")[0] for key in results["parts"]))
    figure.set_size_inches(2.2 * len(CONFIGURATIONS), 2.2 * len(sets) + 0.6)
    axes = figure.subplots(len(sets), len(CONFIGURATIONS), squeeze=False, sharex=True)
    for name, row in zip(sets, axes, strict=True):
        for configuration, ax in zip(CONFIGURATIONS, row, strict=True):
            part = results["parts"].get(f"{name}, {', '.join(configuration)}, seed 0")
            if part is None:
                continue
            for i, values in enumerate(part["filters"]):
                ax.plot(range(1, len(values) + 1), values, lw=1, color=f"C{i}")
            ratio = f"ratio {part['von_neumann']:.3f}"
            ax.set_title(f"{', '.join(configuration)}\n{ratio}", fontsize=8)
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=7)
        row[0].set_ylabel(f"{name}\nentries of $W_k$", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("layer $k$", fontsize=8)


def main():
    options = parse_options(__doc__, full="what the paper runs, for a GPU")
    if not options.full:
        torch.set_num_threads(1)
    sizes, n_train, names = SIZES, MOST_IMAGES, sets_here()
    configurations, quick_epochs = CONFIGURATIONS, None
    if options.quick:
        sizes, n_train, names = {"depth": 4, "channels": 4}, 300, ["digits"]
        configurations, quick_epochs = CONFIGURATIONS[:3], 2
    if options.full:
        sizes, quick_epochs, n_train = FULL_SIZES, FULL_EPOCHS, None
    parts, about = Parts(options), machine(options.quick)
    print(describe(about))
    print(
        f"{'data, activation, start':<48} {'train':>13} {'test':>13} "
        f"{'in L/2':>13} {'in 2 L':>13} {'von Neumann':>26} {'Lip.':>7} {'seconds':>7}"
    )
    for name, configuration in product(names, configurations):
        for seed in seeds_of(name, configuration):
            n_epochs = quick_epochs or SETS[name][0]
            key = f"{name}, {', '.join(configuration)}, seed {seed}"
            args = (name, configuration, seed, sizes, n_epochs, n_train)
            print_row(key, [parts(key, measure, *args)])
    print("\nmean and standard deviation over the seeds; of ratios, the range")
    for name, configuration in product(names, configurations):
        key = f"{name}, {', '.join(configuration)}"
        seeds = seeds_of(name, configuration)
        print_row(key, [parts.found[f"{key}, seed {seed}"] for seed in seeds])
    save(options, parts.results(machine=about), draw)


if __name__ == "__main__":
    main()
