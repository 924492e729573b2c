"""The residual network is the formula of the paper, and starts as it says."""

from math import sqrt

import numpy as np
import pytest
import torch

from odenet import ResidualNetwork
from odenet._network.activations import ACTIVATIONS
from odenet._network.fast_layers import residual_stack
from odenet._network.layers import residual_states
from odenet._network.residual import BACKWARDS, default_state_dim
from odenet.schemes import GaussianProcess
from tests.helpers import draw_all, make_network

SHAPES = [(5, 3, 8, 6, 1), (1, 1, 1, 1, 1), (7, 4, 2, 3, 5), (3, 2, 1, 9, 2)]


def numpy_forward(network, x):
    """The model of the paper, equation by equation."""
    A, V, W, B = (
        p.detach().numpy()
        for p in (network.embedding, network.V, network.W, network.head)
    )
    L, q, m = V.shape
    h = A @ np.vstack([x.T, np.ones(len(x))])
    for k in range(L):
        h = h + V[k] @ np.tanh(W[k] @ h / sqrt(q)) / (
            L**network.depth_scaling * sqrt(m)
        )
    return (B @ h).T


@pytest.mark.parametrize(("n", "depth", "q", "m", "n_outputs"), SHAPES)
@pytest.mark.parametrize("depth_scaling", [1.0, 0.5])
def test_forward_is_the_formula(n, depth, q, m, n_outputs, depth_scaling, rng):
    network = draw_all(
        make_network(
            2,
            n_outputs,
            depth=depth,
            state_dim=q,
            width=m,
            activation="tanh",
            depth_scaling=depth_scaling,
        )
    )
    x = rng.normal(size=(n, 2))
    output = network(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(output, numpy_forward(network, x), rtol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_stack_equals_the_plain_loop(activation, generator):
    for n, depth, q, m, _ in SHAPES:
        h, V, W = (
            torch.randn(shape, generator=generator, dtype=torch.float64)
            for shape in [(n, q), (depth, q, m), (depth, m, q)]
        )
        settings = ACTIVATIONS[activation], 1 / depth
        states = torch.stack(residual_states(h, V, W, *settings))
        assert states.shape == (depth + 1, n, q)
        torch.testing.assert_close(residual_stack(h, V, W, *settings), states[-1])


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"relu"}))
def test_gradients(activation, generator):
    network = draw_all(
        make_network(2, depth=3, width=4, state_dim=5, activation=activation)
    )
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    names = [name for name, _ in network.named_parameters()]

    def output(*weights):
        named = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(network, named, (x,))

    weights = tuple(p.detach().requires_grad_() for p in network.parameters())
    assert torch.autograd.gradcheck(output, weights)


@pytest.mark.parametrize("init", ["tied", "gaussian_process", "iid"])
def test_output_is_zero_at_the_start_but_not_its_gradient(init, generator):
    for state_dim in (None, 12, 6, 3, 2, 1):
        network = ResidualNetwork(
            5, 3, depth=4, state_dim=state_dim, init=init, generator=generator
        )
        x = torch.randn(6, 5, generator=generator)
        assert not network(x).any()
        network(x).sum().backward()
        assert any(p.grad.any() for p in network.parameters()), state_dim


def test_embedding_and_head_are_identities_where_there_is_room(generator):
    network = ResidualNetwork(3, 2, depth=1, state_dim=9, generator=generator)
    A, B = network.embedding.detach(), network.head.detach()
    torch.testing.assert_close(A, torch.eye(9, 4))
    torch.testing.assert_close(B, torch.eye(9)[-2:])


def test_embedding_is_orthonormal_where_room_is_short(generator):
    network = ResidualNetwork(
        9, 2, depth=1, state_dim=6, generator=generator, dtype=torch.float64
    )
    A, B = network.embedding.detach(), network.head.detach()
    torch.testing.assert_close(A[:4] @ A[:4].T, torch.eye(4, dtype=torch.float64))
    assert not (B @ A).any()


@pytest.mark.parametrize(
    ("n_features", "n_outputs", "state_dim"),
    [(2, 1, 16), (64, 10, 75), (784, 10, 138), (784, 200, 328)],
)
def test_default_state_dim(n_features, n_outputs, state_dim):
    assert default_state_dim(n_features, n_outputs) == state_dim


def test_hidden_states_end_at_the_output(generator):
    network = draw_all(make_network(2, depth=5))
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    states = network.hidden_states(x)
    assert states.shape == (6, 4, network.state_dim)
    torch.testing.assert_close(states[0], network.embed(x))
    torch.testing.assert_close(states[-1], network.last_state(x))
    torch.testing.assert_close(states[-1] @ network.head.T, network(x))


def numpy_imitation(network, x, imitated):
    """The recursion that looks ahead, equation by equation; all states."""
    A, V, W = (p.detach().numpy() for p in (network.embedding, network.V, network.W))
    L, q, m = V.shape
    ahead = (1 - L / imitated) / 2

    def residual(k, point):
        return V[k] @ np.tanh(W[k] @ point / sqrt(q)) / (L * sqrt(m))

    h = A @ np.vstack([x.T, np.ones(len(x))])
    states, step = [h], residual(0, h)
    for k in range(L):
        h = h + residual(k, h + ahead * step)
        step = h - states[-1]
        states.append(h)
    return np.array(states).swapaxes(1, 2)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("backward", ["stored", "rebuilt"])
