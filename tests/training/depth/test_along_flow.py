from math import inf, isfinite, nan
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, make_friedman1
from sklearn.exceptions import ConvergenceWarning

from odenet import ResidualNetwork, ResODEClassifier, ResODERegressor
from odenet._losses.squared_error import SquaredError
from odenet._network.residual import ACTIVATIONS
from odenet._optim.gradient_flow import GradientFlow
from odenet._tables.samples import Samples
from odenet._training.depth import walk
from odenet._training.depth.along_flow import EVALS_BETWEEN, FlowSchedule, next_step
from odenet._training.depth.in_stages import StagedSchedule
from odenet._training.depth.walk import Comparison, Step
from odenet._training.monitor import Monitor
from odenet._training.net import TrainingNet
from odenet._training.stop_reason import StopReason
from odenet.schemes import GaussianProcess, Tied
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

SMOOTH = ["tied", "gaussian_process"]


def friedman(n_samples=150):
    return make_friedman1(n_samples, noise=0.5, random_state=0)


def fit(depth, schedule, X, y, estimator=ResODERegressor, **settings):
    settings = {"early_stopping": False, "flow_time": 40.0, "width": 32} | settings
    model = estimator(depth, depth_schedule=schedule, random_state=0, **settings)
    return model.fit(X, y)


# The network that imitates a deeper one ---------------------------------------------


def trained_like_network(depth, activation="gelu"):
    """Layers that sample a fixed smooth function of depth, at the middles."""
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(
        3,
        2,
        depth=depth,
        width=8,
        state_dim=6,
        activation=activation,
        generator=generator,
        dtype=torch.float64,
    )
    s = (torch.arange(depth, dtype=torch.float64) + 0.5)[:, None, None] / depth
    for weights in (network.V, network.W):
        shape = (2, *weights.shape[1:])
        a, b = torch.randn(shape, generator=generator, dtype=torch.float64)
        weights.data = 1.5 * torch.sin(3 * s) * a + torch.cos(2 * s) * b
    return network


