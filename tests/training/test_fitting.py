"""One fit: a training, and the one that follows where it has chosen a flow time."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from odenet import ResidualNetwork, ResODEClassifier, ResODERegressor
from odenet._distributed.group import Alone
from odenet._losses.squared_error import SquaredError
from odenet._network.model_axis import join_networks
from odenet._network.resampling import resample
from odenet._network.scratch import current_scratch
from odenet._tables.samples import Samples, TrainingData
from odenet._training.callbacks.progress_bar import ProgressBar
from odenet._training.fitting import (
    make_net,
    restored_net,
    run_net,
    sweep,
    train,
    train_on_part,
)
from odenet._training.monitor import Monitor
from odenet._training.plan import Plan, Progress
from odenet._training.stop_reason import StopReason
from odenet.solvers import AdamW, Flow


class Spy(Callback):
    """Counts epochs; ends the training after some, or raises."""

    def __init__(self, n_epochs=10**9, error=None, only_watches=False):
        self.n_epochs, self.error, self.only_watches = n_epochs, error, only_watches
        self.seen, self.ends = 0, []

    def on_train_end(self, net, **kwargs):
        self.ends.append({name: p.clone() for name, p in net.weights().items()})

    def on_epoch_end(self, net, **kwargs):
        self.seen += 1
        if self.seen >= self.n_epochs:
            if self.error is not None:
                raise self.error
            net.ask_to_stop()


def make_network(depth=8):
    generator = torch.Generator().manual_seed(0)
    return ResidualNetwork(3, 1, depth=depth, width=8, generator=generator)


def make_samples(n=60, seed=0, noise=0.0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 3, generator=generator)
    y = X[:, :1] + torch.sin(2 * X[:, 1:2])
    y = y + noise * torch.randn(n, 1, generator=generator)
    return Samples(X, y, torch.ones(n))


def make_plan(solver=None, depths=(8,), **settings):
    generator = torch.Generator().manual_seed(0)
    settings = {"longest_flow_time": 300.0, "generator": generator, **settings}
    return Plan(solver or Flow(), SquaredError(), list(depths), **settings)


def parts(noise=1.0):
    everything = make_samples(120, noise=noise)
    halves = (
        Samples(everything.X[part], everything.y[part], everything.weight[part])
        for part in (slice(60), slice(60, None))
    )
    return TrainingData(everything, *halves)


def test_without_held_out_samples_there_is_one_training():
    network, samples = make_network(), make_samples()
    outcome = train(network, TrainingData(samples), make_plan(flow_time=5.0))
    assert outcome.network is network
    assert outcome.stop_reason is StopReason.HORIZON
    assert outcome.net.flow_time == 5.0
    assert [row["depth"] for row in outcome.depth_path] == [8]
    assert set(outcome.net.history[:, "role"]) == {"fit"}
    assert outcome.net.monitor.schedule is None


def test_settings_are_chosen_by_the_samples_of_all_processes():
    """Processes with settings of their own would part."""
    asked = []

    class Asking(AdamW):
        def settled(self, loss, n_rows, n_outputs, flow_time):
            asked.append((n_rows, n_outputs))
            raise InterruptedError

    class Three(Alone):
        def sum(self, value):
            return 3 * value

    data = TrainingData(make_samples(20), make_samples(20))
    with pytest.raises(InterruptedError):
        train(make_network(), data, make_plan(Asking(), group=Three()))
    assert asked == [(60, 1)]


def test_a_chosen_flow_time_is_followed_again_on_all_samples():
    data, plan = parts(), make_plan(early_stopping=True)
    outcome = train(make_network(), data, plan)
    assert outcome.stop_reason is StopReason.EARLY_STOPPING
    roles = outcome.net.history[:, "role"]
    assert roles == sorted(roles)
    assert set(roles) == {"choose", "fit"}
    t = outcome.net.flow_time
    alone = train(make_network(), TrainingData(data.samples), make_plan(flow_time=t))
    torch.testing.assert_close(outcome.network.V, alone.network.V)
    n_choosing = roles.count("choose")
    evals = outcome.net.history[n_choosing - 1]["n_grad_evals"]
    assert outcome.net.n_grad_evals == evals + alone.net.n_grad_evals


def test_only_callbacks_that_watch_see_the_second_training():
    acting, watching = Spy(), Spy(only_watches=True)
    plan = make_plan(early_stopping=True, callbacks=(acting, watching))
    roles = train(make_network(), parts(), plan).net.history[:, "role"]
    assert acting.seen == roles.count("choose")
    assert watching.seen == len(roles)


def test_a_second_training_that_fails_leaves_the_chosen_weights():
    """At full depth they are as far from the start as they were at few layers."""
    data, start = parts(), make_network().state_dict()
    for depths in ([8], [4, 8]):
        plan = make_plan(depths=depths, early_stopping=True)
        whole = train(make_network(), data, plan)
        n = whole.net.history[:, "role"].count("choose")
        spy = Spy(n + 2, KeyboardInterrupt(), only_watches=True)
        outcome = train(make_network(), data, replace(plan, callbacks=(spy,)))
        assert outcome.stop_reason is StopReason.INTERRUPTED
        assert outcome.net.flow_time == whole.net.flow_time
        chosen, weights = spy.ends[0], outcome.network.state_dict()
        assert torch.equal(weights["head"], chosen["head"])
        for name in ("V", "W"):
            moved = chosen[name] - resample(start[name], depths[0])
            expected = start[name] + resample(moved, 8)
            torch.testing.assert_close(weights[name], expected)


def test_a_flow_at_few_layers_is_followed_again_whatever_is_held_out():
    data = parts()
    for depths, again in (([8], False), ([4, 8], True)):
        plan = make_plan(depths=depths, early_stopping=True)
        outcome = train(make_network(), replace(data, train=None), plan)
        assert outcome.network.depth == 8
        assert ("choose" in outcome.net.history[:, "role"]) == again


def test_a_training_goes_on_from_its_past():
    data = TrainingData(make_samples())
    plan = make_plan(flow_time=2.0)
    first = train(make_network(), data, plan)
    past = replace(first.net.progress, depth_path=first.depth_path)
    n_steps, n_evals = len(first.net.history), first.net.n_grad_evals
    second = train(first.network, data, replace(plan, flow_time=4.0, past=past))
    assert second.net.flow_time == 4.0
    assert len(second.net.history) > n_steps
    assert second.net.n_grad_evals > n_evals
    assert second.depth_path == first.depth_path


def test_a_flow_time_is_chosen_and_followed_from_where_the_past_has_ended():
    data, plan = parts(), make_plan(flow_time=2.0)
    first = train(make_network(), TrainingData(data.train), plan)
    n = len(first.net.history)
    first.network.imitated_depth = 32
    plan = make_plan(early_stopping=True, past=first.net.progress)
    second = train(first.network, data, plan)
    rows = second.net.history
    assert {row["role"] for row in rows[:n]} == {"fit"}
    assert rows[n]["role"] == "choose"
    followed = [row["flow_time"] for row in rows[n:] if row["role"] == "fit"]
    assert followed[0] > 2.0
    assert followed[-1] == second.net.flow_time
    assert second.network.imitated_depth == 32


def test_a_sweep_follows_a_flow_for_what_is_seen():
    spy = Spy(4)
    outcome = sweep(make_network(), make_samples(), 50.0, make_plan(observer=spy))
    assert spy.seen == 4
    assert outcome.stop_reason is StopReason.CALLBACK
    assert outcome.net.callbacks_[-1][1] is not spy


def test_a_net_has_what_the_plan_says():
    user = Spy()
    plan = make_plan(
        alpha=0.1, smoothness_penalty=0.2, callbacks=(user,), shows_progress=True
    )
    net = make_net(make_network(), plan, horizon=3.0)
    assert (net.alpha, net.smoothness_penalty, net.horizon) == (0.1, 0.2, 3.0)
    assert net.generator is plan.generator
    kinds = [type(callback) for _, callback in net.callbacks_]
    assert kinds.count(ProgressBar) == 1
    assert kinds.count(Spy) == 1


def test_a_training_leaves_a_network_to_evaluate_and_no_memory():
    net = make_net(make_network(), make_plan(), horizon=1.0)
    before = list(current_scratch().workspaces)
    run_net(net, make_samples())
    assert not net.module_.training
    assert all(p.grad is None for p in net.module_.parameters())
    assert current_scratch().workspaces == before


def test_a_restored_net_has_the_history_of_its_past():
    history = [{"epoch": 1, "depth": 8, "train_loss": 1.0, "role": "fit"}]
    past = Progress(history, flow_time=3.0, n_grad_evals=5)
    net = restored_net(
        make_network(), make_plan(past=past, callbacks=(Spy(),), shows_progress=True)
    )
    assert net.history == history
    assert (net.flow_time, net.n_grad_evals) == (3.0, 5)
    assert not any(isinstance(c, (Spy, ProgressBar)) for _, c in net.callbacks_)


STREAM = AdamW(batch_size=16)


def test_parts_are_one_pass_each_by_one_net():
    plan, samples = make_plan(STREAM), make_samples()
    first = train_on_part(make_network(), samples, plan)
    assert len(first.net.history) == 1
    copy = make_network()
    second = train_on_part(copy, samples, plan, first.net)
    assert second.net is first.net
    assert second.network is first.network
    assert len(second.net.history) == 2
    assert torch.equal(copy.V, make_network().V)
    copy.backward = "rebuilt"
    assert train_on_part(copy, samples, plan, second.net).net is not second.net


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0.1},
        {"smoothness_penalty": 0.1},
        {"solver": AdamW(batch_size=8)},
        {"augmentation": lambda X, generator: X},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_plan_asks_for_another_net(change):
    plan, samples = make_plan(STREAM), make_samples()
    first = train_on_part(make_network(), samples, plan)
    past = first.net.progress
    changed = replace(plan, past=past, **change)
    second = train_on_part(first.network, samples, changed, first.net)
    assert second.net is not first.net
    assert len(second.net.history) == 2


def test_a_net_of_whole_fits_does_not_train_on_parts():
    solver = AdamW(batch_size=16, max_epochs=2)
    plan, samples = make_plan(solver), make_samples()
    fitted = train(make_network(), TrainingData(samples), plan)
    part = train_on_part(fitted.network, samples, plan, fitted.net)
    assert part.net is not fitted.net
    assert len(part.net.history) == 1


def test_a_net_goes_on_with_the_loss_and_the_callbacks_of_the_plan():
    spies, loss, samples = (Spy(), Spy()), SquaredError(), make_samples()
    first = train_on_part(make_network(), samples, make_plan(STREAM))
    net, past = first.net, first.net.progress
    for callbacks in ((spies[0],), (spies[0],), spies, ()):
        plan = replace(make_plan(STREAM, callbacks=callbacks), loss=loss, past=past)
        outcome = train_on_part(make_network(), samples, plan, net)
        assert outcome.net is net
        assert net.loss is loss
    assert [spy.seen for spy in spies] == [3, 1]
    bar = replace(plan, shows_progress=True)
    train_on_part(make_network(), samples, bar, net)
    assert isinstance(net.callbacks[-1], ProgressBar)


def test_an_error_on_a_part_leaves_no_trace():
    """Later parts do the same to the last bit as if the failed one had not been."""
    plans = [make_plan(STREAM, callbacks=c) for c in ((), (Spy(2, ValueError("no")),))]
    samples, other, outcomes = make_samples(), make_samples(seed=1), []
    for plan in plans:
        net = train_on_part(make_network(), samples, plan).net
        if plan.callbacks:
            before = net.module_.V.clone()
            with pytest.raises(ValueError, match="no"):
                train_on_part(make_network(), other, plan, net)
            assert torch.equal(net.module_.V, before)
            assert len(net.history) == 1
        later = replace(plan, callbacks=())
        outcomes.append(train_on_part(make_network(), samples, later, net))
    one, two = outcomes
    assert torch.equal(one.network.V, two.network.V)
    assert one.net.curve("train_loss") == two.net.curve("train_loss")
    assert one.net.n_grad_evals == two.net.n_grad_evals


def test_a_part_costs_the_same_however_many_there_were():
    """Rows of the history are read once; counted are calls of Python functions."""
    plan, samples = make_plan(STREAM), make_samples()
    outcome, calls = train_on_part(make_network(), samples, plan), []

    def count(frame, event, argument):
        calls[-1] += event == "call"

    for _ in range(60):
        calls.append(0)
        sys.setprofile(count)
        outcome = train_on_part(make_network(), samples, plan, outcome.net)
        attributes = outcome.attributes()
        sys.setprofile(None)
    assert len(attributes["loss_curve_"]) == 61
    assert calls[-1] <= 1.05 * calls[5]


class TestFolds:
    """A flow time that folds choose, where something goes wrong on the way."""

    @staticmethod
    def data():
        def part(rows):
            return Samples(everything.X[rows], everything.y[rows], ones[rows])

        everything = make_samples()
        ones, fold = everything.weight, torch.arange(len(everything)) % 3
        folds = [(part(fold != i), part(fold == i)) for i in range(3)]
        return TrainingData(everything, folds=folds)

    def test_the_flow_of_all_samples_ends_at_the_time_chosen(self):
        data = self.data()
        outcome = train(make_network(), data, make_plan(early_stopping=True))
        alone = make_plan(flow_time=outcome.net.flow_time)
        alone = train(make_network(), TrainingData(data.samples), alone)
        torch.testing.assert_close(outcome.network.V, alone.network.V)
        assert outcome.loss == pytest.approx(alone.loss)

    def test_gradients_that_are_used_up_leave_the_best_time_so_far(self):
        plan = make_plan(Flow(max_evals=40), early_stopping=True)
        outcome = train(make_network(), self.data(), plan)
        assert outcome.stop_reason is StopReason.MAX_EVALS
        assert outcome.net.flow_time > 0
        assert outcome.network.V.dim() == 3
        assert outcome.loss < 1

    def test_an_interrupt_leaves_the_network_of_the_first_fold(self, monkeypatch):
        judge, n_steps = Monitor.on_epoch_end, []

        def interrupt(self, net, **kwargs):
            judge(self, net, **kwargs)
            n_steps.append(net)
            if len(n_steps) == 5:
                raise KeyboardInterrupt

        monkeypatch.setattr(Monitor, "on_epoch_end", interrupt)
        plan = make_plan(early_stopping=True)
        network = make_network()
        untrained = network.V.clone()
        outcome = train(network, self.data(), plan)
        assert outcome.stop_reason is StopReason.INTERRUPTED
        assert outcome.network is network is outcome.net.module_
        assert outcome.net.flow_time > 0
        assert network.V.shape == untrained.shape
        assert not torch.equal(network.V, untrained)
        assert len(outcome.net.history) == 5


@pytest.mark.parametrize("make", [ResODERegressor, ResODEClassifier])
def test_the_flow_of_outputs_serves_every_kind_of_fit(make):
    """Folds, held-out samples, a depth that is found, penalties, rebuilt states."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    y = y if make is ResODERegressor else y > 0
    small = {"depth": 8, "width": 16, "random_state": 0}
    for settings in (
        {},
        {"early_stopping": True, "flow_time": 10.0},
        {"depth": "auto", "flow_time": 10.0},
        {"flow_time": 10.0, "alpha": 0.01, "smoothness_penalty": 0.01},
        {"flow_time": 10.0, "backward": "rebuilt", "depth_schedule": None},
    ):
        found = {}
        for method in ("rkc", "exponential"):
            solver = Flow(method=method)
            model = make(solver=solver, **{**small, **settings}).fit(X, y)
            found[method] = model.score(X, y), model.n_grad_evals_
            assert ("n_kernels" in model.net_.history[-1]) == (method == "exponential")
        assert found["exponential"][0] == pytest.approx(found["rkc"][0], abs=0.06)


