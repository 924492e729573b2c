"""
What a fit looks like
=====================

Four displays show a fitted model: how the loss fell, how the hidden states move along
the trajectories of the neural ODE, how the weights depend on depth, and how smooth they
are. The model here tells three cultivars of wine apart by 13 chemical measurements.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine

from odenet import (
    DepthSmoothnessDisplay,
    LossCurveDisplay,
    ResODEClassifier,
    TrajectoryDisplay,
    WeightProfileDisplay,
)

wine = load_wine()
X, y = wine.data, wine.target_names[wine.target]
model = ResODEClassifier(depth=32, early_stopping=True, random_state=0).fit(X, y)
print(model.summary())

# %%
# Four displays on one figure:
#
# - The loss. At first the flow is followed with some samples held out, which choose the
#   flow time. Then it is followed to that time on all samples. Layers are added on the
#   way.
# - The states of the network, as dots, stay on the trajectories of its neural ODE.
# - The weights are samples of functions of depth: with_depth takes fewer samples.
# - The steps between layers, and those that the same layers would have in random order.
networks = {f"L = {depth}": model.with_depth(depth) for depth in (8, 16, 32)}
fig, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
losses = LossCurveDisplay.from_estimator(model, ax=axes[0, 0])
TrajectoryDisplay.from_estimator(model, X, y, random_state=0, ax=axes[0, 1])
WeightProfileDisplay.from_networks(networks, entries=3, ax=axes[1, 0])
DepthSmoothnessDisplay.from_estimator(model, ax=axes[1, 1])

# %%
# Every display gives its data as a data frame.
print(losses.frame()[["depth", "train_loss"]].tail(3))
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=110)
print(f"Figure saved as {path.name}")
