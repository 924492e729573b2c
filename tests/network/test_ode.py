"""The neural ODE: its field, its states beside another solver's, its gradients."""

import warnings
from math import sqrt

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import interp1d
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from odenet._network import layers
from odenet._network.ode import METHODS, NeuralODE
from tests.helpers import slope, smooth_network

DEPTHS = [16, 32, 64, 128, 256]


def inputs(n=20, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64).to(dtype)


def precise(network, **settings):
    return NeuralODE(network, rtol=1e-10, atol=1e-12, **settings)


def numpy_field(network, s, h):
    """The definition, with the weights at s by SciPy."""
    V, W = network.V.detach().numpy(), network.W.detach().numpy()
    L, q, m = V.shape
    middles = (np.arange(1, L + 1) - 0.5) / L
    V, W = (
        interp1d(middles, Z, axis=0, fill_value="extrapolate")(s) if L > 1 else Z[0]
        for Z in (V, W)
    )
    factor = L ** (1 - network.depth_scaling) / sqrt(m)
    return factor * (V @ np.tanh(W @ h.T / sqrt(q))).T


@pytest.mark.parametrize("depth_scaling", [1.0, 0.5])
@pytest.mark.parametrize("depth", [1, 2, 5, 16])
def test_vector_field_is_the_formula(depth, depth_scaling, rng):
    network = smooth_network(depth, activation="tanh", depth_scaling=depth_scaling)
    ode = NeuralODE(network)
    h = rng.normal(size=(4, 6))
    for s in (0.0, 0.03, 0.1, 0.3, 0.5, 0.77, 0.9, 1.0):
        expected = numpy_field(network, s, h)
        np.testing.assert_allclose(ode.vector_field(s, h), expected, rtol=1e-12)
        tensor = ode.vector_field(torch.tensor(s), torch.tensor(h)).detach().numpy()
        np.testing.assert_allclose(tensor, expected, rtol=1e-5)  # s came in float32


@pytest.mark.parametrize("depth_scaling", [1.0, 0.5])
@pytest.mark.parametrize("depth", [1, 2, 3, 16])
def test_states_are_those_of_another_solver(depth, depth_scaling):
    network = smooth_network(depth, activation="tanh", depth_scaling=depth_scaling)
    x, s = inputs(5), [0.0, 0.2, 0.5, 0.97]
    h = network.embed(x).detach().numpy()
    solution = solve_ivp(
        lambda s, h: numpy_field(network, s, h.reshape(5, 6)).ravel(),
        (0, 1),
        h.ravel(),
        method="DOP853",
        t_eval=s,
        max_step=1 / depth,
        rtol=1e-11,
        atol=1e-12,
    )
    expected = solution.y.T.reshape(4, 5, 6)
    for recorded in (True, False):
        with torch.set_grad_enabled(recorded):
            states = precise(network).hidden_states(x, s).detach().numpy()
        np.testing.assert_allclose(states, expected, atol=2e-6)


@pytest.mark.parametrize("depth", [1, 4])
def test_a_linear_ode_is_an_exponential(depth):
    """Of tied layers and the identity: H(1) = exp(V W / sqrt(q m)) H(0)."""
    network = smooth_network(depth, activation="identity")
    for weights in (network.V, network.W):
        weights.data = weights.data[:1].repeat(depth, 1, 1)
    exponential = torch.matrix_exp(network.V[0] @ network.W[0] / sqrt(6 * 8))
    expected = network.embed(inputs()) @ exponential.T
    torch.testing.assert_close(precise(network).last_state(inputs()), expected)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 12])
def test_trajectory_goes_from_the_embedding_to_the_output(depth, recorded):
    ode = NeuralODE(smooth_network(depth))
    with torch.set_grad_enabled(recorded):
        states = ode.hidden_states(inputs(), [0.0, 0.4, 1.0])
        assert torch.equal(states[0], ode.network.embed(inputs()))
        assert torch.equal(ode.hidden_states(inputs(), [0.0]), states[:1])
        last = ode.last_state(inputs())
        torch.testing.assert_close(states[-1], last, rtol=1e-5, atol=1e-5)
        assert torch.equal(ode(inputs()), ode.last_state(inputs())[:, -2:])


def test_states_of_the_network_converge_to_the_trajectory():
    errors = []
    for depth in (32, 64, 128):
        network = smooth_network(depth)
        with torch.no_grad():
            states = network.hidden_states(inputs())
            s = torch.linspace(0, 1, depth + 1)
            limit = NeuralODE(network).hidden_states(inputs(), s)
        errors.append((states - limit).norm(dim=2).max().item())
    assert slope((32, 64, 128), errors) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_error_of_every_method_falls_with_the_tolerance(method):
    network = smooth_network(6)
    limit = precise(network)(inputs())
    errors = [
        (NeuralODE(network, method=method, rtol=tol, atol=tol)(inputs()) - limit).norm()
        for tol in (1e-3, 1e-5)
    ]
    assert errors[1] < errors[0] / 5
    assert errors[1] < 3e-3 * limit.norm()