def test_a_flow_to_its_end_is_stationary_at_full_depth():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3))
    y = rng.normal(size=20)
    settings = {"flow_time": np.inf, "random_state": 0, "dtype": "float64"}
    model = ResODERegressor(32, **settings).fit(X, y)
    assert (model.stop_reason_, model.depth_) == ("stationary", 32)
    assert model.loss_ < 1e-24
    np.testing.assert_allclose(model.predict(X), y, atol=1e-9)
    assert model.depth_path_[-1]["depth"] == 32


def test_what_a_member_holds_out_does_not_move_it():
    for solver in (Flow(), AdamW(batch_size=16, max_epochs=5)):

        def members_after(y, solver=solver):
            """The weights V of three members that hold out a fifth each."""
            joined = join_networks([make_network() for _ in range(3)])
            samples = replace(make_samples(), y=y)
            shares = torch.zeros(3, 60)
            for i in range(3):
                shares[i, 12 * i : 12 * (i + 1)] = 1.0
            plan = make_plan(solver, early_stopping=False, flow_time=2.0)
            train(joined, TrainingData(samples, shares=shares), plan)
            return joined.V.detach().unbind(1)

        y = make_samples().y
        other_y = y.clone()
        other_y[12:24] += 1.0  # of the second member's fold
        before, after = members_after(y), members_after(other_y)
        same = [
            torch.allclose(*pair, atol=1e-3)
            for pair in zip(before, after, strict=False)
        ]
        assert same == [False, True, False]


class TinyNumbers(Callback):
    """Notes half of the smallest usual number, and raises in the third epoch."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(half_of_the_smallest())
        if len(self.seen) == 3:
            raise RuntimeError("the third epoch")


def half_of_the_smallest():
    return float(torch.tensor(torch.finfo(torch.float32).tiny) * 0.5)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="there is no such mode")
def test_a_training_takes_tiny_numbers_as_zeros_and_leaves_no_trace():
    spy = TinyNumbers()
    net = make_net(make_network(), make_plan(solver=AdamW(max_epochs=4)))
    with net.observed_by(spy), pytest.raises(RuntimeError, match="third"):
        run_net(net, make_samples())
    assert spy.seen == [0.0] * 3
    assert half_of_the_smallest() > 0
