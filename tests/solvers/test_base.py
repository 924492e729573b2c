"""What solvers owe, shown by two that the package does not have."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone

from odenet import ResidualNetwork, ResODERegressor
from odenet._optim.flow_optimizer import FlowOptimizer
from odenet.solvers import SGD, SOLVERS, AdamW, Flow, GradientDescent, resolve_solver
from odenet.solvers._base import POSITIVE, FullBatch, MiniBatch, Solver
from tests.helpers import serve_onnx


class MidpointOptimizer(FlowOptimizer):
    """The flow by the explicit midpoint rule, of second order."""

    def __init__(self, params, length, horizon):
        super().__init__(params, 1.0, None, horizon)
        self.length = length

    def reach(self, n_evals):
        return n_evals / 2 * self.length

    @torch.no_grad()
    def _advance(self, start, closure):
        h = min(self.length, self.horizon - self.flow_time)
        middle = self._evaluate(start.y + h / 2 * start.velocity, closure)
        return self._evaluate(start.y + h * middle.velocity, closure), h


class Midpoint(FullBatch):
    """The gradient flow by the explicit midpoint rule."""

    _parameter_constraints = {**FullBatch._parameter_constraints, "length": [POSITIVE]}

    def __init__(self, length=0.05, max_evals=10_000, clip=None):
        self.length = length
        self.max_evals = max_evals
        self.clip = clip

    def make_optimizer(self, module, horizon):
        return MidpointOptimizer(module.parameter_groups(), self.length, horizon)


class Nesterov(MiniBatch):
    """Gradient descent with Nesterov's momentum on mini-batches."""

    def __init__(self, learning_rate=0.002, batch_size="auto", max_epochs=40):
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs

    def make_optimizer(self, module, horizon):
        rate = self.learning_rate
        return torch.optim.SGD(module.parameters(), rate, momentum=0.9, nesterov=True)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(SOLVERS, "midpoint", Midpoint)
    monkeypatch.setitem(SOLVERS, "nesterov", Nesterov)


def make_problem(rng):
    X = rng.normal(size=(60, 2))
    return X, X[:, 0] + np.sin(2 * X[:, 1])


def fit(solver, X, y, **settings):
    model = ResODERegressor(4, width=8, solver=solver, random_state=0)
    return model.set_params(dtype="float64", **settings).fit(X, y)


@pytest.mark.parametrize("depth_schedule", [None, "doubling"])
def test_a_flow_of_ones_own_is_the_flow(rng, depth_schedule):
    """Its error falls with the square of its step, as that of the midpoint rule."""
    X, y = make_problem(rng)
    settings = {"flow_time": 2.0, "early_stopping": False}
    settings["depth_schedule"] = depth_schedule
    if depth_schedule:
        model = fit(Midpoint(), X, y, **settings)
        assert model.flow_time_ == 2.0
        assert model.score(X, y) > 0.5
        return
    exact = fit(Flow(rtol=1e-6), X, y, **settings).predict(X)
    errors = [
        abs(fit(Midpoint(h), X, y, **settings).predict(X) - exact).max()
        for h in (0.1, 0.05)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)


def test_a_flow_of_ones_own_chooses_its_flow_time(rng):
    problem, settings = make_problem(rng), {"early_stopping": True, "flow_time": 5.0}
    model = fit(Midpoint(), *problem, **settings)
    assert 0 < model.flow_time_ <= 5.0
    assert len(model.validation_loss_curve_) > 10
    assert not hasattr(model, "partial_fit")


def test_mini_batches_of_ones_own(rng):
    X, y = make_problem(rng)
    model = fit(Nesterov(max_epochs=200), X, y, early_stopping=False)
    assert model.score(X, y) > 0.8
    assert model.flow_time_ is None
    before = model.predict(X)
    assert not np.array_equal(model.partial_fit(X, y).predict(X), before)


def test_a_solver_of_ones_own_is_saved_and_exported(rng, tmp_path, registered):
    X, y = make_problem(rng)
    for solver, flow_time in [(Midpoint(0.04), 1.0), (Nesterov(max_epochs=2), None)]:
        model = fit(solver, X, y, early_stopping=False, flow_time=flow_time)
        model.save(tmp_path / "model.safetensors")
        twin = ResODERegressor.load(tmp_path / "model.safetensors")
        assert twin.get_params()["solver"].get_params() == solver.get_params()
        assert type(twin.solver) is type(solver)
        assert np.array_equal(twin.predict(X), model.predict(X))
        served = serve_onnx(model, X, tmp_path / "model.onnx")
        np.testing.assert_allclose(served, model.predict(X), atol=1e-5 * y.std())


def test_a_solver_of_ones_own_has_a_name(registered):
    assert type(resolve_solver("midpoint")) is Midpoint


def test_kinds_of_solvers():
    flows = [Flow(), GradientDescent(), Midpoint()]
    for solver in flows:
        assert solver.follows_flow
        assert not solver.takes_parts
        assert not solver.averages
        assert not solver.multiplies_gradients
        assert solver.rows_of_a_batch(1000) == 1000
        assert clone(solver).set_params(max_evals=7).max_epochs == 7
    for solver in (SGD(), AdamW(), Nesterov()):
        assert not solver.follows_flow
        assert solver.takes_parts
        assert solver.averages
        assert solver.multiplies_gradients
        assert solver.patience == 20
        assert solver.max_evals == math.inf
    falling = SGD(schedule="cosine")
    assert not falling.has_constant_rate
    assert not falling.takes_parts
    assert not falling.averages
    assert not SGD(flow_rates=False).multiplies_gradients


def test_a_solver_that_makes_no_optimizer_says_so():
    network = ResidualNetwork(2, 1, depth=2, width=4)
    with pytest.raises(NotImplementedError, match="Solver makes no optimizer"):
        Solver().make_optimizer(network, math.inf)


@pytest.mark.parametrize(
    ("n_rows", "expected"), [(10, 32), (1600, 100), (4096, 256), (10**6, 256)]
)
def test_rows_of_an_automatic_batch(n_rows, expected):
    for solver in (AdamW(), SGD(), Nesterov()):
        assert solver.rows_of_a_batch(n_rows) == expected
        solver.set_params(batch_size=7)
        assert solver.rows_of_a_batch(n_rows) == 7


def test_settings_that_are_not_allowed_are_refused():
    for solver, name in [
        (Midpoint(0.0), "length"),
        (Midpoint(clip=-1.0), "clip"),
        (Midpoint(clip=1e300), "clip"),
        (Nesterov(learning_rate=1e39), "learning_rate"),
        (Midpoint(max_evals=0), "max_evals"),
        (Nesterov(learning_rate=-1.0), "learning_rate"),
        (Nesterov(batch_size=0), "batch_size"),
        (Nesterov(batch_size="all"), "batch_size"),
        (Nesterov(max_epochs=0.5), "max_epochs"),
    ]:
        with pytest.raises(ValueError, match=f"'{name}' parameter of"):
            solver.validate()


def test_solvers_say_how_they_train_weights_with_signs():
    assert Flow().confined().method == "rkc"
    with pytest.raises(ValueError, match="'rkc' or 'auto'.*'exponential'"):
        Flow(method="exponential").confined()
    for solver in (Flow(method="rkc"), GradientDescent(), SGD(), AdamW()):
        assert solver.confined() is solver
    with pytest.raises(ValueError, match="projects its flow"):
        FullBatch().confined()
