"""Adam with decoupled weight decay."""

from odenet._optim.depth_adamw import DepthAdamW
from odenet.solvers._base import NON_NEGATIVE, MiniBatch


class AdamW(MiniBatch):
    r"""Adam with decoupled weight decay on mini-batches.

    The gradients of V and W are multiplied by L, as the flow's are, and the running
    size that Adam divides them by is one for all layers, a mean over depth. So a step
    is as smooth in depth as the gradient is, and does not depend on L
    (:math:`|\Delta Z_{k+1} - \Delta Z_k| = O(1/L)`); with a size of every layer's own,
    which is usual, it would jump where a gradient changes its sign.

    The length of the steps is constant but that it falls like 1/L where a depth
    schedule refines the network; the weights of a fit are a running average of those
    after the last steps, a tenth of all.

    Parameters
    ----------
    learning_rate : float, default=0.04
    weight_decay : float, default=0.0
        A step multiplies all weights by ``1 - learning_rate * weight_decay``.
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
    >>> from odenet.solvers import AdamW
    >>> model = ResODERegressor(4, solver=AdamW(max_epochs=5))
    >>> model.fit([[0.0], [1.0], [2.0]], [1, 2, 3]).stop_reason_
    'max_epochs'
    """

    _parameter_constraints = {
        **MiniBatch._parameter_constraints,
        "weight_decay": [NON_NEGATIVE],
    }

    def __init__(
        self,
        learning_rate=0.04,
        weight_decay=0.0,
        batch_size="auto",
        max_epochs=300,
        patience=20,
    ):
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience

    def make_optimizer(self, module, horizon):
        """Make the torch optimizer for a network; mini-batches have no horizon."""
        return DepthAdamW(
            module.parameter_groups(),
            self.learning_rate,
            weight_decay=self.weight_decay,
        )
