"""The outputs of a network to first order in its weights and in its inputs.

The kernel of the derivative J of all outputs by the weights, in the flow's metric, and
products J v, without J itself; gradients by the inputs, and changes along the inputs.
"""

from itertools import product
from math import ceil, sqrt

import torch

from odenet._network.layers import steps_ahead
from odenet._utils.sparse_rows import gram, times, with_one

# The kernel is symmetric: of so many strips of it, each is computed up to the diagonal.
# 1, 4, 8 and 16 strips take 1, .75, .75 and .8 of the time (800 unknowns, 64 layers,
# one thread). A strip has at least so many rows, as small products are slow.
STRIPS, FEWEST_ROWS = 8, 64
# The most entries of the products of a strip, which bounds the memory: a round value.
LARGEST_STRIP = 2**23


@torch.no_grad()
def kernel_matrix(network, X):
    r"""Compute the tangent kernel of a network in the flow's metric, and its outputs.

    The gradient of an output with respect to the weights of a layer is an outer product
    of two vectors: one is propagated back to the layer, the other comes forward to it.
    So the inner product of two gradients is the product of two inner products.

    Parameters
    ----------
    network : ResidualNetwork
        It may imitate another depth, or be several networks along an axis of models.
    X : Tensor of shape (n, n_features) or (n_models, n, n_features)

    Returns
    -------
    kernel : Tensor of shape (n * n_outputs, n * n_outputs)
        With the axis of models in front, if there is one.
    outputs : Tensor of shape (n, n_outputs)
        Likewise.
    """
    h, residuals, start, ahead = _evaluated(network, X)
    V, _, _, scale = network.layers()
    *_, q, m = V.shape
    rates = _rates_of(network)
    outputs = h @ network.head.mT

    d = outputs.shape[-1]
    K = _Products(outputs)
    eye = torch.eye(d, dtype=outputs.dtype, device=outputs.device)
    K.add([(eye.expand(*h.shape[:-1], d, d), h)], rates[network.head])
    # The gradients of all outputs by the state, and by the residual of the layer.
    dh = network.head[..., None, :, :].expand(*h.shape[:-1], d, q)
    dr = dh
    factors = rates[network.V] * scale**2 / m, rates[network.W] / q
    for residual in reversed(residuals):
        dz = residual.pull_back(dr)
        pairs = [(dr, residual.inner)], [(dz, residual.point)]
        dp = residual.to_point(dz)
        dr, dh = dh + (1 + ahead) * dp, dh + dp
        if ahead and residual is residuals[0]:  # it looks ahead along itself, at h_0
            dr = ahead * dp
            dz = start.pull_back(dr)
            pairs[0].append((dr, start.inner))
            pairs[1].append((dz, start.point))
            dh = dh + start.to_point(dz)
        for pair, factor in zip(pairs, factors, strict=True):
            K.add(pair, factor)
    K.add([(dh, with_one(X))], rates[network.embedding])
    return K.whole(), outputs


@torch.no_grad()
def push_forward(network, X, embedding, V, W, head):
    """Compute how the outputs change with the parameters, to first order.

    Parameters
    ----------
    network, X
        As in :func:`kernel_matrix`.
    embedding, V, W, head : Tensor
        The change of every parameter.

    Returns
    -------
    change : Tensor of shape (n, n_outputs)
    """
    last, residuals, start, ahead = _evaluated(network, X)
    *_, q, m = V.shape
    V, W = V * (network.layers()[-1] / sqrt(m)), W / sqrt(q)
    dh = times(with_one(X), embedding)
    dr = start.push_forward(dh, V[0], W[0]) if ahead else 0.0
    for residual, *layer in zip(residuals, V, W, strict=True):
        dr = residual.push_forward(dh + ahead * dr, *layer)
        dh = dh + dr
    return dh @ network.head.mT + last @ head.mT


@torch.no_grad()
def pull_back_to_inputs(network, X):
    """Compute the gradients of all outputs by the inputs, from the last layer back.

    Parameters
    ----------
    network : ResidualNetwork
        It may imitate another depth.
    X : Tensor of shape (n, n_features)

    Returns
    -------
    outputs : Tensor of shape (n, n_outputs)
    gradients : Tensor of shape (n, n_outputs, n_features)
    """
    last, residuals, start, ahead = _evaluated(network, X)
    head = network.head
    dh = dr = head.expand(len(X), *head.shape)
    for residual in reversed(residuals):
        dp = residual.to_point(residual.pull_back(dr))
        dr, dh = dh + (1 + ahead) * dp, dh + dp
    if ahead:  # the first layer looks ahead along itself, at h_0
        dh = dh + start.to_point(start.pull_back(ahead * dp))
    return last @ head.mT, dh @ network.embedding[:, :-1]


