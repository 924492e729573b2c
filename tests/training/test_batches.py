"""Batches of samples."""

import pytest
import torch

from odenet._tables.samples import Samples
from odenet._training.batches import SliceLoader


def samples(n):
    X = torch.arange(float(n))[:, None]
    return Samples(X, 10 * X, 100 * X[:, 0])


@pytest.mark.parametrize("batch_size", [None, 10, 11])
def test_one_batch_is_not_shuffled(batch_size, generator):
    before = generator.get_state()
    ((inputs, y),) = SliceLoader(samples(10), batch_size, generator)
    assert inputs["X"].ravel().tolist() == list(range(10))
    assert torch.equal(generator.get_state(), before)


def test_batches_differ_by_one_sample_at_most(generator):
    batches = list(SliceLoader(samples(10), 4, generator))
    assert sorted(len(y) for _, y in batches) == [3, 3, 4]


def test_inputs_targets_and_weights_stay_together(generator):
    for inputs, y in SliceLoader(samples(10), 4, generator):
        assert torch.equal(y, 10 * inputs["X"])
        assert torch.equal(inputs["weight"], 100 * inputs["X"][:, 0])


def test_the_generator_settles_the_order():
    def order(seed):
        generator = torch.Generator().manual_seed(seed)
        loader = SliceLoader(samples(20), 5, generator)
        epochs = [[y for _, y in loader] for _ in range(2)]
        return [torch.cat(epoch).ravel().tolist() for epoch in epochs]

    assert order(0) == order(0)
    assert order(0) != order(1)
    first, second = order(0)
    assert first != second
    assert sorted(first) == sorted(second) == [10.0 * i for i in range(20)]
