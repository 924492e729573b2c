"""Train the two networks of the page "Play with depth", and write their weights.

``python docs/_play/make_weights.py`` writes weights.json beside this file, and prints
the accuracies that the page tells. It takes some seconds.
"""

import base64
import json
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from odenet import ResODEClassifier

WEIGHTS = Path(__file__).with_name("weights.json")
STARTS = {"smooth": "tied", "independent": "iid"}  # the only difference between the two
DEPTH, RADIUS, N_FOLLOWED = 32, 2.4, 24
DEPTHS = (1, 2, 4, 8, 16, 31, 32, 33, 64, 128, 256)  # of the table on the page


def spirals(n, rng):
    """Draw points of three arms of a spiral, which wind round by 5 radians."""
    distance = np.sqrt(rng.uniform(0.03, 1, n))
    arm = rng.integers(0, 3, n)
    angle = 2 * np.pi * arm / 3 + 5 * distance
    X = np.c_[distance * np.cos(angle), distance * np.sin(angle)]
    return RADIUS * (X + 0.06 * rng.standard_normal((n, 2))), arm


def samples():
    """Return 450 points to learn from and 300 others to judge by, as X, y, X, y."""
    rng = np.random.default_rng(0)
    X, y = spirals(450, rng)
    X_new, y_new = spirals(300, rng)
    return X, y, X_new.round(4), y_new  # as they stand in the file


def fitted(init):
    """Train a network that starts from given weights; all else is the same for both."""
    X, y, *_ = samples()
    model = ResODEClassifier(
        DEPTH,
        width=16,
        state_dim=16,
        activation="tanh",  # JavaScript has it
        init=init,
        depth_schedule=None,  # independent layers cannot be refined on the way
        flow_time=300.0,
        early_stopping=False,
        standardize=False,  # the points are of unit size already: one formula less
        numeric_embedding=None,
        random_state=0,
    )
    return model.fit(X, y)


def packed(tensor):
    """Return the numbers of a tensor as text: base64 of float32, little-endian."""
    numbers = tensor.detach().numpy().astype("<f4")
    return base64.b64encode(numbers.tobytes()).decode()


def described(model, X):
    """Return what a page needs of a network: its weights, and a plane to see states."""
    network = model.module_
    states = model.hidden_states(X[:N_FOLLOWED])
    plane = PCA(2).fit(states.reshape(-1, network.state_dim))
    weights = {name: packed(p) for name, p in network.named_parameters()}
    return weights | {
        "init": model.init,
        "temperature": model.temperature_,
        "plane": plane.components_.round(6).tolist(),
        "origin": plane.mean_.round(6).tolist(),
    }


def contents(models):
    """Return the contents of the file, for the two networks by name."""
    _, _, X, y = samples()
    network = models["smooth"].module_
    return {
        "made_by": "docs/_play/make_weights.py",
        "depth": network.depth,
        "width": network.width,
        "state_dim": network.state_dim,
        "n_classes": len(models["smooth"].classes_),
        "n_followed": N_FOLLOWED,
        "X": X.tolist(),
        "y": y.tolist(),
        "networks": {name: described(model, X) for name, model in models.items()},
    }


def main():
    """Write the file, and print the accuracies at new points."""
    models = {name: fitted(init) for name, init in STARTS.items()}
    WEIGHTS.write_text(json.dumps(contents(models), separators=(",", ":")) + "\n")
    _, _, X, y = samples()
    print(" layers", *(f"{name:>12}" for name in models))
    for depth in DEPTHS:
        scores = (model.with_depth(depth).score(X, y) for model in models.values())
        print(f"{depth:>7}", *(f"{score:>12.1%}" for score in scores))


if __name__ == "__main__":
    main()
