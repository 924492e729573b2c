"""The walk of a network in training through a list of depths."""

from contextlib import contextmanager, nullcontext
from math import isnan
from types import SimpleNamespace

import pytest
import torch

from odenet import ResidualNetwork
from odenet._distributed.group import RankError
from odenet._losses.squared_error import SquaredError
from odenet._network.resampling import resample
from odenet._tables.samples import Samples
from odenet._training.depth import walk
from odenet._training.depth.walk import DepthWalk
from odenet._training.net import TrainingNet
from odenet._training.stop_reason import StopReason
from odenet.schemes import GaussianProcess
from odenet.solvers import Flow


class Walk(DepthWalk):
    """A walk whose optimizer remembers nothing."""

    def carrying_over(self, net, like_layers):
        return nullcontext()


def make(depths=(4, 8, 16), depth=16, **settings):
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(
        3,
        1,
        depth=depth,
        width=8,
        init=GaussianProcess(),
        generator=generator,
        dtype=torch.float64,
    )
    net = TrainingNet(network, SquaredError(), Flow()).initialize()
    X = torch.randn(30, 3, generator=generator).double()
    samples = Samples(X, torch.sin(X[:, :1]), torch.ones(30).double())
    return Walk(list(depths), **settings), net, samples


def test_it_begins_at_the_first_depth_and_imitates_the_last():
    walk, net, _ = make()
    start = net.module_.W.detach().clone()
    walk.begin(net)
    assert (net.module_.depth, net.module_.imitated_depth) == (4, 16)
    torch.testing.assert_close(net.module_.W.data, resample(start, 4))
    assert not walk.is_done(net)
    (row,) = walk.path
    assert (row["depth"], row["role"], row["n_iter"]) == (4, "fit", 0)
    assert isnan(row["loss"])


def test_what_was_not_trained_is_the_start_at_every_depth():
    walk, net, _ = make()
    start = net.module_.W.detach().clone()
    walk.begin(net)
    for depth in (8, 16):
        walk.change_depth(net, depth)
        torch.testing.assert_close(net.module_.W.data, resample(start, depth))
    assert walk.is_done(net)


def test_what_was_trained_is_resampled():
    walk, net, _ = make()
    start = net.module_.W.detach().clone()
    walk.begin(net)
    moved = torch.randn_like(net.module_.W)
    net.module_.W.data += moved
    walk.change_depth(net, 16)
    torch.testing.assert_close(net.module_.W.data - start, resample(moved, 16))


def test_a_comparison_is_of_the_same_samples_at_two_depths():
    walk, net, samples = make()
    net.alpha, net.smoothness_penalty = 0.1, 0.01
    walk.begin(net)
    net.module_.V.data += torch.linspace(-1, 1, 4)[:, None, None]
    for depth in (8, 16):
        before = net.module_.depth, net.objective(samples)
        said = walk.compare(net, samples, depth)
        assert net.module_.depth == before[0]
        walk.change_depth(net, depth)
        assert said.loss == pytest.approx(net.objective(samples))
        assert said.loss - said.loss_gap == pytest.approx(before[1])
        assert 0 < said.output_gap < 0.5


def test_a_training_ends_at_its_full_depth():
    walk, net, samples = make()
    walk.begin(net)
    net.history.extend([{"epoch": 1}, {"epoch": 2}])
    reason = walk.finish(net, StopReason.DIVERGED, samples)
    assert reason is StopReason.DIVERGED
    assert net.module_.depth == 16
    path = [(row["depth"], row["n_iter"]) for row in walk.path]
    assert path == [(4, 0), (16, 2)]


def test_a_training_that_only_chooses_stays_where_it_is():
    """Unless it has chosen none, which is then not followed."""
    for flow_time, reason, depth in (
        (3.0, StopReason.EARLY_STOPPING, 4),
        (3.0, StopReason.MAX_EVALS, 16),
        (0.0, StopReason.EARLY_STOPPING, 16),
    ):
        walk, net, samples = make(only_chooses=True)
        walk.begin(net)
        net.monitor.flow_time = flow_time
        walk.finish(net, reason, samples)
        assert net.module_.depth == depth
        assert {row["role"] for row in walk.path} == {"choose"}


