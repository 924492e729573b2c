"""Networks made from settings: to start a training with, or of given weights."""

from dataclasses import replace
from math import sqrt

import torch

from odenet._network.convolutional import ConvResidualNetwork
from odenet._network.residual import ResidualNetwork, default_state_dim
from odenet.schemes import SCHEMES

# Standard deviation of W at the start, for schemes given by name: with the paper's 1
# the activations stay near their linear part for a long time. `python
# benchmarks/start_scale.py` and `benchmarks/defaults.py` compare scales.
START_SCALE = 4.0
# |h_0|^2 / q of a standardised sample, measured with START_SCALE by
# `python benchmarks/defaults.py`.
STATE_SHARE = 1 / 8
LIMIT = 4.0  # bound of standardised inputs, in standard deviations


def start_network(n_inputs, outputs, *, state_dim, init, **settings):
    """Draw the network of a fit.

    Parameters
    ----------
    n_inputs : int
    outputs : ndarray of shape (n_outputs,)
        What is added to the outputs F for every sample at the start, by a constant
        state B^+ F in the last column of A.
    state_dim : int or None
        None is :func:`default_state_dim`.
    init : str or scheme
        A name stands for the scheme with START_SCALE.
    **settings : dict
        As of :class:`ResidualNetwork`.

    Returns
    -------
    network : ResidualNetwork
    """
    network = ResidualNetwork(
        n_inputs,
        len(outputs),
        state_dim=state_dim or default_state_dim(n_inputs, len(outputs)),
        init=init if callable(init) else replace(SCHEMES[init], scale=START_SCALE),
        **settings,
    )
    if outputs.any():
        head = network.head.detach()
        constant = torch.linalg.pinv(head) @ torch.tensor(outputs).to(head)
        network.embedding.detach()[:, -1] += constant
    return network


def input_scaling(network):
    """Return the standard deviation and the bound of the inputs of a network.

    The squared norm of h_0 = A (x, 1) is to be about STATE_SHARE * q, whatever the
    number of inputs, so that the products W h / sqrt(q) have a size of their own.

    Returns
    -------
    scaling : dict
        For :func:`odenet._tables.encoder.fit_encoder`.
    """
    n_columns = network.embedding.shape[1]  # the inputs and the constant 1
    gain = sqrt(STATE_SHARE * max(1.0, network.state_dim / n_columns))
    return {"gain": gain, "limit": LIMIT}


def network_from_weights(weights, settings):
    """Make a network from its ``state_dict``, as arrays, and its ``settings``."""
    kind = ConvResidualNetwork if "image_shape" in settings else ResidualNetwork
    return kind.from_weights(weights, **settings)
