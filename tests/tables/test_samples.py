"""Samples as tensors."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from odenet._tables.reading import Rows
from odenet._tables.samples import Samples, to_samples
from odenet._tables.targets import ClassTargets, RegressionTargets


class Doubled:
    """Inputs that are twice the columns."""

    rows_at_once = 4096

    def __call__(self, X):
        return 2 * X


def predictor(targets, dtype=torch.float32):
    network = SimpleNamespace(V=torch.zeros(1, dtype=dtype))
    return SimpleNamespace(network=network, targets=targets, inputs=Doubled())


def regression(y):
    return RegressionTargets.of(np.asarray(y), estimator_name="Model", params={})


def test_rows_are_encoded_in_the_dtype_of_the_network():
    rows = Rows(np.ones((3, 2)), np.arange(3.0)[:, None], np.ones(3))
    for dtype in (torch.float32, torch.float64):
        samples = to_samples(predictor(regression(rows.y), dtype), rows)
        assert samples.X.dtype == samples.y.dtype == samples.weight.dtype == dtype
        assert torch.equal(samples.X, torch.full((3, 2), 2.0, dtype=dtype))
        assert samples.y.ravel().tolist() == [0.0, 1.0, 2.0]
        assert len(samples) == 3
    X = np.arange(2.0 * Doubled.rows_at_once + 3)[:, None]  # is encoded in parts
    rows = Rows(X, X, np.ones(len(X)))
    samples = to_samples(predictor(regression(X), torch.float64), rows)
    np.testing.assert_array_equal(samples.X, 2 * X)


def test_class_indices_stay_integers():
    targets = ClassTargets(np.arange(3))
    rows = Rows(np.ones((2, 1)), np.array([2, 0]), np.ones(2))
    y = to_samples(predictor(targets), rows).y
    assert y.tolist() == [2, 0]
    assert not y.is_floating_point()


@pytest.mark.parametrize("unit", [1.0, 1e-300, 5e307])
def test_weights_have_mean_one_whatever_their_unit(unit):
    rows = Rows(np.ones((4, 1)), np.ones((4, 1)), unit * np.array([1.0, 2.0, 2.0, 3.0]))
    weight = to_samples(predictor(regression(rows.y), torch.float64), rows).weight
    torch.testing.assert_close(weight, torch.tensor([0.5, 1, 1, 1.5]).double())


def test_a_part_of_a_stream_keeps_its_weights():
    rows = Rows(np.ones((2, 1)), np.ones((2, 1)), np.array([3.0, 5.0]))
    part = predictor(regression(rows.y))
    samples = to_samples(part, rows, weights_have_mean_one=False)
    assert samples.weight.tolist() == [3.0, 5.0]


def test_a_batch_is_a_slice_of_everything():
    samples = Samples(torch.arange(8.0).view(4, 2), torch.arange(4), torch.ones(4))
    inputs, y = samples.batch(torch.tensor([2, 0]))
    assert inputs["X"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert inputs["weight"].tolist() == [1.0, 1.0]
    assert y.tolist() == [2, 0]
    assert len(samples.batch()[1]) == 4
