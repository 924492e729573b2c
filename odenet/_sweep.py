"""One sweep along a flow: the scores of all depths at all flow times, on one fold."""

import copy

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from odenet._callbacks import Checkpoints
from odenet._gap import is_rough

PATIENCE = 3.0  # times the flow time of the best score, after which a sweep ends
MIN_WAIT = 3  # flow times since the best score


class Sweep:
    """Scores along one training, of a network that imitates every depth in turn.

    Parameters
    ----------
    estimator : BaseResODE
        Unfitted, of the largest depth.
    depths, flow_times : list
        Ascending.
    scorer : callable
    """

    def __init__(self, estimator, depths, flow_times, scorer):
        self.estimator = estimator
        self.depths = depths
        self.flow_times = flow_times
        self.scorer = scorer

    def run(self, X, y, split, sample_weight, score_params):
        """Scores of shape (n_depths, n_flow_times); NaN after the sweep has ended."""
        train, test = (np.asarray(index) for index in split)
        estimator = clone(self.estimator)
        X_test, y_test = _safe_indexing(X, test), _safe_indexing(y, test)
        score_params = {k: _safe_indexing(v, test) for k, v in score_params.items()}
        self.scores = np.full((len(self.depths), len(self.flow_times)), np.nan)

        def visit(net, index):
            self._check_smoothness(net.module_)
            for i, depth in enumerate(self.depths):
                model = estimator._with_module(at_depth(net.module_, depth))
                self.scores[i, index] = self.scorer(
                    model, X_test, y_test, **score_params
                )
            return self._goes_on(index)

        weight = None if sample_weight is None else _safe_indexing(sample_weight, train)
        net = estimator._sweep(
            _safe_indexing(X, train),
            _safe_indexing(y, train),
            weight,
            Checkpoints(self.flow_times, visit),
        )
        unvisited = np.isnan(self.scores[0])
        if net.stop_reason == "stationary" and unvisited.any():
            visit(net, unvisited.argmax())
            self.scores[:, unvisited] = self.scores[:, [unvisited.argmax()]]
        return self.scores

    def _check_smoothness(self, module):
        if len(self.depths) > 1 and is_rough(module):
            raise ValueError(
                "`init` must be smooth in depth where one sweep is to serve several "
                f"depths, got init={self.estimator.init!r}: use GridSearchCV, or one "
                "depth."
            )

    def _goes_on(self, index):
        """False if no score has improved for long."""
        best = self.scores[:, : index + 1].max(axis=0).argmax()
        elapsed = self.flow_times[index] >= PATIENCE * self.flow_times[best]
        return not (elapsed and index - best >= MIN_WAIT)


def at_depth(module, depth):
    """The network at a depth: imitated if there are fewer layers, else resampled."""
    if depth <= module.depth:
        return module.with_depth(depth)
    network = copy.deepcopy(module)
    network.imitated_depth = depth
    return network
