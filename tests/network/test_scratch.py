"""What waits for the next gradient has one owner, which lets go of it."""

import threading
import weakref

import pytest
import torch

from odenet import ResidualNetwork
from odenet._network.scratch import Scratch, current_scratch, scratch


def take_a_gradient():
    """The usual way of torch, which leaves a workspace."""
    ResidualNetwork(2, 1, depth=3, width=4)(torch.ones(5, 2)).sum().backward()


def test_a_gradient_outside_of_any_leaves_its_workspace_to_the_thread():
    current_scratch().free()
    take_a_gradient()
    (kept,) = current_scratch().workspaces
    take_a_gradient()
    assert current_scratch().workspaces == [kept]
    current_scratch().free()
    assert current_scratch().workspaces == []


def test_all_is_freed_at_the_end():
    with scratch() as opened:
        take_a_gradient()
        opened.graphs["key"] = "graph"
        assert current_scratch() is opened
        kept = weakref.ref(opened.workspaces[0])
    assert kept() is None
    assert not opened.graphs
    assert current_scratch() is not opened


def test_all_is_freed_after_an_error():
    outside, opened = current_scratch(), None

    def failing_training():
        nonlocal opened
        with scratch() as opened:
            take_a_gradient()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_training()
    assert opened.workspaces == []
    assert current_scratch() is outside


def test_an_outer_one_keeps_what_it_has():
    """A callback may fit an estimator of its own in the middle of a training."""
    with scratch() as outer:
        take_a_gradient()
        kept = list(outer.workspaces)
        with scratch() as inner:
            assert inner is not outer
            take_a_gradient()
            assert inner.workspaces != kept
        assert current_scratch() is outer
        assert outer.workspaces == kept != []


def test_threads_have_their_own():
    found = []

    def work():
        found.append(current_scratch())
        take_a_gradient()

    with scratch() as ours:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert ours.workspaces == []
    assert found[0] is not ours
    assert len(found[0].workspaces) == 1


def parameters(*shapes):
    made = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for p in made:
        p.grad = torch.ones_like(p)
    return made


def test_gradients_that_are_left_are_memory_for_the_next_ones():
    V, W = parameters((2, 3), (3, 2))
    left = [V.grad, W.grad]
    kept = Scratch()
    kept.leave_gradients(V, W)
    assert V.grad is W.grad is None
    taken = kept.take_gradients(V, W)
    assert all(a is b for a, b in zip(taken, left, strict=True))
    assert kept.take_gradients(V, W) is None


def test_memory_of_other_shapes_or_types_is_not_taken():
    for others in (parameters((4, 3), (3, 4)), parameters((2, 3))):
        kept = Scratch()
        kept.leave_gradients(*parameters((2, 3), (3, 2)))
        assert kept.take_gradients(*others) is None
    kept = Scratch()
    kept.leave_gradients(*parameters((2, 3)))
    assert kept.take_gradients(*(p.double() for p in parameters((2, 3)))) is None


def test_parameters_without_gradients_leave_none():
    V = torch.nn.Parameter(torch.zeros(2))
    kept = Scratch()
    kept.leave_gradients(V)
    assert kept.take_gradients(V) is None


def test_gradients_are_freed_with_the_rest():
    kept = Scratch()
    kept.leave_gradients(*parameters((2, 3)))
    kept.free()
    assert kept.gradients == []
