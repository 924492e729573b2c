"""
The large-depth limit
=====================

As a residual network gets deeper, its training has a limit: the weights become a
function of depth. The steps between layers, and the distances of weights and outputs
from the limit, fall like 1/L. This is figure 1 of Marion, Wu, Sander and Biau,
*Implicit regularization of deep residual networks towards neural ODEs* (ICLR 2024),
along the gradient flow.
"""

# %%
# As in the paper: Gaussian inputs and targets, W Gaussian and the same in all layers,
# V = 0. All networks follow the flow to the same time.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from odenet import ResODERegressor
from odenet.schemes import Tied

rng = np.random.default_rng(0)
X, y = rng.standard_normal((100, 8)), rng.standard_normal((100, 8))
settings = {"init": Tied(4.0), "width": 32, "flow_time": 10.0, "random_state": 0}
settings |= {"depth_schedule": None, "early_stopping": False, "standardize": False}
depths = [4, 8, 16, 32, 64, 128, 256, 512]
models = {depth: ResODERegressor(depth, **settings).fit(X, y) for depth in depths}

# %%
# The largest step between two layers, and the distances of weights and outputs from
# those of the deepest network. The weights are compared as piecewise constant functions
# of depth.
limit = models[depths[-1]]
steps, weight_gaps, output_gaps = [], [], []
for depth, model in models.items():
    steps.append(model.depth_smoothness_.lipschitz / depth)
    stretched = model.module_.with_depth(limit.depth_, "constant")
    gaps = [stretched.V - limit.module_.V, stretched.W - limit.module_.W]
    squares = sum(gap.detach().square().sum(dim=(1, 2)) for gap in gaps)
    weight_gaps.append(squares.max().sqrt().item())
    gap = model.predict(X) - limit.predict(X)
    output_gaps.append(np.sqrt(np.square(gap).sum(axis=1).mean()))
curves = {
    "largest step between layers": (depths, steps),
    "weights, from the limit": (depths[:-3], weight_gaps[:-3]),
    "outputs, from the limit": (depths[:-3], output_gaps[:-3]),
}
for label, (x, values) in curves.items():
    slope = np.polyfit(np.log(x[2:]), np.log(values[2:]), 1)[0]
    print(f"{label:<27}  slope {slope:.2f} for L >= {x[2]}")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
V = limit.module_.V.detach()
bend = (V[0] - 2 * V[len(V) // 2] + V[-1]).abs()
row, column = divmod(bend.argmax().item(), V.shape[2])
for i, depth in enumerate([4, 8, 16, 32, 512]):
    V = models[depth].module_.V.detach()[:, row, column]
    style = {"color": plt.cm.viridis_r(0.1 + 0.2 * i), "lw": 1.3, "baseline": None}
    left.stairs(V, np.linspace(0, 1, depth + 1), label=f"L = {depth}", **style)
left.set(xlabel="depth time s", title="a weight, as a function of depth")
left.legend()
for (label, (x, values)), marker in zip(curves.items(), "osv", strict=True):
    right.loglog(x, values, marker + "-", ms=5, mfc="w", label=label)
    right.loglog(depths, values[2] * x[2] / np.array(depths), "k:", lw=0.9, zorder=0)
right.plot([], [], "k:", lw=0.9, label="slope −1")
right.set(xlabel="depth L (layers)", title="distances fall like 1/L")
right.set_xticks(depths, depths)
right.tick_params(axis="x", which="minor", bottom=False)
right.set_ylim(bottom=2e-4)
right.legend(fontsize=8, loc="lower left")

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
