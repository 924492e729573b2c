"""The hidden states on their way through depth, of a network and of its ODE."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.decomposition import PCA
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state

from odenet._inspection.display import Display, check_drawable

MARKERS = "os^Dv*Px"
N_TIMES = 65  # of the curves of the ODE
MOST_DOTS = 17  # of a trajectory of the network


class TrajectoryDisplay(Display):
    """Hidden states of a network (dots) and of its neural ODE (lines).

    Both are shown in the first two principal components of the network's states at all
    layers; the colour is that of the target, or of the class, whose marker is at the
    end of a trajectory.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    states : ndarray of shape (depth + 1, n_samples, 2)
        Of the network.
    trajectories : ndarray of shape (n_times, n_samples, 2) or None
        Of the ODE, at evenly spaced depth times; None for a network without one.
    y : ndarray of shape (n_samples,)
        Targets or classes.
    explained_variance : ndarray of shape (2,)
        Share of the states' variance in each component.
    is_classifier : bool
        Whether y holds classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from odenet import ResODEClassifier, TrajectoryDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ResODEClassifier(8, flow_time=20.0, random_state=0).fit(X, y)
    >>> display = TrajectoryDisplay.from_estimator(model, X, y, random_state=0)
    >>> display.states.shape, display.trajectories.shape
    ((9, 60, 2), (65, 60, 2))
    """

    def __init__(self, states, trajectories, y, explained_variance, is_classifier):
        self.states = states
        self.trajectories = trajectories
        self.y = y
        self.explained_variance = explained_variance
        self.is_classifier = is_classifier

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, n_samples=60, random_state=None, ax=None
    ):
        """Draw the way of samples through a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of odenet
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Targets or classes, for the colours; None is what the estimator predicts.
        n_samples : int, default=60
            Number of samples to draw, at random if there are more.
        random_state : int, RandomState instance or None, default=None
            Seed of the choice of samples.
        ax : matplotlib Axes, default=None
            Where to draw; None is a new figure.

        Returns
        -------
        display : TrajectoryDisplay
        """
        check_drawable(cls, estimator)
        if estimator.module_.state_dim < 2:
            raise ValueError("States of one dimension have no two components to draw.")
        check_consistent_length(X, y)
        X, y = _some(X, y, n_samples, random_state)
        y = np.asarray(estimator.predict(X) if y is None else y)
        if y.ndim == 2:
            y = y[:, 0]
        states = estimator.hidden_states(X)
        pca = PCA(2).fit(_rows(states))
        trajectories = None
        if hasattr(estimator, "to_ode"):
            s = np.linspace(0, 1, N_TIMES)
            trajectories = _projected(pca, estimator.to_ode().trajectory(X, s))
        return cls(
            _projected(pca, states),
            trajectories,
            y,
            pca.explained_variance_ratio_,
            is_classifier(estimator),
        ).plot(ax)

    def _draw(self, ax):
        evenly = np.linspace(0, len(self.states) - 1, MOST_DOTS)
        dots = self.states[np.unique(evenly.astype(int))]
        for i, (color, marker) in enumerate(self._styles(ax)):
            if self.trajectories is not None:
                ax.plot(*self.trajectories[:, i].T, color=color, lw=0.8)
            ax.plot(*dots[:, i].T, ".", color=color, ms=3)
            ax.plot(*self.states[-1, i], marker, color=color, ms=5, mec="k", mew=0.4)
        ax.set_title(
            "states of the network: dots, the last one large"
            + ("; neural ODE: lines" if self.trajectories is not None else ""),
            fontsize="medium",
        )
        shares = [f"{share:.0%} of the variance" for share in self.explained_variance]
        ax.set(
            xlabel=f"first principal component of the state ({shares[0]})",
            ylabel=f"second principal component ({shares[1]})",
        )

    def _styles(self, ax):
        """Colour and marker of every sample; their legend is drawn."""
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        if not self.is_classifier:
            mappable = ScalarMappable(Normalize(self.y.min(), self.y.max()), "viridis")
            ax.figure.colorbar(mappable, ax=ax, label="target y")
            return [(color, "o") for color in mappable.to_rgba(self.y)]
        classes, index = np.unique(self.y, return_inverse=True)
        colors = colormaps["viridis"](np.linspace(0, 0.9, len(classes)))
        markers = [MARKERS[i % len(MARKERS)] for i in range(len(classes))]
        for label, color, marker in zip(classes, colors, markers, strict=True):
            ax.plot([], [], marker + "-", color=color, mec="k", mew=0.4, label=label)
        ax.legend(title="class")
        return [(colors[i], markers[i]) for i in index]

    def _columns(self):
        parts = [_long("network", self.states, self.y)]
        if self.trajectories is not None:
            parts.append(_long("ode", self.trajectories, self.y))
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _some(X, y, n_samples, random_state):
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if n <= n_samples:
        return X, y
    chosen = check_random_state(random_state).permutation(n)[:n_samples]
    chosen = np.sort(chosen)
    return _safe_indexing(X, chosen), None if y is None else _safe_indexing(y, chosen)


def _rows(states):
    return states.reshape(-1, states.shape[-1])


def _projected(pca, states):
    return pca.transform(_rows(states)).reshape(*states.shape[:2], 2)


def _long(model, states, y):
    """A row for every state."""
    n_times, n_samples, _ = states.shape
    return {
        "model": np.repeat(model, n_times * n_samples),
        "sample": np.tile(np.arange(n_samples), n_times),
        "depth_time": np.repeat(np.linspace(0, 1, n_times), n_samples),
        "component_1": states[..., 0].ravel(),
        "component_2": states[..., 1].ravel(),
        "y": np.tile(y, n_times),
    }