def output_and_layer_gradients(network):
    """The output, and its gradient as a function of depth, summed up over depth."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    output = network(x)
    output.square().sum().backward()
    return output.detach(), network.W.grad.sum(dim=0)


def slope(depths, errors):
    return np.polyfit(np.log(depths), np.log(errors), 1)[0]


@pytest.mark.parametrize("imitated_depth", [256, 4096])
@pytest.mark.parametrize("activation", ["gelu", "tanh", "identity"])
def test_imitation_is_of_second_order(imitated_depth, activation):
    """The output and its gradients, against a network of the depth itself."""
    deep = output_and_layer_gradients(trained_like_network(imitated_depth, activation))
    depths, errors = [16, 32, 64], []
    for depth in depths:
        network = trained_like_network(depth, activation)
        network.imitated_depth = imitated_depth
        shallow = output_and_layer_gradients(network)
        errors.append([(a - b).norm() for a, b in zip(shallow, deep, strict=True)])
    for kind in np.array(errors).T:
        assert slope(depths, kind) == pytest.approx(-2, abs=0.25)


def test_without_imitation_the_order_is_one():
    deep = output_and_layer_gradients(trained_like_network(4096))
    depths, errors = [16, 32, 64], []
    for depth in depths:
        shallow = output_and_layer_gradients(trained_like_network(depth))
        errors.append((shallow[0] - deep[0]).norm())
    assert slope(depths, errors) == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_imitating_its_own_depth_changes_nothing(activation):
    network = trained_like_network(8, activation)
    plain, _ = output_and_layer_gradients(network)
    network.imitated_depth = 8
    imitating, _ = output_and_layer_gradients(network)
    torch.testing.assert_close(imitating, plain)


# The result is that of training at full depth --------------------------------------


@pytest.mark.parametrize("init", SMOOTH)
@pytest.mark.parametrize("depth", [16, 60])
def test_regressor_ends_where_training_at_full_depth_ends(init, depth):
    """The training loss within 1 %, as documented, and nearly the same outputs."""
    X, y = friedman()
    walked, full = (fit(depth, s, X, y, init=init) for s in ("doubling", None))
    assert len(walked.depth_path_) > 1
    assert walked.loss_curve_[-1] == pytest.approx(full.loss_curve_[-1], rel=0.01)
    distance = np.std(walked.predict(X) - full.predict(X)) / np.std(full.predict(X))
    assert distance < 0.02


def test_classifier_ends_where_training_at_full_depth_ends():
    X, y = load_breast_cancer(return_X_y=True)
    settings = {"estimator": ResODEClassifier, "flow_time": 100.0}
    walked, full = (
        fit(32, s, X[:300], y[:300], **settings) for s in ("doubling", None)
    )
    assert walked.loss_curve_[-1] == pytest.approx(full.loss_curve_[-1], rel=0.01)
    assert (walked.predict(X) == full.predict(X)).mean() > 0.99


@pytest.mark.parametrize("flow_time", [0.01, 1.0])
def test_short_flows_end_at_full_depth_too(flow_time):
    X, y = friedman()
    walked, full = (fit(32, s, X, y, flow_time=flow_time) for s in ("doubling", None))
    assert walked.flow_time_ == full.flow_time_ == flow_time
    assert walked.depth_path_[-1]["flow_time"] < flow_time
    assert walked.net_.history[-1]["depth"] == 32
    assert walked.loss_curve_[-1] == pytest.approx(full.loss_curve_[-1], rel=0.01)


def test_plain_shallow_layers_would_not_do():
    """What the imitation is for: the losses of plain networks differ by more."""
    X, y = friedman()
    shallow, full = (fit(depth, None, X, y) for depth in (4, 60))
    assert shallow.loss_curve_[-1] != pytest.approx(full.loss_curve_[-1], rel=0.03)


@pytest.mark.parametrize("solver", [GradientDescent(0.1), Flow()], ids=repr)
def test_most_of_a_flow_is_shallow_and_its_end_deep(solver):
    X, y = friedman()
    model = fit(64, "doubling", X, y, flow_time=10.0, solver=solver)
    depths = np.array(model.net_.history[:, "depth"])
    assert (np.diff(depths) >= 0).all()
    assert depths[0] == 4
    assert depths[-1] == 64
    assert (depths == 64).mean() < 0.3
    assert model.flow_time_ == 10.0
    assert model.stop_reason_ == "horizon"


@pytest.mark.parametrize("settings", [{"smoothness_penalty": 1e-3}, {"alpha": 0.01}])
def test_penalties_mean_the_same_at_few_layers(settings):
    X, y = friedman()
    settings = {"init": "gaussian_process", "flow_time": 20.0, **settings}
    walked, full = (fit(24, s, X, y, **settings) for s in ("doubling", None))
    assert walked.loss_curve_[-1] == pytest.approx(full.loss_curve_[-1], rel=0.01)


# The path ----------------------------------------------------------------------------


def test_path_tells_what_happened():
    X, y = friedman()
    model = fit(64, "doubling", X, y, flow_time=60.0)
    path = pd.DataFrame(model.depth_path_)
    assert path.depth.iloc[0] == 4
    assert path.depth.iloc[-1] == 64
    assert path.depth.is_monotonic_increasing
    for column in ("flow_time", "n_grad_evals", "seconds", "n_iter"):
        assert path[column].is_monotonic_increasing
    assert path[["loss_gap", "output_gap"]].iloc[0].isna().all()
    assert (path.output_gap.iloc[1:] > 0).all()
    history = model.net_.history
    for row in model.depth_path_[1:]:
        before = history[row["n_iter"] - 1]
        assert before["flow_time"] == row["flow_time"]
        assert row["loss"] - row["loss_gap"] == pytest.approx(
            before["train_loss"], rel=1e-4
        )


def test_a_walk_with_early_stopping_has_two_parts():
    X, y = friedman(300)
    model = ResODERegressor(32, width=16, random_state=0).fit(X, y)
    roles = [row["role"] for row in model.depth_path_]
    assert roles == sorted(roles)
    assert set(roles) == {"choose", "fit"}
    assert model.depth_path_[-1]["depth"] == 32
    for role in ("choose", "fit"):
        first = next(r for r in model.net_.history if r["role"] == role)
        assert first["depth"] == 4


def test_early_stopping_on_given_samples_follows_the_flow_again():
    X, y = friedman(300)
    model = ResODERegressor(32, width=16, random_state=0)
    model.fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    assert model.stop_reason_ in {"early_stopping", "horizon"}
    assert model.net_.history[-1]["depth"] == 32
    assert model.score(X[200:], y[200:]) > 0.8


def test_stationary_flow_ends_at_full_depth():
    X, y = np.arange(8.0)[:, None], np.arange(8.0)
    model = ResODERegressor(32, width=8, activation="identity", random_state=0)
    model.set_params(flow_time=1e6, alpha=0.1).fit(X, y)
    assert model.stop_reason_ == "stationary"
    assert model.net_.history[-1]["depth"] == 32
    assert model.flow_time_ < 1e5


@pytest.mark.parametrize("horizon", [100.0, inf])
def test_a_flow_without_a_horizon_goes_on_until_it_rests_at_full_depth(horizon):
    schedule, samples = FlowSchedule([4, 16]), Mock()
    net = Mock(horizon=horizon, flow_time=10.0)
    net.optimizer_.reach.return_value = 3.0
    schedule.reason_to_stop = None
    schedule.go_to_full_depth = Mock(return_value=Comparison(1.0, 0.0, 0.0))
    schedule._begin_final_stretch(net, StopReason.STATIONARY, samples)
    schedule.go_to_full_depth.assert_called_once_with(net, samples)
    assert net.horizon == (inf if horizon == inf else 12.0)  # a share of the horizon


@pytest.mark.parametrize(
    "solver", [Flow(max_evals=60), GradientDescent(10.0)], ids=repr
)
@pytest.mark.filterwarnings("ignore:Training:sklearn.exceptions.ConvergenceWarning")
def test_a_training_that_fails_leaves_a_network_of_full_depth(solver):
    X, y = friedman()
    model = fit(64, "doubling", X, y, solver=solver, flow_time=300.0)
    assert model.stop_reason_ in {"max_evals", "diverged"}
    assert model.depth_ == model.module_.depth == 64
    assert model.module_.imitated_depth is None
    assert np.isfinite(model.predict(X)).all()


# Which depths ------------------------------------------------------------------------


def test_schedules_that_make_no_sense_are_refused():
    X, y = friedman(20)
    for schedule in ([4, 8], [8, 4, 64], [0, 64], [4.5, 64], [], ["a"], [[]]):
        with pytest.raises(ValueError, match=r"`depth_schedule` must .* depth=64, got"):
            fit(64, schedule, X, y)


def test_a_sequence_is_walked():
    X, y = friedman()
    model = fit(48, (3, 48), X, y)
    assert [row["depth"] for row in model.depth_path_] == [3, 48]


def test_independent_layers_are_not_refined():
    X, y = friedman()
    walked, full = (
        fit(16, s, X, y, init="iid", flow_time=2.0) for s in ("doubling", None)
    )
    assert [row["depth"] for row in walked.depth_path_] == [16]
    assert walked.loss_curve_ == full.loss_curve_


@pytest.mark.parametrize("init", [Tied(), GaussianProcess(length_scale=0.2)], ids=repr)
def test_a_walk_starts_from_samples_of_the_full_start(init):
    """Whatever was not trained is at last what it would have been at full depth."""
    X, y = friedman()
    walked, full = (
        fit(32, s, X, y, init=init, flow_time=1e-6) for s in ("doubling", None)
    )
    assert len(walked.depth_path_) == 2
    difference = walked.module_.W - full.module_.W
    assert difference.abs().max() < 1e-4


# depth="auto" ------------------------------------------------------------------------


@pytest.mark.parametrize("gap_tol", [0.03, 0.005])
@pytest.mark.parametrize("init", SMOOTH)
def test_auto_depth_reaches_the_gap(gap_tol, init):
    X, y = friedman()
    model = fit("auto", "doubling", X, y, gap_tol=gap_tol, init=init, flow_time=20.0)
    assert model.depth_ == model.module_.depth
    assert model.ode_gap(X) <= 1.05 * gap_tol
    half = model.with_depth(model.depth_ // 2)
    assert model.depth_ == 4 or half.ode_gap(X) > 0.8 * gap_tol
    assert model.depth_path_[-1]["depth"] == model.depth_


def test_auto_depth_is_no_deeper_than_it_needs_to_be():
    X, y = friedman()
    model = fit("auto", "doubling", X, y, gap_tol=0.001, flow_time=20.0)
    assert model.with_depth(round(0.9 * model.depth_)).ode_gap(X) > 0.001


def test_auto_depth_needs_a_smooth_start():
    X, y = friedman(50)
    with pytest.raises(ValueError, match="`depth='auto'` needs .* got init='iid'"):
        fit("auto", "doubling", X, y, init="iid")


@pytest.mark.parametrize("schedule", [None, [4, 8]])
def test_auto_depth_needs_doubling(schedule):
    X, y = friedman(50)
    with pytest.raises(ValueError, match="must be 'doubling' for depth='auto'"):
        fit("auto", schedule, X, y)


def test_auto_depth_with_mini_batches_and_early_stopping():
    X, y = load_diabetes(return_X_y=True)
    model = ResODERegressor("auto", solver=AdamW(max_epochs=20), random_state=0)
    model.fit(X, y)
    assert model.ode_gap(X) <= 1.05 * 0.01


def test_auto_depth_survives_a_divergence():
    X, y = friedman()
    solver = SGD(learning_rate=1e4, max_epochs=3)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model = fit("auto", "doubling", X, y, solver=solver)
    assert np.isfinite(model.predict(X)).all()
    assert model.depth_ <= 1024


def test_auto_depth_grows_in_a_warm_start():
    X, y = friedman()
    model = fit("auto", "doubling", X, y, gap_tol=0.01, flow_time=0.5)
    before = model.depth_
    model.set_params(warm_start=True, flow_time=60.0).fit(X, y)
    assert model.depth_ > before
    assert model.ode_gap(X) <= 1.05 * 0.01
    assert model.flow_time_ == 60.0


def test_auto_depth_tells_where_it_gives_up(monkeypatch):
    monkeypatch.setattr(walk, "DEEPEST", 16)
    X, y = friedman()
    with pytest.warns(ConvergenceWarning, match="ends at 16 layers, where the gap"):
        model = fit("auto", "doubling", X, y, gap_tol=1e-7)
    assert model.depth_ == 16


def test_an_interrupted_second_training_keeps_the_chosen_weights(monkeypatch):
    X, y = friedman(300)
    reference = ResODERegressor(16, width=16, random_state=0).fit(X, y)
    judge = Monitor.on_epoch_end

    def interrupt(self, net, **kwargs):
        judge(self, net, **kwargs)
        if not self.early_stopping:
            raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, "on_epoch_end", interrupt)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = ResODERegressor("auto", width=16, random_state=0).fit(X, y)
    assert model.depth_ < 128
    assert model.score(X, y) > reference.score(X, y) - 0.1


def test_an_interrupt_at_few_layers_leaves_the_full_depth(monkeypatch):
    X, y = friedman()
    judge = Monitor.on_epoch_end

    def interrupt(self, net, **kwargs):
        judge(self, net, **kwargs)
        if net.flow_time > 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, "on_epoch_end", interrupt)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = fit(32, "doubling", X, y)
    assert model.net_.history[-1]["depth"] < 32
    assert model.depth_ == 32
    assert model.module_.imitated_depth is None


# What the optimizer remembers --------------------------------------------------------


def make_net(solver, depth=16):
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(3, 1, depth=depth, width=8, generator=generator)
    walk = FlowSchedule if solver.batch_size is None else StagedSchedule
    schedule = walk([4 if solver.batch_size is None else 8, depth])
    monitor = Monitor(schedule=schedule)
    net = TrainingNet(network, SquaredError(), solver, horizon=10.0, monitor=monitor)
    net.initialize()
    net.callbacks_[-1][1].on_train_begin(net, (samples(), None))
    return net, schedule


def samples():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 3, generator=generator)
    return Samples(X, X[:, :1] + torch.sin(2 * X[:, 1:2]), torch.ones(40))


@pytest.mark.parametrize("solver", [SGD(), AdamW()], ids=repr)
def test_states_of_mini_batch_optimizers_go_along(solver):
    """The size that AdamW divides by is that of all layers."""
    net, schedule = make_net(solver)
    for _ in range(3):
        net.train_step(samples().batch())
    before = dict(net.optimizer_.state[net.module_.V])
    schedule.change_depth(net, 16)
    after = net.optimizer_.state[net.module_.V]
    moments = {"mean", "momentum_buffer"} & set(before)
    for name in moments:
        assert torch.equal(after[name], before[name].repeat_interleave(2, dim=0))
    assert all(after[name] is before[name] for name in set(before) - moments)
    net.train_step(samples().batch())


def test_gradients_of_mini_batches_do_not_depend_on_depth():
    """So momentum and Adam's states mean the same at every depth."""
    gradients = []
    for depth in (16, 64):
        net, schedule = make_net(SGD(), depth)
        schedule.change_depth(net, depth)
        net.train_step(samples().batch())
        gradients.append(net.module_.V.grad.norm() / depth**0.5)
    assert gradients[0] == pytest.approx(gradients[1].item(), rel=0.1)


