"""The kernel, products with J and derivatives by inputs against torch's own ones."""

from itertools import pairwise, product
from math import inf

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.autograd.functional import jvp
from torch.func import functional_call, jacrev, vmap

from odenet._diagnostics import tangents
from odenet._diagnostics.tangents import (
    kernel_matrix,
    pull_back_to_inputs,
    push_forward,
    push_from_states,
)
from odenet._network.layers import imitating_states
from odenet._network.model_axis import join_networks, network_at
from odenet._utils.sparse_rows import as_rows, join_rows
from tests.helpers import draw_all, make_network

N, N_FEATURES, N_OUTPUTS = 70, 3, 2
IMITATED = None, 16, inf


def drawn(depth, imitated_depth=None, **settings):
    network = draw_all(make_network(N_FEATURES, N_OUTPUTS, depth=depth, **settings))
    network.imitated_depth = imitated_depth
    return network


def outputs_of(network, X):
    """The outputs as a function of a dict of weights, and the weights."""
    weights = {name: p.detach() for name, p in network.named_parameters()}
    return lambda weights: functional_call(network, weights, (X,)), weights


def kernel_by_jacobian(network, X):
    """The sum of J J^T over the parameters that are trained, times their rates."""
    function, weights = outputs_of(network, X)
    J = jacrev(function)(weights)
    names = {p: name for name, p in network.named_parameters()}
    return sum(
        group["lr"] * rows @ rows.mT
        for group in network.parameter_groups()
        for p in group["params"]
        if p.requires_grad
        for rows in [J[names[p]].flatten(0, 1).flatten(1)]
    )


@pytest.fixture
def X(generator):
    return torch.randn(N, N_FEATURES, generator=generator, dtype=torch.float64)


def test_kernel_and_outputs(X, monkeypatch):
    """In strips of any size, and whatever depth the layers imitate."""
    for depth, imitated_depth in product((1, 4), IMITATED):
        network = drawn(depth, imitated_depth)
        expected = kernel_by_jacobian(network, X)
        for strips, fewest_rows in ((1, 64), (8, 1), (8, 64)):
            monkeypatch.setattr(tangents, "STRIPS", strips)
            monkeypatch.setattr(tangents, "FEWEST_ROWS", fewest_rows)
            kernel, outputs = kernel_matrix(network, X)
            np.testing.assert_allclose(kernel, expected, rtol=1e-10, atol=1e-12)
            np.testing.assert_array_equal(kernel, kernel.mT)
            np.testing.assert_allclose(outputs, network(X).detach(), rtol=1e-12)


def test_a_parameter_that_is_not_trained_moves_no_output(X):
    for name in ("embedding", "V", "W", "head"):
        network = drawn(3)
        getattr(network, name).requires_grad_(False)
        expected = kernel_by_jacobian(network, X)
        kernel, _ = kernel_matrix(network, X)
        np.testing.assert_allclose(kernel, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("imitated_depth", IMITATED)
def test_push_forward_is_the_derivative_along_a_direction(imitated_depth, X, generator):
    network = drawn(4, imitated_depth, depth_scaling=0.7)
    function, weights = outputs_of(network, X)
    change = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in weights.items()
    }
    J = jacrev(function)(weights)
    expected = sum(torch.tensordot(J[n], change[n], change[n].dim()) for n in J)
    np.testing.assert_allclose(push_forward(network, X, **change), expected, rtol=1e-10)


def test_joined_networks_have_kernels_of_their_own(X, generator):
    joined = join_networks([drawn(4), drawn(4)])
    joined.V.data.normal_(generator=generator)
    inputs = torch.stack([X, X.flip(0)])
    kernels, outputs = kernel_matrix(joined, inputs)
    change = {name: p.detach() for name, p in joined.named_parameters()}
    pushed = push_forward(joined, inputs, **change)
    for i in range(2):
        network = network_at(joined, i)
        kernel, output = kernel_matrix(network, inputs[i])
        np.testing.assert_allclose(kernels[i], kernel, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(outputs[i], output, rtol=1e-12)
        change = {name: p.detach() for name, p in network.named_parameters()}
        alone = push_forward(network, inputs[i], **change)
        np.testing.assert_allclose(pushed[i], alone, rtol=1e-10)


def test_derivatives_by_inputs_and_along_first_states(X, generator):
    """Of layers that imitate any depth; all their steps add up to the whole."""
    for depth, imitated_depth in product((1, 4), IMITATED):
        network = drawn(depth, imitated_depth, depth_scaling=0.7)
        outputs, gradients = pull_back_to_inputs(network, X)
        np.testing.assert_allclose(outputs, network(X).detach(), rtol=1e-12)
        expected = vmap(jacrev(lambda x, f=network: f(x[None])[0]))(X).detach()
        np.testing.assert_allclose(gradients, expected, rtol=1e-9, atol=1e-12)

        directions = torch.randn(
            (N, 2, network.state_dim), generator=generator, dtype=X.dtype
        )
        outputs, changes = push_from_states(network, X, directions)
        np.testing.assert_allclose(outputs, network(X).detach(), rtol=1e-12)
        assert changes.shape == (N, depth + 1, 2, N_OUTPUTS)

        def readings(h, network=network):
            imitated = network.imitated_depth or network.depth
            states = imitating_states(h, *network.layers(), imitated)
            steps = [states[0], *(b - a for a, b in pairwise(states))]
            return torch.stack(steps, dim=1) @ network.head.mT

        for j in range(2):
            _, expected = jvp(readings, network.embed(X), directions[:, j])
            np.testing.assert_allclose(
                changes[:, :, j], expected.detach(), rtol=1e-9, atol=1e-12
            )


def test_sparse_rows_have_the_kernel_of_dense_ones(X, generator):
    network = drawn(4)
    X[X.abs() < 1] = 0.0
    rows = as_rows(sp.csr_array(X.numpy()), X)
    change = {name: torch.ones_like(p) for name, p in network.named_parameters()}
    kernel = kernel_matrix(network, X)[0]
    np.testing.assert_allclose(kernel_matrix(network, rows)[0], kernel, rtol=1e-10)
    expected = push_forward(network, X, **change)
    np.testing.assert_allclose(push_forward(network, rows, **change), expected)
    joined = kernel_matrix(join_networks([network] * 2), join_rows([rows, rows]))[0]
    np.testing.assert_allclose(joined, torch.stack([kernel] * 2), rtol=1e-10)
