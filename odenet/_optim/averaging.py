"""A running average of the weights that mini-batches leave behind.

Steps of constant length on mini-batches end in a random walk around the solution of
their flow. The average over the last steps is close to it, without a schedule of the
steps that would have to know in advance when training ends.
"""

from contextlib import contextmanager

import torch

# The average is about this share of all steps, the last ones. Rows "average of a fifth"
# and "last weights, no average" of benchmarks/defaults.py try others.
SHARE = 1 / 10


class RunningAverage:
    r"""Average of the weights of a network, over a constant share of all steps.

    After step n the average moves towards the weights by :math:`1 / (1 + n\,SHARE)`
    of the way (polynomial-decay averaging: Shamir and Zhang, *Stochastic gradient
    descent for non-smooth optimization*, ICML 2013).
    """

    def __init__(self, module):
        self.module = module
        self.restart()

    @torch.no_grad()
    def restart(self):
        """Begin anew with the weights as they are now."""
        self.n_steps = 0
        self.weights = {n: p.detach().clone() for n, p in self._parameters()}

    @torch.no_grad()
    def update(self):
        """Take in the weights after a step."""
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
        return self.module.named_parameters()
