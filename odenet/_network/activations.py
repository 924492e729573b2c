"""The registry of activations, and what each of them owes.

A further activation is one more entry of ``ACTIVATIONS``: parameter constraints, the
networks and the ONNX export read it from there. So do the tests of all activations,
which also want its formula in NumPy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F

aten = torch.ops.aten

# Entries up to which oneDNN's set-up costs about as much as it saves, or more: a GELU
# of 2^10, 2^12, 2^14, 2^15 and 2^16 entries took it 8, 9, 15, 23 and 40 us, torch's own
# kernel 4, 6, 14, 26 and 50 us (float32, one thread).
SMALL = 2**15
# Softplus's beta and threshold: torch's defaults, which its gradient must be told.
SOFTPLUS = 1, 20


@dataclass(frozen=True)
class Activation:
    """A function of every entry, in the four forms that odenet needs.

    Parameters
    ----------
    function : callable
        ``function(z)`` returns the values by operations that autograd knows. It defines
        the activation; the other forms must agree with it.
    write : callable
        ``write(z, out)`` writes the values into ``out``, without gradients.
    pull_back : callable
        ``pull_back(g, z, a, out)`` writes ``g`` times the derivative at ``z`` into
        ``out``; ``a`` holds the values at ``z``, for those whose derivative is easier
        to tell from them. ``out`` shares no memory with the others, here and in
        ``write``.
    to_onnx : callable
        ``to_onnx(graph, z)`` adds nodes to a graph (``odenet._export.onnx_graph``) that
        compute the values at the node named ``z``, and returns the name of the last.
        The operators are those of the opset that ``onnx_graph.OPSETS`` names.
    """

    function: Callable
    write: Callable
    pull_back: Callable
    to_onnx: Callable

    def __call__(self, z):
        return self.function(z)


def _write_gelu(z, out):
    """Write the GELU; in float64 on the CPU by its definition.

    There torch computes it by a scalar error function, entry by entry, while ``erf_``
    is vectorised.
    """
    if z.dtype != torch.float64 or z.device.type != "cpu":
        return F.gelu(z, out=out)
    return torch.mul(z, sqrt(0.5), out=out).erf_().add_(1).mul_(z).mul_(0.5)


def _add_gelu(graph, z):
    """Add z (1 + erf(z / sqrt(2))) / 2: opset 17 has no node for the GELU itself."""
    root, one, half = (graph.constant(c, np.float32) for c in (sqrt(0.5), 1, 0.5))
    error = graph.add("Erf", graph.add("Mul", z, root))
    twice = graph.add("Mul", z, graph.add("Add", error, one))
    return graph.add("Mul", twice, half)


def _write_silu(z, out):
    """Write the SiLU, by the sigmoid: ``F.silu`` takes no ``out``."""
    return torch.sigmoid(z, out=out).mul_(z)


ACTIVATIONS = {
    "gelu": Activation(
        function=F.gelu,
        write=_write_gelu,
        pull_back=lambda g, z, a, out: aten.gelu_backward.grad_input(
            g, z, grad_input=out
        ),
        to_onnx=_add_gelu,
    ),
    "tanh": Activation(
        function=torch.tanh,
        write=lambda z, out: torch.tanh(z, out=out),
        pull_back=lambda g, z, a, out: aten.tanh_backward.grad_input(
            g, a, grad_input=out
        ),
        to_onnx=lambda graph, z: graph.add("Tanh", z),
    ),
    "silu": Activation(
        function=F.silu,
        write=_write_silu,
        pull_back=lambda g, z, a, out: aten.silu_backward.grad_input(
            g, z, grad_input=out
        ),
        to_onnx=lambda graph, z: graph.add("Mul", z, graph.add("Sigmoid", z)),
    ),
    "softplus": Activation(
        function=F.softplus,
        write=lambda z, out: F.softplus(z, out=out),
        pull_back=lambda g, z, a, out: aten.softplus_backward.grad_input(
            g, z, *SOFTPLUS, grad_input=out
        ),
        to_onnx=lambda graph, z: graph.add("Softplus", z),
    ),
    "relu": Activation(
        function=torch.relu,
        write=lambda z, out: torch.clamp(z, min=0, out=out),
        pull_back=lambda g, z, a, out: aten.threshold_backward.grad_input(
            g, z, 0, grad_input=out
        ),
        to_onnx=lambda graph, z: graph.add("Relu", z),
    ),
    "identity": Activation(
        function=torch.clone,
        write=lambda z, out: out.copy_(z),
        pull_back=lambda g, z, a, out: out.copy_(g),
        to_onnx=lambda graph, z: z,
    ),
}


def increasing(name):
    """Return the name of an activation that increases, for monotone networks.

    "gelu", the default, which falls for some negative numbers, gives way to "tanh".
    """
    name = "tanh" if name == "gelu" else name
    if name == "silu":
        raise ValueError(
            "`activation` must be increasing for a network that is monotone, such as "
            f"'tanh' or 'softplus', got {name!r}."
        )
    return name


def elementwise(t):
    """Return a view for elementwise operations that is quick for few entries.

    oneDNN takes over contiguous tensors, with a set-up that costs twice the GELU of a
    few thousand entries; torch's own kernels take any dense one.
    """
    return t.mT if t.numel() <= SMALL and t.device.type == "cpu" else t


def check_activation(name):
    """Return the name of an activation, or tell which ones there are."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"`activation` must be one of {sorted(ACTIVATIONS)}, got {name!r}."
        )
    return name
