"""A captured gradient is the computed one, or is not used."""

import pytest
import torch

from odenet import ResidualNetwork
from odenet._losses.squared_error import SquaredError
from odenet._network import cuda_graph
from odenet._network.cuda_graph import CapturedGradients
from odenet._network.gradients import _by_hand, add_gradients
from odenet.schemes import GaussianProcess

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device"
)


def make_problem(generator, device="cpu", depth=8):
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
                cuda_graph._flat(self.results),
                cuda_graph._flat(self.compute()),
                strict=True,
            ):
                old.copy_(new)

    def capture(compute):
        n_captured.append(1)
        results = compute()
        return Graph(compute, results), results, compute()

    monkeypatch.setattr(cuda_graph, "_capture", capture)
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    return n_captured


def assert_close(results, expected):
    pairs = zip(cuda_graph._flat(results), cuda_graph._flat(expected), strict=True)
    for pair in pairs:
        torch.testing.assert_close(*pair)


def test_replays_follow_the_parameters_and_the_shares(generator, without_capture):
    network, loss, X, y, share = make_problem(generator)
    captured = CapturedGradients(_by_hand)
    for _ in range(3):
        with torch.no_grad():
            network.V.add_(0.1)
        share = share * 1.5
        problem = network, loss, X, y, share
        assert_close(captured(*problem), _by_hand(*problem))
    assert len(without_capture) == 1


def test_other_shapes_and_settings_are_captured_anew(generator, without_capture):
    network, loss, X, y, share = make_problem(generator)
    captured = CapturedGradients(_by_hand)
    for change in (
        lambda: None,
        lambda: network.resample_(12),
        lambda: setattr(network, "imitated_depth", 64),
    ):
        change()
        problem = network, loss, X, y, share
        assert_close(captured(*problem), _by_hand(*problem))
    assert len(without_capture) == 3


def test_few_graphs_are_kept(generator, without_capture):
    network, *rest = make_problem(generator)
    captured = CapturedGradients(_by_hand)
    for depth in range(2, 20):
        network.resample_(depth)
        captured(network, *rest)
    assert len(captured.graphs) == cuda_graph.MAX_GRAPHS
    captured.forget()
    assert not captured.graphs


@pytest.mark.usefixtures("without_capture")
@pytest.mark.parametrize("fault", ["fails", "is wrong"])
def test_a_capture_that_cannot_be_trusted_is_not_used(fault, generator, monkeypatch):
    capture = cuda_graph._capture

    def faulty(compute):
        if fault == "fails":
            raise RuntimeError("operation not permitted when stream is capturing")
        graph, results, expected = capture(compute)
        results[2][1].add_(0.1)
        return graph, results, expected

    monkeypatch.setattr(cuda_graph, "_capture", faulty)
    captured, problem = CapturedGradients(_by_hand), make_problem(generator)
    for _ in range(2):
        assert_close(captured(*problem), _by_hand(*problem))
    assert list(captured.graphs.values()) == [None]


@needs_cuda
def test_gradients_are_captured_on_cuda(generator):
    network, loss, X, y, share = make_problem(generator, "cuda")
    captured = CapturedGradients(_by_hand)
    for _ in range(3):
        with torch.no_grad():
            network.V.add_(0.1)
        problem = network, loss, X, y, share
        assert_close(captured(*problem), _by_hand(*problem))
    assert list(captured.graphs.values()) != [None]


@needs_cuda
def test_gradients_on_cuda_are_those_on_the_cpu(generator):
    network, loss, X, y, share = make_problem(generator)
    add_gradients(network, loss, X, y, share)
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    network.cuda()
    add_gradients(network, loss, X.cuda(), y.cuda(), share.cuda())
    for p, exact in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad.cpu(), exact, rtol=1e-4, atol=1e-5)
