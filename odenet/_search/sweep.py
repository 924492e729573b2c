"""One sweep along a flow: the scores of all depths at all flow times, on every fold."""

import copy
from dataclasses import replace
from itertools import chain

import numpy as np
from sklearn.base import clone

from odenet._diagnostics.gap import is_rough
from odenet._estimators.base import prepare
from odenet._estimators.scoring import serving
from odenet._network.model_axis import join_networks, network_at
from odenet._network.residual import default_state_dim
from odenet._training.callbacks.visits import Visits
from odenet._training.fitting import sweep
from odenet._training.many_networks import JointLoss, JointNet, join_samples
from odenet._training.stop_reason import StopReason
from odenet._utils.sklearn_private import safe_indexing

# A sweep ends when the flow time is so many times that of the best score, and so many
# flow times of the grid have been scored since, but not before the given flow time:
# before it a score can rest on a plateau. All three are choices.
TIMES_THE_BEST, SCORES_SINCE_THE_BEST, EARLIEST_END = 3.0, 3, 30.0
# The most multiplications in a layer with which folds are trained as one batch: with so
# few, calls cost as much as products. Folds of 90 samples with q = 16 and m = 64 have
# 92,160, and take half of the time in a batch (benchmarks/together.py).
THIN = 100_000
MAX_TOGETHER = 16  # folds in one batch, which bounds its memory


class Sweep:
    """Scores networks of all depths along one training for every fold.

    Parameters
    ----------
    estimator : BaseResODE
        An unfitted estimator, of the largest depth.
    depths, flow_times : list
        In ascending order.
    scorer : callable
        A scorer as scikit-learn has them.
    announced : Announced
        All labels and all categories. A fold may lack some of them, and all folds must
        have networks of the same shape.
    """

    def __init__(self, estimator, depths, flow_times, scorer, announced):
        self.estimator = estimator
        self.depths = depths
        self.flow_times = flow_times
        self.scorer = scorer
        self.announced = announced

    def parts(self, splits, n_dimensions):
        """Return the splits in lists to run together: several if networks are thin.

        ``n_dimensions`` is how many dimensions of the state the inputs need.
        """
        estimator = self.estimator
        state_dim = estimator.state_dim or default_state_dim(n_dimensions, 1)
        n_rows = max(len(train) for train, _ in splits)
        thin = n_rows * state_dim * estimator.width <= THIN
        size = MAX_TOGETHER if thin and estimator.backward == "stored" else 1
        return [splits[i : i + size] for i in range(0, len(splits), size)]

    def run(self, X, y, splits, sample_weight, score_params):
        """Train and score some folds, by one training if there are several.

        Returns
        -------
        results : list of tuple
            For every fold its scores, an ndarray of shape (n_depths, n_flow_times)
            with NaN after the sweep has ended and where the scorer failed, the
            StopReason that ended it, and the last error of the scorer or None.
        """
        folds = [Fold(self, X, y, s, sample_weight, score_params) for s in splits]
        if len(folds) == 1:
            folds[0].run(self.flow_times)
        elif self._run_together(folds).is_failure:
            # One fold has failed, which must not end the others: run each alone.
            parts = [[split] for split in splits]
            alone = (self.run(X, y, p, sample_weight, score_params) for p in parts)
            return list(chain.from_iterable(alone))
        return [(fold.scores, fold.stop_reason, fold.scorer_error) for fold in folds]

    def _run_together(self, folds):
        """Train the networks of some folds as one; return why the training ended."""

        def visit(net, index):
            """Score every fold that goes on; tell whether any does."""
            for i, fold in enumerate(folds):
                if fold.stop_reason is None:
                    fold.visit(network_at(net.module_, i), index)
            return any(fold.stop_reason is None for fold in folds)

        plan = folds[0].plan
        joint_plan = replace(
            plan,
            loss=JointLoss([fold.plan.loss for fold in folds]),
            net_class=JointNet,
            observer=Visits(self.flow_times, visit),
        )
        outcome = sweep(
            join_networks([fold.predictor.network for fold in folds]),
            join_samples([fold.samples for fold in folds]),
            self.flow_times[-1],
            joint_plan,
        )
        for i, fold in enumerate(folds):
            fold.finish(network_at(outcome.network, i), outcome.stop_reason)
        return outcome.stop_reason


