"""One torch thread: for the small networks of the tests more threads only wait."""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets, where there is one."""
    folder = os.environ.get("ODENET_DATA")
    if folder is None:
        pytest.skip("ODENET_DATA names no folder of data sets")
    return Path(folder)
