"""
From the network to its neural ODE
==================================

A trained residual network follows the trajectories of an ordinary differential equation
step by step. The left figure shows both for the iris flowers: the states of a network
of 8 layers are dots on the trajectories of its neural ODE. The right figure shows the
distance between the outputs of the two, which halves when the depth doubles.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA

from odenet import ResODEClassifier

iris = load_iris()
X, y = iris.data, iris.target
settings = {"flow_time": 100.0, "early_stopping": False, "random_state": 0}
model = ResODEClassifier(depth=8, **settings).fit(X, y)

# %%
# The hidden states of the network after each of its 8 layers, and those of the ODE at
# any depth time s, both in the first two principal components of the ODE's states.
ode = model.to_ode(rtol=1e-6)
s = np.linspace(0, 1, 101)
trajectories = ode.trajectory(X, s)
states = model.hidden_states(X)
pca = PCA(2).fit(trajectories.reshape(-1, trajectories.shape[-1]))
curves, dots = (
    pca.transform(h.reshape(-1, h.shape[-1])).reshape(*h.shape[:2], 2)
    for h in (trajectories, states)
)
print(f"evaluations of the vector field: {ode.n_evals_} by dopri5, 8 by the network")

# %%
# The gap of networks that are trained at several depths.
depths = [8, 16, 32, 64, 128]
gaps = []
print(f"{'L':>4} {'gap':>9} {'estimate':>9} {'von Neumann':>12}")
for depth in depths:
    network = ResODEClassifier(depth, **settings).fit(X, y)
    gaps.append(network.ode_gap(X))
    estimate = network.ode_gap(X, method="richardson")
    ratio = network.depth_smoothness_.von_neumann_ratio
    print(f"{depth:>4} {gaps[-1]:>9.2e} {estimate:>9.2e} {ratio:>12.1e}")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for label, (name, marker) in enumerate(zip(iris.target_names, "os^", strict=True)):
    for i in np.flatnonzero(y == label)[:12]:
        left.plot(*curves[:, i].T, color=f"C{label}", lw=0.8)
        left.plot(*dots[:, i].T, marker, color=f"C{label}", ms=2)
    left.plot([], [], marker + "-", color=f"C{label}", ms=4, label=name)
left.set(xlabel="first principal component", ylabel="second principal component")
left.set_title("states of the network (dots) follow the ODE (lines)", fontsize=9)
left.legend()
right.plot(depths, gaps, "o-", label="gap")
right.plot(depths, gaps[0] * depths[0] / np.array(depths), "k:", label="slope −1")
right.set(xlabel="depth L (layers)", ylabel="gap to the ODE (relative)")
right.set(xscale="log", yscale="log", xticks=depths)
right.set_title("the gap of the outputs halves as depth doubles", fontsize=9)
right.set_xticklabels(depths)
right.tick_params(axis="x", which="minor", bottom=False)
right.yaxis.set_major_formatter("{x:g}")
right.yaxis.set_minor_formatter("")
right.set_yticks([0.003, 0.005, 0.01, 0.02, 0.05])
right.legend()

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
