"""The gradient written by hand is autograd's."""

import pytest
import torch

from odenet import ResidualNetwork
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._losses.squared_error import SquaredError
from odenet._network import gradients
from odenet._network.gradients import add_gradients
from odenet.schemes import GaussianProcess

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
