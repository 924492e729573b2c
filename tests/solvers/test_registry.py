import re

import pytest
import torch
from sklearn.base import BaseEstimator, clone

from odenet import (
    GradientFlow,
    ResidualNetwork,
    ResODEClassifier,
    ResODEClassifierCV,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet._optim.depth_adamw import DepthAdamW
from odenet._optim.explicit_euler import ExplicitEuler
from odenet._utils.sklearn_private import validate_parameters
from odenet.solvers import SOLVERS, AdamW, Flow, GradientDescent, resolve_solver
from odenet.solvers._registry import SolverNames


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


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match=r"one of \['adamw', .*\], got 'adam'"):
        resolve_solver("adam")


def test_docstrings_name_those_in_the_registry():
    """All names, or those of flows where nothing else is taken."""
    flows = [name for name, solver in SOLVERS.items() if solver.follows_flow]
    for documented, names in [
        (resolve_solver, ["auto", *SOLVERS]),
        (ResODERegressor, ["auto", *SOLVERS]),
        (ResODEClassifier, ["auto", *SOLVERS]),
        (ResODERegressorCV, flows),
        (ResODEClassifierCV, flows),
    ]:
        (choice,) = re.findall(r"^\s*solver : \{([^}]*)\}", documented.__doc__, re.M)
        assert re.findall(r'"(\w+)"', choice) == names, documented.__name__


class Taker(BaseEstimator):
    """An estimator that has a solver and nothing else."""

    def __init__(self, solver):
        self.solver = solver


def test_names_of_solvers_are_read_when_parameters_are_judged(monkeypatch):
    constraints = {"solver": [SolverNames()]}
    with pytest.raises(ValueError, match="'solver' parameter of Taker.*'gd'"):
        validate_parameters(constraints, Taker("mine"))
    monkeypatch.setitem(SOLVERS, "mine", Flow)
    for name in ("mine", "auto", "flow"):
        validate_parameters(constraints, Taker(name))
