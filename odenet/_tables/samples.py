"""The samples of a training, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch

from odenet._distributed.group import ALONE, Alone
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
        # First by the largest, for sums of huge weights overflow.
        weight = weight / group.max(weight.max(initial=0.0))
        weight = weight / (group.sum(weight.sum()) / group.sum(len(weight)))
    # Inputs are encoded in float64, by parts: of many categories they are far larger
    # than the rows, and only a float32 of each is to be kept.
    inputs, size = predictor.inputs, predictor.inputs.rows_at_once
    parts = [rows.X[i : i + size] for i in range(0, max(1, len(weight)), size)]
    X = cat_rows([as_rows(inputs(part), parameter) for part in parts])
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
    rows, train, held_out : Rows or None
    folds : sequence of tuple (train, held_out) of Rows, default=()
    shares : ndarray of shape (n_members, n), default=None
    group : Alone, default=ALONE
        The processes that have the rows. Every one of them has all of the folds.

    Returns
    -------
    data : TrainingData
    """

    def encoded(part):
        return None if part is None else to_samples(predictor, part, group=group)

    samples, train, held_out = (encoded(part) for part in (rows, train, held_out))
    if shares is not None:
        shares = torch.tensor(shares).to(samples.weight)
    folds = [tuple(to_samples(predictor, part) for part in fold) for fold in folds]
    return TrainingData(samples, train, held_out, folds, shares)