class Fold:
    """The training and the test samples of one split, and the scores so far.

    Parameters
    ----------
    sweep : Sweep
    X, y : array-like
        All samples.
    split : tuple of array-like
        Indices of the samples to train on, and of those to score.
    sample_weight : array-like or None
    score_params : dict
        Further arguments of the scorer, with one entry for every sample.
    """

    def __init__(self, sweep, X, y, split, sample_weight, score_params):
        train, test = (np.asarray(index) for index in split)
        self.sweep = sweep
        self.estimator = clone(sweep.estimator)
        self.X_test, self.y_test = safe_indexing(X, test), safe_indexing(y, test)
        self.score_params = {k: safe_indexing(v, test) for k, v in score_params.items()}
        self.scores = np.full((len(sweep.depths), len(sweep.flow_times)), np.nan)
        self.stop_reason = self.scorer_error = None
        if sample_weight is not None:
            sample_weight = safe_indexing(sample_weight, train)
        self.predictor, self.samples, self.plan = prepare(
            self.estimator,
            safe_indexing(X, train),
            safe_indexing(y, train),
            sample_weight,
            sweep.announced,
        )

    def run(self, flow_times):
        """Train and score this fold alone."""

        def visit(net, index):
            """Score this fold; tell whether it goes on."""
            self.visit(net.module_, index)
            return self.stop_reason is None

        plan = replace(self.plan, observer=Visits(flow_times, visit))
        outcome = sweep(self.predictor.network, self.samples, flow_times[-1], plan)
        self.finish(outcome.network, outcome.stop_reason)

    def visit(self, network, index):
        """Score the network at all depths, at the flow time of an index."""
        sweep = self.sweep
        if len(sweep.depths) > 1 and is_rough(network):
            raise ValueError(
                "`init` must be smooth in depth where one sweep is to serve several "
                f"depths, got init={self.estimator.init!r}: use GridSearchCV, or one "
                "depth."
            )
        for i, depth in enumerate(sweep.depths):
            model = serving(
                self.estimator,
                self.predictor.around(at_depth(network, depth)),
                depth_=depth,
                flow_time_=sweep.flow_times[index],
            )
            self.scores[i, index] = self._score(model)
        if not self._goes_on(self.scores[:, : index + 1]):
            self.stop_reason = StopReason.CALLBACK

    def _score(self, model):
        """Score a model; NaN where the scorer fails, as in a grid search."""
        try:
            return self.sweep.scorer(
                model, self.X_test, self.y_test, **self.score_params
            )
        except Exception as error:
            self.scorer_error = error
            return np.nan

    def finish(self, network, stop_reason):
        """Complete the scores after the training, and keep why it ended."""
        if stop_reason is StopReason.INTERRUPTED:
            raise KeyboardInterrupt
        if self.stop_reason is None and stop_reason is StopReason.STATIONARY:
            self._keep_last_score(network)
        self.stop_reason = self.stop_reason or stop_reason

    def _goes_on(self, scores):
        """Tell whether the sweep goes on: not if the best score is long past."""
        if self.sweep.flow_times[scores.shape[1] - 1] < EARLIEST_END:
            return True
        best = np.nan_to_num(scores, nan=-np.inf).max(axis=0).argmax()
        last = scores.shape[1] - 1
        elapsed = self.sweep.flow_times[last] / self.sweep.flow_times[best]
        return last - best < SCORES_SINCE_THE_BEST or elapsed < TIMES_THE_BEST

    def _keep_last_score(self, network):
        """Fill later flow times with the score where the flow became stationary."""
        unvisited = np.flatnonzero(np.isnan(self.scores[0]))
        if len(unvisited):
            self.visit(network, unvisited[0])
            self.scores[:, unvisited] = self.scores[:, unvisited[:1]]


def at_depth(network, depth):
    """Return a network at a depth: imitating more layers, or resampled to fewer."""
    if depth <= network.depth:
        return network.with_depth(depth)
    imitating = copy.deepcopy(network)
    imitating.imitated_depth = depth
    return imitating
