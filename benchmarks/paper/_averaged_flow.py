"""The flows that SGD and AdamW tend to as their steps become short.

They are those of odenet's networks on a small set of standard Gaussian pairs, see
``small_steps.py``.
"""

from functools import cache
from math import ceil, sqrt

import numpy as np
import torch
from _runner import gaussian_pairs
from scipy.signal import lfilter
from torch.func import functional_call

from odenet import ResidualNetwork
from odenet._losses.squared_error import SquaredError
from odenet._network.gradients import add_gradients
from odenet.schemes import Tied

N_SAMPLES, DIM, WIDTH = 64, 8, 32
STATE_DIM = DIM + 1 + DIM  # inputs, their constant 1, and outputs
TIED = Tied(sqrt(STATE_DIM))  # so that W h / sqrt(q) is as in the authors' scripts
BETAS, EPS = (0.9, 0.95), 1e-8  # of AdamW
N_WARM_UP = 64  # batches before a mean is taken: three times the memory of v


@cache
def samples():
    pairs = gaussian_pairs(N_SAMPLES, DIM, DIM, seed=0)
    return tuple(torch.tensor(array) for array in pairs)


def make_network(depth, init=TIED):
    return ResidualNetwork(
        DIM,
        DIM,
        depth=depth,
        width=WIDTH,
        state_dim=STATE_DIM,
        init=init,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )


def compute_gradient(network, chosen=slice(None)):
    """Fill in the gradients, times the rates of the flow, and return the loss."""
    x, y = (t[chosen] for t in samples())
    network.zero_grad()
    share = torch.full((len(x),), 1 / len(x), dtype=x.dtype)
    _, loss = add_gradients(network, SquaredError(), x, y, share)
    for group in network.parameter_groups():
        for p in group["params"]:
            p.grad.mul_(group["lr"])
    return loss


def gradient(network):
    compute_gradient(network)
    return [p.grad.clone() for p in network.parameters()]


def whole_set_direction(network):
    """Return G of AdamW on the whole set: A and B have no depth for a mean."""
    A, V, W, B = gradient(network)
    sizes = A.abs(), rms_over_depth(V), rms_over_depth(W), B.abs()
    return [g / (size + EPS) for g, size in zip((A, V, W, B), sizes, strict=True)]


def rms_over_depth(g):
    return g.square().mean(dim=0).sqrt()


def sample_gradients(network):
    """Return gradients of single samples, (n, depth, n_entries) for every parameter.

    Every sample has a network of its own. A and B have depth 1.
    """
    x, y = samples()
    own = {
        name: torch.stack([p.detach()] * len(x), dim=-3).requires_grad_()
        for name, p in network.named_parameters()
    }
    outputs = functional_call(network, own, (x[:, None],))[:, 0]
    loss = (outputs - y).square().sum()
    gradients = torch.autograd.grad(loss, list(own.values()))
    return [
        g.flatten(2).movedim(0, 1) * len(g) if g.dim() == 4 else g.flatten(1)[:, None]
        for g in gradients
    ]


def draw_batches(batch_size, n_batches, generator):
    """Return the weights of the samples in whole epochs, shape (n_batches, n)."""
    n_epochs = ceil(n_batches * batch_size / N_SAMPLES)
    orders = [torch.randperm(N_SAMPLES, generator=generator) for _ in range(n_epochs)]
    batches = torch.cat(orders).view(-1, batch_size)
    weights = torch.zeros(len(batches), N_SAMPLES, dtype=torch.float64)
    return weights.scatter_(1, batches, 1 / batch_size)


def running_mean(values, decay):
    """Return the running means of Adam over the first axis."""
    share = 1 - decay ** np.arange(1, len(values) + 1)
    return lfilter([1 - decay], [1, -decay], values, axis=0) / share[:, None]


def sample_weights(g, batches, n_warm_up, pooled):
    """Return R_i for which G is the sum of R_i g_i, for one parameter.

    The mean of m / (sqrt(v) + eps) is a sum over batches, and m is one over samples, so
    that the order of the sums can be exchanged: the running mean runs backwards then.
    """
    squares = [
        (some @ g.flatten(1)).view(-1, *g.shape[1:]).square()
        for some in batches.split(64)  # which is faster than all of them at once
    ]
    squares = torch.cat([s.mean(dim=1) if pooled else s.flatten(1) for s in squares])
    factor = 1 / (np.sqrt(running_mean(squares.numpy(), BETAS[1])) + EPS)
    factor[:n_warm_up] = 0
    factor /= len(factor) - n_warm_up
    momentum = BETAS[0]
    factor /= 1 - momentum ** np.arange(1, len(factor) + 1)[:, None]
    backwards = lfilter([1 - momentum], [1, -momentum], factor[::-1], axis=0)[::-1]
    return batches.mT @ torch.tensor(backwards.copy())


def averaged_direction(network, batch_size, n_batches, generator, pooled=True):
    """Return G of AdamW on mini-batches, as a mean over random ones.

    Without ``pooled`` it is that of torch's Adam, where every layer has its own v.
    """
    warm_up = draw_batches(batch_size, N_WARM_UP, generator)
    batches = torch.cat([warm_up, draw_batches(batch_size, n_batches, generator)])
    direction = []
    for p, g in zip(network.parameters(), sample_gradients(network), strict=True):
        R = sample_weights(g, batches, len(warm_up), pooled)
        R = R.view(len(g), -1, g.shape[2])  # of depth 1 if v is pooled
        direction.append((R * g).sum(dim=0).view_as(p))
    return direction


@torch.no_grad()
def move(network, start, direction, step):
    for p, origin, d in zip(network.parameters(), start, direction, strict=True):
        torch.add(origin, d, alpha=-step, out=p)


def follow(network, direction, horizon, n_steps):
    """Follow the flow of a direction by the midpoint rule.

    Its first direction hardly counts: at V = 0 the gradient of W vanishes, and G jumps.
    """
    step = horizon / n_steps
    for _ in range(n_steps):
        start = [p.detach().clone() for p in network.parameters()]
        move(network, start, direction(network), step / 2)
        move(network, start, direction(network), step)
    return network
