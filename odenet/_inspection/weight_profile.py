"""A display of entries of the weights as functions of depth."""

from numbers import Integral

import numpy as np

from odenet._inspection.display import (
    LINE_STYLES,
    Display,
    draw_legend_on_top,
    network_to_draw,
    weights_of,
)

# Up to so many layers, dots show them. More dots would hide the line.
FEW_LAYERS = 16


class WeightProfileDisplay(Display):
    """Entries of the weights V and W against depth time, for one or several networks.

    Use :meth:`from_estimator` or :meth:`from_networks` to make a display.

    Parameters
    ----------
    profiles : dict of str to dict of str to ndarray of shape (depth, n_entries)
        The values of the chosen entries of "V" and of "W" in every layer, for each
        network by its label.
    entries : dict of str to list of tuple of int
        The indices of the chosen entries of "V" and of "W".

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes of shape (2,)
        The axes of V and of W in the last drawing.
    figure_ : matplotlib Figure
        The figure of the last drawing.

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
            The entries of each weight to draw, such as {"V": [(0, 1)], "W": [(2, 0)]}.
            A number draws so many entries of each weight: those that vary most over
            depth.
        ax : array-like of two matplotlib Axes, or one, default=None
            The axes of V and of W. If only one is given, it is divided into two. By
            default, a new figure is made.

        Returns
        -------
        display : WeightProfileDisplay

        Raises
        ------
        ValueError
            If the weights have no such entry.
        """
        depth = network_to_draw(cls, estimator).depth
        return cls.from_networks({f"L = {depth}": estimator}, entries=entries, ax=ax)

    @classmethod
    def from_networks(cls, networks, *, entries=4, ax=None):
        """Draw the same entries of the weights of several networks.

        The networks may have different depths, or come from different times of one
        training. If their weights sample the same functions of depth, their curves lie
        over each other.

        Parameters
        ----------
        networks : dict of str to fitted estimator of odenet, or network
            The networks by the labels to show. Their sizes must be the same, except
            for the depth.
        entries : int or dict of str to list of tuple of int, default=4
            As in :meth:`from_estimator`. A number draws the entries that vary most in
            the first network.
        ax : array-like of two matplotlib Axes, or one, default=None
            As in :meth:`from_estimator`.

        Returns
        -------
        display : WeightProfileDisplay

        Raises
        ------
        ValueError
            If no network is given, or if one of them has no such entry.
        """
        weights = {k: weights_of(network_to_draw(cls, n)) for k, n in networks.items()}
        if not weights:
            raise ValueError(f"`networks` must hold a network, got {networks!r}.")
        first = next(iter(weights.values()))
        chosen = {name: _choose_entries(name, Z, entries) for name, Z in first.items()}
        profiles = {
            label: {n: _values_at(n, Z, chosen[n]) for n, Z in of_network.items()}
            for label, of_network in weights.items()
        }
        return cls(profiles, chosen).plot(ax)

    def draw(self, ax):
        """Draw the entries of V on the first axes, and those of W on the second.

        Parameters
        ----------
        ax : ndarray of matplotlib Axes of shape (2,)
        """
        from matplotlib import colormaps

        # The end of the map is a yellow that hardly shows on white.
        shades = colormaps["viridis"](np.linspace(0.0, 0.85, len(self.profiles)))
        for axes, name in zip(ax, ("V", "W"), strict=True):
            for (label, profile), color in zip(
                self.profiles.items(), shades, strict=True
            ):
                for i, values in enumerate(profile[name].T):
                    axes.plot(
                        _depth_times_of_layers(len(values)),
                        values,
                        label=self._label(label, name, i),
                        color=color,
                        ls=LINE_STYLES[i % len(LINE_STYLES)],
                        marker="." if len(values) <= FEW_LAYERS else "",
                    )
            axes.set(xlabel="depth time s = (k − 1/2)/L", xlim=(0, 1))
            axes.set_xticks([0, 0.5, 1])  # more would meet on narrow axes
            axes.set_title(self._title(name), fontsize="medium")
        ax[0].set_ylabel("weight")
        # Several networks have the same labels on both axes: once is enough.
        several = len(self.profiles) > 1
        for axes in ax[several:]:
            if axes.lines:
                draw_legend_on_top(axes, fontsize="small", ncols=2)

    def _label(self, network, name, i):
        """Return the label of a line: its entry or, if there are several, its network.

        All lines of a network have one colour, so that only the first has a label.
        """
        if len(self.profiles) == 1:
            return f"{name}{list(self.entries[name][i])}"
        return network if i == 0 else None

    def _title(self, name):
        """Return the title of the axes of V or W."""
        of_which = f", {next(iter(self.profiles))}" if len(self.profiles) == 1 else ""
        return f"{len(self.entries[name])} entries of {name}{of_which}"

    def new_axes(self, ax):
        """Return two axes, for V and W: those given, two parts of one, or new ones.

        Parameters
        ----------
        ax : array-like of two matplotlib Axes, or one, or None

        Returns
        -------
        ax : ndarray of matplotlib Axes of shape (2,)
        """
        if ax is not None and np.size(ax) == 2:
            return np.ravel(ax)
        if ax is None:
            from matplotlib import pyplot

            figure = pyplot.figure(figsize=(8, 3.4), layout="constrained")
            return figure.subplots(1, 2)
        ax.set_axis_off()
        place = ax.get_subplotspec()
        if place is None:  # The axes belong to no grid that could be divided.
            parts = [ax.inset_axes((x, 0, 0.44, 1)) for x in (0, 0.56)]
        else:
            parts = [ax.figure.add_subplot(p) for p in place.subgridspec(1, 2)]
        return np.array(parts)

    def columns(self):
        """Return the values, with a row for every network, weight, entry and layer.

        Returns
        -------
        columns : dict of str to tuple of length n_rows
            The columns "network", "weight", "entry", "depth_time" and "value".
        """
        rows = [
            (label, name, str(index), *point)
            for label, profile in self.profiles.items()
            for name, values in profile.items()
            for index, entry in zip(self.entries[name], values.T, strict=True)
            for point in zip(_depth_times_of_layers(len(entry)), entry, strict=True)
        ]
        names = ("network", "weight", "entry", "depth_time", "value")
        return dict(zip(names, zip(*rows, strict=True), strict=True))


def _depth_times_of_layers(depth):
    """Return the depth times (k - 1/2)/L of the layers: the middle of each step."""
    return (np.arange(depth) + 0.5) / depth


def _choose_entries(name, Z, entries):
    """Return indices of entries: the given ones, or those that vary most over depth."""
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


def _values_at(name, Z, indices):
    """Return the values of entries of Z, of shape (depth, n_entries)."""
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
