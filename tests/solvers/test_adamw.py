import pytest

from odenet import ResidualNetwork
from odenet._optim.depth_adamw import DepthAdamW
from odenet.solvers import SOAP, AdamW


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    solver = AdamW(0.3, weight_decay=0.2)
    optimizer = solver.make_optimizer(network, horizon=3.0)
    assert type(optimizer) is DepthAdamW
    for group in optimizer.param_groups:
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    layers = [g for g in optimizer.param_groups if g.get("has_depth")]
    assert [p.shape[0] for g in layers for p in g["params"]] == [5, 5]


@pytest.mark.parametrize("kind", [AdamW, SOAP])
def test_automatic_decay_is_that_of_embedded_numbers(kind):
    network = ResidualNetwork(2, 1, depth=5)

    def decays(solver):
        groups = solver.make_optimizer(network, horizon=3.0).param_groups
        return [(g.get("embedded_decay"), g["weight_decay"]) for g in groups]

    assert decays(kind()) == [(None, 0.0), (None, 0.0)]
    network.n_embedded = 1
    assert decays(kind()) == [(0.1, 0.0), (None, 0.01)]
    assert decays(kind(weight_decay=0.0)) == [(None, 0.0), (None, 0.0)]
    assert decays(kind(weight_decay=0.3)) == [(None, 0.3), (None, 0.3)]


def test_its_settings_are_those_of_mini_batches():
    solver = AdamW(batch_size=7, max_epochs=3, patience=2)
    assert solver.rows_of_a_batch(100) == 7
    assert (solver.max_epochs, solver.patience) == (3, 2)


def test_bad_settings():
    for name in ("learning_rate", "weight_decay", "batch_size", "patience"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of AdamW"):
            AdamW(**{name: -1}).validate()
    for decay in (0.0, "auto"):
        AdamW(weight_decay=decay).validate()
    with pytest.raises(ValueError, match="'weight_decay' parameter of AdamW"):
        AdamW(weight_decay="automatic").validate()
