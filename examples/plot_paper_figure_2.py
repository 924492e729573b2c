"""
The long-time limit
===================

A wide residual network interpolates its data. Along the gradient flow the training loss
falls exponentially, in the end at the rate of the slowest direction, and the weights
are smooth functions of depth all the time. So the limit of long training is a neural
ODE that interpolates the data.
This is figure 2 of Marion, Wu, Sander and Biau, *Implicit regularization of deep
residual networks towards neural ODEs* (ICLR 2024), along the gradient flow.
"""

# %%
# There are few samples and many weights. Warm starts follow the flow piece by piece.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from odenet import ResODERegressor
from odenet.schemes import Tied

rng = np.random.default_rng(0)
X, y = rng.standard_normal((30, 8)), rng.standard_normal((30, 8))
model = ResODERegressor(
    32,
    width=64,
    init=Tied(4.0),
    depth_schedule=None,
    early_stopping=False,
    standardize=False,
    warm_start=True,
    random_state=0,
)
flow_times = [1, 5, 10, 20, 40, 100]
weights, losses = [], []
print(f"{'t':>4} {'gradients':>9} {'loss':>8} {'L max step':>10} {'von Neumann':>11}")
for flow_time in flow_times:
    model.set_params(flow_time=float(flow_time)).fit(X, y)
    smoothness = model.depth_smoothness_
    weights.append(model.module_.V.detach().numpy().copy())
    losses.append(model.loss_curve_[-1])
    print(
        f"{flow_time:>4} {model.n_grad_evals_:>9} {losses[-1]:>8.1e} "
        f"{smoothness.lipschitz:>10.2f} {smoothness.von_neumann_ratio:>11.1e}"
    )

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
left.semilogy(model.net_.history[:, "flow_time"], model.loss_curve_, color="0.6")
s = (np.arange(32) + 0.5) / 32
entry = np.unravel_index(np.ptp(weights[-1], axis=0).argmax(), weights[-1].shape[1:])
for i, (flow_time, V) in enumerate(zip(flow_times, weights, strict=True)):
    colour = plt.cm.viridis(0.95 - 0.95 * i / (len(flow_times) - 1))
    left.plot(flow_time, losses[i], "o", color=colour)
    right.plot(
        s, V[:, entry[0], entry[1]], ".-", ms=3, color=colour, label=f"t = {flow_time}"
    )
left.set(
    xlabel="flow time t",
    ylabel="training loss",
    title="the loss falls exponentially ...",
)
right.set(xlabel="depth time s", title="... and a weight stays smooth in depth")
right.legend(fontsize=8)

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
