r"""Numbers as sines and cosines of several frequencies.

The inputs of a column are :math:`\sin(2 \pi c_i z)` and :math:`\cos(2 \pi c_i z)` of
its standardised numbers z, with frequencies :math:`c_i` that are drawn once from a
normal distribution (Gorishniy, Rubachev and Babenko, "On embeddings for numerical
features in tabular deep learning", NeurIPS 2022, section 3.3, where they are trained as
well; Tancik et al., "Fourier features let networks learn high frequency functions in
low dimensional domains", NeurIPS 2020, has fixed ones).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from odenet._tables.standardizer import Standardizer

# How many frequencies a column has, a round value, and their standard deviation, in
# periods per standard deviation of the column. SIZE is that of all inputs of a column
# together, beside numbers of deviation one. All three are choices, which
# `python benchmarks/numeric_embeddings.py` compares with other embeddings.
N_FREQUENCIES = 8
SIGMA = 0.1
SIZE = 0.3


@dataclass(frozen=True)
class Periodic:
    """A map of columns of numbers to sines, and to cosines less one.

    Parameters
    ----------
    columns : ndarray of int
        The columns of the table that are embedded, ascending.
    standardizer : Standardizer
        Of these columns, with a bound.
    frequencies : ndarray of shape (n_columns, N_FREQUENCIES)
    gain : float, default=1.0
        The standard deviation of the numbers beside them.
    """

    columns: np.ndarray
    standardizer: Standardizer
    frequencies: np.ndarray
    gain: float = 1.0

    name: ClassVar = "periodic"
    is_monotone: ClassVar = False

    @property
    def words(self):
        """What becomes of the columns, in words."""
        return f"{len(self.columns)} of them in {self.n_inputs} waves"

    @property
    def n_inputs(self):
        """How many inputs all columns have together."""
        return 2 * self.frequencies.size

    @property
    def sources(self):
        """The column of the table that each input tells of, shape (n_inputs,)."""
        return np.repeat(self.columns, 2 * self.frequencies.shape[1])

    @property
    def size(self):
        """What the sines and cosines are multiplied by."""
        return self.gain * SIZE / np.sqrt(self.frequencies.shape[1])

    def __call__(self, numbers):
        """Return the inputs of the embedded columns, whose numbers have no gap."""
        z = self.standardizer(numbers)[..., None]
        angles = 2 * np.pi * self.frequencies * z
        waves = np.concatenate([np.sin(angles), np.cos(angles) - 1.0], axis=2)
        return self.size * waves.reshape(len(numbers), self.n_inputs)


def fit_periodic(columns, standardizer, generator):
    """Draw the frequencies of standardised columns.

    Parameters
    ----------
    columns : ndarray of int
        The columns of the table that are embedded.
    standardizer : Standardizer
        Of these columns: of mean 0 and deviation 1, with a bound.
    generator : torch.Generator

    Returns
    -------
    embedding : Periodic
    """
    shape = len(columns), N_FREQUENCIES
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Periodic(columns, standardizer, SIGMA * drawn.numpy())
