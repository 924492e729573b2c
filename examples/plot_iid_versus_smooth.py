"""
Independent layers are no neural ODE
====================================

A network whose layers start from independent weights stays rough in depth, however
deep it is: it comes no closer to a neural ODE. Starts that are smooth in depth stay
smooth, and their gap to the ODE falls like 1/L. This has a price: independent layers
fit these training data faster. A start from a Gaussian process in depth has some of
that advantage, and its network is a discretised ODE all the same.
"""

# %%
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from odenet import ResODERegressor
from odenet.schemes import GaussianProcess, Independent, Tied

rng = np.random.default_rng(0)
X, y = rng.standard_normal((100, 8)), rng.standard_normal((100, 8))
starts = {
    "tied": Tied(4.0),
    "Gaussian process": GaussianProcess(length_scale=0.25, scale=4.0),
    "iid": Independent(4.0),
}
depths = [4, 8, 16, 32]
settings = {"width": 32, "flow_time": 20.0, "random_state": 0}
settings |= {"depth_schedule": None, "early_stopping": False, "standardize": False}

# %%
# Every start at every depth: smoothness of the weights, gap to the ODE, training loss.
# If weights are not smooth, `ode_gap` warns, which is expected here.
warnings.filterwarnings("ignore", message="The weights of this network are not smooth")
models, rows = {}, {}
print(f"{'start':<17} {'L':>2} {'Lipschitz':>9} {'ratio':>7} {'gap':>7} {'loss':>5}")
for name, init in starts.items():
    rows[name] = []
    for depth in depths:
        model = ResODERegressor(depth, init=init, **settings).fit(X, y)
        smoothness, gap = model.depth_smoothness_, model.ode_gap(X)
        rows[name].append((smoothness.lipschitz, gap, model.loss_curve_[-1]))
        ratio = smoothness.von_neumann_ratio
        print(
            f"{name:<17} {depth:>2} {smoothness.lipschitz:>9.1f} {ratio:>7.1e} "
            f"{gap:>7.1e} {model.loss_curve_[-1]:>5.2f}"
        )
    models[name] = model

# %%
fig, axes = plt.subplots(2, 3, figsize=(8, 4.8), layout="constrained")
s = (np.arange(depths[-1]) + 0.5) / depths[-1]
for i, (ax, (name, model)) in enumerate(zip(axes[0], models.items(), strict=True)):
    W = model.module_.W.detach()
    for j in range(3):
        ax.plot(s, W[:, j, j], ".-", ms=3, lw=0.8, color=f"C{i}", alpha=1 - 0.3 * j)
    ax.set(xlabel="depth time s", title=name, ylim=(-14, 14))
axes[0, 0].set_ylabel("three weights of W")
titles = ("Lipschitz constant", "gap to the ODE", "training loss")
for k, (ax, title) in enumerate(zip(axes[1], titles, strict=True)):
    for (name, values), marker in zip(rows.items(), "o^s", strict=True):
        ax.plot(depths, [row[k] for row in values], marker + "-", ms=4, label=name)
    ax.set(xscale="log", xlabel="depth L (layers)", title=title)
    ax.set_yscale("linear" if k == 2 else "log")
    ax.set_xticks(depths, depths)
    ax.minorticks_off()
axes[1, 2].set_ylim(bottom=0)
axes[1, 2].legend(fontsize=8, loc="lower left")

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
