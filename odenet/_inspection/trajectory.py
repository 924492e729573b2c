"""A display of hidden states along depth, for a network and its neural ODE."""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.decomposition import PCA
from sklearn.utils import check_consistent_length, check_random_state

from odenet._inspection.display import Display, check_drawable, draw_legend_on_top
from odenet._utils.sklearn_private import safe_indexing

MARKERS = "os^Dv*Px"  # The markers of classes, which tell them apart without colour.
N_TIMES = 65  # The points of a curve of the ODE: 64 chords look smooth at usual sizes.
MOST_IN_A_ROW = 4  # The most classes in a row of the legend.
MOST_DOTS = 17  # The most dots on a trajectory of the network: more would overlap.


class TrajectoryDisplay(Display):
    """Hidden states of a network (dots) and of its neural ODE (lines).

    Both are shown in the first two principal components of the network's states at all
    layers. The colour of a trajectory tells the target, or the class; a class also has
    a marker of its own, which stands at the end of the trajectory.

    Use :meth:`from_estimator` to make a display.

    Parameters
    ----------
    states : ndarray of shape (depth + 1, n_samples, 2)
        The states of the network.
    trajectories : ndarray of shape (n_times, n_samples, 2) or None
        The states of the ODE at evenly spaced depth times. None stands for a network
        that has no ODE, as those of images.
    y : ndarray of shape (n_samples,)
        The targets or the classes.
    explained_variance : ndarray of shape (2,)
        The share of the states' variance that each component explains.
    is_classifier : bool
        Whether y holds classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last drawing.
    figure_ : matplotlib Figure
        The figure of the last drawing.

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
        """Draw the trajectories of samples through a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of odenet
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            The targets or classes that the colours show. By default, these are what
            the estimator predicts. If there are several targets or labels, the first
            is taken.
        n_samples : int, default=60
            The number of samples to draw. If X has more, they are chosen at random.
        random_state : int, RandomState instance or None, default=None
            The seed of that choice.
        ax : matplotlib Axes, default=None
            The axes to draw on. By default, a new figure is made.

        Returns
        -------
        display : TrajectoryDisplay

        Raises
        ------
        ValueError
            If the hidden states have only one dimension, or if X and y are not of the
            same length.
        """
        check_drawable(cls, estimator)
        if estimator.module_.state_dim < 2:
            raise ValueError(
                "States of one dimension have no two components to draw: fit with "
                "state_dim=2 or more."
            )
        check_consistent_length(X, y)
        X, y = _choose_samples(X, y, n_samples, random_state)
        y = estimator.predict(X) if y is None else y
        y = y.toarray() if issparse(y) else np.asarray(y)
        if y.ndim == 2:
            y = y[:, 0]
        states = estimator.hidden_states(X)
        pca = PCA(2).fit(_states_as_rows(states))
        trajectories = None
        if hasattr(estimator, "to_ode"):
            s = np.linspace(0, 1, N_TIMES)
            trajectories = _project(pca, estimator.to_ode().trajectory(X, s))
        return cls(
            _project(pca, states),
            trajectories,
            y,
            pca.explained_variance_ratio_,
            is_classifier(estimator),
        ).plot(ax)

    def draw(self, ax):
        """Draw the trajectories of all samples.

        Parameters
        ----------
        ax : matplotlib Axes
        """
        evenly = np.linspace(0, len(self.states) - 1, MOST_DOTS)
        dots = self.states[np.unique(evenly.astype(int))]
        for i, (color, marker) in enumerate(self._styles(ax)):
            if self.trajectories is not None:
                ax.plot(*self.trajectories[:, i].T, color=color, lw=0.8)
            ax.plot(*dots[:, i].T, ".", color=color, ms=3)
            ax.plot(*self.states[-1, i], marker, color=color, ms=5, mec="k", mew=0.4)
        ax.set_title(
            "states of the network (dots)"
            + (" and its neural ODE (lines)" if self.trajectories is not None else ""),
            fontsize="medium",
        )
        shares = [f"{share:.0%} of variance" for share in self.explained_variance]
        ax.set(
            xlabel=f"first principal component ({shares[0]})",
            ylabel=f"second principal component ({shares[1]})",
        )
        if self.is_classifier:
            n_columns = min(len(np.unique(self.y)), MOST_IN_A_ROW)
            draw_legend_on_top(ax, title="class", ncols=n_columns)

    def _styles(self, ax):
        """Return colour and marker of every sample; name the classes, or draw a bar."""
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        if not self.is_classifier:
            mappable = ScalarMappable(Normalize(self.y.min(), self.y.max()), "viridis")
            ax.figure.colorbar(mappable, ax=ax, label="target y")
            return [(color, "o") for color in mappable.to_rgba(self.y)]
        classes, index = np.unique(self.y, return_inverse=True)
        # The last tenth of the map is a yellow that hardly shows on white.
        colors = colormaps["viridis"](np.linspace(0, 0.9, len(classes)))
        markers = [MARKERS[i % len(MARKERS)] for i in range(len(classes))]
        for label, color, marker in zip(classes, colors, markers, strict=True):
            ax.plot([], [], marker + "-", color=color, mec="k", mew=0.4, label=label)
        return [(colors[i], markers[i]) for i in index]

    def columns(self):
        """Return the states, with a row for every model, depth time and sample.

        Returns
        -------
        columns : dict of str to ndarray of shape (n_rows,)
            The columns "model" ("network" or "ode"), "sample", "depth_time",
            "component_1", "component_2" and "y".
        """
        parts = [_long_form("network", self.states, self.y)]
        if self.trajectories is not None:
            parts.append(_long_form("ode", self.trajectories, self.y))
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _choose_samples(X, y, n_samples, random_state):
    """Return so many samples, chosen at random, in the order in which they came."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if n <= n_samples:
        return X, y
    chosen = np.sort(check_random_state(random_state).permutation(n)[:n_samples])
    return safe_indexing(X, chosen), None if y is None else safe_indexing(y, chosen)


def _states_as_rows(states):
    """Reshape states of (n_times, n_samples, q) to one state a row."""
    return states.reshape(-1, states.shape[-1])


def _project(pca, states):
    """Return the first two principal components of states at all times."""
    return pca.transform(_states_as_rows(states)).reshape(*states.shape[:2], 2)


def _long_form(model, states, y):
    """Return the columns of one model's states, with a row for every state."""
    n_times, n_samples, _ = states.shape
    return {
        "model": np.repeat(model, n_times * n_samples),
        "sample": np.tile(np.arange(n_samples), n_times),
        "depth_time": np.repeat(np.linspace(0, 1, n_times), n_samples),
        "component_1": states[..., 0].ravel(),
        "component_2": states[..., 1].ravel(),
        "y": np.tile(y, n_times),
    }
