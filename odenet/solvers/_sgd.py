"""Stochastic gradient descent with momentum."""

from numbers import Real

import torch

from odenet._utils.sklearn_private import Interval, StrOptions
from odenet.solvers._base import NON_NEGATIVE, MiniBatch


class SGD(MiniBatch):
    """Stochastic gradient descent with momentum on mini-batches.

    The step is ``learning_rate`` for A and B and ``learning_rate * L`` for V and W, by
    gradients that are multiplied by L, where it has the rates of the flow. Its length
    falls like 1/L where a depth schedule refines the network. It is constant besides
    that if the schedule of rates says so: then the weights of a fit are a running
    average of those after the last steps, a tenth of all.

    Parameters
    ----------
    learning_rate : float, default=0.01
    momentum : float, default=0.9
    weight_decay : float, default=0.0
        Times the weights, added to their gradients.
    flow_rates : bool, default=True
        Whether the gradients of the layers are multiplied by L, as in the gradient
        flow; otherwise all parameters have the same rate, as is usual.
    schedule : {"constant", "cosine"}, default="constant"
        The learning rate over the epochs: "cosine" lets it fall to zero at the last of
        ``max_epochs``, along half a cosine, and a warm start begins anew; there is no
        average then, and no ``partial_fit``.
    batch_size : int or "auto", default="auto"
        "auto" is a sixteenth of the training samples, from 32 to 256.
    max_epochs : int, default=300
        Passes over the training set.
    patience : int, default=20
        Epochs without a lower validation loss after which early stopping ends a fit,
        unless half as many as before are more; a refined network has fewer.

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
        """Whether the steps stay as long as they are."""
        return self.schedule == "constant"
