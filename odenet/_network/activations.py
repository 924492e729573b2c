"""Activations: as functions for autograd, and written in place with their gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A function of every entry, in the forms that the residual stack needs.

    Parameters
    ----------
    function : callable
        ``function(z)``, differentiable.
    write : callable
        ``write(z, out)`` writes the function's values.
    pull_back : callable
        ``pull_back(g, z, a, out)`` writes g times the derivative at z, where the
        values are a.
    """

    function: Callable
    write: Callable
    pull_back: Callable

    def __call__(self, z):
        return self.function(z)


def _write_gelu(z, out):
    """On the CPU torch computes the float64 GELU by a scalar error function."""
    if z.dtype != torch.float64 or z.device.type != "cpu":
        return F.gelu(z, out=out)
    return torch.mul(z, sqrt(0.5), out=out).erf_().add_(1).mul_(z).mul_(0.5)


def _write_silu(z, out):
    return torch.sigmoid(z, out=out).mul_(z)


ACTIVATIONS = {
    "gelu": Activation(
        F.gelu,
        _write_gelu,
        lambda g, z, a, out: aten.gelu_backward.grad_input(g, z, grad_input=out),
    ),
    "tanh": Activation(
        torch.tanh,
        lambda z, out: torch.tanh(z, out=out),
        lambda g, z, a, out: aten.tanh_backward.grad_input(g, a, grad_input=out),
    ),
    "silu": Activation(
        F.silu,
        _write_silu,
        lambda g, z, a, out: aten.silu_backward.grad_input(g, z, grad_input=out),
    ),
    "softplus": Activation(
        F.softplus,
        lambda z, out: F.softplus(z, out=out),
        lambda g, z, a, out: aten.softplus_backward.grad_input(
            g, z, 1, 20, grad_input=out
        ),
    ),
    "relu": Activation(
        torch.relu,
        lambda z, out: torch.clamp(z, min=0, out=out),
        lambda g, z, a, out: aten.threshold_backward.grad_input(
            g, z, 0, grad_input=out
        ),
    ),
    "identity": Activation(
        torch.clone,
        lambda z, out: out.copy_(z),
        lambda g, z, a, out: out.copy_(g),
    ),
}
