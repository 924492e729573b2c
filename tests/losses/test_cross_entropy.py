import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import accuracy_score, log_loss

from odenet._losses.base import Loss
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss, MultilabelLoss


@pytest.fixture
def weight(rng):
    return rng.uniform(0.5, 2, size=30)


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


@pytest.mark.parametrize(
    "shares", [(0.9, 0.1), (0.7, 0.2, 0.1)], ids=["two classes", "three"]
)
def test_labels_spread_by_shares_leave_the_mean_probability_right(shares):
    """Where the loss is least, the mean probability of a class is its share."""
    n_classes, n = len(shares), 1000
    loss = (LogisticLoss if n_classes == 2 else CrossEntropy)(0.3, shares)
    counts = torch.tensor([round(n * share) for share in shares])
    y = torch.arange(n_classes).repeat_interleave(counts)
    y = y.double() if n_classes == 2 else y
    logits = torch.tensor(shares).double().log()
    logits = logits[1:] - logits[0] if n_classes == 2 else logits
    output = logits.expand(n, -1).clone().requires_grad_()
    gradient = loss.gradient(output.detach(), y)
    assert gradient.sum(dim=0).abs().max() < 1e-3
    loss.per_sample(output, y).sum().backward()
    torch.testing.assert_close(gradient, output.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("loss", "n_classes"), [(LogisticLoss, 2), (CrossEntropy, 4)])
def test_probabilities_as_targets(loss, n_classes, rng):
    """The loss is the mean of those of the labels, and is least at the targets."""
    p = torch.tensor(rng.dirichlet(np.ones(n_classes), size=30))
    y = p[:, 1] if n_classes == 2 else p
    output = torch.tensor(rng.normal(size=(30, 1 if n_classes == 2 else n_classes)))
    labels = [torch.full((30,), label) for label in range(n_classes)]
    labels = [y.double() if n_classes == 2 else y for y in labels]
    for smoothed in (loss(), loss(0.2), loss(0.2, tuple(np.eye(n_classes)[1]))):
        found = smoothed.per_sample(output, y)
        of_labels = [smoothed.per_sample(output, label) for label in labels]
        torch.testing.assert_close(found, (p.T * torch.stack(of_labels)).sum(dim=0))
        by_autograd = output.clone().requires_grad_()
        smoothed.per_sample(by_autograd, y).sum().backward()
        gradient = smoothed.gradient(output, y)
        torch.testing.assert_close(gradient, by_autograd.grad, rtol=1e-12, atol=1e-14)
    logits = p.log() if n_classes > 2 else (p[:, 1:] / p[:, :1]).log()
    assert loss().gradient(logits, y).abs().max() < 1e-12
    weight = torch.tensor(rng.uniform(0.5, 2, size=30))
    expected = accuracy_score(
        p.argmax(dim=1), loss().decide(output), sample_weight=weight
    )
    assert loss().score(output, y, weight) == pytest.approx(expected)


def test_the_loss_of_several_labels_is_the_sum_of_their_own(rng, weight):
    """Those of scikit-learn; and the score is that of all labels together."""
    y, output = rng.integers(0, 2, size=(30, 3)), rng.normal(size=(30, 3))
    y[:20] = output[:20] > 0
    tensors = torch.tensor(output), torch.tensor(y).double()
    losses = MultilabelLoss().per_sample(*tensors).numpy()
    expected = [
        log_loss(y[:, j], expit(output[:, j]), sample_weight=weight) for j in range(3)
    ]
    assert np.average(losses, weights=weight) == pytest.approx(sum(expected))
    score = MultilabelLoss().score(*tensors, torch.tensor(weight))
    subset = accuracy_score(y, output > 0, sample_weight=weight)
    assert subset < 1
    assert score == pytest.approx(subset)
    decided = MultilabelLoss().decide(tensors[0])
    np.testing.assert_array_equal(decided, output > 0)


def test_derivatives_of_several_labels_are_those_of_autograd(rng):
    output = torch.tensor(rng.normal(size=(30, 3)))
    y = torch.tensor(rng.integers(0, 2, size=(30, 3))).double()
    for loss in (
        MultilabelLoss(),
        MultilabelLoss(0.2),
        MultilabelLoss(0.2, (0.1, 0.5, 0.8)),
    ):
        for name in ("gradient", "curvature"):
            mine, expected = (getattr(k, name) for k in (loss, Loss))
            torch.testing.assert_close(mine(output, y), expected(loss, output, y))
        assert loss.for_validation().label_smoothing == 0
    extreme = torch.tensor([[1e30, -1e30]])
    assert MultilabelLoss().per_sample(extreme, torch.tensor([[1.0, 0.0]])) == 0


def test_smoothed_labels_leave_the_mean_probability_of_each_right(rng):
    """Where the loss is least, which is nowhere far away even of a single sample."""
    shares = (0.9, 0.1, 0.4)
    y = torch.tensor(np.arange(10)[:, None] < np.multiply(10, shares)).double()
    logits = torch.tensor(shares).double().logit().expand(10, -1)
    gradient = MultilabelLoss(0.3, shares).gradient(logits, y)
    assert gradient.sum(dim=0).abs().max() < 1e-6
    alone = MultilabelLoss(0.3, shares)
    p = 0.7 * y[:1] + 0.3 * torch.tensor(shares)
    assert alone.gradient(p.logit(), y[:1]).abs().max() < 1e-6
    evenly = 0.7 * y[:1] + 0.15
    assert MultilabelLoss(0.3).gradient(evenly.logit(), y[:1]).abs().max() < 1e-12
