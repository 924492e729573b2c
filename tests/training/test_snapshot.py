"""A net that is given the state of another goes on as that one does."""

import json

import numpy as np
import torch

from odenet._export.plain_data import from_data, to_data
from odenet._training.depth.along_flow import FlowSchedule
from odenet._training.depth.in_stages import StagedSchedule
from odenet._training.monitor import Monitor
from odenet._training.snapshot import restore, state_of
from odenet._training.stop_reason import StopReason
from odenet.solvers import SGD, AdamW, Flow, GradientDescent
from tests.training.test_net import make_net, make_samples


class StubRecorder:
    """Takes the state after an epoch, or gives a state to a training that begins."""

    def __init__(self, take_after=None, given=None):
        self.take_after, self.given, self.taken = take_after, given, None

    def resume(self, net, held_out):
        n_before = len(net.history)
        if self.given is not None:
            restore(net, self.given, held_out)
        return net.max_epochs - len(net.history) + n_before

    def see_epoch(self, net):
        if len(net.history) == self.take_after:
            self.taken = state_of(net)


def trained(make, early_stopping, **recording):
    """Return a net that was trained, and its recorder."""
    solver, schedule = make()
    recorder = StubRecorder(**recording)
    monitor = Monitor(early_stopping, schedule)
    net = make_net(solver, horizon=3.0, monitor=monitor, recorder=recorder)
    net.partial_fit((make_samples(), make_samples(20, seed=1)))
    return net, recorder


def test_a_net_goes_on_from_plain_data_to_the_last_bit():
    small = {"batch_size": 8, "max_epochs": 12}
    for make in (
        lambda: (Flow(), FlowSchedule([4, 8, 16])),
        lambda: (Flow(method="exponential"), FlowSchedule([4, 8, 16])),
        lambda: (Flow(), None),
        lambda: (GradientDescent(0.1), FlowSchedule([4, 8])),
        lambda: (SGD(**small), StagedSchedule([4, 8])),
        lambda: (SGD(schedule="cosine", **small), None),
        lambda: (AdamW(**small), StagedSchedule([4, 8])),
    ):
        for early_stopping in (True, False):
            n_epochs = len(trained(make, early_stopping)[0].history)
            for n in (2, n_epochs - 1):
                whole, taking = trained(make, early_stopping, take_after=n)
                arrays = {}
                text = json.dumps(to_data(taking.taken, arrays), allow_nan=False)
                state = from_data(json.loads(text), arrays)
                other, _ = trained(make, early_stopping, given=state)
                assert_alike(other, whole)


def assert_alike(net, other):
    """Compare all that two nets have learnt and recorded, but for seconds."""
    weights = net.module_.state_dict().items()
    for (_, mine), theirs in zip(
        weights, other.module_.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert len(net.history) == len(other.history)
    for mine, theirs in zip(net.history, other.history, strict=True):
        assert {k: v for k, v in mine.items() if k != "dur"} == {
            k: v for k, v in theirs.items() if k != "dur"
        }
    assert net.stop_reason is other.stop_reason
    assert net.flow_time == other.flow_time
    assert net.n_grad_evals == other.n_grad_evals
    assert torch.equal(net.generator.get_state(), other.generator.get_state())


def test_a_state_is_a_copy_with_all_that_an_object_has():
    net, recorder = trained(lambda: (Flow(), FlowSchedule([4, 8])), True, take_after=2)
    state = recorder.taken
    weights = state["weights"]["V"].copy()
    with torch.no_grad():
        net.module_.V.add_(1.0)
    np.testing.assert_array_equal(state["weights"]["V"], weights)
    assert len(state["history"]) == 2 < len(net.history)
    for thing in ("monitor", "rule", "schedule"):
        owner = net.monitor if thing == "monitor" else getattr(net.monitor, thing)
        owner.something_new = 3
        assert state_of(net)[thing]["something_new"] == 3


def test_a_training_that_is_about_to_end_goes_on_to_its_end():
    """What a stationary flow has decided: a final stretch, and the reason to tell."""
    make = lambda: (Flow(), FlowSchedule([4, 8]))  # noqa: E731
    net, recorder = trained(make, False, take_after=2)
    recorder.taken["horizon"] = 1.25
    recorder.taken["schedule"]["reason_to_stop"] = "stationary"
    other, _ = trained(make, False, given=recorder.taken)
    assert other.flow_time == other.horizon == 1.25 < net.horizon
    assert other.stop_reason is StopReason.STATIONARY


def test_seconds_go_on_from_those_of_the_state():
    _, recorder = trained(lambda: (Flow(), FlowSchedule([4, 8])), False, take_after=2)
    recorder.taken["schedule"]["seconds"] = 1000.0
    make = lambda: (Flow(), FlowSchedule([4, 8]))  # noqa: E731
    net, _ = trained(make, False, given=recorder.taken)
    assert 1000 < net.monitor.schedule.path[-1]["seconds"] < 1100
