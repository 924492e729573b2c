"""Networks made from settings: to start a training with, or of given weights."""

from dataclasses import replace
from math import sqrt

import torch
import torch.nn.functional as F

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
# The categories of a column have so many dimensions of the state together, if they are
# more. `python benchmarks/categories.py` compares dimensions.
CATEGORIES_DIM = 16


def start_network(
    n_inputs, outputs, *, state_dim, init, generator, categories=(), **settings
):
    """Draw the network of a fit.

    Parameters
    ----------
    n_inputs : int
    outputs : ndarray of shape (n_outputs,)
        What is added to the outputs F for every sample at the start, by a constant
        state B^+ F in the last column of A.
    state_dim : int or None
        None is :func:`default_state_dim` of the dimensions that the inputs need.
    init : str or scheme
        A name stands for the scheme with START_SCALE.
    generator : torch.Generator
        Source of the draws.
    categories : sequence of range, default=()
        For every column of categories, the inputs that mark them. If they are more than
        CATEGORIES_DIM, then A maps them to so many dimensions: to random vectors of
        length one, if the state has room for all dimensions.
    **settings : dict
        As of :class:`ResidualNetwork`.

    Returns
    -------
    network : ResidualNetwork
    """
    n_dimensions = dimensions_of_inputs(n_inputs, categories)
    network = ResidualNetwork(
        n_inputs,
        len(outputs),
        state_dim=state_dim or default_state_dim(n_dimensions, len(outputs)),
        init=init if callable(init) else replace(SCHEMES[init], scale=START_SCALE),
        generator=generator,
        **settings,
    )
    room = network.state_dim - len(outputs) - 1
    if n_dimensions <= room < n_inputs:
        A = network.embedding.detach()
        A.copy_(_embedding(len(A), n_inputs, categories, generator))
    if outputs.any():
        head = network.head.detach()
        constant = torch.linalg.pinv(head) @ torch.tensor(outputs).to(head)
        network.embedding.detach()[:, -1] += constant
    return network


def dimensions_of_inputs(n_inputs, categories):
    """Return how many dimensions of the state the inputs need, without the constant."""
    return n_inputs - sum(max(len(c) - CATEGORIES_DIM, 0) for c in categories)


def _embedding(state_dim, n_inputs, categories, generator):
    """Return an A with a row for every input, but CATEGORIES_DIM for many categories.

    The columns of these are Gaussian vectors, scaled to length one.
    """
    A = torch.zeros(state_dim, n_inputs + 1, dtype=torch.float64)
    many = [inputs for inputs in categories if len(inputs) > CATEGORIES_DIM]
    alone = sorted(set(range(n_inputs + 1)).difference(*many))
    A[range(len(alone)), alone] = 1.0
    first = len(alone)
    for inputs in many:
        vectors = torch.randn(
            CATEGORIES_DIM, len(inputs), generator=generator, dtype=torch.float64
        )
        rows = slice(first, first + CATEGORIES_DIM)
        A[rows, inputs.start : inputs.stop] = F.normalize(vectors, dim=0)
        first += CATEGORIES_DIM
    return A


def input_scaling(network):
    """Return the standard deviation and the bound of the inputs of a network.

    The squared norm of h_0 = A (x, 1) is to be about STATE_SHARE * q, whatever the
    number of inputs, so that the products W h / sqrt(q) have a size of their own.

    Returns
    -------
    scaling : dict
        For :func:`odenet._tables.encoder.fit_encoder`.
    """
    n_columns = network.embedding.shape[-1]  # the inputs and the constant 1
    gain = sqrt(STATE_SHARE * max(1.0, network.state_dim / n_columns))
    return {"gain": gain, "limit": LIMIT}


def network_from_weights(weights, settings):
    """Make a network from its ``state_dict``, as arrays, and its ``settings``."""
    kind = ConvResidualNetwork if "image_shape" in settings else ResidualNetwork
    return kind.from_weights(weights, **settings)
