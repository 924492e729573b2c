"""SOAP: Adam in the eigenbasis of the gradients' second moments."""

from sklearn.base import clone

from odenet._optim.depth_soap import LONGEST_SIDE, DepthSOAP
from odenet._utils.sklearn_private import StrOptions
from odenet.solvers._adamw import AdamW
from odenet.solvers._base import COUNT

# The longest sides of A and B that "auto" turns, and for how many samples: round
# values. Four tables of 7,000 to 17,000 rows have errors as low or lower if 500 to 1500
# columns are turned, in steps that cost 1.4 to 2 times as much. The error of protein,
# where the noise is large, is higher by 2 % for 8,000 rows and by 4 % for 41,000; there
# the network leaves its neural ODE, too (`python benchmarks/adamw_or_soap.py`).
LONGEST_SIDE_OF_A, MOST_ROWS_OF_LONG_SIDES = 2048, 20_000


class SOAP(AdamW):
    r"""Adam in the eigenbasis of the gradients' second moments, on mini-batches.

    :class:`AdamW` divides every entry of a gradient by its running size. SOAP first
    turns the gradient, a matrix, into the coordinates in which its entries are least
    correlated (Vyas and others, *SOAP: Improving and Stabilizing Shampoo using Adam*,
    ICLR 2025). A step costs about a third more, with a thousand inputs up to twice as
    much again, and a loss is reached in fewer steps. That helps where numbers are
    predicted: it is what ``solver="auto"`` takes for the squared error of more than 500
    samples. Of classes, the better fit of the training samples is mostly no better on
    others, but of more than 20,000 samples it keeps the network nearer to its neural
    ODE (``benchmarks/adamw_or_soap.py``).

    With the matrix A, by which inputs become the first state, a scale of every input is
    learned as well, as if all inputs were multiplied by numbers that are trained. The
    geometric mean of these numbers is 1.

    Coordinates and sizes are the same for all layers here, from means over depth. So a
    step is as smooth in depth as the gradient is, and does not depend on L, as for
    AdamW. Steps become shorter where a depth schedule adds layers, and the weights of a
    fit are a running average over the last tenth of all steps.

    Parameters
    ----------
    learning_rate : float, default=0.02
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
    longest_side : int or "auto", default="auto"
        The most rows or columns of A and of B that are turned; a longer side keeps its
        own coordinates. A has a column for every input, and bins of numbers are many
        inputs. "auto" is 2048 for a fit of up to 20,000 samples, as ``solver_`` tells,
        and 512 for one of more, and for ``partial_fit``. More than 1024 columns are
        turned in blocks. Sides of V and W are turned if they are no longer than 512.

    Examples
    --------
    >>> from odenet import ResODERegressor
    >>> from odenet.solvers import SOAP
    >>> model = ResODERegressor(4, solver=SOAP(max_epochs=5))
    >>> model.fit([[0.0], [1.0], [2.0]], [1, 2, 3]).stop_reason_
    'max_epochs'
    """

    _parameter_constraints = {
        **AdamW._parameter_constraints,
        "longest_side": [COUNT, StrOptions({"auto"})],
    }

    optimizer_class = DepthSOAP

    def __init__(
        self,
        learning_rate=0.02,
        weight_decay="auto",
        batch_size="auto",
        max_epochs=300,
        patience=20,
        longest_side="auto",
    ):
        super().__init__(learning_rate, weight_decay, batch_size, max_epochs, patience)
        self.longest_side = longest_side

    def settled(self, loss, n_rows, n_outputs, flow_time):
        """Return the solver with the longest side chosen that suits a task."""
        if self.longest_side != "auto":
            return self
        is_long = n_rows <= MOST_ROWS_OF_LONG_SIDES
        side = LONGEST_SIDE_OF_A if is_long else LONGEST_SIDE
        return clone(self).set_params(longest_side=side)

    def make_optimizer(self, module, horizon):
        """Make the torch optimizer for a network; mini-batches have no horizon."""
        optimizer = super().make_optimizer(module, horizon)
        if self.longest_side != "auto":  # as where training is on one part at a time
            optimizer.param_groups[0]["longest_side"] = self.longest_side
        return optimizer
