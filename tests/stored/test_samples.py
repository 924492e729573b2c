import numpy as np
import pytest
import torch

from odenet import ResODERegressor
from odenet._stored.samples import Window, stored_samples, training_data_of
from odenet._tables.reading import Rows
from odenet._tables.samples import to_samples
from odenet._training.batches import StoredLoader
from tests.stored.test_row_file import written

N = 3000


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(N, 2))
    return Rows(X, X[:, :1] ** 2, rng.integers(1, 3, N).astype(float))


@pytest.fixture
def predictor(rows):
    model = ResODERegressor(2, width=4, flow_time=0.1, random_state=0)
    return model.fit(rows.X[:50], rows.y[:50, 0])._predictor


@pytest.fixture
def stored(rows):
    return written(rows, limit=60_000, size=500)


@pytest.fixture
def expected(stored, predictor):
    """The same samples in memory."""
    return to_samples(predictor, stored.read(0, N))


def test_slices_are_those_of_samples_in_memory(stored, predictor, expected):
    samples = stored_samples(Window(stored, predictor), stored)
    assert len(samples) == len(samples.X) == N
    for name in ("X", "y", "weight"):
        column, tensor = getattr(samples, name), getattr(expected, name)
        for part in (slice(5), slice(100, 900), slice(N - 3, N)):
            torch.testing.assert_close(column[part], tensor[part])
        torch.testing.assert_close(torch.cat(list(column.split(70))), tensor)
    inputs, y = samples.first(4)
    torch.testing.assert_close(inputs["X"], expected.X[:4])
    torch.testing.assert_close(y, expected.y[:4])


def test_all_samples_are_a_batch_that_is_not_read(stored, predictor):
    window = Window(stored, predictor)
    inputs, y = stored_samples(window, stored).batch(n=N)
    assert (len(inputs["X"]), len(inputs["weight"]), len(y)) == (N, N, N)
    assert window.buffers is None


def test_no_more_rows_are_in_memory_than_a_window_has(stored, predictor):
    window = Window(stored, predictor)
    samples = stored_samples(window, stored)
    assert window.n_rows < N / 3
    for part in samples.X.split(50):
        assert len(window.buffers[0]) <= window.n_rows
        assert len(part) == 50


def test_weights_of_what_is_not_held_out_have_mean_one(stored, predictor):
    train, held_out = stored.hold_out(0.2, 50, at_least_some=False)
    data = training_data_of(predictor, stored, train, held_out)
    for samples in (data.samples, data.train):
        weight = torch.cat(list(samples.weight.split(100)))
        assert weight.mean().item() == pytest.approx(1.0, rel=1e-6)
    assert len(data.train) + len(data.held_out) == len(data.samples) == N
    after = data.samples.X[len(data.held_out) : len(data.held_out) + 5]
    torch.testing.assert_close(data.train.X[:5], after)


def test_an_epoch_has_every_sample_once_in_another_order(stored, predictor, generator):
    samples = stored_samples(Window(stored, predictor), stored)
    loader = StoredLoader(samples, lambda n: 64, generator)
    orders, starts = [], set()
    for _ in range(6):
        batches = list(loader)
        assert max(len(y) for _, y in batches) <= 64
        assert min(len(y) for _, y in batches) >= 32
        orders.append(torch.cat([inputs["X"][:, 0] for inputs, _ in batches]))
        starts.add(len(batches))
    values = torch.sort(torch.cat(list(samples.X.split(100)))[:, 0]).values
    for order in orders:
        torch.testing.assert_close(torch.sort(order).values, values)
    assert not any(torch.equal(orders[0], order) for order in orders[1:])
    assert len({tuple(o[:3].tolist()) for o in orders}) == 6


def test_parts_begin_at_several_places(stored, predictor, generator):
    samples = stored_samples(Window(stored, predictor), stored)
    sizes = [sorted(len(y) for _, y, _ in samples.parts(generator)) for _ in range(20)]
    assert len({tuple(s) for s in sizes}) > 1
    assert all(sum(s) == N for s in sizes)
    assert min(min(s) for s in sizes) >= max(max(s) for s in sizes) // 4


def test_weights_of_an_epoch_are_those_of_the_samples(rows, predictor, generator):
    """Also where one part has a heavy row, and the others have none."""
    weight = np.ones(N)
    weight[5] = 2000.0
    stored = written(Rows(rows.X, rows.y, weight), limit=60_000, size=500)
    samples = stored_samples(Window(stored, predictor), stored)
    batches = list(StoredLoader(samples, lambda n: 64, generator))
    weights = torch.cat([inputs["weight"] for inputs, _ in batches])
    first = torch.cat([inputs["X"][:, 0] for inputs, _ in batches])
    of_all = weights.sum().item()
    _, where = first.unique(return_inverse=True)
    sums = torch.zeros(int(where.max()) + 1).index_add(0, where, weights)
    assert sums.max().item() / of_all == pytest.approx(2000 / (N + 1999), rel=1e-3)
    light = sums[sums < sums.max()]
    assert light.max().item() == pytest.approx(light.min().item(), rel=1e-3)
    assert weights.mean().item() == pytest.approx(1.0, rel=1e-3)


def test_rows_that_are_held_out_in_part_train_with_the_rest(rows, predictor):
    weight = np.ones(N)
    weight[:30] = 300.0
    stored = written(Rows(rows.X, rows.y, weight), limit=60_000, size=500)
    train, held_out = stored.hold_out(0.1, 20, at_least_some=False)
    assert train.n_shared == (held_out.weight == 30.0).sum() > 0
    data = training_data_of(predictor, stored, train, held_out)
    found = torch.cat(list(data.train.weight.split(70)))
    expected = np.concatenate(list(train.weights())) / data.train.X.stretch.mean
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.mean().item() == pytest.approx(1.0, rel=1e-6)
    assert found[0].item() == pytest.approx(0.9 * 300 * found.min().item(), rel=1e-5)
