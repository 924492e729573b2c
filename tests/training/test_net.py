from math import inf

import pytest
import skorch.callbacks
import torch

from odenet import ResidualNetwork, ResODEClassifier, ResODERegressor
from odenet._losses.cross_entropy import CrossEntropy
from odenet._losses.squared_error import SquaredError
from odenet._network.convolutional import ConvResidualNetwork
from odenet._optim.averaging import RunningAverage
from odenet._optim.flow_optimizer import Point
from odenet._optim.gradient_flow import GradientFlow
from odenet._tables.samples import Samples
from odenet._training.callbacks.progress_bar import ProgressBar
from odenet._training.monitor import Monitor
from odenet._training.net import TrainingNet
from odenet._training.plan import Progress
from odenet._training.stop_reason import StopReason
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

SOLVERS = [
    Flow(),
    GradientDescent(learning_rate=0.1),
    SGD(batch_size=16, max_epochs=30),
    AdamW(batch_size=16, max_epochs=30),
]


def make_samples(n=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 3, generator=generator)
    y = X[:, :1] + torch.sin(2 * X[:, 1:2])
    weight = torch.rand(n, generator=generator) + 0.5
    return Samples(X, y, weight / weight.mean())


def make_net(solver=None, horizon=10.0, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    network = ResidualNetwork(3, 1, depth=4, width=8, generator=generator)
    net = TrainingNet(
        network,
        SquaredError(),
        solver or Flow(),
        horizon=horizon,
        generator=generator,
        **settings,
    )
    return net.initialize()


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_every_solver_learns_by_the_same_path(solver):
    net, train = make_net(solver), make_samples()
    before = net.objective(train)
    net.partial_fit((train, make_samples(20, seed=1)))
    assert net.objective(train) < 0.5 * before
    assert net.stop_reason in {"horizon", "max_epochs"}
    assert len(net.history[:, "valid_loss"]) == len(net.history[:, "train_loss"])


def test_gradients_summed_over_chunks_are_those_of_the_whole(monkeypatch):
    gradients = []
    for size in (2**28, 2**12):
        monkeypatch.setattr("odenet._training.net.MAX_STATE_BYTES", size)
        net, samples = make_net(alpha=0.1, smoothness_penalty=0.1), make_samples()
        n_chunks = len(list(net.chunks(samples.X)))
        outputs, loss = net._accumulate_gradients(samples.batch())
        assert loss.item() == pytest.approx(net.objective(samples), rel=1e-5)
        gradients.append([p.grad for p in net.module_.parameters()])
    assert n_chunks > 1
    for whole, chunked in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, chunked)


def test_chunks_bound_the_memory_of_the_states(monkeypatch):
    """Those of a layer where the others are rebuilt: 16 + 2 * 8 numbers of 4 bytes."""
    monkeypatch.setattr("odenet._training.net.MAX_STATE_BYTES", 10 * 4 * 32 * 4)
    net, X = make_net(), make_samples().X
    for backward, sizes in (("stored", [10] * 5), ("rebuilt", [40, 10])):
        net.module_.backward = backward
        assert [len(x) for (x,) in net.chunks(X)] == sizes


def test_images_are_one_chunk_in_training_and_have_no_average():
    network = ConvResidualNetwork((2, 2, 1), 2, depth=2, channels=2)
    net = TrainingNet(network, CrossEntropy(), AdamW()).initialize()
    assert make_net(AdamW()).averages
    assert not net.averages
    for training, sizes in ((True, [1100]), (False, [1024, 76])):
        network.train(training)
        assert [len(x) for (x,) in net.chunks(torch.zeros(1100, 4))] == sizes


def test_the_loss_is_a_weighted_mean():
    y, weight = torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 5.0])
    losses = SquaredError().per_sample(torch.zeros(2, 1), y)
    loss = make_net().get_loss(torch.zeros(2, 1), y, X={"weight": weight})
    assert loss.item() == pytest.approx((3 * losses[0] + 5 * losses[1]).item() / 8)


def test_steps_of_a_deeper_network_go_on_shorter():
    net = make_net(SGD(learning_rate=0.2))
    net.resume(Progress([{"depth": 1}], flow_time=None, n_grad_evals=5))
    assert [group["lr"] for group in net.optimizer_.param_groups] == [0.05]
    assert net.n_grad_evals == 5


