"""The convolutional residual network, beside plain loops and in its limits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from odenet import ConvResidualNetwork, depth_smoothness
from odenet._network import convolutional
from odenet._network.activations import ACTIVATIONS
from odenet.schemes import GaussianProcess

SHAPE = (7, 5, 3)


def make_network(depth=4, channels=3, seed=0, **settings):
    """In float64, with gains that are not zero, so that the layers do something."""
    generator = torch.Generator().manual_seed(seed)
    settings = {"generator": generator, "dtype": torch.float64, **settings}
    network = ConvResidualNetwork(SHAPE, 2, depth=depth, channels=channels, **settings)
    with torch.no_grad():
        network.V_norm.add_(0.5)
    return network


@pytest.fixture
def x(generator):
    return torch.randn(6, 7 * 5 * 3, generator=generator, dtype=torch.float64)


def plain_network(network):
    """The same by torch's own modules, layer after layer."""

    def convolution(weight, **settings):
        conv = nn.Conv2d(*weight.shape[1::-1], weight.shape[2], bias=False, **settings)
        conv.weight = nn.Parameter(weight.detach().clone())
        return conv.double()

    def normalisation(norm):
        bn = nn.BatchNorm2d(norm.shape[1]).double()
        bn.weight, bn.bias = (nn.Parameter(part.detach().clone()) for part in norm)
        return bn

    stem = nn.Sequential(
        convolution(network.stem, stride=3, padding=2),
        normalisation(network.stem_norm),
        nn.ReLU(),
    )
    layers = [
        nn.Sequential(
            convolution(network.W[k], padding=1),
            normalisation(network.W_norm[k]),
            nn.GELU(),
            convolution(network.V[k], padding=1),
            normalisation(network.V_norm[k]),
        )
        for k in range(network.depth)
    ]

    def forward(x):
        h = stem(x.view(-1, *SHAPE).permute(0, 3, 1, 2))
        for layer in layers:
            h = h + layer(h) / network.depth
        cells = F.adaptive_avg_pool2d(h, 2).flatten(1)
        return cells @ network.head.mT + network.head_bias

    modules = [stem, *layers]
    return forward, modules


