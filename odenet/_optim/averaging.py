"""A running average of the weights after the last steps on mini-batches.

Steps of constant length on mini-batches end in a random walk around the solution that
the flow tends to. The average over the last steps is close to that solution. Shrinking
steps would be, too, but their schedule must know in advance when the training ends.
"""

from contextlib import contextmanager

import torch

# The average is over about this share of all steps, the last ones. The rows "average of
# a fifth" and "last weights, no average" of benchmarks/defaults.py try other shares.
SHARE = 1 / 10


class RunningAverage:
    r"""The average of the weights of a network over a constant share of all steps.

    After step n the average moves towards the weights by :math:`1 / (1 + n\,SHARE)`
    of the way (polynomial-decay averaging: Shamir and Zhang, *Stochastic gradient
    descent for non-smooth optimization*, ICML 2013).
    """

    def __init__(self, module):
        self.module = module
        self.restart()

    @torch.no_grad()
    def restart(self):
        """Begin the average anew, with the current weights."""
        self.n_steps = 0
        self.weights = {n: p.detach().clone() for n, p in self._parameters()}

    @torch.no_grad()
    def update(self):
        """Take the weights after a step into the average."""
        for name, p in self._parameters():
            self.weights[name].lerp_(p, 1 / (1 + SHARE * self.n_steps))
        self.n_steps += 1

    @contextmanager
    def shown(self):
        """Give the network the averaged weights, for the time of the context."""
        raw = {name: p.data for name, p in self._parameters()}
        try:
            for name, p in self._parameters():
                p.data = self.weights[name]
            yield
        finally:
            for name, p in self._parameters():
                p.data = raw[name]

    def _parameters(self):
        """Return the parameters of the network with their names."""
        return self.module.named_parameters()
