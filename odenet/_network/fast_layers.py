"""The fast ways to evaluate the layers, and which of them serves when."""

import torch
from torch.autograd import forward_ad

from odenet._network.layers import plain_stack, scaled_layers, steps_ahead
from odenet._network.workspace import (
    elementwise,
    give_back,
    is_worth_keeping,
    take_workspace,
)

CACHED = 2**18  # entries of a layer's states that are best computed at once

MIN_ROWS = 1024


def residual_stack(h, V, W, activation, scale, depth=None):
    """The last state h_L, equal to ``plain_stack`` up to rounding and faster.

    Parameters
    ----------
    h : Tensor of shape (n, q) or (n_models, n, q)
    V : Tensor of shape (L, q, m) or (L, n_models, q, m)
    W : Tensor of shape (L, m, q) or (L, n_models, m, q)
        With an axis of models: that of a stack for each.
    activation : Activation
    scale : float
        Factor of the residuals, 1/L for a discretised ODE.
    depth : int, float or None
        If given, the depth that the layers imitate (:func:`imitating_states`).
    """
    with_gradients = torch.is_grad_enabled() and any(t.requires_grad for t in (h, V, W))
    if with_gradients and is_written(h, V, W):
        stack = _written
    elif with_gradients or h.dim() == 3 or not _is_ordinary(h, V, W):
        stack = plain_stack
    else:
        stack = _evaluate
    return stack(h, V, W, activation, scale, depth)


def is_written(h, V, W):
    """Whether gradients are computed in a workspace."""
    return _is_ordinary(h, V, W) and is_worth_keeping(h, V)


def _is_ordinary(*tensors):
    """Not where torch transforms or traces the operations, or another number format."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or any(t.dtype not in (torch.float32, torch.float64) for t in tensors)
        or any(t.device.type not in ("cpu", "cuda") for t in tensors)
        or any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
    )


def rows_at_once(q, m):
    """Samples whose states of one layer stay in a cache."""
    return max(MIN_ROWS, CACHED // (q + m))


def _written(h, V, W, *settings):
    """The last state, of a part of the samples after another."""
    parts = h.split(rows_at_once(*V.shape[-2:]), dim=-2)
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
    """A workspace, ready for ``backward``, and the last state."""
    workspace = take_workspace(h, V)
    ahead = steps_ahead(len(V), depth)
    return workspace, workspace.forward(h, V, W, activation, scale, ahead)


def _plain_gradients(ctx, inputs, g):
    """Gradients that can be differentiated again (``create_graph=True``)."""
    last = plain_stack(*inputs, *ctx.settings)
    needed = [
        t for t, needs in zip(inputs, ctx.needs_input_grad, strict=False) if needs
    ]
    gradients = iter(torch.autograd.grad(last, needed, g, create_graph=True))
    return [next(gradients) if needs else None for needs in ctx.needs_input_grad[:3]]


def _evaluate(h, V, W, activation, scale, depth):
    """The last state, without storing one, of a part of the samples after another."""
    layers, ahead = scaled_layers(V, W, scale), steps_ahead(len(V), depth)
    parts = h.split(rows_at_once(*V.shape[-2:]))
    return torch.cat([_evaluate_part(p, layers, activation, ahead) for p in parts])


def _evaluate_part(h, layers, activation, ahead):
    z = h.new_empty(len(h), layers[0][0].shape[0])
    a = torch.empty_like(z)
    flat_z, flat_a = elementwise(z), elementwise(a)

    def velocity_into(h, point, V_k, W_k):
        torch.mm(point, W_k, out=z)
        activation.write(flat_z, flat_a)
        return h.addmm_(a, V_k)

    if not ahead:
        h = h.clone()
        for layer in layers:
            velocity_into(h, h, *layer)
        return h
    point = torch.lerp(h, velocity_into(h.clone(), h, *layers[0]), ahead)
    for layer in layers:
        before, h = h, velocity_into(h.clone(), point, *layer)
        torch.lerp(before, h, 1 + ahead, out=point)
    return h
