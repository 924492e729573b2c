"""The temperature of held-out samples, against formulas."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._tables.temperature import PRECISION, fit_temperature


def draw(n, T, n_classes=3, seed=0):
    """Draw logits, and labels with the probabilities of these logits over T."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, n_classes))
    p = softmax(logits / T, axis=1)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return logits, y


def fitted(loss, logits, y, weight=None):
    """Fit the temperature of arrays."""
    weight = np.ones(len(y)) if weight is None else weight
    return fit_temperature(loss, *map(torch.tensor, (logits, y, weight)))


def test_many_samples_tell_their_temperature():
    for T in (0.5, 1.0, 3.0):
        logits, y = draw(20_000, T)
        assert fitted(CrossEntropy(), logits, y) == pytest.approx(T, rel=0.03)


def test_few_samples_are_added_to_a_belief():
    """The cost is computed by NumPy on a grid."""
    logits, y = draw(60, 2.0)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 2.0, size=60)
    grid = np.geomspace(0.2, 5.0, 20_001)
    costs = [
        -np.average(log_softmax(logits / T, axis=1)[range(60), y], weights=weight) * 60
        + PRECISION / 2 * np.log(T) ** 2
        for T in grid
    ]
    expected = grid[np.argmin(costs)]
    assert expected > 1.1
    found = fitted(CrossEntropy(), logits, y, weight)
    assert found == pytest.approx(expected, rel=1e-3)


def test_samples_that_are_all_right_keep_it_from_zero():
    y = np.arange(30) % 2
    logits = 40.0 * (y[:, None] - 0.5)
    assert 0.8 < fitted(LogisticLoss(), logits, y.astype(float)) <= 1
    logits = np.eye(2)[y]
    assert 0.5 < fitted(CrossEntropy(), logits, y) < 0.8


def test_one_logit_is_two():
    logits, y = draw(500, 2.0, n_classes=2)
    one = fitted(LogisticLoss(), logits[:, 1:] - logits[:, :1], y.astype(float))
    assert one == pytest.approx(fitted(CrossEntropy(), logits, y), rel=1e-5)


def test_weights_have_no_unit():
    logits, y = draw(90, 0.5)
    weight = np.random.default_rng(0).uniform(size=90)
    plain = fitted(CrossEntropy(), logits, y, weight)
    assert fitted(CrossEntropy(), logits, y, 100 * weight) == pytest.approx(plain)
    assert plain != pytest.approx(fitted(CrossEntropy(), logits, y), rel=1e-3)


def test_targets_may_be_probabilities():
    logits, _ = draw(2000, 1.0)
    p = softmax(logits / 2, axis=1)
    assert fitted(CrossEntropy(), logits, p) == pytest.approx(2.0, rel=0.02)