@pytest.mark.parametrize("imitated", [64, float("inf")])
def test_an_imitating_network_looks_ahead(imitated, backward, recorded, rng):
    """In its states and its last state, whatever its backward is."""
    network = draw_all(make_network(2, depth=4, activation="tanh", backward=backward))
    x = rng.normal(size=(5, 2))
    network.imitated_depth = imitated
    expected = numpy_imitation(network, x, imitated)
    with torch.set_grad_enabled(recorded):
        states = network.hidden_states(torch.tensor(x)).detach().numpy()
        last = network.last_state(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(states, expected, rtol=1e-10)
    np.testing.assert_allclose(last, expected[-1], rtol=1e-10)
    network.imitated_depth = None
    own = network.last_state(torch.tensor(x)).detach().numpy()
    assert np.abs(own - expected[-1]).max() > 1e-3


@pytest.mark.parametrize("backward", BACKWARDS)
def test_last_state_takes_the_backward_that_was_asked_for(backward, monkeypatch, rng):
    network = draw_all(make_network(2, depth=4, backward=backward))
    x = torch.tensor(rng.normal(size=(5, 2)))
    asked = []
    for name, stack in BACKWARDS.items():

        def noted(*args, name=name, stack=stack):
            asked.append(name)
            return stack(*args)

        monkeypatch.setitem(BACKWARDS, name, noted)
    network.last_state(x)
    assert asked == [backward]


def test_an_unknown_backward_is_refused():
    with pytest.raises(ValueError, match="`backward` must be one of.*'checkpoint'"):
        ResidualNetwork(2, 1, backward="checkpoint")


def test_with_depth_can_imitate():
    """The depth that is imitated is the deepest on the way, and one's own is None."""
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(
        2,
        1,
        depth=64,
        width=8,
        init=GaussianProcess(1.0, draws_V=True),
        generator=generator,
        dtype=torch.float64,
    )
    few = network.with_depth(16, imitate=True)
    assert (few.depth, few.imitated_depth, network.imitated_depth) == (16, 64, None)
    assert few.with_depth(8, imitate=True).imitated_depth == 64
    assert few.with_depth(64, imitate=True).imitated_depth is None
    assert few.with_depth(8).imitated_depth is None
    x = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    plain, imitating = (
        (network.with_depth(16, imitate=i).last_state(x) - network.last_state(x)).norm()
        for i in (False, True)
    )
    assert imitating < plain / 3


@pytest.mark.parametrize("scaling", [0.5, 1.0, 2.0])
def test_the_velocity_stays_at_another_depth(scaling):
    """That of the ODE, V times L^(1 - beta), where layers are tied."""
    network = draw_all(make_network(2, depth=8, depth_scaling=scaling))
    with torch.no_grad():
        network.V.copy_(network.V[:1].expand_as(network.V).clone())
    deeper = network.with_depth(32)
    expected = network.V[0] * 8 ** (1 - scaling)
    torch.testing.assert_close(deeper.V[5] * 32 ** (1 - scaling), expected)


def test_draws_do_not_depend_on_the_type_of_the_parameters():
    single, double = (
        ResidualNetwork(
            3, 1, depth=4, generator=torch.Generator().manual_seed(0), dtype=dtype
        )
        for dtype in (torch.float32, torch.float64)
    )
    assert torch.equal(single.W, double.W.float())


def test_layers_flow_at_rate_depth():
    network = ResidualNetwork(3, 1, depth=12)
    ends, layers = network.parameter_groups()
    assert ends["lr"] == 1
    assert layers["lr"] == 12
    assert set(map(id, ends["params"] + layers["params"])) == set(
        map(id, network.parameters())
    )


def test_scheme_that_draws_V(generator):
    def scheme(depth, shape, generator):
        return np.ones((depth, *shape))

    assert not ResidualNetwork(2, 1, depth=3, init=scheme).V.any()
    scheme.draws_V = True
    assert ResidualNetwork(2, 1, depth=3, init=scheme).V.all()


@pytest.mark.parametrize("bad", [torch.zeros(2, 2), torch.full((3, 64, 16), torch.nan)])
def test_scheme_that_returns_nonsense(bad):
    with pytest.raises(ValueError, match=r"`init` must return finite weights of shape"):
        ResidualNetwork(2, 1, depth=3, init=lambda depth, shape, generator: bad)


def test_unknown_activation():
    with pytest.raises(ValueError, match="`activation` must be one of.*'swish'"):
        ResidualNetwork(2, 1, activation="swish")


def test_repr_says_the_sizes():
    assert "depth=7, width=64, state_dim=16" in repr(ResidualNetwork(2, 1, depth=7))


def test_rebuilding_from_weights(generator):
    network = ResidualNetwork(2, 1, depth=3, activation="tanh", generator=generator)
    weights = {name: p.detach().numpy() for name, p in network.named_parameters()}
    twin = ResidualNetwork.from_weights(weights, **network.settings())
    x = torch.randn(4, 2, generator=generator)
    assert torch.equal(twin.hidden_states(x), network.hidden_states(x))
    assert list(twin.state_dict()) == list(network.state_dict())
    assert repr(twin) == repr(network)


def test_settings_are_all_that_rebuilding_needs():
    network = ResidualNetwork(2, 1, depth=3, depth_scaling=0.5, backward="rebuilt")
    network.imitated_depth = 64
    weights = {name: p.detach().numpy() for name, p in network.named_parameters()}
    assert network.settings() == {
        "activation": "gelu",
        "depth_scaling": 0.5,
        "backward": "rebuilt",
        "imitated_depth": 64,
    }
    twin = ResidualNetwork.from_weights(weights, **network.settings())
    assert twin.settings() == network.settings()
