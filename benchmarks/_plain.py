"""The network as anybody would write it in torch, and gradients to compare."""

from math import sqrt

import torch
import torch.nn.functional as F
from skorch import NeuralNetRegressor
from torch import nn

from odenet import ResidualNetwork
from odenet._losses.squared_error import SquaredError
from odenet._tables.samples import Samples
from odenet._training.net import TrainingNet
from odenet.solvers import Flow


def random_network(q, m, depth, **settings):
    """Make a network that uses all of its state and has no weight of zero."""
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(
        q - 2, 1, depth=depth, width=m, state_dim=q, generator=generator, **settings
    )
    with torch.no_grad():
        network.V.normal_(generator=generator)
    return network


def random_samples(n, n_features):
    """Draw Gaussian inputs and targets."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, n_features, generator=generator)
    return X, torch.randn(n, 1, generator=generator)


def with_constant(X):
    """Append the constant 1 to the inputs, as the plain network needs it."""
    return torch.cat([X, torch.ones(len(X), 1)], dim=1)


class PlainNetwork(nn.Module):
    """The residual network, written as its formula, with the weights of another one."""

    def __init__(self, network):
        super().__init__()
        for name in ("embedding", "V", "W", "head"):
            weights = getattr(network, name).detach().clone()
            setattr(self, name, nn.Parameter(weights))

    def forward(self, x):
        L, q, m = self.V.shape
        h = x @ self.embedding.T
        for V_k, W_k in zip(self.V.unbind(0), self.W.unbind(0), strict=True):
            h = h + (F.gelu(h @ W_k.T / sqrt(q)) @ V_k.T) / (L * sqrt(m))
        return h @ self.head.T


class Gradient:
    """Computes one gradient of the mean squared error, and returns the loss."""

    def __init__(self, module, X, y):
        self.module = module
        self.X = X
        self.y = y

    def __call__(self):
        self.module.zero_grad(set_to_none=True)
        loss = (self.module(self.X) - self.y).square().mean()
        loss.backward()
        return loss.detach()


class OdenetGradient(Gradient):
    """Computes one gradient as the estimators do, on the device of the samples."""

    def __init__(self, module, X, y):
        super().__init__(module, X, y)
        self.net = TrainingNet(module, SquaredError(), Flow()).initialize()
        self.batch = Samples(X, y, torch.ones(len(X), device=X.device)).batch()

    def __call__(self):
        self.module.zero_grad(set_to_none=True)
        return self.net._accumulate_gradients(self.batch)[1]


class SkorchEpoch:
    """Runs one epoch of skorch with one batch, at a learning rate of zero."""

    def __init__(self, module, X, y):
        self.X, self.y = X.numpy(), y.numpy()
        self.net = NeuralNetRegressor(
            module,
            lr=0.0,
            max_epochs=1,
            batch_size=-1,
            train_split=None,
            callbacks="disable",
            verbose=0,
        ).initialize()

    def __call__(self):
        self.net.partial_fit(self.X, self.y)
        return torch.tensor(self.net.history[-1]["batches"][-1]["train_loss"])
