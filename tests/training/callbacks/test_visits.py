"""Visits to a network at given flow times."""

import pytest
import torch

from odenet import ResidualNetwork
from odenet._losses.squared_error import SquaredError
from odenet._tables.samples import Samples
from odenet._training.callbacks.visits import Visits
from odenet._training.net import TrainingNet
from odenet._training.stop_reason import StopReason
from odenet.solvers import Flow, GradientDescent

TIMES = [0.03, 1.0, 1.1, 4.0]  # The first one is shorter than a step.


def run(callback, solver=None, horizon=4.0):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(30, 3, generator=generator)
    samples = Samples(X, torch.sin(2 * X[:, :1]), torch.ones(30))
    network = ResidualNetwork(3, 1, depth=4, width=8, generator=generator)
    net = TrainingNet(
        network, SquaredError(), solver or Flow(), horizon=horizon, callbacks=[callback]
    )
    return net.initialize().partial_fit((samples, None))


@pytest.mark.parametrize("solver", [Flow(), GradientDescent(0.07)], ids=repr)
def test_every_flow_time_is_visited_just_then(solver):
    visits = []

    def visit(net, index):
        visits.append((index, net.flow_time))
        return True

    net = run(Visits(TIMES, visit), solver)
    assert visits == list(enumerate(TIMES))
    assert net.stop_reason is StopReason.HORIZON


def test_a_visit_can_end_the_training():
    net = run(Visits(TIMES, lambda net, index: index < 1))
    assert net.flow_time == TIMES[1]
    assert net.stop_reason is StopReason.CALLBACK


def test_the_last_visit_ends_nothing_that_has_ended():
    net = run(Visits(TIMES, lambda net, index: index < 3))
    assert net.stop_reason is StopReason.HORIZON
