import pytest
import torch

from odenet import ResidualNetwork, ResODERegressor
from odenet._training.penalties import PenaltyFlow, penalty
from tests.helpers import draw_all


@pytest.mark.parametrize("depth", [1, 5])
def test_penalty_against_plain_numpy(depth):
    network = draw_all(ResidualNetwork(2, 1, depth=depth))
    A, B, V, W = (
        p.detach().double().numpy()
        for p in (network.embedding, network.head, network.V, network.W)
    )
    l2 = (A**2).sum() + (B**2).sum() + sum((V**2).sum(axis=(1, 2))) / depth
    l2 += (W**2).sum() / depth
    steps = sum(
        ((Z[k + 1] - Z[k]) ** 2).sum() for Z in (V, W) for k in range(depth - 1)
    )
    value = penalty(network, alpha=0.3, smoothness_penalty=0.7)
    assert value.item() == pytest.approx(0.15 * l2 + 0.7 * depth * steps, rel=1e-5)
    assert penalty(network, 0, 0) == 0


def test_penalty_is_the_same_integral_at_every_depth():
    values = [
        penalty(
            ResidualNetwork(
                2,
                1,
                depth=depth,
                init="gaussian_process",
                generator=torch.Generator().manual_seed(0),
            ),
            0.1,
            0.1,
        ).item()
        for depth in (64, 256)
    ]
    assert values[0] == pytest.approx(values[1], rel=0.03)


@pytest.mark.parametrize("imitated_depth", [64, float("inf")])
def test_smoothness_penalty_is_that_of_the_depth_imitated(imitated_depth, generator):
    """For weights that are linear in depth, the penalty is (1 - 1/L) |slope|^2."""
    network = ResidualNetwork(2, 1, depth=8, width=4, generator=generator)
    slope = torch.randn(4, 16, generator=generator)
    s = (torch.arange(8) + 0.5)[:, None, None] / 8
    network.W.data = s * slope
    network.imitated_depth = imitated_depth
    expected = (1 - 1 / imitated_depth) * slope.square().sum()
    torch.testing.assert_close(penalty(network, 0.0, 1.0), expected)


def test_a_single_layer_has_no_smoothness_to_penalise():
    """Penalties are tensors, of which nothing has to be derived where they are none."""
    network = ResidualNetwork(2, 1, depth=1)
    none = penalty(network, 0.0, 0.5)
    assert none.item() == 0.0
    assert not none.requires_grad
    X, settings = [[0.0], [1.0], [2.0]], {"flow_time": 1.0, "random_state": 0}
    penalised, plain = (
        ResODERegressor(1, smoothness_penalty=weight, **settings).fit(
            X, [0.0, 1.0, 4.0]
        )
        for weight in (0.5, 0.0)
    )
    assert penalised.predict(X).tolist() == plain.predict(X).tolist()


@pytest.mark.parametrize("imitated_depth", [None, 20])
@pytest.mark.parametrize("depth", [1, 5])
def test_flow_of_the_penalties(depth, imitated_depth):
    """Its velocity is that of their gradients, and it smooths by an exponential."""
    network = draw_all(ResidualNetwork(2, 1, depth=depth, dtype=torch.float64))
    network.imitated_depth = imitated_depth
    penalty(network, 0.3, 0.7).backward()
    flow = PenaltyFlow(network, 0.3, 0.7)
    assert flow.smooths == (depth > 1)
    for group in network.parameter_groups():
        for p in group["params"]:
            kind = group.get("has_depth", False), p.detach()
            expected = -group["lr"] * p.grad
            torch.testing.assert_close(flow.velocity(*kind), expected)
    step, n_steps = 1e-3 / 2**10, 2**10
    start, has_depth = network.V.detach(), True
    expected = start
    for _ in range(n_steps):  # explicit Euler, without the L2 penalty
        expected = expected + step * (
            flow.velocity(has_depth, expected) + flow.decay * expected
        )
    smoothed = flow.smoothed(has_depth, start, 1e-3)
    torch.testing.assert_close(smoothed, expected, rtol=1e-4, atol=1e-4)
    assert flow.smoothed(False, start, 1.0) is start
