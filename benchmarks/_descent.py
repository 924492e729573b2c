"""Gradient descent as the paper runs it, by the plain loop, and its largest step."""

from math import isfinite
from time import perf_counter

import torch
from _plain import Gradient, PlainNetwork

from odenet import ResidualNetwork
from odenet.schemes import Tied

SIZES = {"state_dim": 16, "width": 32}  # a thin network, where overhead counts
# Descent has failed if it needs so many times the flow time of the target, or if the
# loss rises by more than rounding.
LONGEST, HIGHEST = 1.5, 1.01
# The first bracket of the largest stable step, and the ratio at which bisection ends.
STABLE, UNSTABLE, CLOSE = 0.005, 4.0, 1.1


def same_start(depth, shape, generator):
    """Draw the same weights for all, whatever the seed of the estimator."""
    return Tied()(depth, shape, torch.Generator().manual_seed(0))


class Descent:
    """Gradient descent by the plain loop; a call is one step and returns the loss."""

    def __init__(self, network, X, y, learning_rate):
        self.module = PlainNetwork(network)
        self.gradient = Gradient(self.module, X, y)
        self.steps = [
            (p, learning_rate * group["lr"])
            for group, names in zip(
                network.parameter_groups(),
                (("embedding", "head"), ("V", "W")),
                strict=True,
            )
            for p in (getattr(self.module, name) for name in names)
        ]

    def __call__(self):
        loss = self.gradient()
        with torch.no_grad():
            for p, step in self.steps:
                p.sub_(step * p.grad)
        return loss.item()


def descend(depth, X, y, learning_rate, target, flow_time):
    """Count the gradients to the target loss; None if it is not reached."""
    network = ResidualNetwork(X.shape[1] - 1, 1, depth=depth, init=same_start, **SIZES)
    descent = Descent(network, X, y, learning_rate)
    start, first, n_gradients = perf_counter(), None, 0
    while n_gradients * learning_rate <= LONGEST * flow_time:
        loss = descent()
        n_gradients += 1
        first = loss if first is None else first
        if loss <= target:
            seconds = perf_counter() - start
            return {"gradients": n_gradients, "seconds": seconds, "loss": loss}
        if not isfinite(loss) or loss > HIGHEST * first:
            return None
    return None


def largest_stable_step(depth, X, y, target, flow_time):
    """Find the largest step that reaches the target, by bisection to a tenth."""
    stable, unstable = STABLE, UNSTABLE
    while unstable / stable > CLOSE:
        middle = (stable * unstable) ** 0.5
        if descend(depth, X, y, middle, target, flow_time) is None:
            unstable = middle
        else:
            stable = middle
    return stable


def run_descent(depth, X, y, learning_rate, target, flow_time):
    """Descend to the target, with half the step as often as it is not stable."""
    result = descend(depth, X, y, learning_rate, target, flow_time)
    if result is None:
        return run_descent(depth, X, y, learning_rate / 2, target, flow_time)
    return {**result, "learning_rate": learning_rate}
