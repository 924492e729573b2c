"""The predictor of a fitted estimator as arrays and plain values, for pickles."""

from odenet._network.start import network_from_weights


def freeze(predictor, net):
    """Return a predictor and what its training needs to go on, without any tensor.

    Parameters
    ----------
    predictor : Predictor
    net : TrainingNet

    Returns
    -------
    frozen : dict
        "weights", "settings" and "parts" of the predictor; "solver" and "history" of
        the net.
    """
    weights = predictor.network.state_dict()
    return {
        "weights": {name: Z.cpu().contiguous().numpy() for name, Z in weights.items()},
        "settings": predictor.network.settings(),
        "parts": predictor.around(None),
        "solver": net.solver,
        "history": [dict(row) for row in net.history],
    }


def thaw(frozen, device):
    """Rebuild a predictor from what ``freeze`` has returned, on a device."""
    network = network_from_weights(frozen["weights"], frozen["settings"])
    return frozen["parts"].around(network.to(device))
