"""Networks made from settings: to start a training with, or of given weights."""

from dataclasses import replace
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F

from odenet._network.convolutional import ConvResidualNetwork
from odenet._network.residual import ResidualNetwork, default_state_dim
from odenet._utils.monotonicity import Monotonicity
from odenet.schemes import SCHEMES

# Standard deviation of W at the start, for schemes given by name: with the paper's 1
# the activations stay near their linear part for a long time. `python
# benchmarks/start_scale.py` and `benchmarks/defaults.py` compare scales.
START_SCALE = 4.0
# |h_0|^2 / q of a standardised sample, measured with START_SCALE by
# `python benchmarks/defaults.py`.
STATE_SHARE = 1 / 8
# The root mean square of the norms of sparse inputs, which A maps by columns of length
# one: rows of TF-IDF have this norm as they are. A choice: with larger inputs the steps
# of AdamW, which do not depend on the size of gradients, are too long for outputs; with
# smaller ones a flow takes longer to the same outputs.
SPARSE_NORM = 1.0
LIMIT = 4.0  # bound of standardised inputs, in standard deviations
# The categories of a column have so many dimensions of the state together, if they are
# more. `python benchmarks/categories.py` compares dimensions.
CATEGORIES_DIM = 16
# Of the hidden units, and of the coordinates of the state that are left, so many depend
# on inputs with which outputs are monotone. A round value: a quarter, three quarters
# and 0.9 of the units, and 8 or 16 more coordinates, changed the errors on concrete,
# yacht, power plant and California housing by less than two splits differ.
MONOTONE_SHARE = 1 / 2


def start_network(
    n_inputs,
    outputs,
    *,
    state_dim,
    init,
    generator,
    categories=(),
    met=None,
    signs=None,
    n_embedded=0,
    **settings,
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
    met : ndarray of bool of shape (n_inputs,), default=None
        Given for sparse inputs: those of which some sample has an entry. If the state
        has no room for the identity, A maps every such input to a random vector of
        length one. It maps the other inputs to zero: nothing is known of them.
    signs : ndarray of shape (n_inputs,), default=None
        1 for inputs with which outputs are to increase, -1 for those with which they
        are to decrease, and 0 for others.
    n_embedded : int, default=0
        Number of further inputs, after the others, that A maps to zero at the start:
        the state needs no dimensions for them.
    **settings : dict
        As of :class:`ResidualNetwork`.

    Returns
    -------
    network : ResidualNetwork
    """
    n_dimensions = dimensions_of_inputs(n_inputs, categories)
    state_dim = state_dim or default_state_dim(n_dimensions, len(outputs))
    has_room = met is None or n_inputs < state_dim - len(outputs)
    network = ResidualNetwork(
        n_inputs if has_room else 0,
        len(outputs),
        state_dim=state_dim,
        init=init if callable(init) else replace(SCHEMES[init], scale=START_SCALE),
        generator=generator,
        **settings,
    )
    room = network.state_dim - len(outputs) - 1
    if n_dimensions <= room < n_inputs:
        A = network.embedding.detach()
        A.copy_(_embedding(len(A), n_inputs, categories, generator))
    if not has_room:
        A = _sparse_embedding(network, met, generator)
        network.embedding = torch.nn.Parameter(A)
    elif met is not None:
        A = network.embedding.detach()
        A[:, :-1] *= torch.from_numpy(met).to(A)
    if n_embedded:
        A = network.embedding.detach()
        none = A.new_zeros(len(A), n_embedded)
        A = torch.cat([A[:, :-1], none, A[:, -1:]], dim=1)
        network.embedding = torch.nn.Parameter(A)
        network.n_embedded = n_embedded
    if signs is not None:
        network.confine(monotone_parts(network, signs))
    if outputs.any():
        head = network.head.detach()
        constant = torch.linalg.pinv(head) @ torch.tensor(outputs).to(head)
        network.embedding.detach()[:, -1] += constant
    return network


def monotone_parts(network, signs):
    """Choose the parts of a network at its start that depend on constrained inputs.

    They are the coordinates of the state that constrained inputs are written to, those
    that the head reads, and a share of those that are left and of the units.

    Returns
    -------
    parts : Monotonicity
    """
    A, B = network.embedding.detach(), network.head.detach()
    constrained = torch.tensor(signs.astype(bool)) & (A[:, :-1] != 0).any(dim=0)
    u = (B != 0).any(dim=0)
    u[A[:, :-1][:, constrained].abs().argmax(dim=0)] = True
    spare = torch.nonzero((A == 0).all(dim=1) & ~u).flatten()
    u[spare[: round(MONOTONE_SHARE * len(spare))]] = True
    units = torch.arange(network.width) < MONOTONE_SHARE * network.width
    parts = (signs, u.long().numpy(), units.long().numpy())
    return Monotonicity(*(tuple(map(int, part)) for part in parts))


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


def _sparse_embedding(network, met, generator):
    """Return an A of random columns of length one, but zero for inputs without entry.

    They leave out the coordinates that the head reads, so that BA = 0, and the first
    one, which the constant has, unless no other is left. In memory the columns are
    contiguous, as products with sparse rows want them.

    Parameters
    ----------
    network : ResidualNetwork
        Without inputs: its A is the column of the constant 1.
    met : ndarray of bool of shape (n_inputs,)
    generator : torch.Generator
    """
    n_outputs, state_dim = network.head.shape
    n_written = max(state_dim - n_outputs, 1)
    free = slice(min(1, n_written - 1), n_written)
    like = {"generator": generator, "dtype": torch.float64}
    vectors = torch.randn(int(met.sum()), free.stop - free.start, **like)
    A = network.embedding.new_zeros(len(met) + 1, state_dim)
    A[np.flatnonzero(met), free] = F.normalize(vectors).to(A)
    A[-1] = network.embedding.detach()[:, 0]
    return A.mT


def input_scaling(network, are_sparse=False, n_embedded=0):
    """Return the standard deviation and the bound of the inputs of a network.

    The squared norm of h_0 = A (x, 1) is to be about STATE_SHARE * q, whatever the
    number of inputs, so that the products W h / sqrt(q) have a size of their own.
    Sparse inputs have a norm in their place. ``n_embedded`` inputs are mapped to zero
    at the start.

    Returns
    -------
    scaling : dict
        For :func:`odenet._tables.encoder.fit_encoder`.
    """
    if are_sparse:
        return {"norm": SPARSE_NORM}
    n_columns = network.embedding.shape[-1] - n_embedded  # inputs and the constant 1
    gain = sqrt(STATE_SHARE * max(1.0, network.state_dim / n_columns))
    return {"gain": gain, "limit": LIMIT}


def network_from_weights(weights, settings):
    """Make a network from its ``state_dict``, as arrays, and its ``settings``."""
    kind = ConvResidualNetwork if "image_shape" in settings else ResidualNetwork
    return kind.from_weights(weights, **settings)
