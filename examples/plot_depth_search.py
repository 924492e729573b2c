"""
Searching over depth
====================

How deep should a network be? A grid search over depth answers that on two real data
sets, for residual networks that are neural ODEs and for scikit-learn's multilayer
perceptrons. Both have the same depths, width, folds and early stopping.
"""

# %%
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import ResODEClassifier, ResODERegressor

# On digits the loss still falls a little after the last of the 300 epochs.
warnings.filterwarnings("ignore", "Training ended after")

depths = [1, 4, 16, 64]
mlp_settings = {"early_stopping": True, "max_iter": 1000, "random_state": 0}
mlp_layers = [(64,) * depth for depth in depths]

# %%
# A candidate is an estimator with the grid of its depths.
candidates = {
    "diabetes": {
        "ResODERegressor": (
            ResODERegressor(random_state=0),
            {"resoderegressor__depth": depths},
        ),
        "MLPRegressor": (
            TransformedTargetRegressor(
                MLPRegressor(**mlp_settings), transformer=StandardScaler()
            ),
            {"transformedtargetregressor__regressor__hidden_layer_sizes": mlp_layers},
        ),
    },
    "digits": {
        "ResODEClassifier": (
            ResODEClassifier(random_state=0),
            {"resodeclassifier__depth": depths},
        ),
        "MLPClassifier": (
            MLPClassifier(**mlp_settings),
            {"mlpclassifier__hidden_layer_sizes": mlp_layers},
        ),
    },
}
data = {
    "diabetes": load_diabetes(return_X_y=True),
    "digits": load_digits(return_X_y=True),
}

# %%
# The searches use three folds and two processes. The table shows the cross-validated
# score of every depth, the test score of the best one, and how smooth its weights are.
print(
    f"{'data':<9} {'model':<17} "
    + " ".join(f"{f'L={depth}':>7}" for depth in depths)
    + f" {'best':>5} {'test':>6} {'seconds':>8} {'Lipschitz':>10} {'von Neumann':>12}"
)
fig, axes = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
for ax, (name, (X, y)) in zip(axes, data.items(), strict=True):
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    for (model_name, (model, grid)), style in zip(
        candidates[name].items(), ("o-", "s--"), strict=True
    ):
        start = perf_counter()
        pipeline = make_pipeline(StandardScaler(), model)
        search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X_train, y_train)
        seconds = perf_counter() - start
        scores = search.cv_results_["mean_test_score"]
        winner = search.best_estimator_[-1]
        smoothness = getattr(winner, "depth_smoothness_", None)
        print(
            f"{name:<9} {model_name:<17} "
            + " ".join(f"{score:7.3f}" for score in scores)
            + f" {depths[search.best_index_]:>5} {search.score(X_test, y_test):6.3f}"
            + f" {seconds:8.1f}"
            + (f" {smoothness.lipschitz:10.3f}" if smoothness else f" {'-':>10}")
            + (
                f" {smoothness.von_neumann_ratio:12.1e}"
                if smoothness
                else f" {'-':>12}"
            )
        )
        ax.plot(depths, scores, style, label=model_name)
    ax.set(title=name, xlabel="depth L (layers)", xscale="log", xticks=depths)
    ax.set_xticklabels(depths)
    ax.minorticks_off()
    ax.set_ylabel("cross-validated R2" if name == "diabetes" else "accuracy")
    ax.legend()
fig.suptitle("Scores of a residual network hardly depend on its depth")

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
