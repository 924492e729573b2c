"""Adam with decoupled weight decay."""

from odenet._optim.depth_adamw import DepthAdamW
from odenet._utils.sklearn_private import StrOptions
from odenet.solvers._base import NON_NEGATIVE, MiniBatch

# The decays of "auto" where numbers are embedded: round values. Without the first a fit
# with many bins ends early, when these have learnt the noise. With that alone, V and W
# may grow until the network is no longer near its neural ODE (`python
# benchmarks/adamw_or_soap.py --table uci_protein`).
OF_EMBEDDED, OF_LAYERS = 0.1, 0.01


class AdamW(MiniBatch):
    r"""Adam with decoupled weight decay on mini-batches.

    The gradients of V and W are multiplied by L, as in the gradient flow. Adam divides
    gradients by their running size, which is one for all layers here: a mean over
    depth. So a step is as smooth in depth as the gradient is, and does not depend on L
    (:math:`|\Delta Z_{k+1} - \Delta Z_k| = O(1/L)`). In the usual Adam every layer has
    a size of its own, and a step jumps where a gradient changes its sign.

    As the learning rate tends to 0, training on mini-batches follows a gradient flow
    that is preconditioned in the same way at all depths, up to 1.6 % of its direction,
    at a distance that falls like the rate to the power 0.75 to 0.79. The default rate
    is far from that limit, at 1.4 to 2.1 times the way travelled, but nothing depends
    on L there, and the network is a discretised ODE in depth all the same
    (``benchmarks/paper/small_steps.py``).

    When a depth schedule adds layers, steps become shorter, like 1/L. Apart from that,
    their length is constant. The weights of a fit are a running average over the last
    steps, a tenth of all.

    Parameters
    ----------
    learning_rate : float, default=0.04
        Length of a step: about how much a weight changes in it.
    weight_decay : float or "auto", default="auto"
        A step multiplies all weights by ``1 - learning_rate * weight_decay``. "auto" is
        0, but where numbers are embedded, as in bins: there it is 0.1 for the columns
        of A that belong to what embeds them, 0.01 for V and W, and 0 for all else.
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
    >>> from odenet.solvers import AdamW
    >>> model = ResODERegressor(4, solver=AdamW(max_epochs=5))
    >>> model.fit([[0.0], [1.0], [2.0]], [1, 2, 3]).stop_reason_
    'max_epochs'
    """

    _parameter_constraints = {
        **MiniBatch._parameter_constraints,
        "weight_decay": [NON_NEGATIVE, StrOptions({"auto"})],
    }

    optimizer_class = DepthAdamW

    def __init__(
        self,
        learning_rate=0.04,
        weight_decay="auto",
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
        ends, layers = module.parameter_groups()
        if self.weight_decay != "auto":
            ends["weight_decay"] = layers["weight_decay"] = self.weight_decay
        elif module.n_embedded:
            ends["embedded_decay"], layers["weight_decay"] = OF_EMBEDDED, OF_LAYERS
        return self.optimizer_class([ends, layers], self.learning_rate)
