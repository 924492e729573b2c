"""What all solvers have in common."""

from numbers import Integral, Real

from sklearn.base import BaseEstimator

from odenet._utils.sklearn_private import Interval, StrOptions, validate_parameters

POSITIVE = Interval(Real, 0, None, closed="neither")

NON_NEGATIVE = Interval(Real, 0, None, closed="left")

COUNT = Interval(Integral, 1, None, closed="left")

BATCHES_OF_AN_EPOCH = 16

FEWEST_ROWS, MOST_ROWS = 32, 256  # of a mini-batch, if they are chosen automatically


class Solver(BaseEstimator):
    """What all solvers have in common."""

    has_constant_rate = True

    def validate(self):
        """Raise for a setting that is not allowed."""
        validate_parameters(self._parameter_constraints, self)


class FullBatch(Solver):
    """Solvers that follow the gradient flow of the whole training set."""

    _parameter_constraints = {"max_evals": [COUNT], "clip": [POSITIVE, None]}
    batch_size = None

    def rows_of_a_batch(self, n_rows):
        """All of them."""
        return n_rows

    @property
    def max_epochs(self):
        """Number of steps, never more than of gradient evaluations."""
        return self.max_evals


class MiniBatch(Solver):
    """Solvers that train on mini-batches."""

    flow_rates = True

    _parameter_constraints = {
        "learning_rate": [POSITIVE],
        "batch_size": [COUNT, StrOptions({"auto"})],
        "max_epochs": [COUNT],
        "patience": [COUNT],
    }

    def rows_of_a_batch(self, n_rows):
        """The most samples of a mini-batch of so many."""
        if self.batch_size != "auto":
            return self.batch_size
        return min(MOST_ROWS, max(FEWEST_ROWS, n_rows // BATCHES_OF_AN_EPOCH))
