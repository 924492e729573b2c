"""The gradient of the objective, written by hand.

Around a thin network of few layers, autograd would take longer than the layers do.
"""

import torch
import torch.nn.functional as F

from odenet._network.cuda_graph import CapturedGradients
from odenet._network.fast_layers import forward_in_workspace, is_written
from odenet._network.workspace import give_back


def add_gradients(module, loss, X, y, share):
    r"""Add the gradient of :math:`\sum_i w_i l(F(x_i), y_i)` to the parameters'.

    Parameters
    ----------
    module : ResidualNetwork
    loss : loss of ``odenet._losses.base``
    X : Tensor of shape (n, n_features)
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
    compute = captured if X.is_cuda else _by_hand
    outputs, total, gradients = compute(module, loss, X, y, share)
    for p, gradient in zip(module.parameters(), gradients, strict=True):
        p.grad = gradient if p.grad is None else p.grad.add_(gradient)
    return outputs, total


def _add_by_autograd(module, loss, X, y, share):
    outputs = module(X)
    total = (share * loss.per_sample(outputs, y)).sum()
    total.backward()
    return outputs.detach(), total.detach()


def _is_by_hand(module, X):
    stored = module.backward == "stored" or module.imitated_depth is not None
    h = X[..., :1].expand(*X.shape[:-1], module.state_dim)
    return stored and is_written(h, module.V, module.W)


@torch.no_grad()
def _by_hand(module, loss, X, y, share):
    """Outputs, the sum, and the gradients of A, V, W and B."""
    A, B = module.embedding, module.head
    x = F.pad(X, (0, 1), value=1.0)
    layers = module.layers()
    workspace, last = forward_in_workspace(x @ A.mT, *layers, module.imitated_depth)
    outputs = last @ B.mT
    g = loss.gradient(outputs, y) * share[..., None]
    grad_h, grad_V, grad_W = workspace.backward(g @ B)
    give_back(workspace)
    total = (share * loss.per_sample(outputs, y)).sum()
    return outputs, total, (grad_h.mT @ x, grad_V, grad_W, g.mT @ last)


captured = CapturedGradients(_by_hand)
