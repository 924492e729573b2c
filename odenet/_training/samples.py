"""Samples as tensors, and batches of them."""

from dataclasses import dataclass
from math import ceil

import torch


@dataclass(frozen=True)
class Samples:
    """Tensors with one row a sample; the weights of a whole fit have mean one."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor

    def __len__(self):
        return len(self.y)

    def batch(self, index=slice(None)):
        """Inputs and targets in the form that skorch hands around."""
        return {"X": self.X[index], "weight": self.weight[index]}, self.y[index]


class SliceLoader:
    """Batches by slicing tensors, shuffled by a generator unless there is only one."""

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
