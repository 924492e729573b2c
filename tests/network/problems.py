"""Problems of the residual stack, shared by the tests of its several forms."""

import torch

from odenet._network.activations import ACTIVATIONS

TOLERANCES = {torch.float64: 1e-13, torch.float32: 2e-5}
GELU = ACTIVATIONS["gelu"]


def make_problem(n=7, q=5, m=6, depth=4, *, models=(), dtype=torch.float64, seed=0):
    """A state, weights and a gradient of the last state."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    weights = draw(depth, *models, q, m), draw(depth, *models, m, q)
    inputs = [t.requires_grad_() for t in (draw(*models, n, q), *weights)]
    return inputs, draw(*models, n, q)


def value_and_gradients(
    stack, inputs, g, activation=GELU, depth=None, scale=None, **kwargs
):
    scale = scale or 1 / len(inputs[1])
    last = stack(*inputs, activation, scale, depth)
    return [last, *torch.autograd.grad(last, inputs, g, **kwargs)]


def assert_equal_to_rounding(results, expected):
    for result, exact in zip(results, expected, strict=True):
        assert result.dtype == exact.dtype
        error = (result - exact).abs().max() / (exact.abs().max() + 1e-30)
        assert error < TOLERANCES[exact.dtype]
