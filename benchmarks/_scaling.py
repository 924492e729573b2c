"""What a fit by many processes costs: a model of a few constants, of pure functions.

A fit is described by a :class:`Tally`, which a real one has been counted for. What it
costs is a sum of products: so many seconds for each gradient, layer, product, message
and byte. The seconds are either measured (:func:`least_squares`) or assumed.
"""

from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np
from scipy.optimize import nnls

SIZE_OF_FLOAT, SIZE_OF_CELL = 4, 8  # bytes, of gradients and of a table that is read
# Of the work of a gradient, which goes through the layers forwards and backwards: two
# of the six products of matrices.
SHARE_OF_FORWARD = 1 / 3

# What is measured, and its unit.
TRAINING = {
    "fit": "s, what every training takes besides",
    "gradient": "s a gradient",
    "layer": "s a layer and gradient",
    "parameter": "s a parameter and gradient, of a step",
    "product": "s a row and weight of W, of V alike: their products",
    "state": "s a row and unit of a layer: activations",
    "message": "s a step of a message from a rank to the next",
    "byte": "s a byte that a rank sends",
}
READING = {
    "table": "s, what every table takes besides",
    "cell": "s a number of the table",
    "message": TRAINING["message"],
    "byte": TRAINING["byte"],
}
ORDER = "order"  # s a row and epoch, in every process


@dataclass(frozen=True)
class Messages:
    """Numbers of messages of a part of a fit, besides the sums of the gradients."""

    sums: float = 0.0  # all-reductions of a few numbers, roll calls among them
    others: float = 0.0  # gathers and broadcasts of small things, and exchanges

    def steps(self, ranks, *, by_tree=False):
        """Return how many steps from a rank to the next they take, one after another.

        Gloo sends a sum round a ring, twice; a tree would go up and down.
        """
        return self.sums * steps_of_a_sum(ranks, by_tree=by_tree) + self.others * (
            2 * ceil(log2(ranks)) if by_tree else ranks - 1
        )


def steps_of_a_sum(ranks, *, by_tree=False):
    """Return the steps of an all-reduction, one after another."""
    return 2 * ceil(log2(ranks)) if by_tree else 2 * (ranks - 1)


@dataclass(frozen=True)
class Tally:
    """What a fit does, counted over all its ranks.

    Attributes
    ----------
    rows, columns : int
        Of the table.
    state_dim, width : int
    gradients : tuple of tuple
        ``(depth, number, rows)`` of the gradients, where rows are those of one.
    parameters : tuple of tuple
        ``(depth, number)``.
    forward : float
        Rows times layers of what is only computed forwards.
    reading, training : Messages
    orders : int
        How often an order of all rows is drawn, in every process.
    """

    rows: int
    columns: int
    state_dim: int
    width: int
    gradients: tuple
    parameters: tuple
    forward: float
    reading: Messages
    training: Messages
    orders: int

    @property
    def n_gradients(self):
        return sum(number for _, number, _ in self.gradients)

    def bytes_of_sums(self):
        """Return the bytes of all sums of gradients, with the loss and a number."""
        sizes = dict(self.parameters)
        return SIZE_OF_FLOAT * sum(n * (sizes[d] + 2) for d, n, _ in self.gradients)

    def of_rows(self, rows):
        """Return the tally of a flow of another table, which takes as many steps."""
        times = rows / self.rows
        gradients = tuple((d, n, r * times) for d, n, r in self.gradients)
        return replace(
            self, rows=rows, gradients=gradients, forward=self.forward * times
        )

    def in_batches(self, rows, batch, epochs):
        """Return the tally of mini-batches, at the last depth, of another table.

        Each gradient has as many messages as it had here.
        """
        depth, steps = self.gradients[-1][0], epochs * ceil(rows / batch)
        times = steps / self.n_gradients
        training = Messages(self.training.sums * times, self.training.others)
        return replace(
            self,
            rows=rows,
            gradients=((depth, steps, min(batch, rows)),),
            forward=float(rows * depth),
            training=training,
            orders=epochs,
        )


def of_training(tally, ranks, cores=None):
    """Return how often each constant is to be paid in a training, by its name.

    Parameters
    ----------
    tally : Tally
    ranks : int
    cores : int, default=None
        That the ranks share; None is one for each.
    """
    shared = 1.0 if cores is None else max(1.0, ranks / cores)
    sizes = dict(tally.parameters)
    work = sum(depth * n * rows for depth, n, rows in tally.gradients)
    work = (work + SHARE_OF_FORWARD * tally.forward) / ranks
    # A rank without rows of a batch still takes part in its step.
    computed = {
        "fit": 1.0,
        "gradient": tally.n_gradients,
        "layer": sum(depth * n for depth, n, _ in tally.gradients),
        "parameter": sum(n * sizes[depth] for depth, n, _ in tally.gradients),
        "product": work * tally.state_dim * tally.width,
        "state": work * tally.width,
    }
    n = tally.n_gradients
    return {
        **{name: shared * value for name, value in computed.items()},
        ORDER: shared * tally.rows * tally.orders,
        "message": tally.training.steps(ranks) + n * steps_of_a_sum(ranks),
        "byte": 2 * (ranks - 1) / ranks * tally.bytes_of_sums(),
    }


