"""Batches of samples, for skorch."""

from math import ceil

import torch


class SliceLoader:
    """Yields batches of samples, shuffled unless there is only one batch.

    Batches are slices of tensors. torch's DataLoader puts a batch together sample by
    sample, which can take longer than the step itself: see the column "skorch" of
    ``python benchmarks/gradient_seconds.py``.

    Parameters
    ----------
    samples : Samples
    batch_size : int or None
        The most samples of a batch; None is all.
    generator : torch.Generator or None
        Draws the order of the samples.
    """

    def __init__(self, samples, batch_size, generator):
        self.samples = samples
        self.batch_size = batch_size
        self.generator = generator

    def __iter__(self):
        n = len(self.samples)
        if self.batch_size is None or self.batch_size >= n:
            yield self.samples.batch()
            return
        order = torch.randperm(n, generator=self.generator)
        n_batches = ceil(n / self.batch_size)
        for index in order.to(self.samples.y.device).tensor_split(n_batches):
            yield self.samples.batch(index)
