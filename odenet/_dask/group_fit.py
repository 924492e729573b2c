"""A fit by workers of Dask, each with the rows that it holds."""

import os
import platform
import socket
import warnings
from collections import defaultdict
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic, sleep
from urllib.parse import urlsplit
from uuid import uuid4

import torch.distributed as dist

from odenet._dask.parts import joined
from odenet._distributed.group import RankError

# A worker that does not come to the fit within these seconds, or that sends nothing for
# so long, is given up. One that has died is noticed at once, by its connections. A
# choice on the long side: a worker may be busy with something else.
TIMEOUT = timedelta(seconds=600)
GRACE = 10  # seconds in which the other workers tell why a fit has failed; a choice
# A call may fail before the client knows that its scheduler is lost, which follows from
# the same closed connection. A choice on the long side.
SECONDS_TO_SEE = 2.0


def fit_on_workers(client, estimator, parts):
    """Fit an estimator on the workers that hold the rows.

    Parameters
    ----------
    client : distributed.Client
    estimator : BaseResODE
        Unfitted.
    parts : list of Delayed
        Of tuples of X, y and weights.

    Returns
    -------
    fitted : BaseResODE
    notices : list of tuple
        What the user is to be warned of: texts and categories.

    Raises
    ------
    ValueError
        If there are no rows, or if two workers are one process.
    RankError
        If a worker or the scheduler has died.
    Exception
        Whatever the computation of a part, or a fit, raises.
    """
    with _telling_of_the_scheduler(client):
        held = client.compute(parts)
        by_worker = _by_worker(client, held, client.gather(client.map(_n_rows, held)))
        with _locked(client, list(by_worker)):  # one fit at a time
            return _fit_together(client, estimator, by_worker)


def _fit_together(client, estimator, by_worker):
    """Let every worker fit with its rows, and return what the first one has found."""
    name = f"odenet-{uuid4().hex}"
    workers = list(by_worker)
    ranks = [
        client.submit(
            _fit_on_worker,
            estimator,
            futures,
            rank,
            workers,
            name,
            key=f"{name}-{rank}",
            workers=[worker],
            allow_other_workers=len(workers) == 1,
            pure=False,
        )
        for rank, (worker, futures) in enumerate(by_worker.items())
    ]
    try:
        _wait(client, ranks, workers)
        return ranks[0].result()
    finally:
        if _is_connected(client):
            client.cancel(ranks)
            _port_of(client, name).delete()


def _port_of(client, name):
    """Return the variable by which the first rank tells where the others find it."""
    import distributed

    return distributed.Variable(name, client=client)


def _is_connected(client):
    """Tell whether a client has its scheduler: any other call would wait for it."""
    return client.status == "running"


@contextmanager
def _locked(client, workers):
    """Lock workers for the time of the context, which a lost scheduler ends as well."""
    import distributed

    lock = distributed.MultiLock(workers, client=client)
    lock.acquire()
    try:
        yield
    finally:
        if _is_connected(client):
            lock.release()


@contextmanager
def _telling_of_the_scheduler(client):
    """Raise one error, whatever a client raises that has lost its scheduler."""
    try:
        yield
    except (OSError, CancelledError, RankError) as error:
        end = monotonic() + SECONDS_TO_SEE
        while isinstance(error, OSError) and monotonic() < end:
            if not _is_connected(client):
                break
            sleep(0.01)
        if _is_connected(client):
            raise
        raise RankError(
            "A fit by workers of Dask has lost the scheduler. Connect the client to "
            "another one, and call the fit again."
        ) from error


def _n_rows(part):
    """Return the number of rows of a part."""
    return len(part[0])


def _by_worker(client, held, n_rows):
    """Return the parts that have rows, by the address of a worker that holds them.

    The worker with the first rows comes first.
    """
    has = client.who_has(held)
    by_worker = defaultdict(list)
    for future, n in zip(held, n_rows, strict=True):
        if n:
            by_worker[sorted(has[future.key])[0]].append(future)
    if not by_worker:
        raise ValueError("Found array with 0 sample(s) in all parts of `X`.")
    if len(by_worker) > 1:
        processes = client.run(_process, workers=list(by_worker))
        if len(set(processes.values())) < len(by_worker):
            raise ValueError(
                "Workers that fit together must be processes of their own, as those of "
                "LocalCluster(processes=True) are."
            )
    return by_worker


def _process():
    """Return what tells a process from all others, on other machines too."""
    return platform.node(), os.getpid()


def _wait(client, ranks, workers):
    """Wait for the fits of all ranks, and raise the error that ended them."""
    lost = []
    while not lost and not {"error", "cancelled"} & {f.status for f in ranks}:
        _wait_for_seconds(ranks, seconds=1.0)
        if all(future.status == "finished" for future in ranks):
            return
        if not _is_connected(client):
            break
        alive = client.nthreads()
        lost = [worker for worker in workers if worker not in alive]
    told = [f for f, worker in zip(ranks, workers, strict=True) if worker not in lost]
    _wait_for_seconds(told, seconds=GRACE)
    errors = [f.exception() for f in told if f.status == "error"]
    of_its_own = [error for error in errors if not isinstance(error, RankError)]
    if of_its_own or (errors and not lost):
        raise [*of_its_own, *errors][0]
    what = ", ".join(lost) or "a worker or its rows"
    raise RankError(
        f"A fit of {len(workers)} workers of Dask has lost {what}. Call it again."
    )


def _wait_for_seconds(futures, seconds):
    """Wait for some seconds until all futures have ended in any way."""
    import distributed

    with suppress(TimeoutError, CancelledError):
        distributed.wait(futures, timeout=seconds)


def _fit_on_worker(estimator, parts, rank, workers, name):
    """Fit with the rows of one worker; the first rank returns what all have found."""
    if len(workers) == 1:
        return _fitted(estimator, parts)
    with _process_group(rank, workers, name):
        found = _fitted(estimator.set_params(processes="group"), parts)
    found[0].set_params(processes=None)
    return found if rank == 0 else None


def _fitted(estimator, parts):
    """Fit an estimator with parts of rows, and return it with its warnings."""
    X, y, sample_weight = joined(parts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, y, sample_weight)
    return estimator, [(str(w.message), w.category) for w in caught]


@contextmanager
def _process_group(rank, workers, name):
    """Have a process group of torch between workers, given by their addresses.

    The first rank opens a store at a free port of its own address, and tells the others
    by a variable of Dask.
    """
    import distributed

    hosts = [urlsplit(worker).hostname for worker in workers]
    port = distributed.Variable(name)
    is_first = rank == 0
    number = 0 if is_first else port.get(timeout=TIMEOUT.seconds)
    store = dist.TCPStore(
        hosts[0], number, len(workers), is_first, TIMEOUT, wait_for_workers=False
    )
    if is_first:
        port.set(store.port)
    with _interface(hosts[rank]):
        dist.init_process_group(
            "gloo", store=store, rank=rank, world_size=len(workers), timeout=TIMEOUT
        )
        try:
            yield
        finally:
            dist.destroy_process_group()


@contextmanager
def _interface(host):
    """Let gloo use the network interface by which Dask reaches this worker.

    It would take that of the machine's name, which others may not reach.
    """
    import psutil

    variable, address = "GLOO_SOCKET_IFNAME", socket.gethostbyname(host)
    names = [
        name
        for name, found in psutil.net_if_addrs().items()
        if any(entry.address == address for entry in found)
    ]
    if variable in os.environ or not names:
        yield
        return
    os.environ[variable] = names[0]
    try:
        yield
    finally:
        del os.environ[variable]
