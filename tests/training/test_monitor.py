"""What follows a training from epoch to epoch."""

import pytest
import torch
from skorch.callbacks import Callback

from odenet import ResidualNetwork
from odenet._losses.squared_error import SquaredError
from odenet._tables.samples import Samples
from odenet._training.monitor import Monitor
from odenet._training.net import TrainingNet
from odenet._training.plan import Progress
from odenet._training.stop_reason import StopReason
from odenet.solvers import SGD, Flow, GradientDescent


def make_samples(n=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 3, generator=generator)
    return Samples(X, X[:, :1] + torch.sin(2 * X[:, 1:2]), torch.ones(n))


def make(solver=None, held_out=None, horizon=10.0, callbacks=None, schedule=None):
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(3, 1, depth=4, width=8, generator=generator)
    monitor = Monitor(early_stopping=held_out is not None, schedule=schedule)
    net = TrainingNet(
        network,
        SquaredError(),
        solver or Flow(),
        horizon=horizon,
        generator=generator,
        monitor=monitor,
        callbacks=callbacks,
    )
    return net.initialize()


def run(solver=None, held_out=None, train=None, **settings):
    net = make(solver, held_out, **settings)
    net.partial_fit((train or make_samples(), held_out))
    return net


def test_rows_of_a_flow_tell_of_the_integrator():
    net = run()
    row = net.history[-1]
    assert row["role"] == "fit"
    assert row["depth"] == 4
    assert row["flow_time"] == net.flow_time == net.monitor.flow_time == 10.0
    assert row["n_grad_evals"] == net.n_grad_evals
    assert {"n_rejected", "spectral_radius"} <= set(row)


def test_a_flow_ends_with_its_last_weights():
    net = run()
    assert net.stop_reason is StopReason.HORIZON
    last = net.history[-1]["train_loss"]
    assert net.objective(make_samples()) == pytest.approx(last, rel=1e-5)


def test_with_held_out_samples_the_best_weights_are_restored():
    held_out = make_samples(20, seed=1)
    noise = Samples(make_samples().X, torch.randn(40, 1), torch.ones(40))
    net = run(held_out=held_out, train=noise, horizon=300.0)
    losses = dict(net.history[:, ("flow_time", "valid_loss")])
    assert net.flow_time in losses
    assert net.flow_time < net.history[-1]["flow_time"]
    assert net.objective(held_out) == pytest.approx(losses[net.flow_time], rel=1e-5)


def test_mini_batches_keep_the_weights_of_the_lowest_held_out_loss():
    held_out = make_samples(20, seed=1)
    solver = SGD(learning_rate=0.05, batch_size=8, max_epochs=30)
    net = run(solver, held_out=held_out)
    lowest = min(net.history[:, "valid_loss"])
    assert net.objective(held_out) == pytest.approx(lowest, rel=1e-5)


def test_divergence_is_found_and_taken_back():
    """Of a loss far above that at the start, too, which is finite."""
    start = run(horizon=1e-6).objective(make_samples())
    for solver in (GradientDescent(50.0), SGD(learning_rate=30.0, max_epochs=5)):
        net = run(solver, horizon=1e6)
        assert net.stop_reason is StopReason.DIVERGED
        assert net.objective(make_samples()) <= start * (1 + 1e-4)


def test_weights_kept_that_are_lost_as_well_give_way_to_those_of_the_start():
    net, train = make(), make_samples()
    monitor, start = net.monitor, net.weights()
    monitor.on_train_begin(net, (train, None))
    for weights in (net.module_.state_dict(), monitor.kept[0]):
        weights["head"].fill_(1e9)
    monitor.start = start, 0.0
    monitor.on_train_end(net, (train, None))
    assert net.stop_reason is StopReason.DIVERGED
    assert torch.equal(net.module_.head.data, start["head"])


def test_gradients_of_an_earlier_training_do_not_count():
    net = make(Flow(max_evals=500))
    net.resume(Progress([], flow_time=1.0, n_grad_evals=10_000))
    net.partial_fit((make_samples(), None))
    assert net.stop_reason is StopReason.HORIZON
    assert net.n_grad_evals > 10_000


