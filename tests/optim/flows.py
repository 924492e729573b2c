"""Losses whose flows are known, and how tests follow them."""

import torch

from odenet import ResidualNetwork


def make_closure(flow, loss):
    """A closure as every torch optimizer takes it."""

    def closure():
        flow.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def follow(flow, loss, horizon):
    """The losses at the ends of the steps."""
    closure, losses = make_closure(flow, loss), []
    while flow.flow_time < horizon:
        losses.append(flow.step(closure).item())
    return losses


def quartic(start):
    """Loss |x|_4^4 / 4, whose flow is x(t) = x_0 / sqrt(1 + 2 x_0^2 t)."""
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    return x, lambda: x.pow(4).sum() / 4


def small_problem(depth=4, dtype=torch.float64, n=20):
    """A small network and its loss."""
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(
        2, 1, depth=depth, width=6, state_dim=5, generator=generator, dtype=dtype
    )
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:] ** 2
    return network, lambda: (network(x) - y).square().mean()
