"""
A table as it comes
===================

A data frame holds numbers, categories and missing values. A residual network takes it
as it is; a perceptron needs columns that are imputed, scaled and one-hot. The network's
probabilities are close to the true shares of the class. Those of the perceptron are too
extreme unless it stops early. Then it is much faster than the network, and worse on the
diabetes set as on the census table adult (from the folder ODENET_DATA).
"""

# %%
import os
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from odenet import ResODEClassifier

adult = Path(os.environ.get("ODENET_DATA", ""), "adult.npz")
title = "adult, every 20th row" if adult.exists() else "diabetes, with values removed"
if adult.exists():
    with np.load(adult) as file:
        X = pd.DataFrame(file["X"], columns=file["feature_names"])
        y, names = file["y"], X.columns[file["cat_mask"]]
    X[names] = X[names].astype(int).astype("category")
    for name in ("workclass", "occupation", "native-country"):
        X[name] = X[name].cat.remove_categories(0)  # "?": missing in the census
    X, y = X[::20], y[::20]
else:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    removed = np.random.default_rng(0).random(X.shape) < 0.1
    X = X.astype({"sex": "category"}).mask(removed)
    y = (y > y.median()).astype(int)

# %%
# The network is only told that there may be NaN. The perceptron needs preprocessing.
# Every row is predicted by a model that was trained on the other two thirds of them.
numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
is_number = make_column_selector(dtype_include="number")
columns = make_column_transformer((numbers, is_number), remainder=one_hot)
models = {"ResODEClassifier": ResODEClassifier(allow_nan=True, random_state=0)}
for name, stop in {"MLP": False, "MLP, early stopping": True}.items():
    mlp = MLPClassifier(early_stopping=stop, random_state=0)
    models[name] = make_pipeline(columns, mlp)
warnings.filterwarnings("ignore", "Stochastic Optimizer")  # the MLP ends at 200 epochs
warnings.filterwarnings("ignore", "Training ended after")  # and odenet's at 300
print(f"{X.shape[0]} rows, {X.shape[1]} columns, {X.isna().sum().sum()} values missing")
fig, ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")
for (name, model), style in zip(models.items(), ("ko-", "C1s--", "C0^:"), strict=True):
    start = perf_counter()
    p = cross_val_predict(model, X, y, cv=3, method="predict_proba")[:, 1]
    seconds = perf_counter() - start
    share, given = calibration_curve(y, p, n_bins=8, strategy="quantile")
    text = f"accuracy {accuracy_score(y, p > 0.5):.3f}, log loss {log_loss(y, p):.3f}"
    print(f"{name:<20} {text}, off by {abs(share - given).mean():.3f}, {seconds:.1f} s")
    ax.plot(given, share, style, label=f"{name}\n{text}")

s = np.linspace(0, 1, 101)
error = np.sqrt(s * (1 - s) * 8 / len(y))  # of the share in one of 8 bins
ax.fill_between(s, s - error, s + error, color="0.85", label="exact ± standard error")
ax.set(xlabel="probability given", ylabel="share of the class", aspect="equal")
ax.set_title(f"How often it is true what a model gives a probability\n({title})")
ax.legend(loc="lower right")
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
