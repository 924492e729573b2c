"""Batches of samples."""

import pytest
import torch

from odenet._tables.samples import Samples
from odenet._training.batches import SliceLoader, dealt_out


def samples(n):
    """Samples of weights near 1 that tell which they are."""
    X = torch.arange(float(n))[:, None]
    return Samples(X, 10 * X, 1 + (X[:, 0] - (n - 1) / 2) / 100)


def at_most(batch_size):
    return lambda n_places: batch_size


@pytest.mark.parametrize("batch_size", [None, at_most(10), at_most(11)])
def test_one_batch_is_not_shuffled(batch_size, generator):
    before = generator.get_state()
    ((inputs, y),) = SliceLoader(samples(10), batch_size, generator)
    assert inputs["X"].ravel().tolist() == list(range(10))
    assert torch.equal(generator.get_state(), before)


def test_batches_differ_by_one_sample_at_most(generator):
    batches = list(SliceLoader(samples(10), at_most(4), generator))
    assert sorted(len(y) for _, y in batches) == [3, 3, 4]


def test_inputs_targets_and_weights_stay_together(generator):
    weight = samples(10).weight
    for inputs, y in SliceLoader(samples(10), at_most(4), generator):
        assert torch.equal(y, 10 * inputs["X"])
        assert torch.equal(inputs["weight"], weight[inputs["X"][:, 0].long()])


def test_the_generator_settles_the_order():
    def order(seed):
        generator = torch.Generator().manual_seed(seed)
        loader = SliceLoader(samples(20), at_most(5), generator)
        epochs = [[y for _, y in loader] for _ in range(2)]
        return [torch.cat(epoch).ravel().tolist() for epoch in epochs]

    assert order(0) == order(0)
    assert order(0) != order(1)
    first, second = order(0)
    assert first != second
    assert sorted(first) == sorted(second) == [10.0 * i for i in range(20)]


def test_a_heavy_sample_of_a_fit_is_dealt_out_and_keeps_its_weight():
    weight = torch.ones(100, dtype=torch.float64)
    weight[3] = 1000.0
    weight /= weight.mean()
    places, part = dealt_out(weight)
    assert part.max() < 5
    assert part.mean().item() == pytest.approx(1.0)
    assert (places == 3).sum() == 23  # 91 times the mean weight, 4 at most in a place
    total = torch.zeros_like(weight).index_add(0, places, part)
    torch.testing.assert_close(total / total.sum(), weight / weight.sum())


def test_a_part_of_a_stream_takes_steps_as_if_its_weights_were_repetitions(generator):
    """Three samples of weights 64, 30 and 2 are 96 samples, of three batches of 32."""
    part = Samples(torch.ones(3, 1), torch.ones(3, 1), torch.tensor([64.0, 30.0, 2.0]))
    batches = list(SliceLoader(part, at_most(32), generator, is_part=True))
    assert [len(y) for _, y in batches] == [32, 32, 32]
    assert all((inputs["weight"] == 1).all() for inputs, _ in batches)
    ((inputs, y),) = SliceLoader(part, at_most(100), generator, is_part=True)
    torch.testing.assert_close(
        inputs["weight"] / len(y), torch.tensor([64.0, 30.0, 2.0]) / 96
    )


def test_a_part_counts_for_no_more_samples_than_can_be_trained_on():
    places, weight = dealt_out(torch.tensor([3e9, 1e9]), is_part=True)
    assert len(places) == 100_000
    torch.testing.assert_close(weight, torch.ones(100_000))


def test_light_samples_of_a_part_take_light_steps():
    light = torch.tensor([0.25, 0.5])
    places, weight = dealt_out(light, is_part=True)
    assert places.tolist() == [0, 1]
    assert torch.equal(weight, light)
