"""The base of all solvers, and the bases of the two kinds of solvers."""

from math import inf
from numbers import Real

from sklearn.base import BaseEstimator

from odenet._utils.sklearn_private import (
    Count,
    Interval,
    StrOptions,
    linked_to_site,
    validate_parameters,
)

# Ranges of parameters, for the constraints of the solvers. Rates and bounds must be
# numbers of float32 (up to 3.4e38), also times a large depth: torch refuses others in
# the middle of a step. A round value.
LARGEST = 1e30
POSITIVE = Interval(Real, 0, LARGEST, closed="right")
NON_NEGATIVE = Interval(Real, 0, LARGEST, closed="both")
COUNT = Count()

# An automatic mini-batch is a sixteenth of the samples, so that an epoch has sixteen
# steps: a choice, a round number. But it has at least 32 rows, because a gradient of
# fewer costs hardly less, and at most 256, because one of more costs no less per row:
# 16, 32, 256 and 512 rows take 166, 112, 60 and 68 microseconds a row (OdenetGradient
# of benchmarks/_plain.py, with q = m = L = 64, on one thread).
BATCHES_OF_AN_EPOCH = 16
FEWEST_ROWS, MOST_ROWS = 32, 256


@linked_to_site
class Solver(BaseEstimator):
    """The base of all solvers, which say how a network is trained.

    A solver is a small object that carries its settings. As with every estimator of
    scikit-learn, ``__init__`` stores them under their names, and nothing else; what is
    allowed stands in ``_parameter_constraints``. A training asks it for an optimizer,
    the size of its batches and the number of its epochs. To write one, derive from
    :class:`FullBatch` or :class:`MiniBatch`, implement ``make_optimizer``, and add a
    line to ``SOLVERS`` in ``odenet.solvers._registry``, if it is to have a name.

    Attributes
    ----------
    follows_flow : bool
        Whether an epoch is one step along the gradient flow of all samples. The
        optimizer then has the public attributes and methods of
        :class:`odenet._optim.flow_optimizer.FlowOptimizer`, such as ``flow_time``.
    max_epochs : int
        The most epochs of a fit.
    max_evals : int or inf
        The most gradient evaluations of a fit.
    patience : int
        Epochs without a lower validation loss after which early stopping ends a fit.
        Solvers that follow the flow do not use it.
    has_constant_rate : bool
        Whether the length of the steps is constant. Otherwise they shrink to zero over
        ``max_epochs``, along half a cosine.
    flow_rates : bool
        Whether gradients are to be multiplied by the rates of their parameters before
        the optimizer sees them. Solvers that follow the flow do not use it.
    """

    _parameter_constraints = {}

    follows_flow = False
    max_evals = inf
    patience = 20
    has_constant_rate = True
    flow_rates = True

    def make_optimizer(self, module, horizon):
        """Make the torch optimizer for a network.

        Parameters
        ----------
        module : ResidualNetwork
            A flow takes its ``parameter_groups()``, which have the flow's rates as
            ``lr``. An optimizer of torch takes its ``parameters()``: gradients of
            mini-batches have been multiplied by the rates already, and ``lr`` of the
            groups would replace the learning rate.
        horizon : float
            The flow time at which to stop; infinite if the solver follows no flow.

        Returns
        -------
        optimizer : torch.optim.Optimizer
            Its ``step`` takes a closure that computes gradients and returns the loss.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no optimizer.")

    def rows_of_a_batch(self, n_rows):
        """Return the most samples of a batch, out of ``n_rows``; by default all."""
        return n_rows

    def settled(self, loss, n_rows, n_outputs, flow_time):
        """Return the solver with all settings chosen that are left to the task.

        Parameters
        ----------
        loss : Loss
        n_rows : int
            Number of distinct samples.
        n_outputs : int
        flow_time : float or None
            The horizon that the user asks for.

        Returns
        -------
        solver : Solver
            This one, unless it leaves a choice to the task.
        """
        return self

    def confined(self):
        """Return the solver as it trains weights that must stay in a cone.

        The weights after a step on mini-batches are projected to it by the training. A
        flow must stay there by itself: its optimizer takes ``module.cone()``.

        Returns
        -------
        solver : Solver
        """
        if self.follows_flow:
            raise ValueError(
                f"`monotonic_cst` needs a solver that projects its flow, got {self}."
            )
        return self

    @property
    def takes_parts(self):
        """Whether the solver can train on one part of the data at a time.

        ``partial_fit`` needs that.
        """
        return not self.follows_flow and self.has_constant_rate

    @property
    def averages(self):
        """Whether a fit ends with a running average of the last steps' weights."""
        return not self.follows_flow and self.has_constant_rate

    @property
    def multiplies_gradients(self):
        """Whether the training has to multiply gradients by the flow's rates."""
        return not self.follows_flow and self.flow_rates

    def validate(self):
        """Raise a ValueError for a setting that is not allowed."""
        validate_parameters(self._parameter_constraints, self)


class FullBatch(Solver):
    """The base of solvers that follow the gradient flow of the whole training set.

    They have ``max_evals`` and ``clip`` among their settings.
    """

    _parameter_constraints = {"max_evals": [COUNT], "clip": [POSITIVE, None]}

    follows_flow = True
    batch_size = None

    @property
    def max_epochs(self):
        """The most steps of a fit, since every step takes at least one gradient."""
        return self.max_evals


class MiniBatch(Solver):
    """The base of solvers that train on mini-batches.

    They have ``learning_rate``, ``batch_size``, ``max_epochs`` and ``patience`` among
    their settings.
    """

    _parameter_constraints = {
        "learning_rate": [POSITIVE],
        "batch_size": [COUNT, StrOptions({"auto"})],
        "max_epochs": [COUNT],
        "patience": [COUNT],
    }

    def rows_of_a_batch(self, n_rows):
        """Return the most samples of a mini-batch, out of ``n_rows``."""
        if self.batch_size != "auto":
            return self.batch_size
        return min(MOST_ROWS, max(FEWEST_ROWS, n_rows // BATCHES_OF_AN_EPOCH))
