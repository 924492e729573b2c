"""Calls that joblib runs in threads, in processes or on the machines of a cluster."""

from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel


def results_of(calls, n_jobs, *, as_they_come):
    """Yield the results of calls, in their order.

    Some backends of joblib, Ray's among them, return no result before all are there. If
    results are wanted as they come, such a backend gets as many calls at once as it has
    jobs; its workers serve all of them.

    Parameters
    ----------
    calls : list
        What ``delayed`` makes of calls.
    n_jobs : int or None
        As joblib takes it.
    as_they_come : bool
        Whether each result is wanted before those after it are there.
    """
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    except ValueError:  # the backend returns lists only; another is raised again below
        size = effective_n_jobs(n_jobs) if as_they_come else max(1, len(calls))
        with Parallel(n_jobs=n_jobs) as parallel:
            for i in range(0, len(calls), size):
                yield from parallel(calls[i : i + size])
    else:
        yield from parallel(calls)
