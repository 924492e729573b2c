from math import inf

import pytest

from odenet import GradientFlow, ResidualNetwork, ResODERegressor
from odenet._losses.cross_entropy import CrossEntropy
from odenet._losses.squared_error import SquaredError
from odenet._optim.exponential_flow import ExponentialFlow
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
    with pytest.raises(ValueError, match="`clip` must be None for method='expon"):
        Flow(method="exponential", clip=1.0).validate()
    with pytest.raises(ValueError, match="'method' parameter of Flow"):
        Flow(method="euler").validate()


def test_the_method_reaches_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    flow = Flow(0.3, method="exponential").make_optimizer(network, horizon=3.0)
    assert type(flow) is ExponentialFlow
    assert (flow.rtol, flow.horizon) == (0.3, 3.0)
    for method in ("auto", "rkc"):
        flow = Flow(method=method).make_optimizer(network, horizon=3.0)
        assert type(flow) is GradientFlow


def test_auto_chooses_the_method_by_the_task():
    """Number of samples, number of outputs and flow time, for the squared error."""
    cases = [
        ((90, 1, 100.0), "exponential"),
        ((90, 1, 99.0), "rkc"),
        ((90, 1, None), "rkc"),
        ((90, 3, 100.0), "rkc"),
        ((90, 3, 810.0), "exponential"),
        ((400, 1, 399.0), "rkc"),
        ((5000, 1, inf), "exponential"),
        ((5001, 1, inf), "rkc"),
    ]
    for task, method in cases:
        assert Flow().settled(SquaredError(), *task).method == method
        assert Flow().settled(CrossEntropy(), *task).method == "rkc"
        assert Flow(clip=1.0).settled(SquaredError(), *task).method == "rkc"
        mine = Flow(0.5, method="exponential")
        assert mine.settled(CrossEntropy(), *task) is mine


def test_the_chosen_method_is_told():
    X, y = [[0.0], [1.0], [2.0]], [1.0, 2.0, 4.0]
    for flow_time, method in ((5.0, "rkc"), (inf, "exponential")):
        given = Flow(rtol=0.05)
        model = ResODERegressor(4, solver=given, flow_time=flow_time, random_state=0)
        model.fit(X, y)
        assert model.solver_.get_params() == {**given.get_params(), "method": method}
        assert given.method == "auto"
        assert method in model.summary()
    assert model.stop_reason_ == "stationary"
    assert model.loss_ < 1e-10
