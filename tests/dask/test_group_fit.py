"""Fits by workers: the model of one process, errors that come back, killed workers."""

import os
import random
import signal
import time
from datetime import timedelta
from functools import partial
from itertools import cycle

import numpy as np
import pytest
import torch.distributed as dist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from odenet import ResODERegressor
from odenet._dask import group_fit
from odenet._dask.group_fit import fit_on_workers
from odenet._distributed.group import RankError
from odenet.solvers import AdamW
from tests.dask.samples import TINY, WEIGHT, X, Y
from tests.whole.rounds import rounds

pytestmark = pytest.mark.cluster
delayed = pytest.importorskip("dask").delayed
MODELS = {
    "flow": ResODERegressor(flow_time=0.5, **TINY),
    "flow time": ResODERegressor(solver="flow", **TINY),
    "adamw": ResODERegressor(solver=AdamW(), **TINY),
}


def spread(client, *data, size=40):
    """Return parts of rows in turn on each of the workers."""
    data = [*data, *[None] * (3 - len(data))]
    workers, parts = cycle(client.nthreads()), []
    for start in range(0, max(1, len(data[0])), size):
        rows = slice(start, start + size)
        part = tuple(None if values is None else values[rows] for values in data)
        held = client.scatter([part], workers=[next(workers)], hash=False)
        parts.append(delayed(held[0]))
    return parts


def fitted(cluster, model, *data):
    """Fit on both workers of a cluster, and return the model and the warnings."""
    return fit_on_workers(cluster.client, model, spread(cluster.client, *data))


class Ranks(Callback):
    """Records how many processes fit, and kills or stops some of them in an epoch."""

    only_watches = True

    def __init__(self, killed=(), at=None, by="SIGKILL"):
        self.killed, self.at, self.by = killed, at, by

    def on_epoch_end(self, net, **kwargs):
        """Record the number, or be killed."""
        net.history.record("n_ranks", dist.get_world_size())
        if dist.get_rank() in self.killed and len(net.history) == self.at:
            os.kill(os.getpid(), getattr(signal, self.by))


@pytest.mark.parametrize("by", ["flow", "adamw", "flow time"])
def test_a_fit_is_that_of_one_process(by, dask_cluster):
    """Up to the rounding of sums, which come in another order."""
    model = clone(MODELS[by]).set_params(callbacks=[Ranks()])
    found, notices = fitted(dask_cluster, model, X, Y, WEIGHT)
    alone = clone(MODELS[by]).fit(X, Y, WEIGHT)
    np.testing.assert_allclose(found.predict(X), alone.predict(X), atol=1e-2)
    assert found.history_["n_ranks"].dropna().unique().tolist() == [2]
    assert (found.processes, found.n_samples_fit_, notices) == (None, 200, [])


def test_one_worker_fits_alone(dask_cluster):
    """All rows are in one part: the model is that of one process to the last bit."""
    parts = spread(dask_cluster.client, X, Y, size=200)
    found, _ = fit_on_workers(dask_cluster.client, clone(MODELS["flow"]), parts)
    alone = clone(MODELS["flow"]).fit(X, Y)
    np.testing.assert_array_equal(found.predict(X), alone.predict(X))


def test_warnings_and_errors_of_workers_come_back(dask_cluster):
    short = clone(MODELS["adamw"]).set_params(solver=AdamW(max_epochs=1))
    _, notices = fitted(dask_cluster, short, X, Y)
    assert [category for _, category in notices] == [ConvergenceWarning]
    with pytest.raises(ValueError, match="The 'width' parameter of ResODERegressor"):
        fitted(dask_cluster, ResODERegressor(width=0.5), X, Y)
    with pytest.raises(ValueError, match="does not support several members"):
        fitted(dask_cluster, ResODERegressor(n_members=2), X, Y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted(dask_cluster, MODELS["flow"], np.where(X > 2, np.nan, X), Y)
    with pytest.raises(ValueError, match=r"0 sample\(s\) in all parts"):
        fitted(dask_cluster, MODELS["flow"], X[:0], Y[:0])


def test_workers_of_one_process_are_refused(dask_cluster, monkeypatch):
    monkeypatch.setattr(group_fit, "_process", partial(int, 1))
    with pytest.raises(ValueError, match="must be processes of their own"):
        fitted(dask_cluster, MODELS["flow"], X, Y)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@rounds(3, 20)
def test_a_killed_worker_ends_the_fit_with_an_error(n, dask_cluster):
    """Nothing hangs, and the next fit is as the one before."""
    expected = clone(MODELS["flow"]).fit(X, Y).predict(X)
    rng = random.Random(n)
    for i in range(n):
        model = clone(MODELS["adamw" if i % 2 else "flow"])
        killed = ([0, 1], [0], [1])[i % 3]
        model.set_params(callbacks=[Ranks(killed, at=rng.randint(1, 3))])
        began = time.monotonic()
        with pytest.raises(RankError, match="has lost"):
            fitted(dask_cluster, model, X, Y)
        assert time.monotonic() - began < 60
        dask_cluster.wait_for_workers()
        found, _ = fitted(dask_cluster, clone(MODELS["flow"]), X, Y)
        np.testing.assert_allclose(found.predict(X), expected, atol=1e-5)


def set_timeout(seconds):
    """Set the timeout of a worker."""
    group_fit.TIMEOUT = timedelta(seconds=seconds)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_stopped_worker_ends_the_fit_after_the_timeout(dask_cluster, monkeypatch):
    """It closes no connection; the next fit, when it goes on, is as the one before."""
    monkeypatch.setattr(group_fit, "GRACE", 1)
    client, before = dask_cluster.client, group_fit.TIMEOUT.seconds
    expected, _ = fitted(dask_cluster, clone(MODELS["flow"]), X, Y)
    pids = client.run(os.getpid).values()
    model = clone(MODELS["adamw"]).set_params(callbacks=[Ranks([1], 2, "SIGSTOP")])
    parts = spread(client, X, Y)
    client.run(set_timeout, 3)
    began = time.monotonic()
    try:
        with pytest.raises(RankError, match="too slow for the timeout"):
            fit_on_workers(client, model, parts)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        client.run(set_timeout, before)
    assert 3 < time.monotonic() - began < 60
    found, _ = fitted(dask_cluster, clone(MODELS["flow"]), X, Y)
    np.testing.assert_allclose(found.predict(X), expected.predict(X), atol=1e-5)
