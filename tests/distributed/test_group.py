"""The group of a single process, and that of one rank of torch: a group of one.

What several ranks do is tested in tests/whole/test_ranks.py.
"""

import numpy as np
import pytest
import torch
import torch.distributed as dist

from odenet._distributed.group import ALONE, RankError, group_of


@pytest.fixture
def group(tmp_path):
    """The ranks of a process group of torch, which has one."""
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    yield group_of("group")
    if dist.is_initialized():
        dist.destroy_process_group()


def test_without_the_word_there_is_one_process(group):
    assert group_of(None) is ALONE
    assert group_of("group") is group


def test_without_a_process_group_the_word_is_an_error():
    with pytest.raises(ValueError, match="init_process_group"):
        group_of("group")


def test_one_rank_is_told_what_it_says(group):
    rows = np.arange(6.0).reshape(3, 2)
    for ranks in (ALONE, group):
        assert (ranks.rank, ranks.size) == (0, 1)
        for value in (2, 1.5, np.array([1.0, -2.0]), np.zeros(0)):
            for method in (ranks.sum, ranks.max, ranks.min):
                found = method(value)
                np.testing.assert_array_equal(found, value)
                assert np.ndim(found) == np.ndim(value)
        tensor = torch.tensor([1.0, 2.0])
        assert torch.equal(ranks.sum(tensor), tensor)
        assert torch.equal(ranks.concat(tensor), tensor)
        np.testing.assert_array_equal(ranks.concat(rows), rows)
        assert ranks.before(3) == 0
        assert ranks.collect({"a": 1}) == [{"a": 1}]
        assert ranks.from_first("seed") == "seed"
        found = ranks.exchange(rows, np.zeros(3, dtype=int))
        np.testing.assert_array_equal(found, rows)
        ranks.check_same("parameters", "depth=8")
        ranks.check_step(lambda: "epoch 1")


def test_an_error_is_raised_where_it_came_from_and_the_group_goes_on(group):
    for ranks in (ALONE, group):
        with pytest.raises(KeyError, match="mine"), ranks.together():
            raise KeyError("mine")
        with ranks.together(), ranks.together():
            assert ranks.sum(1.0) == 1.0


def test_an_interrupt_within_a_message_closes_the_connections(group, monkeypatch):
    calls, all_reduce = [], dist.all_reduce

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:  # the first is the roll call
            raise KeyboardInterrupt
        return all_reduce(*args, **kwargs)

    monkeypatch.setattr(dist, "all_reduce", interrupted)
    with pytest.raises(KeyboardInterrupt), group.together():
        group.sum(np.ones(3))
    assert len(calls) == 2  # no roll call follows, which others would misread
    with pytest.raises(RankError, match="lost before"):
        group.sum(1.0)


def test_a_group_that_was_destroyed_is_an_error(group):
    dist.destroy_process_group()
    with pytest.raises(RankError, match="destroyed"):
        group.sum(1.0)
