"""The gradient of the objective: by autograd, by hand, or replayed on CUDA.

Around a thin network of few layers, autograd takes longer than the layers do, and on
CUDA such a network waits for its launches. So the gradient is written by hand, and on
CUDA captured as a graph, which is replayed for every batch of the same shape.
"""

import torch

from odenet._network.fast_layers import forward_in_workspace, is_written
from odenet._network.scratch import current_scratch
from odenet._network.workspace import give_back
from odenet._utils.sparse_rows import is_sparse, outer, times, with_one

# Graphs of a thread, beyond which the oldest one goes: a round value. Each new depth,
# number of samples or network needs one, and each holds memory of its own.
MAX_GRAPHS = 8
# How far a replay may be from the computation, as in torch.allclose. Round values, well
# above the rounding of sums in float32: other kernels may be chosen for a graph.
RTOL, ATOL = 1e-4, 1e-6


def add_gradients(module, loss, X, y, share):
    r"""Add the gradient of :math:`\sum_i w_i l(F(x_i), y_i)` to the parameters'.

    Parameters
    ----------
    module : ResidualNetwork
    loss : loss of ``odenet._losses.base``
    X : Tensor of shape (n, n_features), or SparseRows
    y : Tensor of shape (n,) or (n, n_outputs)
    share : Tensor of shape (n,)
        The factors w.

    Returns
    -------
    outputs : Tensor of shape (n, n_outputs)
    total : Tensor
        The sum.
    """
    if not _is_by_hand(module, X):
        return _add_by_autograd(module, loss, X, y, share)
    outputs, total, gradients = _computation_for(X)(module, loss, X, y, share)
    for p, gradient in zip(module.parameters(), gradients, strict=True):
        if p.requires_grad:
            p.grad = gradient if p.grad is None else p.grad.add_(gradient)
    return outputs, total


def _add_by_autograd(module, loss, X, y, share):
    """Do the same for any network, and for stacks that keep no states."""
    outputs = module(X)
    total = (share * loss.per_sample(outputs, y)).sum()
    total.backward()
    return outputs.detach(), total.detach()


def _is_by_hand(module, X):
    """Tell whether the states of the layers will be stored in a workspace."""
    stored = module.backward == "stored" or module.imitated_depth is not None
    first = module.V.new_empty(1) if is_sparse(X) else X[..., :1]
    h = first.expand(*X.shape[:-1], module.state_dim)  # of h_0's shape, for free
    return stored and is_written(h, module.V, module.W)


def _computation_for(X):
    """Return the function that computes the gradients of samples by hand.

    Every batch of a sparse matrix has another number of entries, and no graph is for
    more than one.
    """
    return captured if not is_sparse(X) and X.is_cuda else compute_gradients


@torch.no_grad()
def compute_gradients(module, loss, X, y, share):
    """Return the outputs, the sum, and the gradients of A, V, W and B, by hand."""
    A, B = module.embedding, module.head
    x = with_one(X)
    layers = module.layers()
    workspace, last = forward_in_workspace(times(x, A), *layers, module.imitated_depth)
    outputs = last @ B.mT
    g = loss.gradient(outputs, y) * share[..., None]
    out = current_scratch().take_gradients(module.V, module.W)
    grad_h, grad_V, grad_W = workspace.backward(g @ B, out)
    give_back(workspace)
    total = (share * loss.per_sample(outputs, y)).sum()
    return outputs, total, (outer(grad_h, x), grad_V, grad_W, g.mT @ last)


class CapturedGradients:
    """Replays a computation on CUDA, for all samples that come in the same shape.

    A graph reads the parameters where they lie, and samples from memory of its own. It
    is trusted if its first replay gives what the computation itself gives. Where it
    cannot be captured, or does not, the computation is run as it is. The graphs wait in
    this thread's scratch.

    Parameters
    ----------
    compute : callable
        ``compute(module, loss, X, y, share)`` returns a tuple of tensors, and reads
        nothing else than these and the module's parameters.
    """

    def __init__(self, compute):
        self.compute = compute

    def __call__(self, module, loss, X, y, share):
        """Return what ``compute`` returns; the gradients where the next call writes.

        The parameters' own gradients, which may lie there, are moved away before.
        """
        graphs, samples = current_scratch().graphs, (X, y, share)
        key = self._key(module, loss, samples)
        if key not in graphs:
            own = [t.clone() for t in samples]
            graphs[key] = self._capture(module, loss, own)
            if len(graphs) > MAX_GRAPHS:
                graphs.popitem(last=False)
        captured = graphs[key]
        if captured is None:
            return self.compute(module, loss, *samples)
        graph, own, (outputs, total, gradients) = captured
        _move_away(module.parameters(), gradients)
        for t, value in zip(own, samples, strict=True):
            t.copy_(value)
        graph.replay()
        return outputs.clone(), total.clone(), gradients

    def _key(self, module, loss, samples):
        """Return all that a graph depends on: where parameters lie, and settings."""
        settings = module.activation, module.depth_scaling, module.imitated_depth
        places = ((p.data_ptr(), p.shape) for p in module.parameters())
        kinds = ((t.shape, t.dtype, t.device) for t in samples)
        return (self.compute, *places, *kinds, *settings, loss)

    def _capture(self, module, loss, samples):
        """Return a graph, the samples it reads and its results; None if it is no good.

        ``RuntimeError`` is what torch raises where an operation cannot be captured.
        """
        try:
            with torch.cuda.device(samples[0].device):
                graph, results, expected = _capture(
                    lambda: self.compute(module, loss, *samples)
                )
        except RuntimeError:
            return None
        pairs = zip(_flat(results), _flat(expected), strict=True)
        if not all(torch.allclose(*pair, rtol=RTOL, atol=ATOL) for pair in pairs):
            return None
        return graph, samples, results


def _move_away(parameters, results):
    """Give parameters whose gradient is one of the results a copy of it."""
    for p, result in zip(parameters, results, strict=True):
        if p.grad is result:
            p.grad = result.clone()


def _capture(compute):
    """Return a graph, the results that it writes, and those of the computation."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries set themselves up before a capture
        compute()
        expected = compute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = compute()
    graph.replay()
    return graph, results, expected


def _flat(results):
    """Return the tensors of a result in one list."""
    outputs, total, gradients = results
    return [outputs, total, *gradients]


captured = CapturedGradients(compute_gradients)
