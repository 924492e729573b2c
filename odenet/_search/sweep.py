"""One sweep along a flow: the scores of all depths at all flow times, on every fold."""

import copy
from dataclasses import replace
from itertools import chain

import numpy as np
from sklearn.base import clone

from odenet._diagnostics.gap import is_rough
from odenet._estimators.base import prepare, serving
from odenet._network.model_axis import join_networks, network_at
from odenet._network.residual import default_state_dim
from odenet._training.callbacks.checkpoints import Checkpoints
from odenet._training.fitting import sweep
from odenet._training.many_networks import JointLoss, JointNet, join_samples
from odenet._training.stop_reason import StopReason
from odenet._utils.sklearn_private import safe_indexing

PATIENCE = 3.0  # times the flow time of the best score, after which a sweep ends
MIN_WAIT = 3  # flow times since the best score
SETTLED_TIME = 30.0  # flow time before which a score may stand still for long
THIN = 100_000  # multiplications in a layer up to which folds gain from one batch
MAX_TOGETHER = 16  # folds in one batch


class Sweep:
    """Scores along one training, of a network that imitates every depth in turn.

    Parameters
    ----------
    estimator : BaseResODE
        Unfitted, of the largest depth.
    depths, flow_times : list
        Ascending.
    scorer : callable
    announced : Announced
        All labels and all categories, of which a fold may lack some, so that the
        networks of the folds are alike.
    """

    def __init__(self, estimator, depths, flow_times, scorer, announced):
        self.estimator = estimator
        self.depths = depths
        self.flow_times = flow_times
        self.scorer = scorer
        self.announced = announced

    def parts(self, splits, n_inputs):
        """Return the splits in parts to be run: thin folds are trained as one."""
        estimator = self.estimator
        state_dim = estimator.state_dim or default_state_dim(n_inputs, 1)
        n_rows = max(len(train) for train, _ in splits)
        thin = n_rows * state_dim * estimator.width <= THIN
        size = MAX_TOGETHER if thin and estimator.backward == "stored" else 1
        return [splits[i : i + size] for i in range(0, len(splits), size)]

    def run(self, X, y, splits, sample_weight, score_params):
        """Train and score some folds, as one if there are several.

        Returns
        -------
        results : list of tuple
            For every fold its scores, an ndarray of shape (n_depths, n_flow_times)
            with NaN after the sweep has ended, and the StopReason that ended it.
        """
        folds = [Fold(self, X, y, s, sample_weight, score_params) for s in splits]
        if len(folds) == 1:
            folds[0].run(self.flow_times)
        elif self._run_together(folds).is_failure:
            # One fold has failed, which is not to end the others.
            parts = [[split] for split in splits]
            alone = (self.run(X, y, p, sample_weight, score_params) for p in parts)
            return list(chain.from_iterable(alone))
        return [(fold.scores, fold.stop_reason) for fold in folds]

    def _run_together(self, folds):
        """Train the networks of some folds as one, and return why that ended."""

        def visit(net, index):
            for i, fold in enumerate(folds):
                if fold.stop_reason is None:
                    fold.visit(network_at(net.module_, i), index)
            return any(fold.stop_reason is None for fold in folds)

        plan = folds[0].plan
        joint_plan = replace(
            plan,
            loss=JointLoss(plan.loss),
            net_class=JointNet,
            observer=Checkpoints(self.flow_times, visit),
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
        Indices of those to train on, and of those to score.
    sample_weight : array-like or None
    score_params : dict
        What the scorer takes besides, with one entry a sample.
    """

    def __init__(self, sweep, X, y, split, sample_weight, score_params):
        train, test = (np.asarray(index) for index in split)
        self.sweep = sweep
        self.estimator = clone(sweep.estimator)
        self.X_test, self.y_test = safe_indexing(X, test), safe_indexing(y, test)
        self.score_params = {k: safe_indexing(v, test) for k, v in score_params.items()}
        self.scores = np.full((len(sweep.depths), len(sweep.flow_times)), np.nan)
        self.stop_reason = None
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
            self.visit(net.module_, index)
            return self.stop_reason is None

        plan = replace(self.plan, observer=Checkpoints(flow_times, visit))
        outcome = sweep(self.predictor.network, self.samples, flow_times[-1], plan)
        self.finish(outcome.network, outcome.stop_reason)

    def visit(self, network, index):
        """Take the scores at a flow time."""
        sweep = self.sweep
        if len(sweep.depths) > 1 and is_rough(network):
            raise ValueError(
                "`init` must be smooth in depth where one sweep is to serve several "
                f"depths, got init={self.estimator.init!r}: use GridSearchCV, or one "
                "depth."
            )
        for i, depth in enumerate(sweep.depths):
            predictor = self.predictor.around(at_depth(network, depth))
            self.scores[i, index] = sweep.scorer(
                serving(self.estimator, predictor),
                self.X_test,
                self.y_test,
                **self.score_params,
            )
        if not self._goes_on(self.scores[:, : index + 1]):
            self.stop_reason = StopReason.CALLBACK

    def finish(self, network, stop_reason):
        """Complete the scores after the training."""
        if stop_reason is StopReason.INTERRUPTED:
            raise KeyboardInterrupt
        if self.stop_reason is None and stop_reason is StopReason.STATIONARY:
            self._keep_last_score(network)
        self.stop_reason = self.stop_reason or stop_reason

    def _goes_on(self, scores):
        """Tell whether a score has improved not long ago."""
        if self.sweep.flow_times[scores.shape[1] - 1] < SETTLED_TIME:
            return True
        best = np.nan_to_num(scores, nan=-np.inf).max(axis=0).argmax()
        last = scores.shape[1] - 1
        elapsed = self.sweep.flow_times[last] / self.sweep.flow_times[best]
        return last - best < MIN_WAIT or elapsed < PATIENCE

    def _keep_last_score(self, network):
        """Give later times the last score: a stationary flow has the same there."""
        unvisited = np.flatnonzero(np.isnan(self.scores[0]))
        if len(unvisited):
            self.visit(network, unvisited[0])
            self.scores[:, unvisited] = self.scores[:, unvisited[:1]]


def at_depth(network, depth):
    """Return a network at a depth: imitated if it has fewer layers, else resampled."""
    if depth <= network.depth:
        return network.with_depth(depth)
    imitating = copy.deepcopy(network)
    imitating.imitated_depth = depth
    return imitating
