import copy
from math import inf

import numpy as np
import pytest
import torch

from odenet import GradientFlow
from odenet._optim.explicit_euler import ExplicitEuler
from odenet._optim.flow_optimizer import all_finite, fallen
from tests.optim.flows import follow, make_closure, quartic, small_problem


def test_any_module_and_changes_from_outside():
    model = torch.nn.Linear(2, 1)
    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    flow = GradientFlow(model.parameters())
    closure = make_closure(flow, lambda: (model(x) - x.sum(1, True)).square().mean())
    flow.step(closure)
    with torch.no_grad():
        model.weight.fill_(5.0)
    evals = flow.n_grad_evals
    loss = flow.step(closure)
    assert loss > 1  # the step started from the new weights
    assert flow.n_grad_evals > evals + 2


def test_interrupted_step_goes_back_to_where_it_started():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x])
    closure = make_closure(flow, loss)
    flow.step(closure)
    before, calls = x.detach().clone(), []

    def interrupted():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        flow.step(interrupted)
    assert torch.equal(x, before)


def test_state_can_be_saved_and_loaded():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x])
    closure = make_closure(flow, loss)
    for _ in range(3):
        flow.step(closure)
    twin = torch.tensor(x.tolist(), dtype=torch.float64, requires_grad=True)
    other = GradientFlow([twin])
    other.load_state_dict(flow.state_dict())
    assert other.flow_time == flow.flow_time
    assert other.n_grad_evals == flow.n_grad_evals
    flow.step(closure)
    other.step(make_closure(other, lambda: twin.pow(4).sum() / 4))
    torch.testing.assert_close(twin, x)


def test_a_start_that_is_not_finite_is_an_error():
    x = torch.tensor([inf], requires_grad=True)
    flow = GradientFlow([x])
    with pytest.raises(FloatingPointError, match="not finite: loss = inf"):
        flow.step(make_closure(flow, lambda: x.square().sum()))


def test_a_first_closure_that_fails_leaves_nothing_behind():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x], rtol=1e-6, horizon=1.0)

    def fails():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        flow.step(fails)
    follow(flow, loss, 1.0)
    exact = np.array([1.0, 2.0]) / np.sqrt(1 + 2 * np.array([1.0, 4.0]))
    np.testing.assert_allclose(x.detach(), exact, rtol=1e-4)


def test_horizon_can_be_moved_on():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x], horizon=0.5)
    follow(flow, loss, 0.5)
    flow.step(make_closure(flow, loss))
    assert flow.flow_time == 0.5
    flow.horizon = 0.8
    follow(flow, loss, 0.8)
    assert flow.flow_time == 0.8


def test_rate_of_zero_is_refused_before_anything_is_written():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x], lr=0.0)
    with pytest.raises(ValueError, match="`lr` must be positive, got 0.0"):
        flow.step(make_closure(flow, loss))
    assert x.tolist() == [1.0, 2.0]


def test_optimizer_can_be_copied():
    x, loss = quartic([1.0, 2.0])
    flow = GradientFlow([x])
    flow.step(make_closure(flow, loss))
    assert copy.deepcopy(flow).flow_time == flow.flow_time