def of_reading(tally, ranks, cores=None):
    """Return how often each constant is to be paid in reading, by its name."""
    shared = 1.0 if cores is None else max(1.0, ranks / cores)
    cells = tally.rows * tally.columns / ranks
    return {
        "table": shared,
        "cell": shared * cells,
        "message": tally.reading.steps(ranks),
        "byte": SIZE_OF_CELL * cells * (ranks - 1) / ranks,
    }


def seconds_of(paid, constants):
    """Return what is paid in all: seconds, of numbers and constants by their names."""
    return sum(number * constants.get(name, 0.0) for name, number in paid.items())


def least_squares(points, known):
    """Find the constants that fit measured seconds best, none of them negative.

    Parameters
    ----------
    points : list of tuple
        What is paid, by name, and the seconds. Their errors count in proportion.
    known : dict
        Constants that are not to be found.

    Returns
    -------
    constants : dict
    """
    names = [*dict.fromkeys([*TRAINING, *READING])]
    rows = np.array([[paid.get(n, 0.0) / s for n in names] for paid, s in points])
    left = np.array([1 - seconds_of(_of(paid, known), known) / s for paid, s in points])
    scale = np.abs(rows).max(axis=0)
    scale[scale == 0] = 1.0
    found, _ = nnls(rows / scale, np.maximum(left, 0.0))
    return {**dict(zip(names, map(float, found / scale), strict=True)), **known}


def _of(paid, names):
    return {name: number for name, number in paid.items() if name in names}


@dataclass(frozen=True)
class Cluster:
    """Ranks with a GPU each: what its parts take, in seconds."""

    gpu: dict  # constants of a gradient, by name
    host: dict  # those of reading, and of an order, on a core of the host
    gpu_step: float  # of a message of GPUs, which go up and down a tree
    gpu_byte: float
    host_step: float  # of a message of hosts, which go round a ring
    host_byte: float
    by_tree: bool = False  # whether messages of hosts would go up and down a tree

    def parts(self, tally, ranks):
        """Return the seconds of a fit by their reasons.

        Returns
        -------
        parts : dict
            "rows" are shared out and "steps" are not; "sums" are those of gradients,
            "calls" are roll calls and other small messages.
        """
        training, reading = of_training(tally, ranks), of_reading(tally, ranks)
        rows = _of(training, ("product", "state"))
        steps = _of(training, ("fit", "gradient", "layer", "parameter"))
        sums = tally.n_gradients * self.gpu_step * steps_of_a_sum(ranks, by_tree=True)
        host = {**self.host, "byte": self.host_byte, "message": 0.0}
        waits = [
            self.host_step * messages.steps(ranks, by_tree=self.by_tree)
            for messages in (tally.training, tally.reading)
        ]
        return {
            "rows": seconds_of(rows, self.gpu),
            "steps": seconds_of(steps, self.gpu),
            "sums": sums + training["byte"] * self.gpu_byte if ranks > 1 else 0.0,
            "calls": waits[0] if ranks > 1 else 0.0,
            "reading": seconds_of(reading, host) + (waits[1] if ranks > 1 else 0.0),
            "order": training[ORDER] * self.host.get(ORDER, 0.0),
        }

    def seconds(self, tally, ranks):
        """Return the seconds of a fit."""
        return sum(self.parts(tally, ranks).values())

    def efficiency(self, tally_of, ranks):
        """Return the speed-up over one GPU, divided by the ranks.

        ``tally_of(ranks)`` is the tally of the fit by so many.
        """
        alone = self.seconds(tally_of(1), 1)
        return alone / self.seconds(tally_of(ranks), ranks) / ranks

    def most_ranks(self, tally_of, least, limit=2**20):
        """Return the largest power of two with an efficiency of at least ``least``."""
        ranks = 1
        while ranks < limit and self.efficiency(tally_of, 2 * ranks) >= least:
            ranks *= 2
        return ranks


def kernel_bytes(rows, outputs, copies, size=SIZE_OF_CELL):
    """Return the bytes of a tangent kernel of so many rows and outputs."""
    return copies * size * (rows * outputs) ** 2


def powers(sizes, seconds):
    """Return factors a, b of seconds = a size^2 + b size^3, none of them negative."""
    sizes, seconds = np.asarray(sizes, float), np.asarray(seconds, float)
    of_powers = np.stack([sizes**2, sizes**3], axis=1) / seconds[:, None]
    scale = of_powers.max(axis=0)
    found, _ = nnls(of_powers / scale, np.ones(len(sizes)))
    return tuple(map(float, found / scale))
