import pytest

from odenet import GradientFlow, ResidualNetwork
from odenet.solvers import Flow


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    flow = Flow(rtol=0.3, atol=0.2, clip=7.0).make_optimizer(network, horizon=3.0)
    assert type(flow) is GradientFlow
    assert (flow.rtol, flow.atol, flow.clip, flow.horizon) == (0.3, 0.2, 7.0, 3.0)
    assert [group["lr"] for group in flow.param_groups] == [1, 5]


def test_the_absolute_tolerance_follows_the_relative_one():
    network = ResidualNetwork(2, 1, depth=2)
    flow = Flow(rtol=0.3).make_optimizer(network, horizon=3.0)
    assert flow.atol == pytest.approx(0.03)


def test_bad_settings():
    for name in ("rtol", "atol", "max_evals", "clip"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of Flow"):
            Flow(**{name: 0}).validate()
    Flow(atol=None, clip=None).validate()
