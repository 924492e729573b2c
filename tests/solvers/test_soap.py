import pytest

from odenet import ResidualNetwork, ResODERegressor
from odenet._losses.squared_error import SquaredError
from odenet._optim.depth_soap import DepthSOAP
from odenet.solvers import SOAP


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    optimizer = SOAP(0.3, weight_decay=0.2).make_optimizer(network, horizon=3.0)
    assert type(optimizer) is DepthSOAP
    for group in optimizer.param_groups:
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    assert SOAP(0.1, 0.2, 7, 3, 2, 100).get_params() == {
        "learning_rate": 0.1,
        "weight_decay": 0.2,
        "batch_size": 7,
        "max_epochs": 3,
        "patience": 2,
        "longest_side": 100,
    }


def test_the_longest_side_is_chosen_by_the_number_of_samples():
    def settled(solver, n_rows):
        return solver.settled(SquaredError(), n_rows, n_outputs=1, flow_time=None)

    of_few = SOAP(0.3, longest_side=2048)
    assert settled(SOAP(0.3), 20_000).get_params() == of_few.get_params()
    assert settled(SOAP(), 20_001).longest_side == 512
    for n_rows in (1000, 100_000):
        assert settled(SOAP(longest_side=7), n_rows).longest_side == 7


def test_the_longest_side_is_that_of_the_ends():
    """V and W are many matrices, and would cost far more."""
    network = ResidualNetwork(2, 1, depth=5)
    for side, of_ends in ((7, 7), ("auto", 512)):
        solver = SOAP(longest_side=side)
        groups = solver.make_optimizer(network, horizon=3.0).param_groups
        assert [group["longest_side"] for group in groups] == [of_ends, 512]
        assert any(p is network.embedding for p in groups[0]["params"])


def test_bins_of_few_samples_are_turned(rng):
    X = rng.normal(size=(2600, 9))
    model = ResODERegressor(2, width=8, solver=SOAP(max_epochs=1), random_state=0)
    model.fit(X, X[:, 0])
    assert model.solver_.longest_side == 2048
    bases = model.net_.optimizer_.state[model.module_.embedding]["bases"]
    assert bases[1].shape[-3:-1] == (2, 586)


def test_bad_settings():
    for name in SOAP().get_params():
        with pytest.raises(ValueError, match=f"'{name}' parameter of SOAP"):
            SOAP(**{name: -1}).validate()
    with pytest.raises(ValueError, match="'longest_side' parameter of SOAP"):
        SOAP(longest_side="long").validate()
