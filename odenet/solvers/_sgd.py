"""Stochastic gradient descent with momentum."""

from numbers import Real

import torch

from odenet._utils.sklearn_private import Interval, StrOptions
from odenet.solvers._base import NON_NEGATIVE, MiniBatch


class SGD(MiniBatch):
    """Stochastic gradient descent with momentum on mini-batches.

    With the rates of the flow, the step is ``learning_rate`` times the gradient for A
    and B, and ``learning_rate * L`` times the gradient for V and W. When a depth
    schedule adds layers, steps become shorter, like 1/L. Apart from that, their length
    is constant or falls along a cosine. If it is constant, the weights of a fit are a
    running average over the last steps, a tenth of all.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Length of a step, in units of the gradient.
    momentum : float, default=0.9
        The share of a step that the next one keeps, from 0 to below 1.
    weight_decay : float, default=0.0
        This multiple of the weights is added to their gradients.
    flow_rates : bool, default=True
        Whether the gradients of the layers are multiplied by L, as in the gradient
        flow. Otherwise all parameters have the same rate, as is usual elsewhere.
    schedule : {"constant", "cosine"}, default="constant"
        The learning rate over the epochs. "cosine" lets it fall along half a cosine, to
        zero at the last of ``max_epochs``. A warm start then begins with the full rate
        again, weights are not averaged, and ``partial_fit`` is not available.
    batch_size : int or "auto", default="auto"
        "auto" is a sixteenth of the training samples, from 32 to 256.
    max_epochs : int, default=300
        Passes over the training set.
    patience : int, default=20
        Epochs without a lower validation loss after which early stopping ends a fit. It
        waits longer if the lowest loss came late: half as many epochs as it took to
        come. With more layers than at the start, ``patience`` is lowered in proportion.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import SGD
    >>> model = ResODERegressor(4, solver=SGD(batch_size=2, max_epochs=5))
    >>> model.fit([[0.0], [1.0], [2.0]], [1, 2, 3]).n_grad_evals_
    10
    """

    _parameter_constraints = {
        **MiniBatch._parameter_constraints,
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [NON_NEGATIVE],
        "flow_rates": ["boolean"],
        "schedule": [StrOptions({"constant", "cosine"})],
    }

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=0.0,
        flow_rates=True,
        schedule="constant",
        batch_size="auto",
        max_epochs=300,
        patience=20,
    ):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.flow_rates = flow_rates
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience

    def make_optimizer(self, module, horizon):
        """Make the torch optimizer for a network; mini-batches have no horizon."""
        return torch.optim.SGD(
            module.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    @property
    def has_constant_rate(self):
        """Whether the length of the steps is constant."""
        return self.schedule == "constant"