def test_an_observer_sees_a_training_and_is_gone():
    net, observer = make_net(), GradientSpy([])
    before = list(net.callbacks_)
    with net.observed_by(observer):
        assert net.callbacks_ == [*before, ("GradientSpy", observer)]
    assert net.callbacks_ == before


def test_a_flow_records_its_progress():
    net = make_net()
    net.partial_fit((make_samples(), None))
    times = net.history[:, "flow_time"]
    assert times == sorted(times)
    assert times[-1] == 10.0
    assert net.history[-1]["n_grad_evals"] == net.n_grad_evals
    assert net.history[-1]["train_loss"] == pytest.approx(
        net.objective(make_samples()), rel=1e-5
    )


def test_early_stopping_keeps_the_weights_of_its_choice():
    generator = torch.Generator().manual_seed(0)
    noise = Samples(
        torch.randn(40, 3, generator=generator),
        torch.randn(40, 1, generator=generator),
        torch.ones(40),
    )
    net = make_net(horizon=1000.0, monitor=Monitor(early_stopping=True))
    net.partial_fit((noise, make_samples(30, seed=1)))
    assert net.stop_reason == "early_stopping"
    curve = dict(net.history[:, ("flow_time", "valid_loss")])
    assert net.flow_time < net.history[-1]["flow_time"] / 2
    X, y = make_samples(30, seed=1).batch()
    restored = net.get_loss(net.module_(X["X"]), y, X=X).item()
    assert restored == pytest.approx(curve[net.flow_time], rel=1e-5)
    assert restored < 1.2 * min(curve.values())


def test_stationary_flow_ends():
    samples = Samples(torch.zeros(5, 3), torch.ones(5, 1), torch.ones(5))
    net = make_net(horizon=1e9)
    net.partial_fit((samples, None))
    assert net.stop_reason == "stationary"
    assert net.flow_time < 1000


def test_divergence_goes_back_to_finite_weights():
    net = make_net(GradientDescent(learning_rate=50.0), horizon=1e6)
    start = net.objective(make_samples())
    net.partial_fit((make_samples(), None))
    assert net.stop_reason == "diverged"
    assert net.objective(make_samples()) <= start


def test_a_flow_that_cannot_be_begun_anew_has_diverged(monkeypatch):
    """Such as after a change of the depth: what was reached before is kept."""
    net, train = make_net(), make_samples()
    with monkeypatch.context() as patched:
        patched.setattr(
            GradientFlow, "_evaluate", lambda *a: Point(a[1], inf, a[1], inf)
        )
        with pytest.raises(FloatingPointError):  # nothing was reached before
            net.partial_fit((train, None))

    class Moving(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                net.module_.head.data.fill_(inf)

    net = make_net(callbacks=[Moving()])
    before = net.objective(train)
    net.partial_fit((train, None))
    assert net.stop_reason is StopReason.DIVERGED
    assert net.objective(train) < before
    assert len(net.history[:, "train_loss"]) == 3


def test_a_start_that_is_not_finite_is_an_error():
    samples = Samples(torch.zeros(5, 3), torch.full((5, 1), 1e30), torch.ones(5))
    with pytest.raises(FloatingPointError, match="is inf before the first step"):
        make_net().partial_fit((samples, None))


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_skorch_callbacks_work_with_every_solver(solver, tmp_path, rng):
    """Early stopping, a checkpoint and a score of skorch's."""
    callbacks = [
        skorch.callbacks.EpochScoring("r2", name="r2", lower_is_better=False),
        skorch.callbacks.Checkpoint(dirname=tmp_path, monitor="train_loss_best"),
        skorch.callbacks.EarlyStopping("train_loss", patience=2, threshold=0.5),
    ]
    X = rng.normal(size=(60, 2))
    model = ResODERegressor(
        4, width=8, solver=solver, callbacks=callbacks, early_stopping=True
    )
    model.set_params(random_state=0).fit(X, X.sum(axis=1))
    assert model.stop_reason_ == "callback"
    assert model.net_.curve("r2") == pytest.approx(model.validation_scores_, rel=1e-4)
    assert (tmp_path / "params.pt").exists()


def test_classes_are_scored_by_skorch(rng):
    X = rng.normal(size=(80, 2))
    scoring = skorch.callbacks.EpochScoring("accuracy", name="accuracy")
    model = ResODEClassifier(
        4, width=8, flow_time=5.0, callbacks=[scoring], early_stopping=True
    ).fit(X, (X[:, 0] > 0).astype(int))
    assert model.net_.curve("accuracy") == pytest.approx(
        model.validation_scores_, rel=1e-4
    )


def test_learning_rate_schedulers_work(rng):
    X = rng.normal(size=(40, 2))
    scheduler = skorch.callbacks.LRScheduler(
        torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5
    )
    model = ResODERegressor(
        4, width=8, solver=SGD(max_epochs=4), callbacks=[scheduler], random_state=0
    ).fit(X, X[:, 0])
    assert model.net_.history[:, "event_lr"] == pytest.approx(
        [0.01, 0.005, 0.0025, 0.00125]
    )


@pytest.mark.parametrize("solver", [Flow(), AdamW(max_epochs=3)])
def test_progress_bar(solver, capsys):
    net = make_net(solver, horizon=5.0, callbacks=[ProgressBar()])
    net.partial_fit((make_samples(), make_samples(10)))
    shown = capsys.readouterr().err
    assert "100%" in shown
    assert "loss=" in shown
    assert "valid=" in shown
    assert ("5/5 t" in shown) if isinstance(solver, Flow) else ("3/3 epoch" in shown)


def test_many_batches_have_one_row_of_the_history(monkeypatch):
    curves = []
    for most, n_rows in ((1000, 13), (5, 1)):  # 5 become 1, with 4 more 1 again
        monkeypatch.setattr("odenet._training.net.MOST_BATCHES", most)
        net, train = make_net(AdamW(batch_size=4, max_epochs=3)), make_samples()
        net.partial_fit((train, None))
        assert len(net.history[-1]["batches"]) == n_rows
        assert net.n_grad_evals == 3 * 13
        curves.append(net.curve("train_loss"))
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)


