"""The smoothness in depth, recorded while a network is trained."""

import pytest

from odenet import DepthSmoothnessMonitor, ResODERegressor

X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]


def fit(every):
    monitor = DepthSmoothnessMonitor(every)
    settings = {"width": 8, "flow_time": 3.0, "depth_schedule": None}
    return ResODERegressor(
        8, callbacks=[monitor], random_state=0, dtype="float64", **settings
    ).fit(X, y)


def test_the_last_record_is_of_the_model():
    model = fit(1)
    row, smoothness = model.net_.history[-1], model.depth_smoothness_
    assert row["lipschitz"] == pytest.approx(smoothness.lipschitz)
    assert row["von_neumann_ratio"] == pytest.approx(smoothness.von_neumann_ratio)
    assert all("lipschitz" in row for row in model.net_.history)


def test_steps_between_records():
    model = fit(3)
    recorded = [row["epoch"] for row in model.net_.history if "lipschitz" in row]
    assert recorded == [e for e in range(1, model.n_iter_ + 1) if e % 3 == 0]
    assert len(recorded) > 1


@pytest.mark.parametrize("every", [0, -1, 1.5, "2"])
def test_a_period_that_is_none(every):
    with pytest.raises(ValueError, match="`every` must be a positive integer, got"):
        fit(every)