@torch.no_grad()
def test_evaluations_do_not_depend_on_the_depth():
    counts = []
    for depth in [8, *DEPTHS]:
        ode = NeuralODE(smooth_network(depth), rtol=1e-3, atol=1e-5)
        ode(inputs())
        counts.append(ode.n_evals_)
    assert max(counts) <= 1.5 * min(counts) < 60


@torch.no_grad()
def test_methods_differ():
    odes = [NeuralODE(smooth_network(6), method=name, rtol=1e-4) for name in METHODS]
    outputs = [ode(inputs()).sum().item() for ode in odes]
    assert len(set(outputs)) == len({ode.n_evals_ for ode in odes}) == len(METHODS)


def test_evaluations_are_counted(monkeypatch):
    calls = count_calls(monkeypatch)
    ode = NeuralODE(smooth_network(5))
    for n in (1, 20):
        calls.clear()
        ode(inputs(n))
        assert ode.n_evals_ == len(calls) > 0


def count_calls(monkeypatch):
    """A list that grows by every evaluation of the vector field."""
    calls, velocity = [], layers.velocity

    def counted(*args):
        calls.append(None)
        return velocity(*args)

    monkeypatch.setattr("odenet._network.layers.velocity", counted)
    return calls


def gradients(model, parameters):
    loss = model(inputs()).square().mean()
    return torch.cat([g.flatten(1) for g in torch.autograd.grad(loss, parameters)], 1)


@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_reach_every_layer(adjoint):
    """At any tolerance they are those of the network up to O(1/L), layer by layer.

    But for two at each end, whose weights also serve for the half layers beyond.
    """
    errors = []
    for depth in (32, 64, 128):
        network = smooth_network(depth)
        ode = NeuralODE(network, rtol=1e-3, atol=1e-3, adjoint=adjoint)
        ours = gradients(ode, [ode.network.V, ode.network.W])
        theirs = gradients(network, [network.V, network.W])
        relative = (ours - theirs).norm(dim=1) / theirs.norm(dim=1)
        errors.append(relative[2:-2].max().item())
    assert slope((32, 64, 128), errors) == pytest.approx(-1, abs=0.2)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_are_finite_differences(depth, adjoint):
    network = smooth_network(depth, width=2, state_dim=5)
    ode = precise(network, adjoint=adjoint)
    x = inputs(2).requires_grad_()

    def output(x, *weights):
        named = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(ode, named, (x,))

    names = [name for name, _ in ode.named_parameters()]
    weights = [p.detach().requires_grad_() for p in ode.parameters()]
    assert torch.autograd.gradcheck(output, (x, *weights), fast_mode=True)


@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_of_the_input_do_not_need_those_of_the_weights(adjoint):
    ode, x = precise(smooth_network(4), adjoint=adjoint), inputs().requires_grad_()
    found = []
    for trained in (True, False):
        ode.requires_grad_(trained)
        found.append(torch.autograd.grad(ode(x).square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 3, 12])
def test_adjoint_gradients_are_those_of_backpropagation(depth, monkeypatch):
    calls = count_calls(monkeypatch)
    network = smooth_network(depth)
    found, evaluations = [], []
    for adjoint in (False, True):
        ode = precise(network, adjoint=adjoint)
        loss = ode.hidden_states(inputs(), [0.3, 1.0]).square().mean()
        calls.clear()
        loss.backward()
        evaluations.append(len(calls))
        found.append([p.grad for p in ode.parameters() if p is not ode.network.head])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-8)
    assert evaluations[0] == 0 < evaluations[1]
    assert ode.n_evals_ < evaluations[1]


@pytest.mark.parametrize("adjoint", [False, True])
def test_the_ode_can_be_trained_further(adjoint):
    network = smooth_network(4, dtype=torch.float32)
    before = {name: weights.clone() for name, weights in network.state_dict().items()}
    x = inputs(dtype=torch.float32)
    ode = NeuralODE(network, rtol=1e-3, atol=1e-5, adjoint=adjoint)
    optimizer = torch.optim.SGD(ode.network.parameter_groups(), lr=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (ode(x) - x[:, :2].sin()).square().mean()
        loss.backward()
        for group in optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], 0.1 / group["lr"])
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for name, weights in network.state_dict().items():
        assert torch.equal(weights, before[name])


