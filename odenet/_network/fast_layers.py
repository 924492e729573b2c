"""The fast ways to evaluate the layers, and which of them serves when.

:func:`residual_stack` chooses among three, equal up to rounding: with gradients a
workspace, forward and backward written by hand; without them a loop that stores no
state; and, wherever torch transforms or traces the operations, the formulas themselves
(:mod:`odenet._network.layers`).
"""

import sys

import torch
from torch.autograd import forward_ad

from odenet._network.activations import elementwise
from odenet._network.layers import plain_stack, scaled_layers, steps_ahead
from odenet._network.workspace import give_back, is_worth_keeping, take_workspace

# Samples are evaluated part by part, so that the states and the inner values of a
# layer, together so many entries, stay in a cache. For 2^16, 2^18, 2^20 and 2^22
# entries, a gradient of 20,000 samples and 16 layers of q = m = 64 took 292, 262, 259
# and 280 ms, of q = 16, m = 32 it took 72, 60, 57 and 58 ms (float32, one thread): a
# flat optimum.
CACHED = 2**18
# Wide layers have parts of at least so many rows, as small products are slow: a
# gradient of 4,000 samples and 8 layers of q = 256, m = 512 took 812, 674, 624, 588,
# 580 and 579 ms in parts of 128, 256, 512, 1024, 2048 and 4096.
MIN_ROWS = 1024


def residual_stack(h, V, W, activation, scale, depth=None):
    """Return the last state h_L, equal to ``plain_stack`` up to rounding and faster.

    Parameters
    ----------
    h : Tensor of shape (n, q) or (n_models, n, q)
    V : Tensor of shape (L, q, m) or (L, n_models, q, m)
    W : Tensor of shape (L, m, q) or (L, n_models, m, q)
        With an axis of models, there is a stack for each of them.
    activation : Activation
    scale : float
        Factor of the residuals, 1/L for a discretised ODE.
    depth : int, float or None
        If given, the depth that the layers imitate
        (:func:`odenet._network.layers.imitating_states`).
    """
    with_gradients = torch.is_grad_enabled() and any(t.requires_grad for t in (h, V, W))
    if with_gradients and is_written(h, V, W):
        stack = _stack_in_workspace
    elif with_gradients or h.dim() == 3 or not _is_ordinary(h, V, W):
        stack = plain_stack
    else:
        stack = _unrecorded
    return stack(h, V, W, activation, scale, depth)


def is_written(h, V, W):
    """Tell whether gradients are computed in a workspace, by hand."""
    return _is_ordinary(h, V, W) and (h.is_cuda or is_worth_keeping(h, V))


def _is_ordinary(*tensors):
    """Tell whether nobody watches the operations, and the kernels know the format.

    In-place operations and ``out=`` hide from transforms (vmap, forward mode), tracing
    and compilation what is computed; half precision and other devices have not all of
    the kernels.
    """
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or any(t.dtype not in (torch.float32, torch.float64) for t in tensors)
        or any(t.device.type not in ("cpu", "cuda") for t in tensors)
        or any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
    )


def rows_at_once(V):
    """Return how many samples' states and inner values of one layer fit a cache.

    A GPU is the faster the more it is given: there it is any number.
    """
    *_, q, m = V.shape
    return sys.maxsize if V.is_cuda else max(MIN_ROWS, CACHED // (q + m))


def _stack_in_workspace(h, V, W, *settings):
    """Return the last state, by one workspace per part of the samples."""
    parts = h.split(rows_at_once(V), dim=-2)
    lasts = [_Stack.apply(part, V, W, *settings) for part in parts]
    return lasts[0] if len(lasts) == 1 else torch.cat(lasts, dim=-2)


class _Stack(torch.autograd.Function):
    """The stack in a workspace, with a backward that is written by hand."""

    @staticmethod
    def forward(ctx, h, V, W, *settings):
        ctx.save_for_backward(h, V, W)
        ctx.settings = settings
        ctx.workspace, last = forward_in_workspace(h, V, W, *settings)
        return last

    @staticmethod
    def backward(ctx, g):
        inputs, nothing = ctx.saved_tensors, (None,) * len(ctx.settings)
        if torch.is_grad_enabled():
            return *_plain_gradients(ctx, inputs, g), *nothing
        workspace, ctx.workspace = ctx.workspace, None
        if workspace is None:  # given back by an earlier backward of the same graph
            workspace, _ = forward_in_workspace(*inputs, *ctx.settings)
        gradients = workspace.backward(g)
        give_back(workspace)
        return *gradients, *nothing


def forward_in_workspace(h, V, W, activation, scale, depth):
    """Return a workspace that is ready for ``backward``, and the last state."""
    workspace = take_workspace(h, V)
    ahead = steps_ahead(len(V), depth)
    return workspace, workspace.forward(h, V, W, activation, scale, ahead)


def _plain_gradients(ctx, inputs, g):
    """Return gradients that can be differentiated again (``create_graph=True``)."""
    last = plain_stack(*inputs, *ctx.settings)
    needed = [
        t for t, needs in zip(inputs, ctx.needs_input_grad, strict=False) if needs
    ]
    gradients = iter(torch.autograd.grad(last, needed, g, create_graph=True))
    return [next(gradients) if needs else None for needs in ctx.needs_input_grad[:3]]


def _unrecorded(h, V, W, activation, scale, depth):
    """Return the last state without storing others, part by part of the samples."""
    parts = h.split(rows_at_once(V))
    layers, ahead = scaled_layers(V, W, scale), steps_ahead(len(V), depth)
    if ahead:
        lasts = [_run_ahead(part, layers, activation, ahead) for part in parts]
    else:
        lasts = [_run(part, layers, activation) for part in parts]
    return torch.cat(lasts)


def _run(h, layers, activation):
    """Return the last state of some samples; the given one stays as it is."""
    h = h.clone()
    z, a = (h.new_empty(len(h), layers[0][0].shape[0]) for _ in range(2))
    flat_z, flat_a = elementwise(z), elementwise(a)
    for V_k, W_k in layers:
        torch.mm(h, W_k, out=z)
        activation.write(flat_z, flat_a)
        h.addmm_(a, V_k)
    return h


def _run_ahead(h, layers, activation, ahead):
    """Do the same for layers that are evaluated at a point ahead of the state.

    The first layer is evaluated twice: before it runs, at h_0, to look ahead.
    """
    point = h
    z, a = (h.new_empty(len(h), layers[0][0].shape[0]) for _ in range(2))
    flat_z, flat_a = elementwise(z), elementwise(a)
    for k, (V_k, W_k) in enumerate([layers[0], *layers]):
        torch.mm(point, W_k, out=z)
        activation.write(flat_z, flat_a)
        after = h.addmm(a, V_k)
        if k == 0:
            point = torch.lerp(h, after, ahead)
        else:
            torch.lerp(h, after, 1 + ahead, out=point)
            h = after
    return h
