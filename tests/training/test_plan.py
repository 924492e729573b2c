"""What a training is asked to do, and what comes of it."""

from math import inf
from types import SimpleNamespace

from odenet._losses.squared_error import SquaredError
from odenet._training.plan import UNJUDGED_FLOW_TIME, Outcome, Plan, Progress
from odenet._training.stop_reason import StopReason
from odenet.solvers import AdamW, Flow


def make(solver=None, **settings):
    return Plan(solver or Flow(), SquaredError(), longest_flow_time=300.0, **settings)


def past(flow_time):
    return Progress(history=[], flow_time=flow_time, n_grad_evals=3)


def test_horizon():
    for plan, judged, expected in [
        (make(), False, UNJUDGED_FLOW_TIME),
        (make(), True, 300.0),
        (make(flow_time=7.0), False, 7.0),
        (make(flow_time=7.0), True, 7.0),
        (make(past=past(20.0)), True, 320.0),
        (make(past=past(20.0)), False, UNJUDGED_FLOW_TIME + 20.0),
        (make(past=past(None)), True, 300.0),
        (make(past=past(20.0), flow_time=30.0), True, 30.0),
        (make(AdamW()), True, inf),
        (make(AdamW(), flow_time=7.0), False, inf),
    ]:
        assert plan.horizon(judged=judged) == expected


def test_the_flow_time_before():
    assert make().flow_time_before == 0.0
    assert make(past=past(None)).flow_time_before == 0.0
    assert make(past=past(5.0)).flow_time_before == 5.0


def outcome(reason, losses, notices=()):
    columns = {
        ("train_loss", "role", "fit"): losses,
        ("valid_loss", "role", None): [3.0, 2.0],
        ("valid_score", "role", None): [0.1, 0.2],
        ("flow_time", "valid_loss", None): [1.0, 2.0],
    }
    net = SimpleNamespace(
        solver=Flow(),
        flow_time=2.0,
        n_grad_evals=9,
        curve=lambda name, having="role", role=None: columns[name, having, role],
    )
    network = SimpleNamespace(depth=16)
    return Outcome(network, net, [{"depth": 16}], reason, notices)


def test_fitted_attributes():
    shown = outcome(StopReason.HORIZON, [5.0, 4.0, 3.0]).attributes()
    assert shown.pop("net_").n_grad_evals == 9
    assert repr(shown.pop("solver_")) == "Flow()"
    assert shown == {
        "depth_path_": [{"depth": 16}],
        "loss_": None,
        "loss_curve_": [5.0, 4.0, 3.0],
        "validation_loss_curve_": [3.0, 2.0],
        "validation_scores_": [0.1, 0.2],
        "validation_flow_times_": [1.0, 2.0],
        "depth_": 16,
        "stop_reason_": "horizon",
        "converged_": True,
        "n_iter_": 3,
        "flow_time_": 2.0,
        "n_grad_evals_": 9,
    }
    assert type(shown["stop_reason_"]) is str


def test_a_training_without_a_step():
    shown = outcome(StopReason.INTERRUPTED, None).attributes()
    assert shown["n_iter_"] == 0
    assert not shown["converged_"]


def test_warnings_are_notices_and_the_advice():
    assert outcome(StopReason.HORIZON, []).warnings() == []
    said = outcome(StopReason.MAX_EVALS, [], ("The gap is large.",)).warnings()
    assert said == ["The gap is large.", StopReason.MAX_EVALS.advice]
