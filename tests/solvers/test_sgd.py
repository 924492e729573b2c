import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from odenet import ResidualNetwork, ResODERegressor
from odenet.solvers import SGD


class Rates(Callback):
    """Records the learning rate and the depth of every epoch."""

    def on_train_begin(self, net, **kwargs):
        self.seen = []

    def on_epoch_begin(self, net, **kwargs):
        rate = net.optimizer_.param_groups[0]["lr"]
        self.seen.append((net.module_.depth, rate))


@pytest.mark.parametrize("depth_schedule", [None, "doubling"])
def test_cosine_schedule_falls_to_zero_along_the_epochs(depth_schedule, rng):
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    rates = Rates()
    model = ResODERegressor(
        32,
        solver=SGD(0.1, schedule="cosine", max_epochs=20),
        depth_schedule=depth_schedule,
        callbacks=[rates],
        random_state=0,
    ).fit(X, y)
    depths, seen = np.array(rates.seen).T
    shares = (1 + np.cos(np.pi * np.arange(20) / 20)) / 2
    np.testing.assert_allclose(seen, 0.1 * shares * depths[0] / depths, rtol=1e-6)
    assert (len(set(depths)) == 2) == (depth_schedule == "doubling")
    assert not hasattr(model, "partial_fit")
    model.set_params(warm_start=True).fit(X, y)
    assert rates.seen[0][1] > 10 * rates.seen[-1][1]


def test_weight_decay_of_sgd_shrinks_all_weights_alike(rng):
    """Where there is nothing to learn, by the factor that the docstring says."""
    X, y = rng.normal(size=(40, 2)), np.zeros(40)
    solver = SGD(0.1, momentum=0.0, weight_decay=0.5, schedule="cosine", max_epochs=5)
    settings = {"width": 4, "depth_schedule": None, "early_stopping": False}
    start = ResODERegressor(2, solver=clone(solver).set_params(weight_decay=0.0))
    end = ResODERegressor(2, solver=solver)
    starts, ends = (
        model.set_params(**settings, standardize=False, random_state=0)
        .fit(X, y)
        .module_.W.detach()
        for model in (start, end)
    )
    n_batches = end.n_grad_evals_ // 5
    rates = 0.1 * (1 + np.cos(np.pi * np.arange(5) / 5)) / 2
    factor = np.prod((1 - 0.5 * rates) ** n_batches)
    torch.testing.assert_close(ends, factor * starts)


def test_rates_of_the_flow_are_those_of_the_layers_times_their_number(rng):
    """One step from the same start, by all samples."""
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    steps = {}
    for rate, flow_rates in [(0.0, True), (1e-4, True), (1e-4, False)]:
        solver = SGD(rate or 1e-30, flow_rates=flow_rates, batch_size=40, max_epochs=1)
        model = ResODERegressor(
            16, solver=solver, depth_schedule=None, dtype="float64", random_state=0
        ).fit(X, y)
        steps[rate, flow_rates] = model.module_.V.detach()
    start = steps[0.0, True]
    torch.testing.assert_close(
        steps[1e-4, True] - start, 16 * (steps[1e-4, False] - start)
    )
    assert (steps[1e-4, False] - start).norm() > 0


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    solver = SGD(0.3, momentum=0.4, weight_decay=0.2)
    (group,) = solver.make_optimizer(network, horizon=3.0).param_groups
    names = ("lr", "momentum", "weight_decay")
    assert [group[name] for name in names] == [0.3, 0.4, 0.2]
    assert len(group["params"]) == 4


def test_bad_settings():
    for name, value in [
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("flow_rates", "yes"),
        ("schedule", "linear"),
        ("learning_rate", 0.0),
    ]:
        with pytest.raises(ValueError, match=f"'{name}' parameter of SGD"):
            SGD(**{name: value}).validate()
