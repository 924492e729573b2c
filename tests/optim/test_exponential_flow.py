"""The exponential integrator, at small networks whose flow is known from elsewhere."""

from math import exp, inf

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from odenet import depth_smoothness, tangent_kernel
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._losses.squared_error import SquaredError
from odenet._optim import exponential_flow
from odenet._tables.samples import Samples
from odenet._training.net import TrainingNet
from odenet._training.sample_space import SampleSpace
from odenet.solvers import Flow, GradientDescent
from tests.helpers import make_network

N, N_FEATURES = 20, 2
EXPONENTIAL = Flow(method="exponential")
PENALTIES = {"alpha": 0.02, "smoothness_penalty": 0.05}


def make_net(solver=EXPONENTIAL, loss=None, depth=6, n_outputs=1, horizon=inf, **more):
    network = make_network(N_FEATURES, n_outputs, depth=depth, width=8)
    loss = loss or SquaredError()
    return TrainingNet(network, loss, solver, horizon=horizon, **more).initialize()


def make_samples(loss=None, n_outputs=1):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N, N_FEATURES, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * X[:, :1]) * X[:, 1:]
    if isinstance(loss, LogisticLoss):
        y = (y[:, 0] > 0).double()
    elif isinstance(loss, CrossEntropy):
        y = torch.bucketize(y[:, 0], torch.tensor([-0.3, 0.3], dtype=torch.float64))
    weight = torch.rand(N, generator=generator, dtype=torch.float64) + 0.5
    return Samples(X, y, weight / weight.mean())


def follow(net, samples, *times):
    """Follow the flow to some times, and return the outputs at each."""
    results = []
    for time in times:
        net.optimizer_.horizon = time
        while net.optimizer_.flow_time < time:
            net.train_step(samples.batch())
        results.append(net.module_(samples.X).detach().numpy())
    return results


def reference(net, samples, time):
    """The outputs by SciPy, for the flow of all parameters at a tolerance of 1e-12."""
    groups = [(p, g["lr"]) for g in net.module_.parameter_groups() for p in g["params"]]
    sizes = [p.numel() for p, _ in groups]

    def write(theta):
        for (p, _), part in zip(groups, torch.tensor(theta).split(sizes), strict=True):
            p.data.copy_(part.view_as(p))

    def velocity(t, theta):
        write(theta)
        net.clear_gradients()
        net._accumulate_gradients(samples.batch())
        return np.concatenate([-rate * p.grad.flatten().numpy() for p, rate in groups])

    start = np.concatenate([p.detach().flatten().numpy() for p, _ in groups])
    solution = solve_ivp(velocity, (0, time), start, "DOP853", rtol=1e-12, atol=1e-12)
    write(solution.y[:, -1])
    return net.module_(samples.X).detach().numpy()


CASES = {  # loss, number of outputs and penalties
    "squared error": (SquaredError(), 1, {}),
    "penalised": (SquaredError(), 1, PENALTIES),
    "three classes": (CrossEntropy(), 3, {}),
    "three classes, penalised": (CrossEntropy(0.1), 3, PENALTIES),
}


