"""When the state of a training is recorded, and which one is recalled."""

import pytest

from odenet._training import recorder as module
from odenet._training.recorder import SECONDS_BETWEEN, TIMES_A_RECORD, Recorder
from odenet._training.stop_reason import StopReason
from odenet.solvers import Flow
from tests.training.test_net import make_net, make_samples
from tests.training.test_snapshot import assert_alike


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand: its only entry is the time."""
    now = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def test_records_are_far_apart_beside_what_they_take(clock):
    times, takes = [], 3.0

    def write(records):
        times.append(clock[0])
        clock[0] += takes

    recorder = Recorder([], write)
    net = make_net()
    net.monitor.start = net.monitor.kept = None
    while clock[0] < 1000:
        clock[0] += 1.0
        recorder.see_epoch(net)
    assert times[0] == SECONDS_BETWEEN
    assert times[1] - times[0] == pytest.approx(takes * (TIMES_A_RECORD + 1), abs=1)
    takes = 0.0
    times.clear()
    while len(times) < 3:
        clock[0] += 1.0
        recorder.see_epoch(net)
    assert times[2] - times[1] == SECONDS_BETWEEN


@pytest.mark.usefixtures("every_epoch_is_kept")
def test_trainings_are_recalled_in_their_order():
    written = []
    recorder = Recorder([], written.append)
    nets = [run(recorder, horizon) for horizon in (1.0, 2.0)]
    assert nets[1].stop_reason is StopReason.HORIZON
    ended, under_way = written[-1]
    assert (ended["stop_reason"], under_way["stop_reason"]) == ("horizon", None)

    again = Recorder(written[-1], written.append)
    first = make_net(horizon=1.0)
    assert again.recall(first)
    assert_alike(first, nets[0])
    n_written = len(written)
    assert_alike(run(again, 2.0), nets[1])
    assert len(written) == n_written  # the last epoch ends the training
    assert again.ended == [ended, again.ended[1]]
    last = make_net(horizon=2.0)
    assert not again.recall(last)
    assert again.resume(last) == last.max_epochs  # nothing is restored twice
    assert len(last.history) == 0


def run(recorder, horizon):
    """Run a training of a recorder, as a fit does."""
    net = make_net(Flow(), horizon, recorder=recorder)
    assert not recorder.recall(net)
    net.partial_fit((make_samples(), None))
    recorder.see_end(net)
    return net


def test_an_interrupted_training_has_not_ended():
    recorder = Recorder([], lambda records: None)
    net = run(recorder, 1.0)
    assert len(recorder.ended) == 1
    net.stop(StopReason.INTERRUPTED)
    recorder.see_end(net)
    assert len(recorder.ended) == 1
