"""
Refining depth while training
=============================

A network of 256 layers is trained twice along the same gradient flow: at full depth all
the time, and by the default schedule. The latter starts with 4 layers that imitate 256,
and adds layers when more of them would change the training loss. Both arrive at the
same network.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from odenet import ResODEClassifier

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
settings = {"flow_time": 200.0, "early_stopping": False, "random_state": 0}
models = {
    label: ResODEClassifier(256, depth_schedule=schedule, **settings)
    for label, schedule in {"full depth": None, "refined": "doubling"}.items()
}

# %%
# The loss along the flow, and the seconds that it took to get there.
curves = {}
for label, model in models.items():
    model.fit(X_train, y_train)
    history = model.net_.history
    curves[label] = np.cumsum(history[:, "dur"]), history[:, "train_loss"]
    seconds, losses = (curve[-1] for curve in curves[label])
    print(
        f"{label:<10}  {seconds:6.1f} s  {model.n_grad_evals_:>4} gradients"
        f"  loss {losses:.5f}  test {model.score(X_test, y_test):.4f}"
    )

# %%
# When the depth changed, and how much the loss and the outputs changed with it.
path = models["refined"].depth_path_
print(
    f"\n{'L':>4} {'flow time':>10} {'gradients':>10} {'loss gap':>9} {'output gap':>11}"
)
for row in path:
    print(
        f"{row['depth']:>4} {row['flow_time']:>10.2f} {row['n_grad_evals']:>10}"
        f" {row['loss_gap']:>9.1e} {row['output_gap']:>11.1e}"
    )

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for (label, model), style in zip(models.items(), ("-", "--"), strict=True):
    seconds, losses = curves[label]
    left.plot(model.net_.history[:, "flow_time"], losses, style, label=label)
    right.plot(seconds, losses, style, label=label)
times = models["refined"].net_.history[:, "flow_time"]
for row in path[1:]:
    point = row["flow_time"], np.interp(row["flow_time"], times, losses)
    left.plot(*point, "ko", ms=4)
depths = ", then ".join(str(row["depth"]) for row in path[1:])
note = {"textcoords": "offset points", "xytext": (-10, 0), "ha": "right", "va": "top"}
left.margins(y=0.12)
left.annotate(f"to {depths} layers", point, **note)
left.set(xlabel="flow time t", ylabel="training loss", yscale="log", xscale="log")
left.set_title("the same flow ...")
right.set(xlabel="seconds", ylabel="training loss", yscale="log", xscale="log")
right.set_title("... in less time")
for ax in (left, right):
    ax.yaxis.set_minor_formatter("{x:g}")
left.legend(loc="upper right")
right.legend()

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
