import pytest
import torch
from torch.testing import assert_close

from odenet._distributed.group import ALONE
from odenet._losses.cross_entropy import CrossEntropy
from odenet._losses.poisson import Poisson
from odenet._losses.squared_error import SquaredError
from odenet._training.scores import score_of
from tests.distributed.threads import in_threads, parts_of


@pytest.mark.parametrize("loss", [SquaredError(), Poisson(), CrossEntropy()])
def test_the_score_of_several_processes_is_that_of_one(loss, generator):
    output = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    y = output.exp() + torch.rand(40, 3, generator=generator)
    y[:, 2] = 0.1  # R2 of a constant is 0
    if isinstance(loss, CrossEntropy):
        y = torch.randint(3, (40,), generator=generator)
    weight = torch.rand(40, generator=generator, dtype=torch.float64)
    expected = loss.score(output, y, weight)
    assert score_of(loss, output, y, weight, ALONE) == expected
    for size in (2, 3):
        found = in_threads(
            size, lambda g: score_of(loss, *parts_of(g, output, y, weight), g)
        )
        assert_close(found, [expected] * size)
