"""One sweep along a flow: the scores of all depths at all flow times, on one fold."""

import copy
from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from odenet._callbacks import Checkpoints
from odenet._devices import torch_threads
from odenet._gap import is_rough
from odenet._gradients import BatchedGradients
from odenet._lockstep import Lockstep

PATIENCE = 3.0  # times the flow time of the best score, after which a sweep ends
MIN_WAIT = 3  # flow times since the best score
THIN = 50_000  # multiplications in a layer, up to which folds gain from lockstep


class Sweep:
    """Scores along one training, of a network that imitates every depth in turn.

    Parameters
    ----------
    estimator : BaseResODE
        Unfitted, of the largest depth.
    depths, flow_times : list
        Ascending.
    scorer : callable
    classes : ndarray or None
        All labels, of which a fold may lack some.
    """

    def __init__(self, estimator, depths, flow_times, scorer, classes):
        self.estimator = estimator
        self.depths = depths
        self.flow_times = flow_times
        self.scorer = scorer
        self.classes = classes

    def run_all(self, X, y, splits, *args):
        """All folds, in lockstep where their layers are thin: see :meth:`run`."""
        folds = [partial(self.run, X, y, split, *args) for split in splits]
        work = max(len(train) for train, _ in splits) * self._multiplications(X)
        if work > THIN:
            return [fold() for fold in folds]
        with torch_threads(work):
            return Lockstep(BatchedGradients()).run(folds)

    def _multiplications(self, X):
        """In a layer, for one sample."""
        state_dim = self.estimator.state_dim or X.shape[1]
        return self.estimator.width * state_dim

    def run(self, X, y, split, sample_weight, score_params):
        """One fold.

        Returns
        -------
        scores : ndarray of shape (n_depths, n_flow_times)
            NaN after the sweep has ended.
        stop_reason : str
            Why it ended.
        """
        train, test = (np.asarray(index) for index in split)
        estimator = clone(self.estimator)
        estimator._classes_to_come = self.classes
        X_test, y_test = _safe_indexing(X, test), _safe_indexing(y, test)
        score_params = {k: _safe_indexing(v, test) for k, v in score_params.items()}
        scores = np.full((len(self.depths), len(self.flow_times)), np.nan)

        def visit(net, index):
            self._check_smoothness(net.module_)
            for i, depth in enumerate(self.depths):
                model = estimator._with_module(at_depth(net.module_, depth))
                scores[i, index] = self.scorer(model, X_test, y_test, **score_params)
            return self._goes_on(scores[:, : index + 1])

        weight = None if sample_weight is None else _safe_indexing(sample_weight, train)
        net = estimator._sweep(
            _safe_indexing(X, train),
            _safe_indexing(y, train),
            weight,
            Checkpoints(self.flow_times, visit),
        )
        if net.stop_reason == "interrupted":
            raise KeyboardInterrupt
        if net.stop_reason == "stationary":
            _keep_last_score(scores, lambda index: visit(net, index))
        return scores, net.stop_reason

    def _check_smoothness(self, module):
        if len(self.depths) > 1 and is_rough(module):
            raise ValueError(
                "`init` must be smooth in depth where one sweep is to serve several "
                f"depths, got init={self.estimator.init!r}: use GridSearchCV, or one "
                "depth."
            )

    def _goes_on(self, scores):
        """False if no score has improved for long."""
        best = np.nan_to_num(scores, nan=-np.inf).max(axis=0).argmax()
        last = scores.shape[1] - 1
        elapsed = self.flow_times[last] / self.flow_times[best]
        return last - best < MIN_WAIT or elapsed < PATIENCE


def _keep_last_score(scores, visit):
    """A flow that is stationary has the same score at all later times."""
    unvisited = np.flatnonzero(np.isnan(scores[0]))
    if len(unvisited):
        visit(unvisited[0])
        scores[:, unvisited] = scores[:, unvisited[:1]]


def at_depth(module, depth):
    """The network at a depth: imitated if there are fewer layers, else resampled."""
    if depth <= module.depth:
        return module.with_depth(depth)
    network = copy.deepcopy(module)
    network.imitated_depth = depth
    return network
