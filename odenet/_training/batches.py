"""Batches of samples, for skorch."""

from math import ceil

import torch


class SliceLoader:
    """Batches by slicing tensors, shuffled by a generator unless there is only one.

    torch's DataLoader takes 5 to 20 times as long as the step itself where a batch is
    the whole training set (``python benchmarks/loop_overhead.py``).

    Parameters
    ----------
    samples : Samples
    batch_size : int or None
        Most samples of a batch; None is all.
    generator : torch.Generator or None
        Of the order.
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
