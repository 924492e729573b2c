"""Which depths a training is to go through."""

import pytest
import torch

from odenet import ResidualNetwork
from odenet._training.depth.planning import planned_depths


def network(depth, init="tied"):
    generator = torch.Generator().manual_seed(0)
    return ResidualNetwork(3, 1, depth=depth, width=8, init=init, generator=generator)


def planned(depth, schedule="doubling", init="tied", at=None, **settings):
    at = at or (1024 if depth == "auto" else depth)
    settings = {"in_stages": False, "goes_on": False, **settings}
    return planned_depths(
        network(at, init), depth=depth, schedule=schedule, init=init, **settings
    )


def test_a_flow_goes_through_all_depths_and_stages_through_two():
    assert planned(64) == [4, 8, 16, 32, 64]
    assert planned(64, in_stages=True) == [8, 64]
    assert planned("auto")[-1] == 1024


def test_a_schedule_is_obeyed():
    assert planned(64, [5, 64]) == [5, 64]
    assert planned(64, [5, 64], in_stages=True) == [5, 64]
    assert planned(64, None) == [64]


def test_independent_layers_are_trained_at_their_depth():
    assert planned(64, init="iid") == [64]
    assert planned(64, [5, 64], init="iid") == [5, 64]
    with pytest.raises(ValueError, match=r"`depth='auto'` needs .* got init='iid'"):
        planned("auto", init="iid", at=64)


def test_a_training_that_goes_on_has_its_depth_and_auto_can_raise_it():
    assert planned(64, goes_on=True) == [64]
    assert planned("auto", at=256, goes_on=True) == [256, 512, 1024]
    assert planned("auto", at=300, goes_on=True) == [300, 512, 1024]
    assert planned("auto", at=2048, goes_on=True) == [2048]
