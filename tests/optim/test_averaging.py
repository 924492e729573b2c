import pytest
import torch
from torch import nn

from odenet._optim.averaging import SHARE, RunningAverage


def make_average():
    module = nn.Linear(2, 1)
    return module, RunningAverage(module)


def test_average_of_weights_that_stand_still_is_they():
    module, average = make_average()
    for _ in range(5):
        average.update()
    torch.testing.assert_close(average.weights["weight"], module.weight.data)


def test_average_is_about_the_last_tenth_of_all_steps():
    """The mean of a count from 1 to n, seen with weights that grow with t."""
    module, average = make_average()
    n_steps = 2000
    for step in range(1, n_steps + 1):
        module.weight.data.fill_(step)
        average.update()
    lag = 1 - average.weights["weight"][0, 0].item() / n_steps
    assert lag == pytest.approx(SHARE, rel=0.1)


def test_average_of_noise_is_quieter():
    module, average = make_average()
    generator = torch.Generator().manual_seed(0)
    for _ in range(4000):
        module.weight.data.normal_(generator=generator)
        average.update()
    assert average.weights["weight"].abs().max() < 0.3


def test_network_shows_the_average_for_a_while():
    module, average = make_average()
    average.update()
    module.weight.data.add_(1.0)
    raw = module.weight.data.clone()
    with average.shown():
        assert torch.equal(module.weight.data, average.weights["weight"])
        assert not torch.equal(module.weight.data, raw)
    assert torch.equal(module.weight.data, raw)


def test_restart_forgets():
    module, average = make_average()
    average.update()
    module.weight.data.add_(1.0)
    average.restart()
    torch.testing.assert_close(average.weights["weight"], module.weight.data)