def test_rates_are_time_scales():
    """A rate of 3 reaches in time 1 what a rate of 1 reaches in time 3."""
    ends = []
    for rate, horizon in [(3.0, 1.0), (1.0, 3.0)]:
        x, loss = quartic([1.0, 2.0])
        follow(GradientFlow([x], lr=rate, rtol=1e-7, horizon=horizon), loss, horizon)
        ends.append(x.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("optimizer", "accuracy"),
    [(GradientFlow, {"rtol": 1e-4}), (ExplicitEuler, {"learning_rate": 1e-3})],
)
def test_clipped_flow_is_bounded(optimizer, accuracy):
    x = torch.tensor([5.0, 0.1], dtype=torch.float64, requires_grad=True)
    flow = optimizer([x], clip=0.5, horizon=2.0, **accuracy)
    follow(flow, lambda: x.square().sum() / 2, 2.0)
    assert x[0].item() == pytest.approx(5.0 - 0.5 * 2.0, abs=1e-3)
    assert x[1].item() == pytest.approx(0.1 * np.exp(-2), abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rtol": 0.0}, "`rtol` must be positive, got 0.0"),
        ({"clip": -1.0}, "`clip` must be positive or None, got -1.0"),
        ({"horizon": 0.0}, "`horizon` must be positive, got 0.0"),
        ({"max_stages": 1}, "`max_stages` must be at least 2, got 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GradientFlow([torch.zeros(1, requires_grad=True)], **settings)


def set_by_data(p):
    p.data.fill_(5.0)


def set_in_place(p):
    with torch.no_grad():
        p.fill_(5.0)


def swap_data(p):
    p.data = torch.full_like(p, 5.0)


def permute(p):
    with torch.no_grad():
        p.copy_(p.flip(0))


@pytest.mark.parametrize("change", [set_by_data, set_in_place, swap_data, permute])
@pytest.mark.parametrize("optimizer", [GradientFlow, ExplicitEuler])
def test_every_change_of_the_parameters_is_noticed(optimizer, change):
    x, loss = quartic([1.0, 2.0])
    flow = optimizer([x])
    closure = make_closure(flow, loss)
    for _ in range(3):
        flow.step(closure)
    change(x)
    changed = x.detach().clone()
    evals = flow.n_grad_evals
    flow.step(closure)
    assert flow.n_grad_evals > evals + 1
    bound = 0.5 * changed.abs()  # near where it was put, not where it had been
    assert ((x - changed).abs() < bound).all()


def test_a_change_of_the_rates_is_noticed():
    x, loss = quartic([1.0, 2.0])
    flow = ExplicitEuler([x], learning_rate=0.01)
    closure = make_closure(flow, loss)
    flow.step(closure)
    before = x.detach().clone()
    flow.param_groups[0]["lr"] = 3.0
    flow.step(closure)
    torch.testing.assert_close(x.detach(), before - 0.03 * before**3)


def test_nothing_is_evaluated_twice():
    """A step of Euler takes one gradient, but for that of the start."""
    x, loss = quartic([1.0, 2.0])
    flow = ExplicitEuler([x], learning_rate=0.01)
    for _ in range(5):
        flow.step(make_closure(flow, loss))
    assert flow.n_grad_evals == 6


def test_parameters_without_a_gradient_stay():
    x, loss = quartic([1.0, 2.0])
    other = torch.ones(3, dtype=torch.float64, requires_grad=True)
    flow = GradientFlow([{"params": [x]}, {"params": [other], "lr": 7.0}])
    follow(flow, loss, 0.5)
    torch.testing.assert_close(other.detach(), torch.ones(3, dtype=torch.float64))


def test_parameters_that_are_not_contiguous():
    start = torch.arange(1.0, 7.0, dtype=torch.float64).view(2, 3)
    ends = []
    for x in (start.clone(), start.mT.contiguous().mT):
        x.requires_grad_()
        follow(GradientFlow([x], lr=2.0, horizon=0.5), lambda x=x: x.pow(4).sum(), 0.5)
        ends.append(x.detach())
    assert torch.equal(*ends)


def test_resumed_counts_go_on():
    x, loss = quartic([1.0, 2.0])
    flow = ExplicitEuler([x], learning_rate=0.1, horizon=1.0)
    flow.resume(1.0, 10)
    before = x.detach().clone()
    for _ in range(2):
        flow.step(make_closure(flow, loss))  # it is at the horizon already
    assert torch.equal(x, before)
    assert (flow.flow_time, flow.n_grad_evals) == (1.0, 11)


def test_a_flow_goes_on_with_parameters_of_other_shapes():
    """Every entry twice: the flow of each is as before."""
    x, loss = quartic([1.0, 2.0])
    for optimizer in (GradientFlow, ExplicitEuler):
        with torch.no_grad():
            x.copy_(torch.tensor([1.0, 2.0]))
        flow = optimizer(
            [x],
            horizon=1.0,
            **(
                {"rtol": 1e-6} if optimizer is GradientFlow else {"learning_rate": 1e-4}
            ),
        )
        follow(flow, loss, 0.5)
        with flow.reparametrised(lambda: [{"lr": 1.0}], lambda part: part.repeat(2)):
            x.data = x.data.repeat(2)
            x.grad = None
        follow(flow, loss, 1.0)
        start = np.array([1.0, 2.0, 1.0, 2.0])
        exact = start / np.sqrt(1 + 2 * start**2)
        np.testing.assert_allclose(x.detach(), exact, rtol=1e-3)
        x.data = x.data[:2].clone()
        x.grad = None


def test_stacked_models_are_the_rows():
    p = torch.arange(24.0).view(2, 3, 4).requires_grad_()
    q = torch.arange(6.0).view(3, 2).requires_grad_()
    r = torch.arange(2.0).requires_grad_()
    groups = [
        {"params": [p], "models_axis": 1},
        {"params": [q], "models_axis": 0},
        {"params": [r]},
    ]
    flow = ExplicitEuler(groups)
    flat = torch.cat([t.detach().flatten() for t in (p, q, r)])
    rows = list(flow._rows(flat))
    assert [row.shape for row in rows] == [(3, 8), (3, 2), (1, 2)]
    assert torch.equal(rows[0][1], p.detach()[:, 1].flatten())
    assert torch.equal(rows[1], q.detach())


def test_finiteness_is_told_for_values_whose_sum_overflows():
    assert all_finite(torch.tensor([3e38, 3e38, 1.0]))
    for value in (inf, -inf, float("nan")):
        assert not all_finite(torch.tensor([1.0, value]))
    assert not all_finite(torch.tensor([inf, -inf]))


def test_another_optimizer_goes_on_from_the_position():
    """To the last bit, and without another gradient: the point is part of it."""
    for make in (GradientFlow, ExplicitEuler):
        ends = []
        for n_before in (8, 3, 0):
            x, loss = quartic([1.0, 2.0])
            flow = make([{"params": [x], "lr": 3.0}], horizon=10.0)
            closure = make_closure(flow, loss)
            for _ in range(n_before):
                flow.step(closure)
            state, position = copy.deepcopy((flow.state_dict(), flow.position()))
            y = x.detach().clone().requires_grad_()
            other = make([{"params": [y], "lr": 1.0}])
            other.load_state_dict(state)
            other.go_to(position)
            assert other.horizon == 10.0
            if n_before:
                assert other.position()["point"] is not None
            closure = make_closure(other, lambda y=y: y.pow(4).sum() / 4)
            for _ in range(8 - n_before):
                other.step(closure)
            ends.append((y.tolist(), other.flow_time, other.n_grad_evals))
        assert ends[1:] == ends[:1] * 2
        with torch.no_grad():
            y.add_(1.0)
        assert other.position()["point"] is None  # it belongs to other parameters


def test_integral_of_a_rate_of_fall():
    assert fallen(2.0, (3.0, 3.0)) == pytest.approx(6)
    times = np.array([0.0, 0.1, 0.5, 1.0])
    falls = 3 * np.exp(-4 * times)
    assert fallen(2.0, falls, times) == pytest.approx(2 * 3 * (1 - np.exp(-4)) / 4)
    assert fallen(2.0, (1.0, 0.0)) == pytest.approx(1)  # where no logarithm is


def test_the_loss_falls_by_the_energy_of_the_flow():
    """dl/dt = -|grad l|^2 along the flow, in its own metric: a gap says it was left."""
    for make, error in (
        (lambda p, **more: ExplicitEuler(p, learning_rate=5e-3, **more), 0.02),
        (lambda p, **more: GradientFlow(p, rtol=1e-3, **more), 0.02),
        (lambda p, **more: GradientFlow(p, rtol=1e-2, clip=0.02, **more), 0.1),
    ):
        network, loss = small_problem()
        flow = make(network.parameter_groups(), horizon=20.0)
        closure, ratios = make_closure(flow, loss), []
        assert np.isnan(flow.energy_ratio)
        while flow.flow_time < 20.0:
            flow.step(closure)
            ratios.append(flow.energy_ratio)
        np.testing.assert_allclose(ratios, 1, atol=error)
    flow.step(closure)  # no step is left
    assert flow.stalled is False


def test_steps_that_leave_the_flow_are_seen_in_the_energy():
    network, loss = small_problem()
    flow = ExplicitEuler(network.parameter_groups(), learning_rate=1.0)
    closure = make_closure(flow, loss)
    for _ in range(100):
        flow.step(closure)
    assert not 0.9 < flow.energy_ratio < 1.1


def test_a_bound_on_the_velocity_is_smooth():
    """It is that of c tanh(v / c) for every entry v, before the flow is scaled."""
    start, rate, c = [3.0, -0.1, 40.0], 4.0, 0.5
    x, loss = quartic(start)
    flow = ExplicitEuler([{"params": [x], "lr": rate}], learning_rate=1e-3, clip=c)
    flow.step(make_closure(flow, loss))
    v = -rate * np.array(start) ** 3
    expected = np.array(start) + 1e-3 * c * np.tanh(v / c)
    np.testing.assert_allclose(x.detach(), expected, rtol=1e-12)


def test_a_bound_does_not_cost_the_integrator_steps():
    """A kink would, at every entry that passes it."""
    n_evals = []
    for clip in (None, 0.3, 0.03, 0.01):
        network, loss = small_problem()
        flow = GradientFlow(network.parameter_groups(), clip=clip, horizon=100.0)
        losses = follow(flow, loss, 100.0)
        assert losses[-1] < 0.05 * losses[0]
        n_evals.append(flow.n_grad_evals)
    assert max(n_evals) < 2 * n_evals[0]