@torch.no_grad()
def push_from_states(network, X, directions):
    """Compute how the steps of all layers change with the first state, layer by layer.

    Parameters
    ----------
    network : ResidualNetwork
        It may imitate another depth.
    X : Tensor of shape (n, n_features)
    directions : Tensor of shape (n, n_directions, state_dim)
        Changes of the first state of every sample.

    Returns
    -------
    outputs : Tensor of shape (n, n_outputs)
    changes : Tensor of shape (n, depth + 1, n_directions, n_outputs)
        Of what the head reads in the first state and in the step of every layer: their
        sum over depth is the change of the outputs.
    """
    last, residuals, start, ahead = _evaluated(network, X)
    head, dh = network.head, directions
    dr = start.along(dh) if ahead else 0.0
    changes = [dh @ head.mT]
    for residual in residuals:
        dr = residual.along(dh + ahead * dr)
        dh = dh + dr
        changes.append(dr @ head.mT)
    return last @ head.mT, torch.stack(changes, dim=1)


def _evaluated(network, X):
    """Evaluate the layers of a network.

    Returns
    -------
    last : Tensor
        The last state.
    residuals : list of _Residual
    start : _Residual or None
        That of the first layer at the first state, where layers look ahead.
    ahead : float
        How many steps they look ahead.
    """
    V, W, activation, scale = network.layers()
    *_, q, m = V.shape
    ahead = steps_ahead(len(V), network.imitated_depth)
    layers = list(zip(V * (scale / sqrt(m)), W / sqrt(q), strict=True))
    h = network.embed(X)
    start = _Residual(h, *layers[0], activation) if ahead else None
    residuals, r = [], start.value if ahead else 0.0
    for layer in layers:
        residuals.append(_Residual(h + ahead * r, *layer, activation))
        r = residuals[-1].value
        h = h + r
    return h, residuals, start, ahead


def _rates_of(network):
    """Return the rate of every parameter in the flow: 0 of one that is frozen."""
    return {
        p: group["lr"] * p.requires_grad
        for group in network.parameter_groups()
        for p in group["params"]
    }


class _Residual:
    """A residual V a(W p) at a point p, whose layer is scaled already."""

    def __init__(self, point, V, W, activation):
        self.point, self.V, self.W = point, V, W
        z = point @ W.mT
        self.inner, self.slope = activation(z), torch.empty_like(z)
        activation.pull_back(torch.ones_like(z), z, self.inner, self.slope)
        self.value = self.inner @ V.mT

    def push_forward(self, dpoint, dV, dW):
        """Return the change of the value with the point and the weights."""
        dz = dpoint @ self.W.mT + self.point @ dW.mT
        return (self.slope * dz) @ self.V.mT + self.inner @ dV.mT

    def along(self, dpoint):
        """Return the changes of the value along directions (n, k, q) of the point."""
        return _times(_times(dpoint, self.W.mT) * self.slope[..., None, :], self.V.mT)

    def pull_back(self, dr):
        """Return gradients by W p, for gradients dr (n, d', q) by the residual."""
        return _times(dr, self.V) * self.slope[..., None, :]

    def to_point(self, dz):
        """Return gradients by the point, for gradients by W p."""
        return _times(dz, self.W)


def _times(g, M):
    """Multiply several vectors of each sample, (n, k, a), by a matrix (a, b)."""
    return (g.flatten(-3, -2) @ M).unflatten(-2, g.shape[-3:-1])


class _Products:
    """A sum of inner products of outer products, of which half is computed."""

    def __init__(self, outputs):
        *models, n, d = outputs.shape
        self.K = outputs.new_zeros(*models, n, d, n, d)
        rows = max(ceil(n / STRIPS), ceil(FEWEST_ROWS / d))
        rows = max(1, min(rows, LARGEST_STRIP // (n * d * d)))
        self.strips = [slice(i, min(n, i + rows)) for i in range(0, n, rows)]

    def add(self, pairs, factor):
        """Add those of the gradients sum_r g^r s^r^T, for pairs of g and s.

        g has the shape (n, d', a) and s (n, b), each with the axis of models in front.
        """
        scaled = [(factor * g, s) for g, s in pairs]
        for left, right in product(scaled, pairs):
            for rows in self.strips:
                self._add_strip(rows, left, right)

    def _add_strip(self, rows, left, right):
        """Add the products of some samples with all up to the last of them."""
        columns = slice(0, rows.stop)
        (g, s), (other_g, other_s) = left, right
        K = self.K[..., rows, :, columns, :]
        g, other_g = g[..., rows, :, :], other_g[..., columns, :, :]
        products = g.flatten(-3, -2) @ other_g.flatten(-3, -2).mT
        inner = gram(s, rows, other_s, columns)
        K.addcmul_(products.view(K.shape), inner[..., :, None, :, None])

    def whole(self):
        """Return the symmetric matrix, of which there is the lower triangle."""
        K = self.K.flatten(-4, -3).flatten(-2)
        return K.tril() + K.tril(-1).mT