def test_forward_and_gradients_are_those_of_a_plain_loop(x):
    network = make_network()
    forward, modules = plain_network(network)
    output, expected = network(x), forward(x)
    torch.testing.assert_close(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    for k, layer in enumerate(modules[1:]):
        torch.testing.assert_close(network.W.grad[k], layer[0].weight.grad)
        torch.testing.assert_close(network.V_norm.grad[k, 0], layer[4].weight.grad)


def test_evaluation_uses_the_running_moments(x):
    network = make_network()
    forward, modules = plain_network(network)
    for _ in range(3):
        network(x), forward(x)
    network.eval()
    for module in modules:
        module.eval()
    torch.testing.assert_close(network(x), forward(x))
    torch.testing.assert_close(network(x)[:1], network(x[:1]))  # no batch matters


@pytest.fixture
def parts(monkeypatch):
    """The numbers of samples that have gone through the layers by products."""
    parts, run_part = [], convolutional._run_part

    def counted(h, *args):
        parts.append(len(h))
        return run_part(h, *args)

    monkeypatch.setattr(convolutional, "_run_part", counted)
    return parts


def random_network(image_shape, activation="gelu", seed=0):
    """In evaluation, all of its weights and moments random."""
    generator = torch.Generator().manual_seed(seed)
    network = ConvResidualNetwork(
        image_shape,
        2,
        depth=3,
        channels=1 + seed,
        activation=activation,
        init="iid",
        generator=generator,
        dtype=torch.float64,
    )
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if "norm" in name or "moments" in name:
                drawn = torch.randn(values.shape, generator=generator).double()
                values.copy_(drawn.square() if "moments" in name else drawn)
    return network.eval()


# Maps of 4 x 4, 3 x 2, 1 x 1, 1 x 3 and 2 x 1 pixels.
@pytest.mark.parametrize(
    "image_shape", [(12, 10, 1), (7, 5, 3), (3, 3, 1), (1, 9, 2), (6, 1, 1)]
)
def test_products_of_an_evaluation_are_the_convolutions_of_torch(
    image_shape, parts, generator, monkeypatch
):
    """Of one channel and of several, one sample and many, in parts and at once."""
    for seed, activation in enumerate(ACTIVATIONS):
        network = random_network(image_shape, activation, seed)
        monkeypatch.setattr(convolutional, "CACHED", 4 * network.state_dim)
        for n, expected_parts in [(1, [1]), (4, [4]), (11, [4, 4, 3])]:
            x = torch.randn(n, np.prod(image_shape), generator=generator).double()
            parts.clear()
            with torch.no_grad():
                last = network.last_state(x)
            assert parts == expected_parts
            expected = network.hidden_states(x)[-1]
            torch.testing.assert_close(last, expected, rtol=1e-12, atol=1e-12)


def test_only_evaluations_in_float64_are_by_products(x, parts):
    """Where gradients, another type or a transform is asked for, torch convolves."""
    network = random_network(SHAPE, seed=2)
    expected = network(x)
    gradient = torch.autograd.grad(expected.sum(), network.W)[0]
    assert gradient.abs().max() > 0
    with torch.no_grad():
        mapped = torch.vmap(lambda row: network(row[None])[0])(x)
        torch.testing.assert_close(mapped, expected)
        single = random_network(SHAPE, seed=2).float()
        torch.testing.assert_close(single(x.float()), expected.float())
        network.train()(x)
    assert parts == []
    with torch.inference_mode():
        network.eval()(x)
    assert parts == [len(x)]


def test_no_layer_does_anything_at_the_start(x):
    network = ConvResidualNetwork(SHAPE, 2, depth=5, channels=3, dtype=torch.float64)
    states = network.hidden_states(x)
    assert states.shape == (6, 6, network.state_dim)
    torch.testing.assert_close(states[-1], states[0])
    assert network.last_state(x).shape == (6, network.state_dim)


@pytest.mark.parametrize(
    ("init", "ratio"), [("tied", 0.0), ("gaussian_process", 0.01), ("iid", 1.0)]
)
def test_filters_start_as_the_scheme_says(init, ratio):
    network = make_network(depth=32, channels=6, init=init)
    measured = depth_smoothness(network).von_neumann_ratio
    assert measured == pytest.approx(ratio, abs=0.1 * (ratio > 0))
    deviation = network.W.std().item()
    assert deviation == pytest.approx((3 * 6 * 9) ** -0.5, rel=0.3)


def test_depths_converge_to_one_function_of_the_image(x):
    """The distance between L and 2 L layers of the same function halves."""
    scheme = GaussianProcess(length_scale=1.0)
    networks = [make_network(depth, init=scheme).eval() for depth in (16, 32, 64)]
    with torch.no_grad():
        outputs = [network(x) for network in networks]
    gaps = [(b - a).norm() for a, b in zip(outputs, outputs[1:], strict=False)]
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("interpolation", ["linear", "constant"])
def test_another_depth_samples_the_same_functions(x, interpolation):
    network = make_network(32, init=GaussianProcess(length_scale=1.0))
    for _ in range(20):
        network(x)
    network.eval()
    with torch.no_grad():
        distances = [
            (network.with_depth(depth, interpolation)(x) - network(x)).norm()
            for depth in np.array([8, 16, 64])
        ]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.05 * network(x).norm()
    assert network.depth == 32


def test_running_variances_stay_positive_at_another_depth():
    network = make_network(3)
    with torch.no_grad():
        network.V_moments[:, 1] = torch.tensor([[9.0], [0.01], [1e-4]])
    assert (network.with_depth(50).V_moments[:, 1] > 0).all()


def test_rate_of_the_layers_is_their_number():
    ends, layers = make_network(depth=8).parameter_groups()
    assert (ends["lr"], layers["lr"]) == (1.0, 8.0)
    n_parameters = len(list(make_network().parameters()))
    assert len(ends["params"]) + len(layers["params"]) == n_parameters


def test_rebuilding_from_weights(x):
    network = make_network()
    network(x)
    weights = {k: v.numpy() for k, v in network.state_dict().items()}
    twin = ConvResidualNetwork.from_weights(weights, **network.settings())
    np.testing.assert_array_equal(
        twin.eval()(x).detach().numpy(), network.eval()(x).detach().numpy()
    )
    assert repr(twin) == repr(network)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (7, 5)}, "`image_shape` must be"),
        ({"activation": "sine"}, "`activation` must be one of"),
        ({"init": lambda depth, shape, generator: torch.ones(2)}, "`init` must return"),
        ({"init": "random"}, "`init` must be one of"),
    ],
)
def test_what_is_not_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvResidualNetwork(**{"image_shape": SHAPE, "n_outputs": 2, **settings})


@pytest.mark.parametrize("depth", [0, 1.5, "8"])
def test_depth_must_be_a_positive_integer(depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        make_network().with_depth(depth)
