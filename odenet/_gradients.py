"""The gradient of a loss by hand, of one network or of many as one batch.

Around a thin network of few layers, autograd would take longer than the layers do.
"""

from collections import defaultdict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from odenet._activations import ACTIVATIONS
from odenet._stack import is_written, steps_ahead
from odenet._workspace import give_back, take_workspace

NAMES = ("embedding", "V", "W", "head")
MAX_STACKED = 8  # sets of samples that are kept stacked


@dataclass(frozen=True, eq=False)
class GradientRequest:
    """Asks for the gradient of :math:`\\sum_i w_i l(F(x_i), y_i)`, w the shares.

    Parameters
    ----------
    module : ResidualNetwork
    loss : loss of ``odenet._losses``
    X : Tensor of shape (n, n_features)
    y : Tensor of shape (n,) or (n, n_outputs)
    share : Tensor of shape (n,)
    """

    module: torch.nn.Module
    loss: object
    X: torch.Tensor
    y: torch.Tensor
    share: torch.Tensor

    @property
    def kind(self):
        """What must be equal to be computed in one batch; not the number of samples."""
        module = self.module
        return (
            *(getattr(module, name).shape for name in NAMES),
            *(module.activation, module.depth_scaling, module.imitated_depth),
            *(type(self.loss), self.y.shape[1:], self.X.dtype, self.X.device),
        )

    def answer(self):
        """Add the gradient to that of the parameters; the outputs and the sum."""
        weights = [getattr(self.module, name) for name in NAMES]
        if not _is_by_hand(self.module, self.X):
            return self._answer_by_autograd()
        outputs, total, gradients = loss_and_gradients(
            weights, self.X, self.y, self.share, self.loss, _settings(self.module)
        )
        self._add(gradients)
        return outputs, total

    def _answer_by_autograd(self):
        outputs = self.module(self.X)
        total = (self.share * self.loss.per_sample(outputs, self.y)).sum()
        total.backward()
        return outputs.detach(), total.detach()

    def _add(self, gradients):
        for name, gradient in zip(NAMES, gradients, strict=True):
            p = getattr(self.module, name)
            p.grad = gradient if p.grad is None else p.grad.add_(gradient)


def _is_by_hand(module, X):
    stored = module.backward == "stored" or module.imitated_depth is not None
    h = X.new_empty(()).expand(len(X), module.state_dim)
    return stored and is_written(h, module.V, module.W)


def _settings(module):
    """Activation, scale, and how far a layer looks ahead."""
    return (
        ACTIVATIONS[module.activation],
        module.depth**-module.depth_scaling,
        steps_ahead(module.depth, module.imitated_depth),
    )


@torch.no_grad()
def loss_and_gradients(weights, X, y, share, loss, settings):
    """Outputs, the sum of shares times losses, and its gradients.

    Parameters
    ----------
    weights : list of Tensor
        A, V, W and B; these and all that follows with an axis of models before the
        others, or without.
    X, y, share : Tensor
        Samples, as of :class:`GradientRequest`.
    loss : loss of ``odenet._losses``
    settings : tuple
        As of :meth:`odenet._workspace.Workspace.forward`.
    """
    A, V, W, B = weights
    x = F.pad(X, (0, 1), value=1.0)
    h = x @ A.mT
    workspace = take_workspace(h, V)
    last = workspace.forward(h, V, W, *settings)
    outputs = last @ B.mT
    rows = outputs.flatten(0, -2), y.flatten(0, X.dim() - 2)
    losses = loss.per_sample(*rows).view_as(share)
    g = loss.gradient(*rows).view_as(outputs) * share[..., None]
    grad_h, grad_V, grad_W = workspace.backward(g @ B)
    give_back(workspace)
    total = (share * losses).sum(dim=-1)
    return outputs, total, (grad_h.mT @ x, grad_V, grad_W, g.mT @ last)


class BatchedGradients:
    """Answers requests for gradients together; keeps samples that it has stacked."""

    def __init__(self):
        self.stacked = {}

    def __call__(self, requests):
        """Outputs and sum for every request."""
        groups = defaultdict(list)
        for i, request in enumerate(requests):
            groups[request.kind].append(i)
        answers = [None] * len(requests)
        for indices in groups.values():
            batch = [requests[i] for i in indices]
            for i, answer in zip(indices, self._answer(batch), strict=True):
                answers[i] = answer
        return answers

    def _answer(self, requests):
        first = requests[0]
        if len(requests) == 1 or not _is_by_hand(first.module, first.X):
            return [request.answer() for request in requests]
        weights = [
            torch.stack([getattr(r.module, name).detach() for r in requests])
            for name in NAMES
        ]
        samples = self._samples(requests)
        outputs, totals, gradients = loss_and_gradients(
            weights, *samples, first.loss, _settings(first.module)
        )
        for request, *own in zip(requests, *gradients, strict=True):
            request._add([gradient.contiguous() for gradient in own])
        return [
            (output[: len(request.y)], total)
            for request, output, total in zip(requests, outputs, totals, strict=True)
        ]

    def _samples(self, requests):
        """Inputs, targets and shares; short sets of samples end in zeros."""
        columns = [[getattr(r, name) for r in requests] for name in ("X", "y", "share")]
        key = tuple((t.data_ptr(), len(t)) for column in columns for t in column)
        if key not in self.stacked:
            if len(self.stacked) == MAX_STACKED:
                self.stacked.clear()
            padded = [pad_sequence(column, batch_first=True) for column in columns]
            self.stacked[key] = padded, columns  # whose addresses are the key
        return self.stacked[key][0]
