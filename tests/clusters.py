"""Clusters on this machine, of two workers with one thread each."""

import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import chain
from threading import Event, Thread

import joblib
import pytest


class DaskCluster:
    """A cluster of Dask, and searches on it."""

    def __init__(self):
        distributed = pytest.importorskip("distributed")
        self.cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )
        self.client = distributed.Client(self.cluster)
        self.client.amm.stop()  # it would remove copies of the data

    @contextmanager
    def searching(self, *data, splits=()):
        """Let joblib use the cluster, whose workers get data and indices before.

        At the end there are two workers again.
        """
        with joblib.parallel_config("dask", scatter=[*data, *chain(*splits)]):
            yield
        self.wait_for_workers()

    def wait_for_workers(self):
        """Wait until a worker that has died has come back."""
        end = time.monotonic() + 60
        while len(self.cluster.scheduler.workers) < 2:
            assert time.monotonic() < end, "a worker has not come back"
            time.sleep(0.05)

    def close(self):
        """End the workers."""
        self.client.close()
        self.cluster.close()


class DaskProcesses:
    """A cluster of Dask whose scheduler is a process, too, which can be killed."""

    def __init__(self, folder):
        distributed = pytest.importorskip("distributed")
        psutil = pytest.importorskip("psutil")
        self.killer, self.killed_at, self.is_closing = None, None, Event()
        file = str(folder / "scheduler.json")
        common = "--scheduler-file", file, "--host", "127.0.0.1", "--no-dashboard"
        self.scheduler = _command("dask_scheduler", *common, "--port", "0")
        some = "--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder)
        self.nannies = _command("dask_worker", *common, *some)
        self.client = distributed.Client(scheduler_file=file)
        self.client.wait_for_workers(2)
        nannies = psutil.Process(self.nannies.pid)
        self.processes = [nannies, *nannies.children(recursive=True)]

    def kill_scheduler(self, seconds, after=None):
        """Kill the scheduler when so many seconds are over.

        They begin when ``after()`` is true, or now.
        """

        def kill():
            while not (after is None or after() or self.is_closing.is_set()):
                time.sleep(0.01)
            if not self.is_closing.wait(seconds):
                self.killed_at = time.monotonic()
                self.scheduler.kill()

        self.killer = Thread(target=kill)
        self.killer.start()

    def is_busy(self):
        """Tell whether workers have something to do."""
        return any(self.client.processing().values())

    def left(self, seconds):
        """Return the processes that are still there after so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._alive():
            time.sleep(0.05)
        return self._alive()

    def _alive(self):
        """Return the processes of workers and nannies that are there."""
        self.nannies.poll()  # takes leave of one that has ended
        return [process for process in self.processes if process.is_running()]

    def close(self):
        """End all processes."""
        self.is_closing.set()
        if self.killer is not None:
            self.killer.join()
        self.client.close()
        self.scheduler.kill()
        self.scheduler.wait()
        for process in self._alive():
            process.kill()
        self.nannies.wait()


def _command(name, *options):
    """Start a command of Dask, which says nothing."""
    command = [sys.executable, "-m", f"distributed.cli.{name}", *options]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet)


class RayCluster:
    """A cluster of Ray, and searches on it."""

    def __init__(self):
        self.ray = pytest.importorskip("ray")
        joblib_of_ray = pytest.importorskip("ray.util.joblib")
        self.ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80_000_000,  # bytes; Ray asks for 75 MiB at least
            configure_logging=False,
            log_to_driver=False,
        )
        joblib_of_ray.register_ray()

    @contextmanager
    def searching(self, *data, splits=()):
        """Let joblib use the cluster, which starts a worker again that has died."""
        retries = {"max_restarts": 3, "max_task_retries": 3}
        with joblib.parallel_config("ray", n_jobs=2, ray_remote_args=retries):
            yield

    def close(self):
        """End the workers."""
        self.ray.shutdown()
