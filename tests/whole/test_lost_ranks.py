"""One of four ranks is killed, or stopped, at a random moment of a fit."""

import random
import signal
from dataclasses import replace

import numpy as np
import pytest

from tests.whole import ranks
from tests.whole.ranks import CASES, Fault, run_ranks
from tests.whole.rounds import rounds
from tests.whole.test_ranks import SECONDS_TO_NOTICE, TOLERANCE, assert_close

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL"),
]
NAMES = "flow to a time", "AdamW of classes"
FOUR = 4
TIMEOUT = 4.0  # seconds, of the process group whose rank is stopped
# Of a fit, which began with the process group: later it may have ended.
LATEST = 0.9
AT_ONCE = 0.05  # seconds, in which the processes connect for the fit


def fit_of_four(folder, name, **fault):
    """What each of four ranks tells of a fit with a checkpoint."""
    return run_ranks(FOUR, *task_of(folder, name), **fault)


def fit_with_a_fault(folder, name, fault, **params):
    """What each of four ranks tells of a fit that a fault befalls, and which it was.

    It comes earlier if some rank has a model before it comes.
    """
    while True:
        of_ranks = fit_of_four(folder, name, fault=fault, **params)
        if not any(isinstance(told, dict) for told in of_ranks):
            return of_ranks, fault
        fault = replace(fault, delay=fault.delay / 2)


def task_of(folder, name):
    """A fit with a checkpoint in a folder."""
    return ranks.a_fit_with_a_checkpoint, folder, folder, name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the first of four ranks tells of a fit, by its name, and the seconds."""
    found = {}

    def of(name):
        if name not in found:
            told = fit_of_four(tmp_path_factory.mktemp("undisturbed"), name)[0]
            del told["epochs of this process"]
            found[name] = told, told.pop("seconds")
        return found[name]

    return of


def assert_same_weights(told, other):
    """Two models are the same to the last bit."""
    for mine, its in zip(told["weights"], other["weights"], strict=True):
        np.testing.assert_array_equal(mine, its)


def test_one_of_four_that_is_dead_before_the_fit(tmp_path):
    """The others do not wait for it until the timeout, which is minutes."""
    of_ranks = run_ranks(FOUR, ranks.a_fit_without_a_rank, tmp_path, tmp_path, 2)
    assert of_ranks.pop(2) == -signal.SIGKILL
    for text, seconds in of_ranks:
        assert "lost another rank" in text
        assert seconds < SECONDS_TO_NOTICE


@rounds(1, 20)
def test_one_of_four_that_is_killed_at_any_moment(tmp_path, undisturbed, n):
    """The others end with an error, and the checkpoint goes on, by four and by two."""
    rng = random.Random(n)
    for i in range(n):
        name, folder = NAMES[i % 2], tmp_path / str(i)
        folder.mkdir()
        whole, seconds_of_all = undisturbed(name)
        delay = LATEST * rng.random() * seconds_of_all
        if i % 4 == 3:  # when the processes have hardly met
            delay = AT_ONCE * rng.random()
        killed = rng.randrange(FOUR)
        fault = Fault(killed, signal.SIGKILL, delay)
        of_ranks, fault = fit_with_a_fault(folder, name, fault)
        assert of_ranks.pop(killed) == -signal.SIGKILL
        for text, seconds in of_ranks:
            assert "lost another rank" in text
            assert seconds < fault.delay + SECONDS_TO_NOTICE
        checkpoint = folder / "checkpoint"
        kept = checkpoint.read_bytes() if checkpoint.exists() else None
        told = fit_of_four(folder, name)[0]
        assert_same_weights(told, whole)
        if kept is not None:
            checkpoint.write_bytes(kept)
        told = run_ranks(2, *task_of(folder, name))[0]
        assert_close(whole, told, TOLERANCE[CASES[name][1]["dtype"]])
        assert not checkpoint.exists()


@rounds(1, 20)
def test_one_of_four_that_is_stopped_at_any_moment(tmp_path, undisturbed, n):
    """The others end within the timeout of the group; it ends when it goes on."""
    rng = random.Random(n)
    for i in range(n):
        name, folder = NAMES[i % 2], tmp_path / str(i)
        folder.mkdir()
        delay = LATEST * rng.random() * undisturbed(name)[1]
        fault = Fault(rng.randrange(FOUR), signal.SIGSTOP, delay)
        of_ranks, fault = fit_with_a_fault(folder, name, fault, timeout=TIMEOUT)
        for text, seconds in of_ranks:
            assert "lost another rank" in text
            assert seconds < fault.delay + TIMEOUT + SECONDS_TO_NOTICE
