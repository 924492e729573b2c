"""The public door of the losses."""

import odenet
from odenet import losses
from odenet._losses.registry import LOSSES


def test_all_losses_of_the_registry_are_public():
    assert losses.LOSSES is LOSSES
    for kind in LOSSES.values():
        assert getattr(losses, kind.__name__) is kind
        assert kind.__name__ in losses.__all__
        assert issubclass(kind, losses.Loss)
    assert "losses" in odenet.__all__
