import pytest

from odenet import ResidualNetwork
from odenet._optim.depth_adamw import DepthAdamW
from odenet.solvers import AdamW


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    solver = AdamW(0.3, weight_decay=0.2)
    optimizer = solver.make_optimizer(network, horizon=3.0)
    assert type(optimizer) is DepthAdamW
    for group in optimizer.param_groups:
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    layers = [g for g in optimizer.param_groups if g.get("has_depth")]
    assert [p.shape[0] for g in layers for p in g["params"]] == [5, 5]


def test_its_settings_are_those_of_mini_batches():
    solver = AdamW(batch_size=7, max_epochs=3, patience=2)
    assert solver.rows_of_a_batch(100) == 7
    assert (solver.max_epochs, solver.patience) == (3, 2)


def test_bad_settings():
    for name in ("learning_rate", "weight_decay", "batch_size", "patience"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of AdamW"):
            AdamW(**{name: -1}).validate()
    AdamW(weight_decay=0.0).validate()
