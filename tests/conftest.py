"""Settings and fixtures of all tests."""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from odenet._training import recorder
from tests.clusters import DaskCluster, RayCluster

matplotlib.use("Agg")
# For the small networks of the tests more threads only wait for each other.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Skip tests that carry the marker `gpu` where there is no GPU."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session")
def dask_cluster():
    """Two workers of Dask, for all tests."""
    cluster = DaskCluster()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def ray_cluster():
    """Two workers of Ray, for all tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = RayCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def every_epoch_is_kept(monkeypatch):
    """Let a fit with a checkpoint write it after every epoch, not every ten seconds."""
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(recorder, "TIMES_A_RECORD", 0.0)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets, where there is one."""
    folder = os.environ.get("ODENET_DATA")
    if folder is None:
        pytest.skip("ODENET_DATA names no folder of data sets")
    return Path(folder)
