"""The samples of a training, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

import torch

from odenet._distributed.group import ALONE, Alone
from odenet._tables.hold_out import Part
from odenet._utils.sparse_rows import SparseRows, as_rows, cat_rows


@dataclass(frozen=True)
class Samples:
    """Inputs, targets and weights in the loss, with one row for every sample."""

    X: torch.Tensor | SparseRows
    y: torch.Tensor
    weight: torch.Tensor

    group = ALONE  # the processes that have the samples

    def __len__(self):
        return len(self.y)

    def own(self, values):
        """Return those of values of all samples that are of the samples held here."""
        return values

    @property
    def rows(self):
        """The inputs, to be split into parts that are not all there at once."""
        return self.X

    @property
    def row_weight(self):
        """The weights by which rows are dealt out to batches, shape (n,)."""
        return self.weight

    def first(self, n):
        """Return the first n samples, or all if they are fewer, as a batch."""
        return self.batch(slice(n))

    def shared_out(self, shares):
        """Return the samples of positive shares, with their weights times these.

        Weights have the mean 1 again.
        """
        some = shares > 0
        weight = self.weight[some] * shares[some]
        return Samples(self.X[some], self.y[some], weight / weight.mean())

    def batch(self, index=slice(None), weight=None, n=None):
        """Return inputs and targets, of the rows of an index, in the form of skorch.

        ``weight`` are weights of these rows in place of their own. Where several
        processes have the rows of a batch, it has n of them.
        """
        if weight is None:
            weight = self.weight[index]
        return {"X": self.X[index], "weight": weight}, self.y[index]


@dataclass(frozen=True)
class SharedSamples(Samples):
    """The samples that one of several processes has of a set.

    The set is in order: the samples of the first process come first.

    Parameters
    ----------
    n_all : int
        The number of samples of all processes, which is the length of the set.
    n_before : int
        How many of them other processes have before these.
    group : Alone
    """

    n_all: int
    n_before: int
    group: Alone

    def __len__(self):
        return self.n_all

    def own(self, values):
        return values[self.n_before : self.n_before + len(self.y)]

    def first(self, n):
        """Return the first n samples of the set as a batch, which all processes get."""
        here = slice(max(0, n - self.n_before))
        parts = self.X[here], self.weight[here], self.y[here]
        X, weight, y = (self.group.concat(part) for part in parts)
        return {"X": X, "weight": weight}, y

    def batch(self, index=slice(None), weight=None, n=None):
        """Return what this process has of a batch.

        With a number n of samples on all processes, weights are such that the weighted
        sum, divided by the number of samples that are here, is the share of this
        process in the mean over the batch.
        """
        inputs, y = super().batch(index, weight)
        if n is not None:
            inputs["weight"] = inputs["weight"] * (len(y) / n)
        return inputs, y


class PickedSamples(Samples):
    """Some samples of a set, whose inputs stay in the set until they are asked for.

    A mini-batch takes its inputs out of those of the set. So the samples to train on
    cost no second copy of nearly all inputs. Only who asks for all at once gets one.

    Parameters
    ----------
    samples : Samples
        The set.
    places : Tensor of shape (n,), of int
        Where the samples stand in it.
    weight : Tensor of shape (n,)
    """

    def __init__(self, samples, places, weight):
        vars(self).update(
            samples=samples, places=places, y=samples.y[places], weight=weight
        )

    @cached_property
    def X(self):
        """The inputs of all of these samples, as a copy."""
        return self.samples.X[self.places]

    @property
    def rows(self):
        """The inputs, each part of which is a copy as long as it is used."""
        return _PickedRows(self.samples.X, self.places)

    def batch(self, index=slice(None), weight=None, n=None):
        """Return inputs and targets of the rows of an index, as those of samples."""
        if index == slice(None):
            return super().batch(index, weight, n)
        if weight is None:
            weight = self.weight[index]
        X = self.samples.X[self.places[index]]
        return {"X": X, "weight": weight}, self.y[index]


@dataclass(frozen=True)
class _PickedRows:
    """Some rows of inputs, which are split as tensors are, but one part at a time."""

    X: torch.Tensor | SparseRows
    places: torch.Tensor

    def __len__(self):
        return len(self.places)

    def split(self, size, axis=0):
        """Yield parts of so many rows, along the only axis."""
        return (self.X[places] for places in self.places.split(size))


def picked(samples, part):
    """Return the samples of a part of the rows that other samples were made of.

    Rows that follow each other need no list of places, and no copy.
    """
    weight = torch.tensor(_of_mean_one(part.weight, ALONE)).to(samples.weight)
    first, last = part.places[[0, -1]]
    if last - first + 1 == len(part.places):
        some = slice(first, last + 1)
        return Samples(samples.X[some], samples.y[some], weight)
    places = torch.from_numpy(part.places).to(weight.device)
    return PickedSamples(samples, places, weight)


def _of_mean_one(weight, group):
    """Return weights over their mean."""
    # First by the largest, for sums of huge weights overflow.
    weight = weight / group.max(weight.max(initial=0.0))
    return weight / (group.sum(weight.sum()) / group.sum(len(weight)))


def to_samples(predictor, rows, *, weights_have_mean_one=True, group=ALONE):
    """Encode rows as the inputs and the targets of a network, on its device.

    Parameters
    ----------
    predictor : Predictor
    rows : Rows
        Rows of a table, with encoded targets, and weights.
    weights_have_mean_one : bool, default=True
        Whether to divide the weights by their mean, so that the objective is a mean
        over the samples, whatever the unit of the weights is. The parts of a stream
        keep their weights, by which they are weighed against each other.
    group : Alone, default=ALONE
        The processes that have the rows.

    Returns
    -------
    samples : Samples
    """
    parameter = predictor.network.V
    like = {"dtype": parameter.dtype, "device": parameter.device}
    weight = rows.weight
    if weights_have_mean_one:
        weight = _of_mean_one(weight, group)
    X = _encoded(predictor.inputs, rows.X, parameter)
    y = predictor.targets.tensor(rows.y)
    samples = {
        "X": X,
        "y": y.to(**like) if y.is_floating_point() else y.to(like["device"]),
        "weight": torch.tensor(weight, **like),
    }
    if group.size == 1:
        return Samples(**samples)
    places = {"n_all": group.sum(len(y)), "n_before": group.before(len(y))}
    return SharedSamples(**samples, **places, group=group)


def _encoded(inputs, X, like):
    """Return the inputs of rows, in the dtype and on the device of a tensor.

    They are encoded in float64, by parts: of many categories they are far larger than
    the rows, and only a float32 of each is to be kept. Dense ones are written into
    their place at once, since parts and their sum would be twice as large.
    """
    n, size = X.shape[0], inputs.rows_at_once
    parts = (as_rows(inputs(X[i : i + size]), like) for i in range(0, max(1, n), size))
    first = next(parts)
    if n <= size or not isinstance(first, torch.Tensor):
        return cat_rows([first, *parts])
    found = first.new_empty((n, *first.shape[1:]))
    found[:size] = first
    for i, part in enumerate(parts, start=1):
        found[i * size : (i + 1) * size] = part
    return found


@dataclass(frozen=True)
class TrainingData:
    """The samples of a fit.

    Parameters
    ----------
    samples : Samples
        The whole training set. Samples that the user gave as ``X_val`` and ``y_val``
        are not among them.
    train : Samples, default=None
        The samples that are not held out; None where none are.
    held_out : Samples, default=None
        The samples to stop early by, held out or given by the user; None without any.
    folds : sequence of tuple (train, held_out) of Samples, default=()
        Splits of the samples by which a flow time is chosen, in place of one split.
    shares : Tensor of shape (n_members, n), default=None
        The share of every sample that each of several members holds out.
    """

    samples: Samples
    train: Samples | None = None
    held_out: Samples | None = None
    folds: Sequence[tuple] = ()
    shares: torch.Tensor | None = None

    @property
    def n_judges(self):
        """The number of samples that judge a flow, or infinity where a part does.

        Of members, every sample that one of them holds out counts once.
        """
        return inf if self.shares is None else int((self.shares > 0).any(dim=0).sum())


def training_data(
    predictor, rows, train=None, held_out=None, folds=(), shares=None, group=ALONE
):
    """Encode the rows of a fit, and those of its splits, as samples of a network.

    Parameters
    ----------
    predictor : Predictor
        With the network on its device.
    rows : Rows
    train, held_out : Part of the rows, Rows or None
        Parts share the inputs of the rows.
    folds : sequence of tuple (train, held_out) of Rows, default=()
    shares : ndarray of shape (n_members, n), default=None
    group : Alone, default=ALONE
        The processes that have the rows. Every one of them has all of the folds.

    Returns
    -------
    data : TrainingData
    """

    samples = to_samples(predictor, rows, group=group)

    def encoded(part):
        if isinstance(part, Part):
            return picked(samples, part)
        return None if part is None else to_samples(predictor, part, group=group)

    train, held_out = encoded(train), encoded(held_out)
    if shares is not None:
        shares = torch.tensor(shares).to(samples.weight)
    folds = [tuple(to_samples(predictor, part) for part in fold) for fold in folds]
    return TrainingData(samples, train, held_out, folds, shares)
