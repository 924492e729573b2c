from math import sqrt

import numpy as np
import pytest
import torch

from odenet import ResidualNetwork
from odenet._network.fast_layers import residual_stack
from odenet._network.layers import residual_states
from odenet._network.residual import ACTIVATIONS, default_state_dim

SHAPES = [(5, 3, 8, 6, 1), (1, 1, 1, 1, 1), (7, 4, 2, 3, 5), (3, 2, 1, 9, 2)]


def make_network(n_features=2, n_outputs=1, seed=0, dtype=torch.float64, **settings):
    """A network whose weights are all drawn, so that nothing is zero."""
    generator = torch.Generator().manual_seed(seed)
    network = ResidualNetwork(
        n_features, n_outputs, generator=generator, dtype=dtype, **settings
    )
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return network


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
    network = make_network(
        n_outputs=n_outputs,
        depth=depth,
        state_dim=q,
        width=m,
        activation="tanh",
        depth_scaling=depth_scaling,
    )
    x = rng.normal(size=(n, 2))
    output = network(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(output, numpy_forward(network, x), rtol=1e-10)


@pytest.mark.parametrize(("n", "depth", "q", "m", "n_outputs"), SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_stack_equals_the_plain_loop(n, depth, q, m, n_outputs, activation, generator):
    h, V, W = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in [(n, q), (depth, q, m), (depth, m, q)]
    )
    function = ACTIVATIONS[activation]
    states = torch.stack(residual_states(h, V, W, function, 1 / depth))
    assert states.shape == (depth + 1, n, q)
    torch.testing.assert_close(residual_stack(h, V, W, function, 1 / depth), states[-1])


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"relu"}))
def test_gradients(activation, generator):
    network = make_network(depth=3, width=4, state_dim=5, activation=activation)
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    names = [name for name, _ in network.named_parameters()]

    def output(*weights):
        named = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(network, named, (x,))

    weights = tuple(p.detach().requires_grad_() for p in network.parameters())
    assert torch.autograd.gradcheck(output, weights)


@pytest.mark.parametrize("init", ["tied", "gaussian_process", "iid"])
@pytest.mark.parametrize("state_dim", [None, 12, 6, 3, 2, 1])
def test_output_is_zero_at_the_start_but_not_its_gradient(init, state_dim, generator):
    network = ResidualNetwork(
        5, 3, depth=4, state_dim=state_dim, init=init, generator=generator
    )
    x = torch.randn(6, 5, generator=generator)
    assert not network(x).any()
    network(x).sum().backward()
    assert any(p.grad.any() for p in network.parameters())


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
    network = make_network(depth=5)
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    states = network.hidden_states(x)
    assert states.shape == (6, 4, network.state_dim)
    torch.testing.assert_close(states[0], network.embed(x))
    torch.testing.assert_close(states[-1], network.last_state(x))
    torch.testing.assert_close(states[-1] @ network.head.T, network(x))


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
    twin = ResidualNetwork.from_weights(weights, "tanh")
    x = torch.randn(4, 2, generator=generator)
    assert torch.equal(twin.hidden_states(x), network.hidden_states(x))
    assert list(twin.state_dict()) == list(network.state_dict())
