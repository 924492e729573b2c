"""Eigenvalues are found whatever the sizes of the blocks of a matrix are."""

import numpy as np
import pytest
import torch

from odenet._optim.eigenvectors import eigh, eigvalsh


def two_blocks(n, share, size, dtype):
    """Return a matrix of rank 20 at most, with a last block of n rows of this share."""
    drawn = np.random.default_rng(n).normal(size=(36 - n, 20))
    matrix = np.zeros((36, 36))
    matrix[:-n, :-n] = drawn @ drawn.T / 20
    matrix[-n:, -n:] = share
    return torch.tensor(size * matrix, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-35, 1e-15, 1.0, 1e20])
def test_blocks_of_any_size_are_decomposed(size, dtype):
    """LAPACK fails in float32 where the squares of a block underflow."""
    for exponent in range(-45, 1):
        for n in (4, 11, 25):
            matrix = two_blocks(n, 10.0**exponent, size, dtype)
            values, vectors = eigh(matrix)
            expected = np.linalg.eigvalsh(matrix.double().numpy())
            near = {"rtol": 0, "atol": 20 * torch.finfo(dtype).eps * expected[-1]}
            np.testing.assert_allclose(values, expected, **near)
            np.testing.assert_allclose(eigvalsh(matrix), expected, **near)
            np.testing.assert_allclose(
                vectors.double() * values.double() @ vectors.double().mT,
                matrix.double(),
                **near,
            )


def test_matrices_of_a_batch_are_decomposed_one_by_one():
    batch = torch.stack(
        [two_blocks(4, 0.1, 1.0, torch.float64), torch.zeros(36, 36).double()]
    )
    values, vectors = eigh(batch)
    for one, its_values, its_vectors in zip(batch, values, vectors, strict=True):
        expected = eigh(one)
        torch.testing.assert_close(its_values, expected[0])
        assert torch.equal(its_vectors.abs(), expected[1].abs())
    assert not values[1].any()
