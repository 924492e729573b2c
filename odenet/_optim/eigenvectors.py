"""Eigenvalues of symmetric matrices of any size, which LAPACK does not fail to find."""

import torch


def eigh(matrix):
    """Return the eigenvalues, ascending, and the eigenvectors of symmetric matrices.

    Parameters
    ----------
    matrix : Tensor of shape (..., n, n)
        Finite.

    Returns
    -------
    eigenvalues : Tensor of shape (..., n)
    eigenvectors : Tensor of shape (..., n, n)
        In the columns.
    """
    scaled, size = _with_unit_size(matrix)
    eigenvalues, eigenvectors = torch.linalg.eigh(scaled)
    return eigenvalues * size, eigenvectors


def eigvalsh(matrix):
    """Return the eigenvalues of symmetric matrices, ascending, as :func:`eigh` does."""
    scaled, size = _with_unit_size(matrix)
    return torch.linalg.eigvalsh(scaled) * size


def _with_unit_size(matrix):
    """Divide matrices by their largest entry, and leave out what is negligible.

    LAPACK may not converge if the squares of a block underflow, as those of gradients
    by columns that are next to constant. An entry below the square of the rounding
    moves no digit of the large eigenvalues.

    Returns
    -------
    scaled : Tensor of shape (..., n, n)
    size : Tensor of shape (..., 1)
        The largest entries, 1 where they are zero.
    """
    size = matrix.abs().amax(dim=(-2, -1), keepdim=True)
    size = torch.where(size > 0, size, 1.0)
    scaled = matrix / size
    least = torch.finfo(matrix.dtype).eps ** 2
    return torch.where(scaled.abs() < least, 0.0, scaled), size[..., 0]
