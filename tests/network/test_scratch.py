"""What waits for the next gradient has one owner, which lets go of it."""

import threading
import weakref

import pytest
import torch

from odenet import ResidualNetwork
from odenet._network.scratch import current_scratch, scratch


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
