"""Bars are bars of tqdm, and wait for no other process."""

import multiprocessing
import os
import signal
from threading import Event, Thread

import pytest

from odenet._utils.bars import Bar

CAN_FORK = pytest.mark.skipif(
    not hasattr(os, "register_at_fork"), reason="there are no forks"
)
pytestmark = [
    CAN_FORK,
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def forked(task):
    """Run a function in a fork, for ten seconds at most; return its exit code."""
    fork = multiprocessing.get_context("fork").Process(target=task)
    fork.start()
    fork.join(10)
    if fork.exitcode is None:
        fork.kill()
    return fork.exitcode


def die_with_the_lock():
    Bar.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def show_a_bar():
    with Bar(total=1, disable=True):
        pass


def test_a_bar_is_shown_after_a_fork_has_died_with_the_lock():
    show_a_bar()  # and make what a fork may share
    assert forked(die_with_the_lock) == -signal.SIGKILL
    shown = Thread(target=show_a_bar, daemon=True)
    shown.start()
    shown.join(10)
    assert not shown.is_alive()


def test_a_fork_shows_bars_while_a_thread_holds_the_lock():
    held, done = Event(), Event()

    def hold():
        with Bar.get_lock():
            held.set()
            done.wait()

    thread = Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert forked(show_a_bar) == 0
    finally:
        done.set()
        thread.join()
