import pytest
import torch
from sklearn.base import clone

from odenet import GradientFlow, ResidualNetwork
from odenet._depth_adam import DepthAdamW
from odenet._flow import ExplicitEuler
from odenet.solvers import SOLVERS, AdamW, Flow, GradientDescent, resolve_solver


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_is_a_small_object_with_parameters(name):
    solver = resolve_solver(name)
    twin = clone(solver).set_params(**solver.get_params())
    assert twin.get_params() == solver.get_params()
    assert twin.max_epochs >= 1


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("flow", GradientFlow),
        ("gd", ExplicitEuler),
        ("sgd", torch.optim.SGD),
        ("adamw", DepthAdamW),
    ],
)
def test_name_stands_for_an_optimizer(name, optimizer):
    network = ResidualNetwork(2, 1, depth=5)
    made = resolve_solver(name).make_optimizer(network, horizon=3.0)
    assert type(made) is optimizer
    rates = [group["lr"] for group in made.param_groups]
    expected = {"flow": [1, 5], "gd": [1, 5], "sgd": [0.01], "adamw": [0.04, 0.04]}
    assert rates == pytest.approx(expected[name])


@pytest.mark.parametrize(
    ("n_rows", "flow_time", "expected"),
    [(500, None, Flow), (501, None, AdamW), (10**6, 3.0, Flow)],
)
def test_auto(n_rows, flow_time, expected):
    assert type(resolve_solver("auto", n_rows, flow_time)) is expected


@pytest.mark.parametrize(
    ("n_rows", "expected"), [(10, 32), (1600, 100), (4096, 256), (10**6, 256)]
)
def test_rows_of_an_automatic_batch(n_rows, expected):
    assert AdamW().rows_of_a_batch(n_rows) == expected
    assert AdamW(batch_size=7).rows_of_a_batch(n_rows) == 7


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    flow = Flow(rtol=0.3, atol=0.2, clip=7.0).make_optimizer(network, horizon=3.0)
    assert (flow.rtol, flow.atol, flow.clip, flow.horizon) == (0.3, 0.2, 7.0, 3.0)
    euler = GradientDescent(0.5, clip=7.0).make_optimizer(network, horizon=3.0)
    assert (euler.learning_rate, euler.clip, euler.horizon) == (0.5, 7.0, 3.0)


@pytest.mark.parametrize(
    "solver",
    [Flow(rtol=0), Flow(max_evals=0), GradientDescent(-1.0), AdamW(patience=0)],
)
def test_bad_setting(solver):
    (name,) = {
        name
        for name, value in solver.get_params().items()
        if value != type(solver)().get_params()[name]
    }
    with pytest.raises(
        ValueError, match=f"'{name}' parameter of {type(solver).__name__}"
    ):
        resolve_solver(solver)
