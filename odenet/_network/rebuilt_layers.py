"""The residual stack whose backward rebuilds the states instead of storing them."""

import warnings
from collections.abc import Callable
from itertools import accumulate
from math import ceil, inf, sqrt
from typing import NamedTuple

import torch

from odenet._network.fast_layers import residual_stack
from odenet._network.layers import plain_stack, scaled_layers

# Parts of the depth that keep the state at their start: rounding errors that grow by
# exp(c) over all layers grow by exp(c / 8) over a part. Eight states are few beside the
# layers' gradients.
N_PARTS = 8
# An iteration ends sooner, since each step must halve the miss: 53 halvings are all the
# bits of float64.
MAX_ITERATIONS = 64
# Units in the last place by which a rebuilt state may still move. The gradients are the
# same for any number from 1 to 64; fewer cost evaluations: of 16 layers in float32,
# 3.9, 3.6 and 3.1 a layer for 1, 4 and 64, of 128 layers 2.4, 2.1 and 2.0.
ROUNDINGS = 4


def rebuilt_stack(h, V, W, activation, scale):
    r"""Return the last state h_L, as ``plain_stack``, and keep O(1) states.

    The depth is cut into at most 8 parts, and only the states at their ends are kept.
    Backward, the others are rebuilt: h_{k-1} is the fixed point of
    :math:`h \mapsto h_k - f_k(h)`, iterated to rounding; one such step would leave an
    error of O(1/L) in the gradient (Sander, Ablin and Peyre, *Do residual neural
    networks discretize neural ODEs?*, NeurIPS 2022). A part is checked against the
    state kept at its start. Where the iteration does not contract, or the check fails,
    its states are recomputed from that start, with a warning.
    """
    if not torch.is_grad_enabled():
        return residual_stack(h, V, W, activation, scale)
    return _RebuiltStack.apply(h, V, W, activation, scale)


class _RebuiltStack(torch.autograd.Function):
    """The stack whose backward goes through the layers from the last state alone."""

    @staticmethod
    def forward(ctx, h, V, W, activation, scale):
        kept = [h]
        for weights in zip(*_split_in_parts(V, W), strict=True):
            kept.append(plain_stack(kept[-1], *weights, activation, scale))
        ctx.save_for_backward(V, W, *kept)
        ctx.activation, ctx.scale = activation, scale
        return kept[-1]

    @staticmethod
    def backward(ctx, g):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Rebuilt states give no second derivatives (`create_graph=True`); "
                'backward="stored" does.'
            )
        V, W, *kept = ctx.saved_tensors
        grad_V, grad_W, n_failed = torch.empty_like(V), torch.empty_like(W), 0
        parts = _split_in_parts(V, W, grad_V, grad_W)
        for start, end, *part in _backwards(kept[:-1], kept[1:], *parts):
            layers = _make_layers(*part, ctx.activation, ctx.scale)
            before = _pull_back_rebuilding(layers, start, end, g)
            if before is None:
                n_failed += len(layers)
                before = _pull_back_recomputing(layers, start, g)
            g = before
        if n_failed:
            _warn(n_failed, len(V))
        _, q, m = V.shape
        return g, grad_V.mul_(ctx.scale / sqrt(m)), grad_W.div_(sqrt(q)), None, None


class _Layer(NamedTuple):
    """The layer h + activation(h W) V, and where its gradients go."""

    V: torch.Tensor
    W: torch.Tensor
    grad_V: torch.Tensor
    grad_W: torch.Tensor
    activation: Callable

    def apply(self, h):
        """Return the state after the layer."""
        return torch.addmm(h, self.activation(h @ self.W), self.V)

    def inverse(self, h, start):
        """Return the state that the layer takes to h, None where the iteration fails.

        Each step must at least halve the miss. One that does not has reached the
        rounding of the states, which is good enough where the miss is within the
        tolerance; elsewhere the layer is no contraction.
        """
        size, last = _size(h), inf
        for _ in range(MAX_ITERATIONS):
            miss = h - self.apply(start)
            start = start + miss
            change = _relative(miss, size)
            if change <= ROUNDINGS * torch.finfo(h.dtype).eps:
                return start
            if not change <= last / 2:
                return start if change <= _tolerance(h) else None
            last = change
        return None

    def pull_back(self, h, g):
        """Return the gradient before the layer, for g after it; write V's and W's."""
        z = (h @ self.W).requires_grad_()
        with torch.enable_grad():
            a = self.activation(z)
        (dz,) = torch.autograd.grad(a, z, g @ self.V.T)
        torch.mm(g.T, a.detach(), out=self.grad_V)
        torch.mm(dz.T, h, out=self.grad_W)
        return torch.addmm(g, dz, self.W.T)