def test_losses_at_the_start_must_be_finite():
    bad = Samples(torch.zeros(5, 3), torch.full((5, 1), 1e30), torch.ones(5))
    with pytest.raises(FloatingPointError, match="is inf before the first step"):
        run(train=bad)
    with pytest.raises(FloatingPointError, match="validation samples is inf before"):
        run(held_out=bad)


def test_nothing_is_held_after_a_training():
    monitor = run(held_out=make_samples(20, seed=1)).monitor
    assert monitor.kept is monitor.start is monitor.epoch_weights is None
    assert monitor.rule.kept_losses is None


def test_keeping_weights_leaves_those_of_the_start():
    seen = []

    class Watches(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append((net.monitor.start[0]["W"].clone(), net.monitor.kept[0]["W"]))

    net = run(callbacks=[Watches()])
    starts = [start for start, _ in seen]
    assert all(torch.equal(start, starts[0]) for start in starts)
    assert not torch.equal(starts[0], net.module_.W.data)
    assert torch.equal(seen[-1][1], net.module_.W.data)


def test_mini_batches_keep_the_weights_before_the_epoch_of_the_lowest_loss():
    """Its mean loss is more theirs than that of the weights after it."""
    pairs = []

    class Watches(Callback):
        def on_epoch_begin(self, net, **kwargs):
            self.before = net.weights()

        def on_epoch_end(self, net, **kwargs):
            if net.monitor.rule.lowest[1] == net.history[-1]["epoch"]:
                pairs.append((net.monitor.kept[0]["head"], self.before["head"]))

    run(SGD(learning_rate=0.05, max_epochs=3), callbacks=[Watches()])
    assert len(pairs) > 1
    assert all(torch.equal(kept, before) for kept, before in pairs)


class Schedule:
    """Is done from a flow time on, and has weights of its own for every depth."""

    def __init__(self, only_chooses):
        self.only_chooses, self.judged, self.time = only_chooses, [], 0.0

    def begin(self, net):
        self.weights = {n: p + 1 for n, p in net.weights().items()}

    def is_done(self, net):
        return self.time > 15.0

    def judge(self, net, reason, samples):
        self.judged.append(samples)
        self.time = net.flow_time
        return reason

    def share_of_patience(self, net):
        return 1.0

    def weights_at(self, weights, depth):
        return self.weights

    def finish(self, net, reason, samples):
        return reason


class SeesTheRule(Callback):
    """Writes down when the rule knows nothing of a flat loss, and when it began."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        rule, epoch = net.monitor.rule, net.history[-1]["epoch"]
        forgot = rule.flatness_reference is None
        self.seen.append((net.flow_time > 15.0, forgot, rule.began == epoch))


def test_what_was_concluded_at_one_depth_ends_with_it():
    """Weights are judged anew where they are to be kept for held-out samples."""
    train, samples = make_samples(), make_samples(20, seed=1)
    for held_out, only_chooses in ((None, False), (samples, True), (samples, False)):
        schedule, watch = Schedule(only_chooses), SeesTheRule()
        settings = {"horizon": 30.0, "callbacks": [watch], "schedule": schedule}
        net = run(None, held_out, train, **settings)
        judged_on = samples if only_chooses else train
        assert all(part is judged_on for part in schedule.judged)
        change, *later = [row[1:] for row in watch.seen if row[0]]
        assert change == (True, held_out is not None and not only_chooses)
        assert set(later) == {(False, False)}
        for name, p in net.module_.state_dict().items():
            assert torch.equal(p, schedule.weights[name]) == (held_out is not None)


def test_an_epoch_that_was_interrupted_before_it_began_leaves_no_row(monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, "on_epoch_begin", interrupt)
    net = run(SGD(0.01, max_epochs=3))
    assert net.stop_reason is StopReason.INTERRUPTED
    assert not net.history
