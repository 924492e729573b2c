import re

import pytest
import torch
from sklearn.base import BaseEstimator, clone
from skorch.callbacks import Callback

from odenet import (
    GradientFlow,
    ResidualNetwork,
    ResODEClassifier,
    ResODEClassifierCV,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet._losses.base import Loss
from odenet._losses.cross_entropy import CrossEntropy
from odenet._losses.quantile import Quantile
from odenet._losses.registry import LOSSES
from odenet._optim.depth_adamw import DepthAdamW
from odenet._optim.depth_soap import DepthSOAP
from odenet._optim.explicit_euler import ExplicitEuler
from odenet._utils.sklearn_private import validate_parameters
from odenet.solvers import SOAP, SOLVERS, AdamW, Flow, GradientDescent, resolve_solver
from odenet.solvers._registry import SolverNames


class EndsAtOnce(Callback):
    """Ends a training after its first epoch."""

    def on_epoch_end(self, net, **kwargs):
        net.ask_to_stop()


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
        ("soap", DepthSOAP),
    ],
)
def test_name_stands_for_an_optimizer(name, optimizer):
    network = ResidualNetwork(2, 1, depth=5)
    made = resolve_solver(name).make_optimizer(network, horizon=3.0)
    assert type(made) is optimizer
    rates = [group["lr"] for group in made.param_groups]
    expected = {"flow": [1, 5], "gd": [1, 5], "sgd": [0.01], "adamw": [0.04, 0.04]}
    expected["soap"] = [0.02, 0.02]
    assert rates == pytest.approx(expected[name])


@pytest.mark.parametrize(
    ("n_rows", "flow_time", "expected"),
    [(500, None, Flow), (501, None, AdamW), (10**6, 3.0, Flow)],
)
def test_auto(n_rows, flow_time, expected):
    assert type(resolve_solver("auto", n_rows, flow_time)) is expected


def test_auto_depends_on_the_loss():
    """Of the losses by name, two have a kink; one of one's own has none."""
    kinks = ["absolute_error", "quantile"]
    assert [name for name, kind in LOSSES.items() if kind().has_kink] == kinks
    for name, kind in [*LOSSES.items(), ("own", Loss), ("classes", CrossEntropy)]:
        most = 19 if name in kinks else 500
        for n_rows, flow_time, expected in [
            (most, None, Flow),
            (most + 1, None, SOAP if name == "squared_error" else AdamW),
            (20_000, None, SOAP if name == "squared_error" else AdamW),
            (20_001, None, SOAP if name in {"squared_error", "classes"} else AdamW),
            (10**6, 3.0, Flow),
        ]:
            solver = resolve_solver("auto", n_rows, flow_time, kind())
            assert type(solver) is expected, (name, n_rows)
    assert type(resolve_solver("flow", 10**6, None, LOSSES["quantile"]())) is Flow


def test_an_estimator_tells_its_loss():
    X = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).numpy()
    model = ResODERegressor(2, width=2, callbacks=[EndsAtOnce()])
    for loss, n_rows, expected in [
        ("squared_error", 200, Flow),
        ("absolute_error", 19, Flow),
        ("absolute_error", 20, AdamW),
        (Quantile([0.1, 0.9]), 200, AdamW),
    ]:
        model.set_params(loss=loss).fit(X[:n_rows], X[:n_rows, 0])
        assert type(model.solver_) is expected, loss
        is_judged = model.validation_loss_curve_ is not None
        assert is_judged == (n_rows >= 20), loss


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