def _pull_back_rebuilding(layers, h_start, h, g):
    """Return the gradient before the layers, None where states cannot be rebuilt.

    An iteration starts from the state that is extrapolated linearly from the last two
    steps: for weights that are smooth in depth it is O(1/L^3) away.
    """
    last_step = step = layers[-1].apply(h) - h
    for layer in reversed(layers[1:]):
        before = layer.inverse(h, h - 2 * step + last_step)
        if before is None:
            return None
        g = layer.pull_back(before, g)
        h, step, last_step = before, h - before, step
    if not _relative(layers[0].apply(h_start) - h, _size(h)) <= _tolerance(h):
        return None
    return layers[0].pull_back(h_start, g)


def _pull_back_recomputing(layers, h, g):
    """Return the gradient before the layers, from the state h at their start.

    The states at the starts of about sqrt(L) blocks are computed and kept, then those
    inside of a block, the last block first: O(sqrt(L)) states, two evaluations a layer.
    """
    length = ceil(sqrt(len(layers)))
    blocks = [layers[i : i + length] for i in range(0, len(layers), length)]
    starts = accumulate(
        blocks[:-1], lambda h, block: _states_around(block, h)[-1], initial=h
    )
    for block, start in _backwards(blocks, starts):
        for layer, state in _backwards(block, _states_around(block[:-1], start)):
            g = layer.pull_back(state, g)
    return g


def _states_around(layers, h):
    """Return the states before, between and after some layers."""
    return list(accumulate(layers, lambda h, layer: layer.apply(h), initial=h))


def _split_in_parts(*tensors):
    """Cut each tensor along the depth into at most ``N_PARTS`` parts."""
    return [t.split(ceil(len(t) / N_PARTS)) for t in tensors]


def _backwards(*columns):
    """Pair up the entries of several columns, the last ones first."""
    return reversed(list(zip(*columns, strict=True)))


def _make_layers(V, W, grad_V, grad_W, activation, scale):
    """Return the layers, with scalings in their weights, to the bit as plain_stack's.

    Else the states would not be those of the forward pass.
    """
    tensors = zip(scaled_layers(V, W, scale), grad_V, grad_W, strict=True)
    return [_Layer(*weights, *grads, activation) for weights, *grads in tensors]


def _relative(difference, size):
    """Return the largest difference, relative to the size of its row."""
    return (difference / size).abs().max().item()


def _size(h):
    """Return the norms of the rows, and the median where a row happens to be smaller.

    A row near zero is a sum of larger numbers, with their rounding errors.
    """
    size = h.abs().amax(dim=1, keepdim=True)
    return size.clamp(min=size.median()) + torch.finfo(h.dtype).tiny


def _tolerance(h):
    """Return the relative error allowed: 2e-12 in float64, 6e-6 in float32.

    It lies between rounding, which may have grown over a part's layers, and sqrt(eps),
    with which a gradient would have lost half of its digits.
    """
    return torch.finfo(h.dtype).eps ** 0.75


def _warn(n_failed, depth):
    """Warn of the layers that were recomputed."""
    warnings.warn(
        f"The states of {n_failed} of {depth} layers could not be rebuilt backwards: "
        "the step of a layer is too large, or not finite. They were recomputed: the "
        "gradient is as exact, for more memory and time. A larger depth avoids this, "
        'as does backward="stored".',
        stacklevel=2,
    )
