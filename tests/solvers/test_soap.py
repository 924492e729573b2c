import pytest

from odenet import ResidualNetwork
from odenet._optim.depth_soap import DepthSOAP
from odenet.solvers import SOAP


def test_settings_reach_the_optimizer():
    network = ResidualNetwork(2, 1, depth=5)
    optimizer = SOAP(0.3, weight_decay=0.2).make_optimizer(network, horizon=3.0)
    assert type(optimizer) is DepthSOAP
    for group in optimizer.param_groups:
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    assert SOAP(0.1, 0.2, 7, 3, 2).get_params() == {
        "learning_rate": 0.1,
        "weight_decay": 0.2,
        "batch_size": 7,
        "max_epochs": 3,
        "patience": 2,
    }


def test_bad_settings():
    for name in ("learning_rate", "weight_decay", "batch_size", "patience"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of SOAP"):
            SOAP(**{name: -1}).validate()
