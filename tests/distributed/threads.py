"""Ranks that are threads of one process: fits by several, fast enough for every run."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from odenet._distributed.group import Alone


class Threads(Alone):
    """The group of several threads, which meet whenever one of them asks the others."""

    def __init__(self, rank, shared):
        self.rank, self.shared = rank, shared
        self.size = len(shared["values"])

    def collect(self, value):
        shared = self.shared
        shared["values"][self.rank] = value
        shared["barrier"].wait()
        values = list(shared["values"])
        shared["barrier"].wait()
        return values

    def sum(self, value):
        first, *others = self.collect(value)
        return sum(others, start=first)

    def max(self, value):
        return self._extreme(value, np.maximum)

    def min(self, value):
        return self._extreme(value, np.minimum)

    def before(self, value):
        return sum(self.collect(value)[: self.rank], start=0 * value)

    def concat(self, array):
        join = torch.cat if torch.is_tensor(array) else np.concatenate
        return join(self.collect(array))

    def from_first(self, value):
        return self.collect(value)[0]

    def exchange(self, rows, places):
        pairs = self.collect((rows, places))
        return np.concatenate([r[p == self.rank] for r, p in pairs])

    def check_same(self, what, text):
        if len(set(self.collect(text))) > 1:
            raise ValueError(f"All processes of a fit must have the same {what}.")

    def check_step(self, text):
        assert len(set(self.collect(text()))) == 1

    @contextmanager
    def together(self):
        try:
            yield
        except BaseException:
            self.shared["barrier"].abort()
            raise

    def _extreme(self, value, of_two):
        values = self.collect(value)
        if torch.is_tensor(value):
            of_two = torch.maximum if of_two is np.maximum else torch.minimum
        found = values[0]
        for other in values[1:]:
            found = of_two(found, other)
        return found


def in_threads(size, task):
    """Run ``task(group)`` in threads, and return what each returns."""
    shared = {"values": [None] * size, "barrier": threading.Barrier(size, timeout=20)}
    groups = [Threads(rank, shared) for rank in range(size)]

    def run(group):
        with group.together():
            return task(group)

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(run, group) for group in groups]
    errors = [e for e in (future.exception() for future in futures) if e is not None]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):  # of one who waited
            raise error
    return [future.result() for future in futures]


def parts_of(group, *arrays):
    """What a rank has of arrays: neighbouring rows, and not as many on each."""
    n = len(arrays[0])
    begin, end = (
        int(n * (i / group.size) ** 1.3) for i in (group.rank, group.rank + 1)
    )
    return [array[begin:end] for array in arrays]
