"""The scheduler of Dask is killed at a random moment of a fit, or of a search."""

import random
import time
from concurrent.futures import CancelledError
from itertools import cycle

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from odenet import ResODERegressor, ResODERegressorCV
from odenet._distributed.group import RankError
from odenet.solvers import AdamW
from tests.clusters import DaskProcesses
from tests.dask.samples import TINY, X, Y, arrays
from tests.whole.rounds import rounds

pytestmark = pytest.mark.cluster
SECONDS_TO_NOTICE = 60.0  # that a scheduler is dead, for the client and for the workers
LATEST = 1.0  # seconds after the begin; earlier where what is done has ended before
SHARE_OF_TRAINING = 0.2  # of these seconds, when they are counted from its first epoch
LONG = AdamW(max_epochs=60)
MANY = np.tile(X, (10, 1)), np.tile(Y, 10)


class Begun(Callback):
    """Makes a file when training has begun."""

    only_watches = True

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, net, **kwargs):
        """Make the file, on each of the workers."""
        self.path.touch()


def a_fit(client, begun):
    """An estimator that has been fitted, how to fit it again, and with which error.

    ``begun`` is a file to be made when training has begun.
    """
    from odenet.dask import DaskResODERegressor

    model = DaskResODERegressor(client=client, flow_time=0.5, **TINY)
    model.fit(*arrays(X, Y))
    model.set_params(solver=LONG, flow_time=None, early_stopping=False)
    model.set_params(callbacks=[Begun(begun)])
    return model, lambda: model.fit(*arrays(*MANY, size=500)), RankError


def a_path_search(client, begun):
    """The same of a search along the path."""
    search = ResODERegressorCV([2], flow_times=[0.1], width=8, random_state=0)
    search.fit(X[:60], Y[:60]).set_params(depths=[2, 64], flow_times=[0.1, 300.0])
    return search, lambda: on_cluster(client, search), CancelledError


def a_grid_search(client, begun):
    """The same of a search of scikit-learn."""
    model = ResODERegressor(solver=AdamW(max_epochs=1), **TINY)
    search = GridSearchCV(model, {"alpha": [0.0, 0.1]}).fit(X[:60], Y[:60])
    search.set_params(estimator__solver=LONG, estimator__depth=32)
    return search, lambda: on_cluster(client, search), CancelledError


def on_cluster(client, search):
    """Run a search on the workers of a client."""
    with joblib.parallel_config("dask", client=client):
        search.fit(*MANY)


def error_of(call, kind):
    """The error of a kind that a call ends with; None without one."""
    try:
        call()
    except kind as error:
        return error
    return None


def lose_the_scheduler(cluster, of_kind, begun, delay, *, in_training):
    """Nothing but the scheduler is lost, within the time: no model and no process.

    Returns whether it was lost before all was done.
    """
    estimator, fit_again, error = of_kind(cluster.client, begun)
    names, predictions = set(vars(estimator)), estimator.predict(X)
    after = begun.exists if in_training else None
    if of_kind is not a_fit:
        # joblib waits forever for what it hands out to a scheduler that is lost.
        after = cluster.is_busy
    cluster.kill_scheduler(delay, after)
    found = error_of(fit_again, error)
    if found is None:
        return False
    assert "scheduler" in str(found)
    assert time.monotonic() - cluster.killed_at < SECONDS_TO_NOTICE
    assert cluster.left(SECONDS_TO_NOTICE) == []
    assert set(vars(estimator)) == names
    np.testing.assert_array_equal(estimator.predict(X), predictions)
    return True


def lost_once(folder, of_kind, *when, in_training):
    """Start a cluster, and tell whether it has lost its scheduler in time."""
    folder.mkdir(parents=True)
    cluster = DaskProcesses(folder)
    try:
        task = cluster, of_kind, folder / "begun", *when
        return lose_the_scheduler(*task, in_training=in_training)
    finally:
        cluster.close()


@pytest.mark.parametrize(
    "kinds",
    [[a_fit], [a_path_search, a_grid_search]],
    ids=["fit", "searches"],
)
@pytest.mark.filterwarnings("ignore:Training ended after")
@rounds(1, 20)
def test_a_killed_scheduler_loses_nothing_else(n, kinds, tmp_path):
    rng = random.Random(n)
    for i, kind in zip(range(n), cycle(kinds)):
        delay, attempt = LATEST * rng.random(), 0
        some = {"in_training": kind is a_fit and i % 2 == 0}
        if some["in_training"]:
            delay *= SHARE_OF_TRAINING
        while not lost_once(tmp_path / f"{i}-{attempt}", kind, delay, **some):
            delay, attempt = delay / 2, attempt + 1
