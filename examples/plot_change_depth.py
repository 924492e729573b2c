"""
Changing depth after training
=============================

A network is trained once, with 64 layers, on the digits. Then the number of layers is
changed, up or down, without any further training: the new layers sample the same
function of depth as the old ones. With a quarter of the layers, the accuracy is nearly
the same, and predictions take much less time.
"""

# %%
from pathlib import Path
from statistics import median
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier

KINDS = ("linear", "constant")
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = ResODEClassifier(depth=64, random_state=0).fit(X_train, y_train)

# %%
# The same model at other depths. The weights are interpolated in depth, by a piecewise
# linear or a piecewise constant function. The table shows the test accuracy, the
# relative distance of the logits from those at 64 layers, and the seconds to predict
# 10,000 images.
depths = [1, 2, 4, 8, 16, 32, 64, 128, 256]
batch = np.resize(X_test, (10_000, X.shape[1]))
logits = model.decision_function(X_test)


def distance(other):
    difference = other.decision_function(X_test) - logits
    return np.linalg.norm(difference) / np.linalg.norm(logits)


def seconds_to_predict(other):
    seconds = []
    for _ in range(3):
        start = perf_counter()
        other.predict(batch)
        seconds.append(perf_counter() - start)
    return median(seconds)


print(f"{'L':>4} {'accuracy':>9} {'distance: linear':>17} {'constant':>9} {'s':>7}")
rows = []
for depth in depths:
    linear, constant = (model.with_depth(depth, kind) for kind in KINDS)
    rows.append(
        (
            linear.score(X_test, y_test),
            distance(linear),
            distance(constant),
            seconds_to_predict(linear),
        )
    )
    print("{:>4} {:>9.4f} {:>17.1e} {:>9.1e} {:>7.4f}".format(depth, *rows[-1]))
accuracy, linear, constant, seconds = zip(*rows, strict=True)

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
axes[0].plot(depths, accuracy, "o-")
axes[0].set(title="test accuracy", ylim=(0.8, 1.0))  # 1 and 2 layers are far below
others = [i for i, depth in enumerate(depths) if depth != 64]
for values, style, kind in zip((linear, constant), ("o-", "s--"), KINDS, strict=True):
    x, y = ([array[i] for i in others] for array in (depths, values))
    axes[1].plot(x, y, style, label=kind)
axes[1].set(title="distance of the logits", yscale="log")
axes[1].legend(title="interpolation")
fig.suptitle("Trained with 64 layers, used with 1 to 256: 8 are nearly as accurate")
axes[2].plot(depths, seconds, "o-")
axes[2].set(title="seconds for 10,000 rows", yscale="log")
for ax in axes:
    ax.axvline(64, color="0.7", zorder=0)
    ax.set(xscale="log", xticks=depths, xlabel="depth L (trained at 64)")
    ax.set_xticklabels(depths)
    ax.tick_params(axis="x", which="minor", bottom=False)

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
