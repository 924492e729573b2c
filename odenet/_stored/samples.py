"""Samples of a training whose rows lie in a file, and are read a part at a time."""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch

from odenet._stored.budget import (
    COPIES_OF_ENCODED_ROWS,
    FEWEST_ROWS,
    NUMBER,
    SHARE_OF_A_WINDOW,
    SHARE_OF_ENCODED_ROWS,
    rows_within,
)
from odenet._stored.row_file import StoredRows
from odenet._tables.samples import Samples, TrainingData, to_samples

# The parts of a pass begin at one of so many places between two of them: so they are
# not the same in all passes, and none is much shorter than a quarter. A choice.
PLACES_TO_BEGIN = 4


class Window:
    """The only rows of a file that are in memory, as tensors.

    A pass over the rows reads each of them once, whatever it does with them.

    Parameters
    ----------
    rows : StoredRows
        All rows of the file that are trained on.
    predictor : Predictor
        With the network on its device.
    """

    def __init__(self, rows, predictor):
        self.rows, self.predictor = rows, predictor
        n_numbers = predictor.inputs.encoder.n_inputs + predictor.targets.n_outputs + 1
        size = n_numbers * predictor.network.V.element_size()
        self.n_rows = rows_within(SHARE_OF_A_WINDOW * rows.limit, size)
        size = COPIES_OF_ENCODED_ROWS * NUMBER * n_numbers
        n_at_once = int(SHARE_OF_ENCODED_ROWS * rows.limit // size)
        self.n_at_once = max(n_at_once, FEWEST_ROWS)
        self.first = self.last = 0
        self.weight = np.zeros(0)  # float64, to be divided by a mean
        self.buffers = None  # one for all rows that come: others would leave gaps

    def between(self, first, last):
        """Return inputs, targets and weights of rows, by their places in the file.

        They are views of the window, which hold until it moves on. The weights are an
        array, as they are in the file.
        """
        if not self.first <= first <= last <= self.last:
            self._move_to(first, max(last, first + self.n_rows))
        here = slice(first - self.first, last - self.first)
        return (*(buffer[here] for buffer in self.buffers), self.weight[here])

    def _move_to(self, first, last):
        """Read rows, some at a time, in place of those that were there."""
        last = min(last, self.rows.n_rows)
        self.first = self.last = 0  # if an error comes in between
        self.weight = np.empty(last - first)
        for start in range(first, last, self.n_at_once):
            end = min(last, start + self.n_at_once)
            rows = self.rows.read(start, end)
            self.weight[start - first : end - first] = rows.weight
            block = to_samples(self.predictor, rows, weights_have_mean_one=False)
            block = block.X, block.y
            if self.buffers is None or len(self.buffers[0]) < last - first:
                size = max(last - first, min(self.n_rows, self.rows.n_rows))
                self.buffers = [t.new_empty(size, *t.shape[1:]) for t in block]
            for buffer, part in zip(self.buffers, block, strict=True):
                buffer[start - first : end - first] = part
        self.first, self.last = first, last


@dataclass(frozen=True)
class Stretch:
    """Where samples are: in a file, from one row to its end.

    Parameters
    ----------
    window : Window
    rows : StoredRows
        All rows of the window, or all from one on.
    """

    window: Window
    rows: StoredRows

    def __len__(self):
        return self.rows.n_rows

    @property
    def mean(self):
        """The mean weight of the rows, by which their weights are divided."""
        return self.rows.weight / self.rows.n_rows

    def between(self, first, last):
        """Return inputs, targets and weights of the samples between two."""
        begin = self.rows.first - self.window.rows.first
        X, y, weight = self.window.between(begin + first, begin + last)
        weight = weight / self.mean
        weight[: max(0, self.rows.n_shared - first)] *= self.rows.share
        return X, y, torch.tensor(weight, dtype=X.dtype, device=X.device)

    def count_places(self, largest):
        """Return into how many parts of a largest weight at most all weights fall."""
        parts = (np.ceil(w / self.mean / largest) for w in self.rows.weights())
        return int(sum(part.clip(min=1).sum() for part in parts))


@dataclass(frozen=True)
class Column:
    """Inputs, targets or weights of all samples, of which slices are tensors.

    Parameters
    ----------
    stretch : Stretch
    number : int
        0 of the inputs, 1 of the targets, and 2 of the weights.
    """

    stretch: Stretch
    number: int

    def __len__(self):
        return len(self.stretch)

    def __getitem__(self, index):
        """Return the values of a slice of step 1, as a copy."""
        first, last, _ = index.indices(len(self))
        return self.stretch.between(first, last)[self.number].clone()

    def split(self, size, axis=0):
        """Yield the values in parts of a size, as tensors do, along the only axis."""
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def new_zeros(self, *shape):
        """Return zeros of the dtype and on the device of the values."""
        return self[:1].new_zeros(*shape)


class StoredSamples(Samples):
    """Samples that lie in a file, whose inputs, targets and weights are columns."""

    def batch(self, index=slice(None), weight=None, n=None):
        """Return the samples of a slice; all of them as columns, which are not read."""
        if index == slice(None):
            return {"X": self.X, "weight": self.weight}, self.y
        return super().batch(index)

    def places_of_a_sample(self, largest):
        """Return how many places a sample has on average, see ``count_places``."""
        if not hasattr(self, "n_places"):
            vars(self)["n_places"] = self.X.stretch.count_places(largest)
        return self.n_places / len(self)

    def parts(self, generator):
        """Yield inputs, targets and weights of all samples, by parts of the file.

        Rows of a file are in random order, so that each part is a random one. It holds
        until the next one is asked for.

        Parameters
        ----------
        generator : torch.Generator
            Decides where the parts begin, and in which order they come.
        """
        stretch, n = self.X.stretch, len(self)
        size = stretch.window.n_rows
        if n <= size:
            yield stretch.between(0, n)
            return
        size = ceil(n / ceil(n / size))
        place = int(torch.randint(PLACES_TO_BEGIN, (1,), generator=generator))
        begins = list(range(place * size // PLACES_TO_BEGIN, n, size))
        begins = begins if not place else [0, *begins]
        for i in torch.randperm(len(begins), generator=generator).tolist():
            yield stretch.between(begins[i], [*begins, n][i + 1])


def stored_samples(window, rows):
    """Return rows of a file as samples.

    Parameters
    ----------
    window : Window
        Of all rows of the file.
    rows : StoredRows
        All of them, or all from one row on.

    Returns
    -------
    samples : StoredSamples
    """
    stretch = Stretch(window, rows)
    return StoredSamples(*(Column(stretch, number) for number in range(3)))


def training_data_of(predictor, rows, train=None, held_out=None):
    """Return the samples of a fit, of which those to train on stay in the file.

    Parameters
    ----------
    predictor : Predictor
        With the network on its device.
    rows : StoredRows
    train : StoredRows or None
    held_out : Rows or None

    Returns
    -------
    data : TrainingData
    """
    window = Window(rows, predictor)
    return TrainingData(
        stored_samples(window, rows),
        None if train is None else stored_samples(window, train),
        None if held_out is None else to_samples(predictor, held_out),
    )