def test_layers_are_added_until_the_gap_is_small(monkeypatch):
    def gap(network, X):
        assert network.imitated_depth is None
        return 1 / network.depth

    monkeypatch.setattr(walk, "ode_gap", gap)
    steps, net, samples = make(depths=[4, 8], gap_tol=0.04)
    steps.begin(net)
    assert steps.finish(net, StopReason.HORIZON, samples) is StopReason.HORIZON
    assert net.module_.depth == 27  # a margin of a twentieth above 1 / 0.04
    assert steps.notices == []


def test_a_gap_that_stays_is_noticed(monkeypatch):
    monkeypatch.setattr(walk, "ode_gap", lambda network, X: 0.5)
    monkeypatch.setattr(walk, "DEEPEST", 16)
    steps, net, samples = make(depths=[4, 8], gap_tol=0.04)
    steps.begin(net)
    steps.finish(net, StopReason.HORIZON, samples)
    assert net.module_.depth == 16
    (notice,) = steps.notices
    assert "ends at 16 layers, where the gap to the neural ODE is 0.5" in notice


def test_samples_that_other_processes_do_not_tell_are_no_gap():
    def failed(n):
        raise RankError("rank 1 has failed")

    steps, net, _ = make(depths=[4, 8], gap_tol=0.04)
    steps.begin(net)
    with pytest.raises(RankError):
        steps.depth_within_tolerance(net.module_, SimpleNamespace(first=failed))


def test_a_gap_that_cannot_be_integrated_is_infinite(monkeypatch):
    def fails(network, X):
        raise RuntimeError

    monkeypatch.setattr(walk, "ode_gap", fails)
    monkeypatch.setattr(walk, "DEEPEST", 16)
    steps, net, samples = make(depths=[4, 8], gap_tol=0.04)
    steps.begin(net)
    steps.finish(net, StopReason.HORIZON, samples)
    assert "is inf" in steps.notices[0]


def test_an_interrupt_while_the_depth_is_settled_ends_at_a_full_depth(monkeypatch):
    def interrupts(network, X):
        raise KeyboardInterrupt

    monkeypatch.setattr(walk, "ode_gap", interrupts)
    steps, net, samples = make(depths=[4, 8], gap_tol=0.04)
    steps.begin(net)
    reason = steps.finish(net, StopReason.HORIZON, samples)
    assert reason is StopReason.INTERRUPTED
    assert steps.is_done(net)
    assert net.module_.depth == 4


@pytest.mark.parametrize("place", ["V", "W", "imitated"])
def test_a_change_of_depth_that_is_interrupted_is_taken_back(place, monkeypatch):
    class Remembers(Walk):
        @contextmanager
        def carrying_over(self, net, like_layers):
            memory = net.optimizer_.state[net.module_.V]
            memory["velocity"] = like_layers(memory["velocity"])
            yield

        def _imitated(self, depth):
            if place == "imitated" and depth == 8:
                raise KeyboardInterrupt
            return super()._imitated(depth)

    def set_weights(module, weights):
        for name, values in weights.items():
            getattr(module, name).data = values
            if name == place:
                raise KeyboardInterrupt

    _, net, _ = make()
    walking = Remembers([4, 8, 16])
    net.optimizer_.state[net.module_.V]["velocity"] = torch.ones(net.module_.V.shape)
    walking.begin(net)
    before = net.weights()
    if place != "imitated":
        monkeypatch.setattr(type(net.module_), "set_weights", set_weights)
    with pytest.raises(KeyboardInterrupt):
        walking.change_depth(net, 8)
    assert net.module_.imitated_depth == 16
    assert net.optimizer_.state[net.module_.V]["velocity"].shape[0] == 4
    for name, values in net.module_.state_dict().items():
        assert torch.equal(values, before[name])


def test_what_the_optimizer_remembers_of_layers_is_resampled():
    seen = []

    class Remembers(Walk):
        def carrying_over(self, net, like_layers):
            seen.append(like_layers)
            return nullcontext()

    steps = Remembers([4, 8, 16])
    _, net, _ = make()
    steps.begin(net)
    steps.change_depth(net, 8)
    value = torch.randn(net.module_.V.shape[0] // 2, *net.module_.V.shape[1:])
    assert torch.equal(seen[-1](value), value.repeat_interleave(2, dim=0))
    other = torch.ones(3)
    assert seen[-1](other) is other
    assert seen[-1](5) == 5


def test_every_depth_has_all_the_patience_unless_a_walk_says_otherwise():
    assert make()[0].share_of_patience(SimpleNamespace()) == 1.0