def test_loop_forgets_the_data():
    net = make_net()
    net.partial_fit((make_samples(), make_samples(10)))
    held = [v for v in vars(net).values() if isinstance(v, (Samples, torch.Tensor))]
    assert held == []


@pytest.mark.parametrize(
    ("solver", "rates"), [(Flow(), [1, 1]), (SGD(), [1, 4])], ids=["flow", "sgd"]
)
def test_mini_batch_solvers_get_gradients_times_the_rates_of_the_flow(solver, rates):
    """A flow's optimizer has the rates itself: 1 for A and B, L = 4 for V and W."""
    net, samples = make_net(solver), make_samples()
    net._accumulate_gradients(samples.batch())
    groups = net.module_.parameter_groups()
    expected = [
        rate * g["params"][1].grad for g, rate in zip(groups, rates, strict=True)
    ]
    seen = []
    net.callbacks_.append(("spy", GradientSpy(seen)))
    net.train_step(samples.batch())
    for group, gradient in zip(groups, expected, strict=True):
        name = next(
            n for n, p in net.module_.named_parameters() if p is group["params"][1]
        )
        torch.testing.assert_close(seen[0][name], gradient)


class GradientSpy(skorch.callbacks.Callback):
    def __init__(self, seen):
        self.seen = seen

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.seen.append({name: p.grad.clone() for name, p in named_parameters})


def test_a_fit_ends_with_the_average(monkeypatch):
    averages = []
    update = RunningAverage.update

    def spy(self):
        update(self)
        averages.append(self.weights["V"].clone())

    monkeypatch.setattr(RunningAverage, "update", spy)
    net = make_net(AdamW(batch_size=16, max_epochs=3))
    held_out = make_samples(30, seed=1)
    net.partial_fit((make_samples(), held_out))
    assert torch.equal(net.module_.V.data, averages[-1])
    assert net.average is None
    assert net.history[-1]["valid_loss"] == pytest.approx(net.objective(held_out))


def test_a_copy_of_weights_can_use_the_memory_of_an_earlier_one():
    net = make_net()
    first = net.weights()
    net.module_.V.data += 1
    places = {name: Z.data_ptr() for name, Z in first.items()}
    again = net.weights(out=first)
    assert {name: Z.data_ptr() for name, Z in again.items()} == places
    assert torch.equal(again["V"], net.module_.V.data)
    deeper = {**first, "V": torch.zeros(8, *first["V"].shape[1:])}
    fresh = net.weights(out=deeper)
    assert fresh["V"].shape == net.module_.V.shape