@pytest.mark.parametrize("case", CASES)
def test_order_two_against_scipy(case, monkeypatch):
    """Halved steps have a quarter of the error, whatever the loss and the penalties."""
    monkeypatch.setattr(exponential_flow, "TOLERANCE", 1e-10)
    loss, n_outputs, penalties = CASES[case]
    samples = make_samples(loss)
    settings = {"loss": loss, "n_outputs": n_outputs, **penalties}
    exact = reference(make_net(**settings), samples, 4.0)
    errors = []
    for n_steps in (16, 32):
        net = make_net(Flow(method="exponential", rtol=1e6), **settings)
        net.optimizer_._progress["step_size"] = 1.0  # each step ends at a horizon
        (*_, ours) = follow(net, samples, *np.linspace(0, 4, n_steps + 1)[1:])
        assert net.optimizer_.n_rejected == 0
        errors.append(np.abs(ours - exact).max())
    assert errors[1] < 1e-4
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(
    "times", [(1.0, 10.0), pytest.param((1.0, 10.0, 100.0), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "loss",
    [SquaredError(), LogisticLoss(), CrossEntropy(0.1)],
    ids=lambda loss: type(loss).__name__,
)
def test_all_integrators_follow_the_same_flow(loss, times):
    n_outputs = 3 if isinstance(loss, CrossEntropy) else 1
    samples, settings = make_samples(loss), {"loss": loss, "n_outputs": n_outputs}
    ours, tight, rkc, euler = (
        follow(make_net(solver, **settings), samples, *times)
        for solver in (
            EXPONENTIAL,
            Flow(method="exponential", rtol=1e-4),
            Flow(method="rkc", rtol=1e-4),
            GradientDescent(learning_rate=8e-3),
        )
    )
    for at in range(len(times)):
        np.testing.assert_allclose(tight[at], rkc[at], atol=1e-2)
        np.testing.assert_allclose(tight[at], euler[at], atol=0.01)
        np.testing.assert_allclose(ours[at], rkc[at], atol=0.06 if at < 2 else 0.3)


def test_the_loss_falls_to_rounding_at_the_rate_of_the_kernel():
    """As theorem 6 of Marion et al. says, and as no explicit integrator does."""
    net, few = make_net(), make_samples()
    few = Samples(few.X[:6], few.y[:6], torch.ones(6, dtype=torch.float64))
    start = loss = net.objective(few)
    while loss > 1e-12 * start:
        before = loss
        net.train_step(few.batch())
        loss = net.objective(few)
        assert loss < before
    mu = tangent_kernel(net.module_, few.X).pl_constant
    time = net.optimizer_.flow_time
    follow(net, few, time + 20 / mu)
    assert np.log(loss / net.objective(few)) / 20 == pytest.approx(1, rel=0.02)
    net.optimizer_.horizon = inf
    while not net.optimizer_.stalled:  # and then it rests
        net.train_step(few.batch())
        assert net.optimizer_.n_kernels < 300
    assert net.objective(few) < 1e-27 * start


def test_a_rest_with_penalties_is_reached_and_kept():
    """Whatever the length of the steps: the splitting is balanced."""
    samples, net = make_samples(), make_net(alpha=0.02)
    follow(net, samples, 2000.0)
    assert net.optimizer_._point.fall < 1e-20
    net = make_net(**PENALTIES)
    follow(net, samples, 1000.0)
    at_rest, fall = net.objective(samples), net.optimizer_._point.fall
    assert fall < 1e-8
    follow(net, samples, 2500.0)
    assert net.objective(samples) == pytest.approx(at_rest, rel=1e-9)


def test_a_decay_alone_is_exact():
    """Where no output is to change, the flow is that of the L2 penalty."""
    samples, net = make_samples(), make_net(alpha=0.5, depth=3)
    silent = Samples(samples.X, samples.y, torch.zeros(N, dtype=torch.float64))
    before = {n: p.detach().clone() for n, p in net.module_.named_parameters()}
    follow(net, silent, 3.0)
    for name, p in net.module_.named_parameters():
        torch.testing.assert_close(
            p.detach(), before[name] * exp(-1.5), rtol=1e-10, atol=0
        )


def test_what_is_frozen_does_not_move():
    samples, net = make_samples(), make_net(**PENALTIES)
    net.module_.embedding.requires_grad_(False)
    before, loss = net.module_.embedding.clone(), net.objective(samples)
    follow(net, samples, 20.0)
    assert torch.equal(net.module_.embedding, before)
    assert net.objective(samples) < 0.8 * loss
    ratio = net.optimizer_.energy_ratio
    assert ratio == pytest.approx(1, abs=0.1)
    for p in net.module_.parameters():
        p.requires_grad_(False)
    net = make_net()
    net.module_.requires_grad_(False)
    assert np.ptp(follow(net, samples, 1.0)) == 0


def test_steps_are_rejected_where_the_kernel_changes_too_fast():
    samples, net = make_samples(), make_net()
    net.optimizer_._progress["step_size"] = 1e3
    net.train_step(samples.batch())
    assert net.optimizer_.n_rejected >= 2
    assert net.optimizer_.n_kernels == 2 + net.optimizer_.n_rejected
    assert net.optimizer_.flow_time < 50


def test_a_kernel_that_overflows_shortens_the_step(monkeypatch):
    samples, net = make_samples(), make_net()
    net.train_step(samples.batch())
    kernels = SampleSpace.linearise

    def overflowing(space):
        monkeypatch.setattr(SampleSpace, "linearise", kernels)
        return tuple(inf * part for part in kernels(space))

    monkeypatch.setattr(SampleSpace, "linearise", overflowing)
    before = net.objective(samples)
    net.train_step(samples.batch())
    assert net.optimizer_.n_rejected == 1
    assert net.objective(samples) < before
    monkeypatch.setattr(SampleSpace, "linearise", overflowing)
    with pytest.raises(FloatingPointError, match="tangent kernel is not finite"):
        make_net().train_step(samples.batch())


def test_layers_that_rebuild_their_states_are_followed_the_same():
    samples, stored, rebuilt = make_samples(), make_net(), make_net()
    rebuilt.module_.backward = "rebuilt"
    expected, found = (follow(net, samples, 5.0) for net in (stored, rebuilt))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_a_saved_flow_goes_on_the_same():
    samples, net, other = make_samples(), make_net(), make_net()
    for _ in range(4):
        net.train_step(samples.batch())
    other.module_.load_state_dict(net.module_.state_dict())
    other.optimizer_.load_state_dict(net.optimizer_.state_dict())
    other.optimizer_.go_to(net.optimizer_.position())
    for each in (net, other):
        each.train_step(samples.batch())
    assert torch.equal(net.module_.V, other.module_.V)
    assert net.optimizer_.n_kernels == other.optimizer_.n_kernels


def test_weights_stay_as_smooth_in_depth_as_by_runge_kutta():
    """A step is the gradient of a reweighted loss, as smooth as the flow's own."""
    samples = make_samples()
    for depth in (16, 64, 256):
        ratios, steps = [], []
        for solver in (EXPONENTIAL, Flow(method="rkc")):
            net = make_net(solver, depth=depth)
            follow(net, samples, 40.0)
            smoothness = depth_smoothness(net.module_)
            ratios.append(smoothness.von_neumann_ratio)
            steps.append(smoothness.lipschitz)
        assert ratios[0] == pytest.approx(ratios[1], rel=0.1)
        assert steps[0] == pytest.approx(steps[1], rel=0.1)
        assert ratios[0] < 100 / depth**2
