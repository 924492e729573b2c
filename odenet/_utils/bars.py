"""Bars of progress that no other process can stop."""

import os
from threading import RLock

from tqdm import tqdm


class Bar(tqdm):
    """A bar of tqdm whose lock is this process's own.

    tqdm takes a lock that it shares with all forks, whether a bar is shown or not: a
    fork that is killed while it holds it lets the other processes wait for ever.
    """


def _renew_lock():
    """Give the bars of this process a lock that nobody holds."""
    Bar.set_lock(RLock())


_renew_lock()
if hasattr(os, "register_at_fork"):  # another thread may hold the lock at a fork
    os.register_at_fork(after_in_child=_renew_lock)
