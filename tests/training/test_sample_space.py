import numpy as np
import pytest
import torch

from odenet import ResidualNetwork
from odenet._losses.squared_error import SquaredError
from odenet._network.model_axis import join_networks
from odenet._tables.samples import Samples
from odenet._training.many_networks import JointLoss, JointNet, join_samples
from odenet._training.net import TrainingNet
from odenet._training.sample_space import SampleSpace
from odenet.solvers import Flow
from tests.helpers import draw_all

N = 12


def make_space(imitated_depth=None, **settings):
    network = draw_all(ResidualNetwork(3, 2, depth=4, width=8, dtype=torch.float64))
    network.imitated_depth = imitated_depth
    net = TrainingNet(network, SquaredError(), Flow(), **settings).initialize()
    generator = torch.Generator().manual_seed(1)
    X, y = torch.randn(2, N, 3, generator=generator, dtype=torch.float64)
    weight = torch.rand(N, generator=generator, dtype=torch.float64) + 0.5
    samples = Samples(X, y[:, :2], weight / weight.mean())
    return net, samples, SampleSpace(net, samples.batch())


@pytest.mark.parametrize("imitated_depth", [None, 16])
def test_pull_back_of_the_gradient_is_that_of_the_objective(imitated_depth):
    net, samples, space = make_space(imitated_depth)
    assert space.penalty is None
    assert space.loss(space.outputs()).item() == pytest.approx(net.objective(samples))
    net._accumulate_gradients(samples.batch())
    expected = [p.grad.clone() for p in net.module_.parameters()]
    space.pull_back(space.loss.gradient(space.outputs()))
    for p, gradient in zip(net.module_.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.grad, gradient, rtol=1e-10, atol=1e-13)


def test_states_that_are_rebuilt_are_pulled_back_where_nothing_is_recorded():
    """As in a step of the integrator; they are differentiated by autograd."""
    net, _, space = make_space()
    cotangent = space.loss.gradient(space.outputs())
    space.pull_back(cotangent)
    expected = [p.grad.clone() for p in net.module_.parameters()]
    net.module_.backward = "rebuilt"
    with torch.no_grad():
        space.pull_back(cotangent)
    for p, gradient in zip(net.module_.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.grad, gradient, rtol=1e-8, atol=1e-11)


def test_pull_back_and_push_forward_make_the_kernel(generator):
    """K c is J P J^T c, with the rates P, where J and J^T are adjoint."""
    net, _, space = make_space(16)
    kernel, outputs = space.linearise()
    cotangent = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    space.pull_back(cotangent)
    groups = net.module_.parameter_groups()
    moved = [p.grad * group["lr"] for group in groups for p in group["params"]]
    expected = (kernel @ cotangent.flatten()).view_as(outputs)
    np.testing.assert_allclose(space.push_forward(moved), expected, rtol=1e-9)


def test_joined_networks_are_one_space(generator):
    """With samples of their own numbers, padded, and the penalties of all."""
    networks = [ResidualNetwork(3, 1, depth=4, width=8) for _ in range(2)]
    parts = [
        Samples(torch.randn(n, 3), torch.randn(n, 1), torch.ones(n)) for n in (7, 5)
    ]
    loss = JointLoss([SquaredError()] * 2)
    joined, samples = join_networks(networks), join_samples(parts)
    net = JointNet(joined, loss, Flow(), alpha=0.1, smoothness_penalty=0.1)
    net.initialize()
    space = SampleSpace(net, samples.batch())
    kernel, outputs = space.linearise()
    assert kernel.shape == (2, 7, 7)
    assert outputs.shape == (2, 7, 1)
    expected = sum(
        ((network(part.X) - part.y) ** 2).mean().item()
        for network, part in zip(networks, parts, strict=True)
    )
    assert space.loss(outputs).item() == pytest.approx(expected, rel=1e-5)
    assert space.penalty.decay == 0.1
    assert space.penalty.smooths