class Dtypes(TorchDispatchMode):
    """The floating-point types of all tensors that are made."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.seen |= {
            leaf.dtype
            for leaf in tree_leaves(result)
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
        }
        return result


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_in_the_dtype_of_the_weights(dtype, adjoint, recorded):
    ode = NeuralODE(smooth_network(6, dtype=dtype), adjoint=adjoint)
    x = inputs(dtype=dtype)
    with torch.set_grad_enabled(recorded), Dtypes() as dtypes:
        output = ode(x)
        if recorded:
            output.sum().backward()
    assert dtypes.seen == {output.dtype} == {dtype}
    assert ode.vector_field(0.5, np.ones((3, 6))).dtype == output.detach().numpy().dtype


@pytest.mark.gpu
@pytest.mark.parametrize("adjoint", [False, True])
def test_gpu_agrees_with_the_cpu(adjoint):
    found = []
    for device in ("cpu", "cuda"):
        ode = NeuralODE(smooth_network(6).to(device), adjoint=adjoint)
        loss = ode(inputs().to(device)).square().mean()
        loss.backward()
        found.append([loss.detach().cpu(), ode.network.V.grad.cpu()])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


def test_float32_agrees_with_float64():
    network = smooth_network(6, dtype=torch.float32)
    with torch.no_grad():
        single = NeuralODE(network)(inputs(dtype=torch.float32))
        double = NeuralODE(network.double())(inputs())
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)


def test_bad_settings_are_refused():
    for settings, message in [
        ({"method": "euler"}, r"`method` must be one of \['dopri5', .* got 'euler'"),
        ({"rtol": 0.0}, "`rtol` must be a positive number, got 0.0"),
        ({"rtol": "1e-3"}, "`rtol` must be a positive number, got '1e-3'"),
        ({"atol": -1e-3}, "`atol` must be a positive number, got -0.001"),
        ({"atol": np.inf}, "`atol` must be a positive number, got inf"),
        ({"rtol": np.nan}, "`rtol` must be a positive number, got nan"),
        ({"max_steps": 0}, "`max_steps` must be a positive integer, got 0"),
        ({"max_steps": 2.5}, "`max_steps` must be a positive integer, got 2.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            NeuralODE(smooth_network(2), **settings)


def test_bad_depth_times_are_refused():
    pairs = [[0.5, 0.5], [0.6, 0.5], [-0.1, 0.5], [0.5, 1.1]]
    for s in ([], *pairs, [np.nan], 0.5, [[0.5]]):
        with pytest.raises(ValueError, match="`s` must be strictly increasing depth t"):
            NeuralODE(smooth_network(2)).hidden_states(inputs(), s)


@pytest.mark.parametrize("s", [-0.01, 1.01, np.nan])
def test_vector_field_outside_of_the_depth_is_refused(s):
    with pytest.raises(ValueError, match=r"`s` must be .* in \[0, 1\], got"):
        NeuralODE(smooth_network(2)).vector_field(s, np.zeros((1, 6)))


def failing(case):
    network = smooth_network(4, activation="tanh", dtype=torch.float32)
    x, settings = inputs(dtype=torch.float32), {}
    if case == "steps":
        settings = {"max_steps": 2}
    elif case == "stiff":
        network.V.data[:3], network.V.data[3] = 0, -1e10 * network.W.data[3].T
    elif case == "huge":
        network.V.data *= 1e38
    else:
        x[0, 0] = torch.nan
    return NeuralODE(network, **settings), x


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("steps", "it takes more than max_steps=2 steps"),
        ("stiff", "the steps became too small for the number format"),
        ("huge", "the velocity is not finite"),
        ("input", "the state is not finite"),
    ],
)
def test_failing_integration_says_why_and_what_to_do(case, reason, recorded):
    ode, x = failing(case)
    message = rf"by 'dopri5' with rtol=.*, atol=.* at depth time s=.*: {reason}\. Raise"
    with torch.set_grad_enabled(recorded), pytest.raises(RuntimeError, match=message):
        ode(x)
    assert ode.n_evals_ > 0


def test_steps_of_the_adjoint_are_counted_anew(monkeypatch):
    calls = count_calls(monkeypatch)
    ode = NeuralODE(smooth_network(2), adjoint=True)
    ode(inputs()).sum().backward()
    forward, both = ((n - 1) // 6 for n in (ode.n_evals_, len(calls)))
    ode.max_steps = both - forward
    ode(inputs()).sum().backward()
    ode.max_steps = forward
    output = ode(inputs())
    with pytest.raises(RuntimeError, match=f"it takes more than max_steps={forward}"):
        output.sum().backward()


def test_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ode = NeuralODE(smooth_network(3), adjoint=True).requires_grad_(False)
        ode(inputs().requires_grad_()).sum().backward()


def test_repr_shows_the_settings():
    ode = NeuralODE(smooth_network(3), method="bosh3", rtol=1e-3)
    assert "method='bosh3', rtol=0.001, atol=1e-08, max_steps=10000" in repr(ode)
