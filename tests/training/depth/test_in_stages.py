import numpy as np
import pytest

from odenet import ResODEClassifier, ResODERegressor
from odenet._training.depth.in_stages import next_step, share_epochs, stages_of
from odenet._training.depth.walk import Step
from odenet._training.stop_reason import StopReason
from odenet.solvers import SGD, AdamW


def wave(n_samples=300):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(n_samples, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def depths_of(model):
    return model.net_.history[:, "depth"]


@pytest.mark.parametrize("depths", [[8], [8, 16, 32, 64], [7, 1000]])
def test_epochs_are_shared(depths):
    for max_epochs in (1, 2, 7, 100, 500):
        epochs = share_epochs(max_epochs, depths)
        assert sum(epochs.values()) == max_epochs
        assert epochs[depths[-1]] >= 1
        assert all(n > 0 for n in epochs.values())
        assert list(epochs) == sorted(epochs)


@pytest.mark.parametrize(
    ("depths", "expected"),
    [([4, 8, 16, 32, 64], [8, 64]), ([4, 8], [8]), ([1], [1]), ([7, 13, 25], [13, 25])],
)
def test_two_stages(depths, expected):
    assert stages_of(depths) == expected


def test_stages_that_are_asked_for():
    X, y = wave(50)
    solver = AdamW(max_epochs=12)
    model = ResODERegressor(16, width=8, solver=solver, depth_schedule=[2, 4, 16])
    model.fit(X, y)
    assert [row["depth"] for row in model.depth_path_] == [2, 4, 16]


def test_stages_have_equal_work():
    epochs = share_epochs(500, [8, 16, 32, 64])
    assert list(epochs) == [8, 16, 32, 64]
    work = [depth * n for depth, n in epochs.items()]
    assert max(work) < 1.05 * min(work)


@pytest.mark.parametrize("solver", [SGD, AdamW])
def test_all_epochs_are_run_where_nothing_is_held_out(solver):
    X, y = wave(100)
    model = ResODERegressor(32, width=8, solver=solver(max_epochs=14), random_state=0)
    model.set_params(early_stopping=False).fit(X, y)
    assert depths_of(model) == [8] * 12 + [32] * 2
    assert model.stop_reason_ == "max_epochs"
    assert [row["depth"] for row in model.depth_path_] == [8, 32]


def test_steps_get_shorter_with_depth():
    X, y = wave(100)
    solver = AdamW(0.02, max_epochs=14)
    model = ResODERegressor(32, width=8, solver=solver, early_stopping=False).fit(X, y)
    assert [g["lr"] for g in model.net_.optimizer_.param_groups] == [0.005, 0.005]


def test_a_stage_hands_on_its_best_weights_and_never_loses_them():
    X, y = wave()
    model = ResODERegressor(64, width=16, solver=AdamW(max_epochs=200), random_state=0)
    model.fit(X, y, X_val=X, y_val=y)
    depths, losses = depths_of(model), model.validation_loss_curve_
    lowest = {
        d: min(b for a, b in zip(depths, losses, strict=True) if a == d)
        for d in set(depths)
    }
    second = model.depth_path_[1]
    assert second["loss"] - second["loss_gap"] == pytest.approx(lowest[8], rel=1e-4)
    final = np.mean((model.predict(X) - y) ** 2) / np.var(y)
    assert final <= 1.05 * min(lowest[64], 1.5 * lowest[8])
    assert final < 1.3 * lowest[8]


def test_patience_is_less_for_deep_networks(rng):
    X, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    solver = AdamW(0.02, max_epochs=400, patience=16)
    model = ResODERegressor(32, width=32, solver=solver, early_stopping=True)
    model.set_params(random_state=0).fit(X, y)
    depths = depths_of(model)
    assert model.stop_reason_ == "early_stopping"
    assert 16 <= depths.count(8) < 100
    assert 4 <= depths.count(32) < 16


def test_one_epoch_is_of_full_depth():
    X, y = wave(50)
    model = ResODERegressor(16, width=8, solver=SGD(max_epochs=1)).fit(X, y)
    assert depths_of(model) == [16]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_stages_reach_what_full_depth_reaches(early_stopping):
    X, y = wave()
    model = ResODERegressor(32, width=16, solver=AdamW(max_epochs=100), random_state=0)
    model.set_params(early_stopping=early_stopping)
    staged = model.fit(X, y).score(X, y)
    full = model.set_params(depth_schedule=None).fit(X, y).score(X, y)
    assert staged == pytest.approx(full, abs=0.03)
    assert staged > 0.9


def test_depth_is_settled_by_the_gap():
    X, y = wave()
    model = ResODERegressor("auto", width=16, solver=AdamW(max_epochs=60))
    model.set_params(gap_tol=0.02, random_state=0).fit(X, y)
    assert model.ode_gap(X) < 1.1 * 0.02
    assert 8 <= model.depth_ < 1024
    assert model.module_.imitated_depth is None


def test_default_solver_of_larger_sets():
    X, y = wave(900)
    model = ResODEClassifier(32, width=16, random_state=0).fit(X, y > 0)
    assert isinstance(model.solver_, AdamW)
    assert model.score(X, y > 0) > 0.93
    assert model.depth_smoothness_.von_neumann_ratio < 0.05


@pytest.mark.parametrize("solver", [SGD(max_epochs=50), AdamW(max_epochs=50)], ids=repr)
def test_every_mini_batch_solver_certifies_a_discretised_ode(solver):
    X, y = wave(600)
    model = ResODERegressor(solver=solver, random_state=0).fit(X, y)
    assert model.depth_ == 64
    assert model.score(X, y) > 0.8
    assert model.depth_smoothness_.von_neumann_ratio < 0.05
    assert model.ode_gap(X) < 0.05


def test_going_on_loses_nothing():
    """The steps are as short as the last ones were, and the start is to be beaten."""
    X, y = wave(600)
    settings = {"solver": AdamW(max_epochs=40), "warm_start": True, "random_state": 0}
    model = ResODERegressor(32, width=16, **settings).fit(X, y, X_val=X, y_val=y)
    score, n_evals = model.score(X, y), model.n_grad_evals_
    model.set_params(solver=AdamW(max_epochs=2)).fit(X, y, X_val=X, y_val=y)
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0.04 * 8 / 32)
    assert model.score(X, y) >= score - 1e-6
    assert n_evals < model.n_grad_evals_ < 1.2 * n_evals
    model.set_params(solver=AdamW(0.5, max_epochs=1)).fit(X, y, X_val=X, y_val=y)
    assert model.net_.curve("valid_score")[-1] < score - 0.05
    assert model.score(X, y) >= score - 1e-6


