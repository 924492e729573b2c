"""Calls under all kinds of backends: results in their order, early where wanted."""

import joblib
import pytest
from joblib._parallel_backends import ThreadingBackend
from sklearn.utils.parallel import delayed

from odenet._search.jobs import results_of


class ListBackend(ThreadingBackend):
    """Threads that return lists only, as the workers of Ray do; counts its pools."""

    supports_return_generator = False
    n_pools = 0

    def configure(self, *args, **kwargs):
        """Count a pool, and start it."""
        ListBackend.n_pools += 1
        return super().configure(*args, **kwargs)


joblib.register_parallel_backend("list", ListBackend)


@pytest.mark.parametrize("backend", ["list", "threading"])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("n_calls", [0, 1, 5])
def test_results_are_in_their_order(backend, early, n_calls):
    calls = [delayed(pow)(i, 2) for i in range(n_calls)]
    with joblib.parallel_config(backend):
        results = list(results_of(calls, 2, as_they_come=early))
    assert results == [i**2 for i in range(n_calls)]


@pytest.mark.parametrize(("early", "n_run"), [(True, 2), (False, 5)])
def test_a_backend_of_lists_gives_few_calls_at_once_where_results_are_wanted_early(
    early, n_run
):
    run, n_before = [], ListBackend.n_pools
    calls = [delayed(run.append)(i) for i in range(5)]
    with joblib.parallel_config("list"):
        results = results_of(calls, 2, as_they_come=early)
        next(results)
        assert len(run) == n_run
        list(results)
    assert sorted(run) == list(range(5))
    assert ListBackend.n_pools == n_before + 1


def test_other_errors_come_through():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        list(results_of([delayed(pow)(1, 2)], 0, as_they_come=True))
