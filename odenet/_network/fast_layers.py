"""The fast ways to evaluate the layers, and which of them serves when.

:func:`residual_stack` chooses among three, equal up to rounding: with gradients a
workspace, forward and backward written by hand; without them a loop that stores no
state; and, wherever torch transforms or traces the operations, the formulas themselves
(:mod:`odenet._network.layers`). :func:`steady_stack` serves predictions by the same
loop, in such a way that not even the rounding of a row depends on the other rows.
"""

import sys
from functools import lru_cache
from math import ceil, sqrt

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

from odenet._network.activations import elementwise
from odenet._network.layers import plain_stack, scaled_layers, steps_ahead
from odenet._network.workspace import give_back, is_worth_keeping, take_workspace
from odenet._utils.devices import torch_threads

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
# Predictions take rows by multiples of this number. Products of fewer than 8 rows are
# summed in another order, and the functions of torch take numbers by at most 32 at
# once: the rest, which no multiple of 32 leaves, goes through other code.
ROW_UNIT = 32
# Their widths are multiples of this one, by hidden units without weights. At widths of
# 2, 4, 5, 8, 17 and 33 the last bit of a row depended on its place in the product, by
# MKL on an AMD EPYC; at 16, 32, 64 and 100 it did not.
WIDTH_UNIT = 16
# Shapes of layers for which a process keeps the answer of `is_steady`: a round value.
MOST_SHAPES = 256


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
    elif with_gradients or h.dim() == 3 or not is_ordinary(h, V, W):
        stack = plain_stack
    else:
        stack = _unrecorded
    return stack(h, V, W, activation, scale, depth)


def is_written(h, V, W):
    """Tell whether gradients are computed in a workspace, by hand."""
    return is_ordinary(h, V, W) and (h.is_cuda or is_worth_keeping(h, V))


def is_ordinary(*tensors):
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


def _unrecorded(h, V, W, *settings):
    """Return the last state without storing others, part by part of the samples."""
    parts = h.split(rows_at_once(V))
    return torch.cat(_run_parts(parts, V, W, *settings, view=elementwise))


def steady_stack(h, V, W, activation, scale, depth=None):
    """Return the last state h_L of rows of which none depends on those beside it.

    Takes what :func:`residual_stack` does, and computes it without gradients. Each row
    is the same to the last bit, in whatever batch it comes, where :func:`is_steady`
    finds it so: every product has a multiple of ``ROW_UNIT`` rows, the last of which
    may be zeros, and one kernel serves few rows and many.
    """
    if h.dim() == 3:
        models, settings = zip(h, V.unbind(1), W.unbind(1), strict=True), (scale, depth)
        return torch.stack([steady_stack(*m, activation, *settings) for m in models])
    n, m = len(h), V.shape[-1]
    n_units = ceil(n / ROW_UNIT)
    n_parts = ceil(n_units / (rows_at_once(V) // ROW_UNIT))
    size = ROW_UNIT * ceil(n_units / n_parts)
    parts = F.pad(h, (0, 0, 0, ROW_UNIT * n_units - n)).split(size)
    more = -m % WIDTH_UNIT
    # The order of weights in memory, which a solver chooses, would change roundings.
    V, W = F.pad(V, (0, more)).contiguous(), F.pad(W, (0, 0, 0, more)).contiguous()
    scale *= sqrt((m + more) / m)  # which the layers divide by the root of the width
    settings = activation, scale, depth
    return torch.cat(_run_parts(parts, V, W, *settings, view=torch.Tensor.detach))[:n]


@lru_cache(MOST_SHAPES)
@torch.no_grad()
def is_steady(q, m, activation, n_threads):
    """Tell whether rows of float32 have no bit that depends on the batch, as tried out.

    Libraries choose the order of a sum by the shape of a product and the place of a row
    in it. Tried is a layer of this shape, at as many rows as are evaluated at once, on
    all of the threads that torch uses, beside some of the rows on one thread.
    """
    generator = torch.Generator().manual_seed(0)
    V, W = (torch.randn(1, *s, generator=generator) for s in ((q, m), (m, q)))
    h = torch.randn(rows_at_once(V), q, generator=generator)
    settings = V, W, activation, 1.0
    expected = steady_stack(h, *settings)
    with torch_threads(0):
        for rows in (range(1), range(5, 12), range(len(h) - 1, 0, -3)):
            if not torch.equal(steady_stack(h[rows], *settings), expected[rows]):
                return False
    return True


def _run_parts(parts, V, W, activation, scale, depth, view):
    """Return the last states of the rows of every part, in a list."""
    layers, ahead = scaled_layers(V, W, scale), steps_ahead(len(V), depth)
    if ahead:
        return [_run_ahead(part, layers, activation, ahead, view) for part in parts]
    return [_run(part, layers, activation, view) for part in parts]


def _run(h, layers, activation, view):
    """Return the last state of some samples; the given one stays as it is.

    The activation takes a ``view`` of its numbers, which chooses the kernel.
    """
    h = h.clone()
    z, a = (h.new_empty(len(h), layers[0][0].shape[0]) for _ in range(2))
    flat_z, flat_a = view(z), view(a)
    for V_k, W_k in layers:
        torch.mm(h, W_k, out=z)
        activation.write(flat_z, flat_a)
        h.addmm_(a, V_k)
    return h


def _run_ahead(h, layers, activation, ahead, view):
    """Do the same for layers that are evaluated at a point ahead of the state.

    The first layer is evaluated twice: before it runs, at h_0, to look ahead.
    """
    point = h
    z, a = (h.new_empty(len(h), layers[0][0].shape[0]) for _ in range(2))
    flat_z, flat_a = view(z), view(a)
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
