"""Searches whose fits run on the workers of a cluster, by Dask and by Ray."""

import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from odenet import ResODEClassifierCV, ResODERegressor, ResODERegressorCV
from odenet.solvers import AdamW
from tests.whole.rounds import rounds

pytestmark = pytest.mark.cluster

X, Y = (values[:240] for values in load_diabetes(return_X_y=True))
SPLITS = list(KFold(3).split(X))
TINY = {"width": 4, "state_dim": 12, "random_state": 0}
FLOW = ResODERegressor(8, flow_time=0.5, **TINY)
# Folds as thin as these are one call, unless their layers are rebuilt.
PATH = {"flow_times": [0.5, 1.0], "backward": "rebuilt", **TINY}
SEARCHES = [
    GridSearchCV(FLOW, {"depth": [4, 8], "n_members": [1, 2]}),
    ResODERegressorCV([4, 8], **PATH),
    HalvingGridSearchCV(
        ResODERegressor(8, solver=AdamW(), **TINY),
        {"alpha": [0.0, 0.1]},
        resource="solver__max_epochs",
        min_resources=2,
        max_resources=4,
        factor=2,
    ),
]


@pytest.fixture(params=["dask", "ray"])
def cluster(request):
    return request.getfixturevalue(f"{request.param}_cluster")


def assert_same(search, other):
    """Two searches have the same scores on every fold, to the last bit."""
    scores = [f"split{k}_test_score" for k in range(3)]
    for name in [*scores, "rank_test_score"]:
        np.testing.assert_array_equal(search.cv_results_[name], other.cv_results_[name])


def test_the_checkpoint_of_a_search_is_a_file_of_the_caller(cluster, tmp_path):
    """The bar and the checkpoint get the scores of a fold when they are there."""
    search = ResODEClassifierCV([4, 8], cv=SPLITS, **PATH)
    alone = clone(search).fit(X, Y > 140)
    search.set_params(checkpoint=tmp_path / "search", verbose=1)
    with cluster.searching(X, splits=SPLITS):
        search.fit(X, Y > 140)
    assert_same(search, alone)
    np.testing.assert_array_equal(search.predict_proba(X), alone.predict_proba(X))
    assert list(tmp_path.iterdir()) == []


class Table(pd.DataFrame):
    """A table that counts how often it is sent."""

    n_sent = 0

    def __reduce_ex__(self, protocol):
        """Count, and send a plain table."""
        Table.n_sent += 1
        return pd.DataFrame, (np.asarray(self),)


def rows_in_store(index, stored):
    """Return rows of a table that Ray keeps, as the user guide does."""
    import ray

    return ray.get(stored).iloc[index[:, 0]]


def test_data_are_sent_once(cluster):
    table = Table(X)
    grid = {"depth": [2, 4, 8]}
    alone = GridSearchCV(FLOW, grid, cv=SPLITS).fit(table, Y)
    Table.n_sent = 0
    if hasattr(cluster, "ray"):
        rows = FunctionTransformer(
            rows_in_store, kw_args={"stored": cluster.ray.put(table)}
        )
        grid = {f"resoderegressor__{name}": values for name, values in grid.items()}
        search = GridSearchCV(make_pipeline(rows, FLOW), grid, cv=SPLITS)
        given = np.arange(len(X))[:, None]
    else:
        search, given = GridSearchCV(FLOW, grid, cv=SPLITS), table
    with cluster.searching(given, Y, splits=SPLITS):
        search.fit(given, Y)
    assert Table.n_sent == 1
    assert_same(search, alone)


class ScorerThatKills:
    """Kills the worker that scores the nth fold, once, and counts the scores."""

    def __init__(self, folder, n):
        self.folder, self.n = Path(folder), n

    def __call__(self, estimator, X, y):
        n_before = len(list(self.folder.glob("score*")))
        (self.folder / f"score{os.getpid()} {n_before}").touch()
        if n_before >= self.n:
            with contextlib.suppress(FileExistsError):
                (self.folder / "killed").mkdir()
                os.kill(os.getpid(), signal.SIGKILL)
        return estimator.score(X, y)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.filterwarnings("ignore:Training ended after")
@rounds(3, 20)
def test_a_killed_worker_costs_its_tasks_and_not_the_search(n, cluster, tmp_path):
    """All scores, and so the predictions, are those of one process."""
    alone = [clone(search).set_params(cv=SPLITS).fit(X, Y) for search in SEARCHES]
    for i in range(n):
        folder, other = tmp_path / str(i), alone[i % 3]
        folder.mkdir()
        # Its `cv` are the very arrays that the workers have: a clone's are copies.
        search = clone(other).set_params(cv=SPLITS)
        search.set_params(scoring=ScorerThatKills(folder, i % 5))
        with cluster.searching(X, Y, splits=SPLITS):
            search.fit(X, Y)
        assert (folder / "killed").exists()
        assert_same(search, other)
        np.testing.assert_array_equal(search.predict(X), other.predict(X))