def test_a_part_more_does_no_harm():
    X, y = wave(600)
    model = ResODERegressor(32, width=16, solver=AdamW(max_epochs=40), random_state=0)
    score = model.fit(X, y).score(X, y)
    assert model.partial_fit(X, y).score(X, y) > score - 0.02


def test_gradients_of_another_solver_are_counted_once():
    X, y = wave(100)
    model = ResODERegressor(8, width=8, solver="flow", flow_time=2.0, warm_start=True)
    before = model.fit(X, y).n_grad_evals_
    model.set_params(solver=AdamW(batch_size=50, max_epochs=3), flow_time=None)
    assert model.fit(X, y).n_grad_evals_ == before + 6


# What is decided after an epoch -------------------------------------------------------


def decide(reason=None, done=False, over=False):
    reason = None if reason is None else StopReason(reason)
    return next_step(reason, is_done=done, is_over=over)


def test_next_step_of_mini_batches():
    for decision, step in [
        (decide(), Step.STAY),
        (decide(over=True), Step.NEXT_DEPTH),
        (decide("early_stopping"), Step.NEXT_DEPTH),
        (decide(over=True, done=True), Step.END),
        (decide("early_stopping", done=True), Step.END),
        (decide(done=True), Step.STAY),
        (decide("diverged"), Step.END),
        (decide("callback", over=True), Step.END),
    ]:
        assert decision is step
