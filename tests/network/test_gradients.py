"""The gradient by hand is autograd's; a captured one is computed, or not used."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from odenet import ResidualNetwork
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._losses.quantile import Quantile
from odenet._losses.squared_error import SquaredError
from odenet._network import gradients
from odenet._network.fast_layers import rows_at_once
from odenet._network.gradients import add_gradients, compute_gradients
from odenet._network.scratch import current_scratch, scratch
from odenet._training.net import TrainingNet
from odenet._utils.sparse_rows import as_rows
from odenet.schemes import GaussianProcess
from odenet.solvers import Flow

PROBLEMS = {
    "one output": (SquaredError(), 1, lambda g: torch.randn(9, 1, generator=g)),
    "two outputs": (SquaredError(), 2, lambda g: torch.randn(9, 2, generator=g)),
    "two classes": (
        LogisticLoss(),
        1,
        lambda g: torch.randint(2, (9,), generator=g),
    ),
    "four classes": (
        CrossEntropy(),
        4,
        lambda g: torch.randint(4, (9,), generator=g),
    ),
}


@pytest.fixture(autouse=True)
def _own_scratch():
    with scratch():
        yield


def graphs():
    return current_scratch().graphs


def make_problem(name, generator, **settings):
    loss, n_outputs, draw = PROBLEMS[name]
    network = ResidualNetwork(
        3,
        n_outputs,
        depth=5,
        width=6,
        init=GaussianProcess(draws_V=True),
        generator=generator,
        dtype=torch.float64,
        **settings,
    )
    X = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    share = torch.rand(9, generator=generator, dtype=torch.float64)
    y = draw(generator)
    y = y.double() if y.is_floating_point() else y
    return network, loss, X, y, share


def by_autograd(network, loss, X, y, share):
    network.zero_grad()
    outputs = network(X)
    total = (share * loss.per_sample(outputs, y)).sum()
    total.backward()
    return [outputs, total, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("imitated_depth", [None, 64])
@pytest.mark.parametrize("backward", ["stored", "rebuilt"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_are_those_of_autograd(name, backward, imitated_depth, generator):
    problem = make_problem(name, generator, backward=backward)
    network = problem[0]
    network.imitated_depth = imitated_depth
    expected = [t.detach().clone() for t in by_autograd(*problem)]
    network.zero_grad()
    results = [*add_gradients(*problem), *(p.grad for p in network.parameters())]
    for result, exact in zip(results, expected, strict=True):
        torch.testing.assert_close(result, exact, rtol=1e-12, atol=1e-12)


def test_gradients_are_added(generator):
    problem = make_problem("one output", generator)
    add_gradients(*problem)
    once = [p.grad.clone() for p in problem[0].parameters()]
    add_gradients(*problem)
    for p, grad in zip(problem[0].parameters(), once, strict=True):
        torch.testing.assert_close(p.grad, 2 * grad)


def test_stored_states_need_no_autograd(generator, monkeypatch):
    monkeypatch.setattr(gradients, "_add_by_autograd", None)
    add_gradients(*make_problem("one output", generator))


# Captured gradients


def make_thin_problem(generator, device="cpu", depth=8):
    scheme = GaussianProcess(draws_V=True)
    network = ResidualNetwork(3, 1, depth=depth, init=scheme, generator=generator)
    X = torch.randn(20, 3, generator=generator).to(device)
    share = torch.full((20,), 1 / 20).to(device)
    return network.to(device), SquaredError(), X, X[:, :1].sin(), share


@pytest.fixture
def without_capture(monkeypatch):
    """A stand-in for the capture, which runs everywhere: replaying computes anew."""
    n_captured = []

    class Graph:
        def __init__(self, compute, results):
            self.compute, self.results = compute, results

        def replay(self):
            for old, new in zip(
                gradients._flat(self.results),
                gradients._flat(self.compute()),
                strict=True,
            ):
                old.copy_(new)

    def capture(compute):
        n_captured.append(1)
        results = compute()
        return Graph(compute, results), results, compute()

    monkeypatch.setattr(gradients, "_capture", capture)
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    return n_captured


def assert_close(results, expected):
    pairs = zip(gradients._flat(results), gradients._flat(expected), strict=True)
    for pair in pairs:
        torch.testing.assert_close(*pair)


def test_replays_follow_the_parameters_and_the_samples(generator, without_capture):
    network, loss, X, y, share = make_thin_problem(generator)
    captured = gradients.CapturedGradients(compute_gradients)
    for _ in range(3):
        with torch.no_grad():
            network.V.add_(0.1)
        X, y, share = X - 0.1, y + 0.2, share * 1.5
        problem = network, loss, X, y, share
        assert_close(captured(*problem), compute_gradients(*problem))
    assert len(without_capture) == 1


def test_gradients_of_batches_of_one_shape_are_added(
    generator, without_capture, monkeypatch
):
    """One graph serves them all, and writes all gradients to the same place."""
    network, loss, X, y, share = make_thin_problem(generator)
    batches = [(X + i, y - i, (i + 1) * share) for i in range(3)]
    outputs, total = [], 0.0
    expected = 0.0
    for batch in batches:
        part, loss_of_part, gradient = compute_gradients(network, loss, *batch)
        outputs.append(part)
        total += loss_of_part
        expected = [a + b for a, b in zip(gradient, expected or [0.0] * 4, strict=True)]
    captured = gradients.CapturedGradients(compute_gradients)
    monkeypatch.setattr(gradients, "_computation_for", lambda X: captured)
    results = [add_gradients(network, loss, *batch) for batch in batches]
    assert len(without_capture) == 1
    torch.testing.assert_close([part for part, _ in results], outputs)
    torch.testing.assert_close(sum(part for _, part in results), total)
    for p, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_other_shapes_and_settings_are_captured_anew(generator, without_capture):
    network, loss, X, y, share = make_thin_problem(generator)
    captured = gradients.CapturedGradients(compute_gradients)
    for change in (
        lambda: None,
        lambda: network.resample_(12),
        lambda: setattr(network, "imitated_depth", 64),
    ):
        change()
        problem = network, loss, X, y, share
        assert_close(captured(*problem), compute_gradients(*problem))
    captured(network, loss, X[:9], y[:9], share[:9])
    captured(network, SquaredError(), X, y, share)  # equal to that before
    captured(network, Quantile([0.5], smoothing=0.1), X, y, share)
    captured(network, Quantile([0.5], smoothing=0.2), X, y, share)
    assert len(without_capture) == 6


def test_few_graphs_are_kept(generator, without_capture):
    network, *rest = make_thin_problem(generator)
    captured = gradients.CapturedGradients(compute_gradients)
    for depth in range(2, 20):
        network.resample_(depth)
        captured(network, *rest)
    assert len(graphs()) == gradients.MAX_GRAPHS


@pytest.mark.usefixtures("without_capture")
@pytest.mark.parametrize("fault", ["fails", "is wrong"])
def test_a_capture_that_cannot_be_trusted_is_not_used(fault, generator, monkeypatch):
    capture = gradients._capture

    def faulty(compute):
        if fault == "fails":
            raise RuntimeError("operation not permitted when stream is capturing")
        graph, results, expected = capture(compute)
        results[2][1].add_(0.1)
        return graph, results, expected

    monkeypatch.setattr(gradients, "_capture", faulty)
    captured = gradients.CapturedGradients(compute_gradients)
    problem = make_thin_problem(generator)
    for _ in range(2):
        assert_close(captured(*problem), compute_gradients(*problem))
    assert list(graphs().values()) == [None]


@pytest.mark.gpu
def test_gradients_are_captured_on_cuda(generator):
    network, loss, X, y, share = make_thin_problem(generator, "cuda")
    captured = gradients.CapturedGradients(compute_gradients)
    for _ in range(3):
        with torch.no_grad():
            network.V.add_(0.1)
        problem = network, loss, X, y, share
        assert_close(captured(*problem), compute_gradients(*problem))
    assert list(graphs().values()) != [None]


@pytest.mark.gpu
def test_many_samples_on_cuda_are_one_part(generator):
    V = torch.empty(16, 128, 256, device="cuda")
    assert rows_at_once(V) > 10**9
    network = ResidualNetwork(126, 1, depth=16, width=256, state_dim=128).cuda()
    net = TrainingNet(network, SquaredError(), Flow()).initialize()
    X = torch.zeros(10_000, 126, device="cuda")
    assert len(list(net.chunks(X))) == 1


@pytest.mark.gpu
def test_gradients_on_cuda_are_those_on_the_cpu(generator):
    network, loss, X, y, share = make_thin_problem(generator)
    add_gradients(network, loss, X, y, share)
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    network.cuda()
    add_gradients(network, loss, X.cuda(), y.cuda(), share.cuda())
    for p, exact in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad.cpu(), exact, rtol=1e-4, atol=1e-5)


def test_gradients_of_sparse_rows_are_those_of_dense_ones(generator):
    for name in PROBLEMS:
        for backward in ("stored", "rebuilt"):
            network, loss, X, y, share = make_problem(
                name, generator, backward=backward
            )
            X[X.abs() < 0.8] = 0.0
            found = []
            for inputs in (X, as_rows(sp.csr_array(X.numpy()), X)):
                network.zero_grad()
                outputs, total = add_gradients(network, loss, inputs, y, share)
                gradients = [p.grad.clone() for p in network.parameters()]
                found.append([outputs, total, *gradients])
            for dense, sparse in zip(*found, strict=True):
                np.testing.assert_allclose(sparse, dense, rtol=1e-12, atol=1e-14)
