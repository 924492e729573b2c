"""The workspace: right gradients, in memory that is used again and not handed out."""

import threading
from dataclasses import replace

import pytest
import torch

from odenet import ResODERegressor
from odenet._network import workspace
from odenet._network.fast_layers import residual_stack
from odenet._network.layers import plain_stack, steps_ahead
from odenet._network.scratch import current_scratch, scratch
from odenet._network.workspace import (
    Workspace,
    give_back,
    is_worth_keeping,
    take_workspace,
)
from tests.network.problems import (
    GELU,
    assert_equal_to_rounding,
    make_problem,
    value_and_gradients,
)


@pytest.fixture(autouse=True)
def _own_scratch():
    with scratch():
        yield


@pytest.mark.parametrize("models", [(), (2,)])
@pytest.mark.parametrize("imitated", [None, 64, 11])
@pytest.mark.parametrize("depth", [1, 33])
def test_forward_and_backward_are_those_of_autograd(depth, imitated, models):
    """Of several blocks of layers, too, and the second time in the same buffers."""
    space = None
    for seed in (0, 1):
        (h, V, W), g = make_problem(depth=depth, models=models, seed=seed)
        expected = value_and_gradients(plain_stack, [h, V, W], g, depth=imitated)
        with torch.no_grad():
            space = space or Workspace(h, V)
            ahead = steps_ahead(depth, imitated)
            last = space.forward(h, V, W, GELU, 1 / depth, ahead)
            results = [last, *space.backward(g)]
        assert_equal_to_rounding(results, expected)


def test_the_one_that_fits_is_taken():
    problems = [make_problem(n=n)[0] for n in (7, 8)]
    spaces = [Workspace(h, V) for h, V, _ in problems]
    for space in spaces:
        give_back(space)
    h, V, W = problems[0]
    assert take_workspace(h, V) is spaces[0]
    assert take_workspace(h, V) is not spaces[0]  # that one is in use
    for other in (make_problem(depth=5), make_problem(dtype=torch.float32)):
        assert take_workspace(*other[0][:2]) not in spaces
    assert current_scratch().workspaces == spaces[1:]


def test_no_more_than_a_number_is_kept(monkeypatch):
    monkeypatch.setattr(workspace, "MAX_KEPT", 3)
    spaces = [Workspace(*make_problem(n=n)[0][:2]) for n in range(1, 6)]
    for space in spaces:
        give_back(space)
    assert current_scratch().workspaces == spaces[2:]


def test_what_is_worth_keeping_fits_into_the_bytes(monkeypatch):
    """The buffers that grow with depth times samples: 5 * 7 * (5 + 2 * 6) * 8 bytes."""
    (h, V, _), _ = make_problem()
    monkeypatch.setattr(workspace, "MAX_KEPT_BYTES", 4760)
    assert is_worth_keeping(h, V)
    monkeypatch.setattr(workspace, "MAX_KEPT_BYTES", 4759)
    assert not is_worth_keeping(h, V)


def test_results_survive_the_next_gradient():
    """Nothing that is returned lies in a buffer that is used again."""
    first, second = make_problem(seed=0), make_problem(seed=1)
    results = value_and_gradients(residual_stack, *first)
    kept = [t.detach().clone() for t in results]
    value_and_gradients(residual_stack, *second)
    assert all(torch.equal(t, copy) for t, copy in zip(results, kept, strict=True))


def test_threads_do_not_share_workspaces():
    problems = [make_problem(depth=40, seed=seed) for seed in range(4)]
    expected = [value_and_gradients(plain_stack, *problem) for problem in problems]
    results = [None] * 4

    def work(i):
        for _ in range(20):
            results[i] = value_and_gradients(residual_stack, *problems[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, exact in zip(results, expected, strict=True):
        assert_equal_to_rounding(result, exact)


def failing(*args):
    raise ZeroDivisionError


@pytest.mark.parametrize("part", ["write", "pull_back"])
def test_after_an_error_gradients_are_right(part):
    inputs, g = make_problem()
    value_and_gradients(residual_stack, inputs, g)  # leaves a workspace
    broken = replace(GELU, **{part: failing})
    with pytest.raises(ZeroDivisionError):
        value_and_gradients(residual_stack, inputs, g, broken)
    results = value_and_gradients(residual_stack, inputs, g)
    assert_equal_to_rounding(results, value_and_gradients(plain_stack, inputs, g))


def test_workspaces_are_used_again(monkeypatch):
    inputs, g = make_problem()
    value_and_gradients(residual_stack, inputs, g)
    monkeypatch.setattr(Workspace, "__init__", failing)
    value_and_gradients(residual_stack, inputs, g)
    with pytest.raises(ZeroDivisionError):
        value_and_gradients(residual_stack, *make_problem(n=8))


def test_few_workspaces_are_kept(monkeypatch):
    """The latest ones; one of n samples has 5 * n * (5 + 2 * 6) * 8 bytes here."""
    monkeypatch.setattr(workspace, "MAX_KEPT_BYTES", 21 * 680)
    for n in (7, 8, 9, 10, 11):
        value_and_gradients(residual_stack, *make_problem(n=n))
    kept = current_scratch().workspaces
    assert [len(waiting.points[0]) for waiting in kept] == [10, 11]


def test_a_fit_leaves_no_workspaces():
    ResODERegressor(2, width=4, flow_time=0.1).fit([[0.0], [1.0], [2.0]], [0, 1, 2])
    assert len(current_scratch().workspaces) == 0