def test_two_jumps_without_a_step_keep_the_step_length():
    net, schedule = make_net(Flow(), depth=32)
    net.train_step(samples().batch())
    progress = net.optimizer_._progress
    progress["step_size"] = 1e3
    for depth in (8, 16):
        schedule.change_depth(net, depth)
        assert progress["step_size_before"] == 1e3
        assert progress["step_size"] < 1e3


def test_state_of_the_flow_goes_along():
    net, schedule = make_net(Flow())
    for _ in range(6):
        net.train_step(samples().batch())
    flow = net.optimizer_
    radius, step_size = flow.spectral_radius, flow._progress["step_size"]
    direction = flow.unscaled(flow._progress["direction"])
    schedule.change_depth(net, 16)
    assert flow.param_groups[1]["lr"] == 16
    for before, after in zip(
        direction, flow.unscaled(flow._progress["direction"]), strict=True
    ):
        n = 4 if before.dim() == 3 else 1
        torch.testing.assert_close(after, before.repeat_interleave(n, dim=0))
    net.train_step(samples().batch())
    assert flow.spectral_radius == radius
    assert flow._progress["step_size"] == step_size


def test_more_layers_where_the_loss_differs_there(monkeypatch):
    """Another comparison is due after some gradients, and a bad end is told."""
    monkeypatch.setattr(GradientFlow, "n_grad_evals", EVALS_BETWEEN)
    for loss, loss_gap, depth in (
        (1.0, 0.1, 8),
        (1.0, -0.1, 8),
        (1.0, 1e-4, 4),
        (1e-9, 5e-10, 4),  # as good as zero
        (nan, nan, 4),
    ):
        net, schedule = make_net(Flow())
        schedule.depths = [4, 8]
        schedule.compare = Mock(return_value=Comparison(loss, loss_gap, 0.0))
        for _ in range(2):
            assert schedule.judge(net, None, samples()) is None
        assert schedule.compare.call_count == 1
        assert net.module_.depth == depth
        reason = schedule.judge(net, StopReason.STATIONARY, samples())
        assert net.module_.depth == 16
        assert reason is (None if isfinite(loss) else StopReason.DIVERGED)


# What is decided after a step ---------------------------------------------------------

NOT_CONCLUSIVE = ["diverged", "max_evals", "callback", "interrupted"]


def decide(reason=None, done=False, chooses=False, stretch=False, due=False):
    return next_step(
        None if reason is None else StopReason(reason),
        is_done=done,
        only_chooses=chooses,
        final_stretch_begins=stretch,
        comparison_is_due=due,
    )


def test_next_step_of_a_flow():
    for decision, step in [
        (decide(), Step.STAY),
        (decide(due=True), Step.COMPARE),
        (decide(due=True, stretch=True), Step.LAST_DEPTH),
        (decide("stationary"), Step.LAST_DEPTH),
        (decide("horizon"), Step.LAST_DEPTH),
        (decide("early_stopping", chooses=True), Step.END),
        (decide("stationary", chooses=True), Step.END),
        (decide(chooses=True, due=True), Step.COMPARE),
        (decide(done=True, due=True, stretch=True), Step.STAY),
        (decide("horizon", done=True), Step.END),
        *((decide(reason), Step.END) for reason in NOT_CONCLUSIVE),
        *((decide(reason, stretch=True), Step.END) for reason in NOT_CONCLUSIVE),
    ]:
        assert decision is step
