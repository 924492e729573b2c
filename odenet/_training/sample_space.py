"""The objective of a training as a function of the outputs at all samples."""

import torch

from odenet._diagnostics.tangents import kernel_matrix, push_forward
from odenet._losses.base import Loss
from odenet._losses.weighted import WeightedLoss
from odenet._network.gradients import add_gradients
from odenet._training.penalties import PenaltyFlow


class SampleSpace:
    """What an integrator needs that follows the flow of the outputs.

    Parameters
    ----------
    net : TrainingNet
    batch : pair
        All samples, as ``Samples.batch`` returns them.

    Attributes
    ----------
    loss : WeightedLoss
        The objective without its penalties.
    penalty : PenaltyFlow or None
    """

    def __init__(self, net, batch):
        inputs, y = batch
        parts = inputs["X"], y, inputs["weight"] / len(y)
        # A kernel is one of all samples: so each of several processes takes all.
        self.X, y, share = (net.group.concat(part) for part in parts)
        self.net, self.module = net, net.module_
        self.loss = WeightedLoss(net.loss, y, share)
        factors = net.alpha, net.smoothness_penalty
        self.penalty = PenaltyFlow(self.module, *factors) if any(factors) else None

    def linearise(self):
        """Return the tangent kernel and the outputs at the present parameters."""
        return kernel_matrix(self.module, self.X)

    @torch.no_grad()
    def outputs(self):
        """Return the outputs at the present parameters."""
        return self.module(self.X)

    @torch.enable_grad()
    def pull_back(self, cotangent):
        """Let the gradients of the parameters be those of <outputs, cotangent>."""
        self.net.clear_gradients()
        ones = torch.ones_like(cotangent[..., 0])
        for part in self.net.chunks(self.X, cotangent, ones):
            add_gradients(self.module, _PRODUCT, *part)

    def push_forward(self, change):
        """Return the derivative of the outputs along a change of the parameters.

        Parameters
        ----------
        change : list of Tensor
            In the order of the optimizer's parameters.
        """
        params = (p for g in self.module.parameter_groups() for p in g["params"])
        names = {p: name for name, p in self.module.named_parameters()}
        by_name = {names[p]: part for p, part in zip(params, change, strict=True)}
        return push_forward(self.module, self.X, **by_name)


class _Product(Loss):
    """The inner product of the outputs with given vectors, in the place of a loss."""

    def per_sample(self, output, y):
        return (output * y).sum(dim=-1)

    def gradient(self, output, y):
        return y


_PRODUCT = _Product()
