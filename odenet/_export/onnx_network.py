"""Networks as nodes of an ONNX graph: one loop over the layers, in float32."""

from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F

from odenet._network.activations import ACTIVATIONS
from odenet._network.convolutional import FILTER, GRID, STEM, STRIDE
from odenet._network.layers import steps_ahead
from odenet._utils.devices import to_numpy

BATCH_NORM_EPS = 1e-5  # torch's default in F.batch_norm


def add_residual_network(graph, network, x):
    """Add a ResidualNetwork; return the name of its output, for inputs named x.

    The constant 1 is not appended to the inputs. Its column of A is added instead. An
    axis of models comes first in all products, and in the output.
    """
    A, V, W, B = map(to_numpy, (network.embedding, network.V, network.W, network.head))
    q, m = network.state_dim, network.width
    h = graph.add("MatMul", x, _float32(graph, A[..., :-1].swapaxes(-1, -2)))
    bias = A[:, None, :, -1] if network.has_models_axis else A[:, -1]
    h = graph.add("Add", h, _float32(graph, bias))
    V = V.swapaxes(-1, -2) * network.depth**-network.depth_scaling / sqrt(m)
    W = W.swapaxes(-1, -2) / sqrt(q)
    ahead = steps_ahead(network.depth, network.imitated_depth)
    step = _Step(ACTIVATIONS[network.activation], ahead)
    states = [h]
    if ahead:
        first = step.state(graph, h, h, _float32(graph, W[0]), _float32(graph, V[0]))
        states.append(_lerp(graph, h, first, ahead))
    stacks = [_float32(graph, W), _float32(graph, V)]
    last = graph.scan(step, states, stacks)
    return graph.add(
        "MatMul", last[0] if ahead else last, _float32(graph, B.swapaxes(-1, -2))
    )


class _Step:
    """One step of the loop: it adds a layer, given the states and the layer's weights.

    The states are h and, if the network imitates a deeper one, the point ahead of h
    where the next layer evaluates its velocity.
    """

    def __init__(self, activation, ahead):
        self.activation = activation
        self.ahead = ahead

    def __call__(self, graph, states, slices):
        h, point = states[0], states[-1]
        after = self.state(graph, h, point, *slices)
        if not self.ahead:
            return [after]
        return [after, _lerp(graph, h, after, 1 + self.ahead)]

    def state(self, graph, h, point, W, V):
        """Add a layer, its velocity evaluated at a point; return the state after it."""
        z = self.activation.to_onnx(graph, graph.add("MatMul", point, W))
        return graph.add("Add", h, graph.add("MatMul", z, V))


def add_conv_network(graph, network, x):
    """Add a ConvResidualNetwork in evaluation mode; return the name of its output."""
    shape = graph.constant([0, *network.image_shape], np.int64)
    image = graph.add("Transpose", graph.add("Reshape", x, shape), perm=[0, 3, 1, 2])
    stem = _float32(graph, to_numpy(network.stem))
    h = _convolution(graph, image, stem, STEM, strides=[STRIDE] * 2)
    norm = _affine(network.stem_moments, network.stem_norm)
    h = graph.add(
        "Relu", _add_normalisation(graph, h, *(_float32(graph, a) for a in norm))
    )
    stacks = [
        *(to_numpy(network.W), *_affine(network.W_moments, network.W_norm)),
        *(to_numpy(network.V), *_affine(network.V_moments, network.V_norm)),
    ]
    scale = _float32(graph, 1 / network.depth)
    activation = ACTIVATIONS[network.activation]

    def step(graph, states, slices):
        (h,), W, V = states, slices[:3], slices[3:]
        z = _add_normalisation(graph, _convolution(graph, h, W[0], FILTER), *W[1:])
        z = activation.to_onnx(graph, z)
        z = _add_normalisation(graph, _convolution(graph, z, V[0], FILTER), *V[1:])
        z = graph.add("Mul", z, scale)
        return [graph.add("Add", h, z)]

    h = graph.scan(step, [h], [_float32(graph, stack) for stack in stacks])
    pooling = _pooling(network)
    shape = graph.constant([0, network.width, len(pooling)], np.int64)
    flat = graph.add("Reshape", h, shape)
    cells = graph.add("MatMul", flat, _float32(graph, pooling))
    n_inputs = network.head.shape[1]
    cells = graph.add("Reshape", cells, graph.constant([0, n_inputs], np.int64))
    output = graph.add("MatMul", cells, _float32(graph, to_numpy(network.head).T))
    return graph.add("Add", output, _float32(graph, to_numpy(network.head_bias)))


def _convolution(graph, h, filters, size, **settings):
    """Add a convolution that keeps the size of the maps, except for its strides."""
    return graph.add("Conv", h, filters, pads=[size // 2] * 4, **settings)


def _affine(moments, norm):
    """Return batch normalisation as a factor and a summand of each map."""
    mean, variance = to_numpy(moments).swapaxes(0, -2)
    gain, shift = to_numpy(norm).swapaxes(0, -2)
    factor = gain / np.sqrt(variance + BATCH_NORM_EPS)
    return factor[..., None, None], (shift - mean * factor)[..., None, None]


def _add_normalisation(graph, h, factor, summand):
    """Add a batch normalisation: each map times its factor, plus its summand."""
    return graph.add("Add", graph.add("Mul", h, factor), summand)


def _pooling(network):
    """Return the matrix (n_places, n_cells) of an average over a grid of cells.

    ONNX has no adaptive pooling. The matrix is what torch's pooling makes of the unit
    vectors.
    """
    height, width = (-(-n // STRIDE) for n in network.image_shape[:2])
    places = torch.eye(height * width, dtype=torch.float64)
    places = places.view(-1, 1, height, width)
    return F.adaptive_avg_pool2d(places, GRID).flatten(1).numpy()


def _lerp(graph, a, b, share):
    """Add the nodes of a + share (b - a)."""
    difference = graph.add("Sub", b, a)
    part = graph.add("Mul", difference, graph.constant(share, np.float32))
    return graph.add("Add", a, part)


def _float32(graph, array):
    """Add a constant in float32."""
    return graph.constant(array, np.float32)
