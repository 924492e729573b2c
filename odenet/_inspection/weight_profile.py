"""Entries of the weights as functions of depth."""

from numbers import Integral

import numpy as np

from odenet._inspection.display import LINE_STYLES, Display, network_of, weights_of


class WeightProfileDisplay(Display):
    """Entries of V and W against depth time, of one network or several.

    Use :meth:`from_estimator` or :meth:`from_networks` to make one.

    Parameters
    ----------
    profiles : dict of str to dict of str to ndarray of shape (depth, n_entries)
        For every network, by its label, the entries of "V" and of "W".
    entries : dict of str to list of tuple of int
        Their indices in "V" and in "W".

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes of shape (2,)
        The axes of V and of W.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from odenet import ResODERegressor, WeightProfileDisplay
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(16, flow_time=10.0, random_state=0).fit(X, y)
    >>> display = WeightProfileDisplay.from_networks(
    ...     {"L = 16": model, "L = 8": model.with_depth(8)}, entries=1
    ... )
    >>> display.profiles["L = 8"]["W"].shape
    (8, 1)
    """

    def __init__(self, profiles, entries):
        self.profiles = profiles
        self.entries = entries

    @classmethod
    def from_estimator(cls, estimator, *, entries=4, ax=None):
        """Draw entries of the weights of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of odenet, or network
        entries : int or dict of str to list of tuple of int, default=4
            The entries of each weight to draw, as {"V": [(0, 1)], "W": [(2, 0)]}, or
            how many: those that vary most over depth.
        ax : array-like of two matplotlib Axes, or one, default=None
            The axes of V and of W; one is divided into two; None is a new figure.

        Returns
        -------
        display : WeightProfileDisplay

        Raises
        ------
        ValueError
            If there is no such entry.
        """
        depth = network_of(cls, estimator).depth
        return cls.from_networks({f"L = {depth}": estimator}, entries=entries, ax=ax)

    @classmethod
    def from_networks(cls, networks, *, entries=4, ax=None):
        """Draw the same entries of the weights of several networks.

        Networks of several depths, or of several times of one training: where their
        weights sample the same functions of depth, their curves are the same.

        Parameters
        ----------
        networks : dict of str to fitted estimator of odenet, or network
            By the label to show. Of the same sizes, but for the depth.
        entries : int or dict of str to list of tuple of int, default=4
            As in :meth:`from_estimator`; those that vary most in the first network.
        ax : array-like of two matplotlib Axes, or one, default=None
            As in :meth:`from_estimator`.

        Returns
        -------
        display : WeightProfileDisplay

        Raises
        ------
        ValueError
            If there is no network, or no such entry in one of them.
        """
        weights = {k: weights_of(network_of(cls, n)) for k, n in networks.items()}
        if not weights:
            raise ValueError(f"`networks` must hold a network, got {networks!r}.")
        first = next(iter(weights.values()))
        chosen = {name: _chosen(name, first[name], entries) for name in ("V", "W")}
        profiles = {
            label: {n: _entries(n, Z, chosen[n]) for n, Z in of_network.items()}
            for label, of_network in weights.items()
        }
        return cls(profiles, chosen).plot(ax)

    def _draw(self, ax):
        from matplotlib import colormaps

        shades = colormaps["viridis"](np.linspace(0.0, 0.85, len(self.profiles)))
        for axes, name in zip(ax, ("V", "W"), strict=True):
            for (label, profile), color in zip(
                self.profiles.items(), shades, strict=True
            ):
                for i, values in enumerate(profile[name].T):
                    axes.plot(
                        _depth_times(len(values)),
                        values,
                        label=self._label(label, name, i),
                        color=color,
                        ls=LINE_STYLES[i % len(LINE_STYLES)],
                        marker="." if len(values) <= 16 else "",
                    )
            axes.set(xlabel="depth time s = (k − 1/2)/L", xlim=(0, 1))
            axes.set_title(self._title(name), fontsize="medium")
        ax[0].set_ylabel("weight")
        several = len(self.profiles) > 1
        shown = [axes for axes in ax[several:] if axes.lines]
        for axes in shown:
            axes.legend(fontsize="small")

    def _label(self, network, name, i):
        """Of a line: the entry of a single network, else the network, once."""
        if len(self.profiles) == 1:
            return f"{name}{list(self.entries[name][i])}"
        return network if i == 0 else None

    def _title(self, name):
        of_which = f", {next(iter(self.profiles))}" if len(self.profiles) == 1 else ""
        return f"{len(self.entries[name])} entries of {name}{of_which}"

    def _axes(self, ax):
        """Two, of V and of W."""
        if ax is not None and np.size(ax) == 2:
            return np.ravel(ax)
        if ax is None:
            from matplotlib import pyplot

            figure = pyplot.figure(figsize=(8, 3.4), layout="constrained")
            return figure.subplots(1, 2)
        ax.set_axis_off()
        place = ax.get_subplotspec()
        if place is None:  # axes at a place of their own
            parts = [ax.inset_axes((x, 0, 0.44, 1)) for x in (0, 0.56)]
        else:
            parts = [ax.figure.add_subplot(p) for p in place.subgridspec(1, 2)]
        return np.array(parts)

    def _columns(self):
        rows = [
            (label, name, str(index), *point)
            for label, profile in self.profiles.items()
            for name, values in profile.items()
            for index, entry in zip(self.entries[name], values.T, strict=True)
            for point in zip(_depth_times(len(entry)), entry, strict=True)
        ]
        names = ("network", "weight", "entry", "depth_time", "value")
        return dict(zip(names, zip(*rows, strict=True), strict=True))


def _depth_times(depth):
    return (np.arange(depth) + 0.5) / depth


def _chosen(name, Z, entries):
    """Indices of entries: those given, or those that vary most over depth."""
    if isinstance(entries, dict):
        return [tuple(index) for index in entries.get(name, ())]
    if not isinstance(entries, Integral) or entries < 1:
        raise ValueError(
            "`entries` must be a positive integer, or a dict of indices, got "
            f"{entries!r}."
        )
    ranges = np.ptp(Z, axis=0)
    most = np.argsort(-ranges, axis=None, kind="stable")[:entries]
    return [tuple(map(int, np.unravel_index(i, ranges.shape))) for i in most]


def _entries(name, Z, indices):
    """Their values, of shape (depth, n_entries)."""
    for index in indices:
        inside = len(index) == Z.ndim - 1 and all(
            0 <= i < n for i, n in zip(index, Z.shape[1:], strict=True)
        )
        if not inside:
            raise ValueError(
                f"`entries` must hold indices of {name}, of shape {Z.shape[1:]} in "
                f"every layer, got {index}."
            )
    columns = [Z[(slice(None), *index)] for index in indices]
    return np.stack(columns, axis=1) if columns else np.empty((len(Z), 0))
