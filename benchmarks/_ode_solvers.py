"""The neural ODE of a network as one would train it by torchdiffeq or diffrax.

The weights are piecewise linear in depth time, with layer k at s = (k - 1/2)/L. The
method is that of Dormand and Prince with rtol = 1e-3 and atol = 1e-5. The solver
chooses its steps without regard to the layers: layers that it passes over get no
gradient.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import nn
from torchdiffeq import odeint, odeint_adjoint

# Usual tolerances of training, the same for both packages.
TOLERANCES = {"rtol": 1e-3, "atol": 1e-5}


class TorchODE(nn.Module):
    """The continuous network, trained by the adjoint equation or by backpropagation."""

    def __init__(self, plain, adjoint):
        super().__init__()
        self.network = plain
        self.adjoint = adjoint

    def forward(self, x):
        h = x @ self.network.embedding.T
        self.layers = self.network.V.unbind(0), self.network.W.unbind(0)
        s = torch.tensor([0.0, 1.0])
        settings = {"method": "dopri5", **TOLERANCES}
        if self.adjoint:
            layers = sum(self.layers, ())
            h = odeint_adjoint(self._velocity, h, s, adjoint_params=layers, **settings)
        else:
            h = odeint(self._velocity, h, s, **settings)
        return h[-1] @ self.network.head.T

    def _velocity(self, s, h):
        """Return the velocity of the states at depth time s."""
        V, W = (_between(layers, s.item()) for layers in self.layers)
        q, m = V.shape
        return F.gelu(h @ W.T / sqrt(q)) @ V.T / sqrt(m)


def _between(layers, s):
    """Interpolate weights linearly between layers, constant beyond the ends."""
    position = min(max(s * len(layers) - 0.5, 0.0), len(layers) - 1.0)
    left = min(int(position), len(layers) - 2)
    return torch.lerp(layers[left], layers[left + 1], position - left)


def diffrax_gradient(plain, X, y):
    """Return a function that computes a gradient by diffrax and returns the loss."""
    import jax
    import jax.numpy as jnp

    names = ("embedding", "V", "W", "head")
    parameters = [jnp.asarray(getattr(plain, n).detach().numpy()) for n in names]
    X, y = jnp.asarray(X.numpy()), jnp.asarray(y.numpy())
    gradient = jax.jit(jax.value_and_grad(_diffrax_loss))
    return lambda: jax.block_until_ready(gradient(parameters, X, y))[0]


def _diffrax_loss(parameters, X, y):
    """Compute the loss of the continuous network by diffrax."""
    import diffrax
    import jax.numpy as jnp

    A, V, W, B = parameters
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_diffrax_velocity),
        diffrax.Dopri5(),
        t0=0.0,
        t1=1.0,
        dt0=None,
        y0=X @ A.T,
        args=(V, W),
        stepsize_controller=diffrax.PIDController(**TOLERANCES),
    )
    return jnp.square(solution.ys[-1] @ B.T - y).mean()


def _diffrax_velocity(s, h, layers):
    """Return the velocity of the states at depth time s, in JAX."""
    import jax
    import jax.numpy as jnp

    depth, q, m = layers[0].shape
    position = jnp.clip(s * depth - 0.5, 0.0, depth - 1.0)
    left = jnp.clip(position.astype(int), 0, depth - 2)
    V, W = (Z[left] + (position - left) * (Z[left + 1] - Z[left]) for Z in layers)
    return jax.nn.gelu(h @ W.T / sqrt(q), approximate=False) @ V.T / sqrt(m)
