"""Numbers as sines and cosines."""

from dataclasses import replace

import numpy as np
import torch

from odenet._tables.embeddings.periodic import (
    N_FREQUENCIES,
    SIGMA,
    SIZE,
    fit_periodic,
)
from odenet._tables.standardizer import fit_standardizer


def fitted(X, seed=0, columns=None):
    columns = np.arange(X.shape[1]) if columns is None else columns
    standardizer = fit_standardizer(X, np.ones(len(X)), 1.0, 4.0)
    return fit_periodic(columns, standardizer, torch.Generator().manual_seed(seed))


def test_inputs_are_sines_and_cosines_of_each_column(rng):
    X = rng.normal(3.0, 2.0, size=(50, 2))
    embedding = replace(fitted(X, columns=np.array([1, 4])), gain=2.0)
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    z = z / np.hypot(1, z / 4)
    expected = []
    for j in range(2):
        angles = 2 * np.pi * z[:, [j]] * embedding.frequencies[j]
        expected += [np.sin(angles), np.cos(angles) - 1]
    expected = 2.0 * SIZE / np.sqrt(N_FREQUENCIES) * np.hstack(expected)
    np.testing.assert_allclose(embedding(X), expected, atol=1e-12)
    assert embedding.n_inputs == len(embedding.sources) == 4 * N_FREQUENCIES
    assert embedding.sources.tolist() == np.repeat([1, 4], 2 * N_FREQUENCIES).tolist()


def test_the_mean_of_a_column_is_zero(rng):
    X = rng.normal(size=(50, 2))
    np.testing.assert_allclose(fitted(X)(X.mean(axis=0, keepdims=True)), 0, atol=1e-12)


def test_frequencies_are_normal_and_drawn_by_the_seed(rng):
    X = rng.normal(size=(9, 500))
    frequencies = fitted(X).frequencies
    np.testing.assert_array_equal(frequencies, fitted(X).frequencies)
    assert not np.array_equal(frequencies, fitted(X, seed=1).frequencies)
    np.testing.assert_allclose(frequencies.std(), SIGMA, rtol=0.05)


def test_extreme_numbers_are_bounded(rng):
    X = rng.normal(size=(50, 1))
    found = fitted(X)(np.array([[1e300], [-1e300], [4e3]]))
    assert np.isfinite(found).all()
    bounded = fitted(X)(X.mean() + X.std() * np.array([[4e7]]))
    np.testing.assert_allclose(found[[0]], bounded, atol=1e-6)
