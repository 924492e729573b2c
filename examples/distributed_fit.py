"""Two processes fit one model, each with half of the rows.

    torchrun --nproc-per-node 2 examples/distributed_fit.py

Every process calls ``fit`` with rows of its own, and has the same model at the end. On
a machine with two cores each gradient then takes about half the time; on several
machines no process has to hold the whole table.
"""

import numpy as np
import torch.distributed as dist
from sklearn.datasets import make_friedman1

from odenet import ResODERegressor
from odenet.solvers import Flow

# %%
# The processes meet. On GPUs, call ``torch.cuda.set_device`` before, and take "nccl".

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()

# %%
# Each reads its share of the rows: here every other one, elsewhere files of its own.

X, y = make_friedman1(4000, noise=1.0, random_state=0)
X_train, y_train = X[rank:3000:size], y[rank:3000:size]

# %%
# One word lets all of them fit together. Without it, each would fit its rows alone.

model = ResODERegressor(
    depth=8,
    width=16,
    solver=Flow(),
    flow_time=10.0,
    processes="group",
    random_state=0,
    verbose=1,
)
model.fit(X_train, y_train)

# %%
# All have the same model, to the bit. The first process tells how good it is.

weights = np.concatenate(
    [p.detach().numpy().ravel() for p in model.module_.parameters()]
)
sums = [None] * size
dist.all_gather_object(sums, float(weights.sum()))
assert len(set(sums)) == 1
if rank == 0:
    score = model.score(X[3000:], y[3000:])
    print(f"R2 {score:.3f} of a model that was fitted to {model.n_samples_fit_} rows")
dist.destroy_process_group()
