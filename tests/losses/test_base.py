import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, r2_score

from odenet import ResidualNetwork
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._losses.squared_error import SquaredError
from odenet._training.penalties import penalty


@pytest.fixture
def weight(rng):
    return rng.uniform(0.5, 2, size=30)


def test_squared_error(rng, weight):
    y, output = rng.normal(size=(2, 30, 3))
    tensors = torch.tensor(output), torch.tensor(y)
    losses = SquaredError.per_sample(*tensors)
    np.testing.assert_allclose(losses, ((y - output) ** 2).sum(axis=1))
    score = SquaredError.score(*tensors, torch.tensor(weight))
    assert score == pytest.approx(r2_score(y, output, sample_weight=weight))
    assert torch.equal(SquaredError.decide(tensors[0]), tensors[0])


def test_score_of_a_constant_target_is_finite():
    y = torch.ones(5, 1)
    assert SquaredError.score(y + 1, y, torch.ones(5)) == 0


@pytest.mark.parametrize(("loss", "n_classes"), [(LogisticLoss, 2), (CrossEntropy, 4)])
def test_cross_entropies(loss, n_classes, rng, weight):
    y = rng.integers(0, n_classes, size=30)
    output = rng.normal(size=(30, 1 if n_classes == 2 else n_classes))
    logits = np.hstack([0 * output, output]) if n_classes == 2 else output
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = torch.tensor(y, dtype=torch.float64 if n_classes == 2 else torch.int64)
    loss = loss()
    losses = loss.per_sample(torch.tensor(output), target)
    np.testing.assert_allclose(
        (weight * losses.numpy()).sum() / weight.sum(),
        log_loss(y, probabilities, sample_weight=weight, labels=range(n_classes)),
    )
    score = loss.score(torch.tensor(output), target, torch.tensor(weight))
    expected = accuracy_score(y, logits.argmax(axis=1), sample_weight=weight)
    assert score == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "n_classes"), [(LogisticLoss, 2), (CrossEntropy, 4)])
def test_smoothed_labels_are_spread_over_all_classes(loss, n_classes, rng):
    """The loss is the mean of those of all labels, and so it has a finite minimum."""
    y = torch.tensor(rng.integers(0, n_classes, size=30))
    y = y.double() if n_classes == 2 else y
    output = torch.tensor(rng.normal(size=(30, 1 if n_classes == 2 else n_classes)))
    labels = [torch.full_like(y, label) for label in range(n_classes)]
    spread = sum(loss().per_sample(output, label) for label in labels) / n_classes
    smoothed = loss(0.2).per_sample(output, y)
    expected = 0.8 * loss().per_sample(output, y) + 0.2 * spread
    torch.testing.assert_close(smoothed, expected)
    output.requires_grad_()
    loss(0.2).per_sample(output, y).sum().backward()
    gradient = loss(0.2).gradient(output.detach(), y)
    torch.testing.assert_close(gradient, output.grad, rtol=1e-12, atol=1e-14)


def test_logistic_loss_is_finite_for_extreme_logits():
    output = torch.tensor([[1e30], [-1e30]])
    assert LogisticLoss().per_sample(output, torch.tensor([1.0, 0.0])).tolist() == [
        0,
        0,
    ]


@pytest.mark.parametrize("depth", [1, 5])
def test_penalty_against_plain_numpy(depth, generator):
    network = ResidualNetwork(2, 1, depth=depth, init="iid", generator=generator)
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
