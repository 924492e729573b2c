"""Batches of samples, for skorch."""

from math import ceil

import torch

from odenet._distributed.group import ALONE

# In a fit a sample of more than so many times the mean weight is dealt out to several
# batches: it would rule the steps of one, and be missing in the others. A choice.
LARGEST_WEIGHT = 4.0
# Of a part of a stream, a sample of weight w is w samples, and takes as many steps. But
# a part counts for no more than so many samples, and so many times those it has.
LARGEST_PART, TIMES_THE_SAMPLES = 100_000, 10


def dealt_out(weight, *, is_part=False, rate=None, group=ALONE):
    """Deal out heavy samples to several places of a pass over the data.

    Parameters
    ----------
    weight : Tensor of shape (n,)
        In a fit they have mean 1.
    is_part : bool, default=False
        Whether the samples are a part of a stream. Its weights are numbers of samples.
    rate : float, default=None
        If they are some of the samples of a fit, the places that a sample of all has on
        average, by which weights are multiplied.
    group : Alone, default=ALONE
        The processes that have the samples.

    Returns
    -------
    index : Tensor of shape (n_places,)
        The sample in every place; n_places is n where no sample is heavy.
    weight : Tensor of shape (n_places,)
        The weight of the sample in every place.
    """
    total = float(group.sum(weight.sum()))
    largest = LARGEST_WEIGHT
    if is_part:
        largest = max(1.0, total / max(LARGEST_PART, TIMES_THE_SAMPLES * len(weight)))
    n_places = (weight / largest).ceil().long().clamp(min=1)
    index = torch.arange(len(weight), device=weight.device)
    index = index.repeat_interleave(n_places)
    n = group.sum(len(index))
    if rate is not None:
        return index, (weight / n_places)[index] * rate
    if n == group.sum(len(weight)):
        return index, weight / largest if is_part else weight
    weight = (weight / n_places)[index]
    return index, weight / largest if is_part else weight * (n / total)


class SliceLoader:
    """Yields batches of samples, shuffled unless there is only one batch.

    Batches are slices of tensors. torch's DataLoader puts a batch together sample by
    sample, which can take longer than the step itself: see the column "skorch" of
    ``python benchmarks/gradient_seconds.py``.

    Parameters
    ----------
    samples : Samples
    batch_size : callable or None, default=None
        Maps a number of places to the most of a batch; None is all samples at once.
    generator : torch.Generator, default=None
        Draws the order of the samples.
    is_part : bool, default=False
        Whether the samples are a part of a stream.
    is_training : bool, default=True
        Whether the batches are to be trained on. If they are, the weights of several
        processes are shares in the mean over the batch of all.
    """

    def __init__(
        self,
        samples,
        batch_size=None,
        generator=None,
        *,
        is_part=False,
        is_training=True,
    ):
        self.is_training = is_training
        self.samples = samples
        self.batch_size = batch_size
        self.generator = generator
        self.is_part = is_part
        self.places = None

    def _dealt_out(self):
        """Return samples and weights in all places here, how many, and how many before.

        They are the same in every pass. Other processes have places of their own.
        """
        if self.places is None:
            group = self.samples.group
            weight = self.samples.row_weight
            index, weight = dealt_out(weight, is_part=self.is_part, group=group)
            n, n_before = group.sum(len(index)), group.before(len(index))
            self.places = index, weight, n, n_before
        return self.places

    def __iter__(self):
        samples = self.samples
        if self.batch_size is None:
            yield samples.batch(n=len(samples) if self.is_training else None)
            return
        places, weight, n, n_before = self._dealt_out()
        n_batches = ceil(n / self.batch_size(n))
        if n_batches == 1:
            row_weight, group = samples.row_weight, samples.group
            whole = torch.zeros_like(row_weight).index_add(0, places, weight)
            n_all = group.sum(len(row_weight))
            yield samples.batch(weight=whole * (n_all / n), n=n_all)
            return
        order = torch.randperm(n, generator=self.generator).to(places.device)
        for batch in order.tensor_split(n_batches):
            chosen = batch
            if n > len(places):  # the others are on other processes
                chosen = batch - n_before
                chosen = chosen[(chosen >= 0) & (chosen < len(places))]
            yield samples.batch(places[chosen], weight[chosen], len(batch))


class StoredLoader:
    """Yields batches of samples that lie in a file, one part of it after the other.

    The samples of a part are shuffled, and dealt out to batches of about equal size. If
    all are in one part, these are the batches of :class:`SliceLoader`.

    Parameters
    ----------
    samples : StoredSamples
    batch_size : callable
        Maps a number of samples to the most of a batch.
    generator : torch.Generator
        Draws the order of the parts, and of the samples in each.
    """

    def __init__(self, samples, batch_size, generator):
        self.samples = samples
        self.batch_size = batch_size
        self.generator = generator

    def __iter__(self):
        most = self.batch_size(len(self.samples))
        rate = self.samples.places_of_a_sample(LARGEST_WEIGHT)
        for X, y, weight in self.samples.parts(self.generator):
            places, weight = dealt_out(weight, rate=rate)
            order = torch.randperm(len(places), generator=self.generator)
            for batch in order.to(places.device).tensor_split(ceil(len(order) / most)):
                index = places[batch]
                yield {"X": X[index], "weight": weight[batch]}, y[index]
            del X, y, weight  # before the next part is read
