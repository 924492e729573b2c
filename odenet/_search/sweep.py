"""One sweep along a flow: the scores of all depths at all flow times, on every fold."""

import copy
from itertools import chain

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from odenet._diagnostics.gap import is_rough
from odenet._network.model_axis import join_networks, network_at
from odenet._network.residual import default_state_dim
from odenet._training.callbacks.checkpoints import Checkpoints
from odenet._training.fitting import Fitting
from odenet._training.many_networks import (
    StackedLoss,
    StackedNet,
    stack_samples,
)
from odenet.solvers import resolve_solver

PATIENCE = 3.0  # times the flow time of the best score, after which a sweep ends
MIN_WAIT = 3  # flow times since the best score
SETTLED_TIME = 30.0  # flow time before which a score may stand still for long
THIN = 100_000  # multiplications in a layer up to which folds gain from one batch
MAX_TOGETHER = 16  # folds in one batch
FAILURES = {"max_evals", "diverged"}


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
    columns : Columns, default=None
        All categories, so that the networks of the folds are alike.
    """

    def __init__(self, estimator, depths, flow_times, scorer, classes, columns=None):
        self.estimator = estimator
        self.depths = depths
        self.flow_times = flow_times
        self.scorer = scorer
        self.classes = classes
        self.columns = columns

    def parts(self, splits, n_inputs):
        """The splits as they are to be run: thin folds are trained as one."""
        estimator = self.estimator
        state_dim = estimator.state_dim or default_state_dim(n_inputs, 1)
        n_rows = max(len(train) for train, _ in splits)
        thin = n_rows * state_dim * estimator.width <= THIN
        size = MAX_TOGETHER if thin and estimator.backward == "stored" else 1
        return [splits[i : i + size] for i in range(0, len(splits), size)]

    def run(self, X, y, splits, sample_weight, score_params):
        """Some folds, trained as one if there are several.

        Returns
        -------
        results : list of tuple
            For every fold its scores, an ndarray of shape (n_depths, n_flow_times)
            with NaN after the sweep has ended, and a word that says why it ended.
        """
        folds = [_Fold(self, X, y, s, sample_weight, score_params) for s in splits]
        if len(folds) == 1:
            folds[0].run(self.flow_times)
        elif self._run_together(folds) in FAILURES:
            # one fold has failed, which is not to end the others
            parts = [[split] for split in splits]
            alone = (self.run(X, y, p, sample_weight, score_params) for p in parts)
            return list(chain.from_iterable(alone))
        return [(fold.scores, fold.stop_reason) for fold in folds]

    def _run_together(self, folds):
        modules = [fold.fitted["module_"] for fold in folds]

        def visit(net, index):
            for i, fold in enumerate(folds):
                if fold.stop_reason is None:
                    fold.visit(network_at(net.module_, i), index)
            return any(fold.stop_reason is None for fold in folds)

        first = folds[0].estimator
        fitted = {"module_": join_networks(modules)}
        solver = resolve_solver(first.solver)
        depths = first._depths(modules[0], solver)
        observer = Checkpoints(self.flow_times, visit)
        fitting = Fitting(first, solver, fitted, depths, observer=observer)
        net = fitting.sweep(
            stack_samples([fold.tensors for fold in folds]),
            self.flow_times[-1],
            net_class=StackedNet,
            loss=StackedLoss(first._loss()),
        )
        for i, fold in enumerate(folds):
            fold.finish(network_at(net.module_, i), net.stop_reason)
        return net.stop_reason


class _Fold:
    """The training and the test samples of one split, and the scores so far."""

    def __init__(self, sweep, X, y, split, sample_weight, score_params):
        train, test = (np.asarray(index) for index in split)
        self.sweep = sweep
        self.estimator = clone(sweep.estimator)
        self.estimator._classes_to_come = sweep.classes
        self.estimator._columns_to_come = sweep.columns
        self.X_test, self.y_test = _safe_indexing(X, test), _safe_indexing(y, test)
        self.score_params = {
            k: _safe_indexing(v, test) for k, v in score_params.items()
        }
        self.scores = np.full((len(sweep.depths), len(sweep.flow_times)), np.nan)
        self.stop_reason = None
        if sample_weight is not None:
            sample_weight = _safe_indexing(sample_weight, train)
        self.fitted, self.tensors = self.estimator._prepare(
            _safe_indexing(X, train), _safe_indexing(y, train), sample_weight
        )

    def run(self, flow_times):
        """This fold alone."""

        def visit(net, index):
            self.visit(net.module_, index)
            return self.stop_reason is None

        solver = resolve_solver(self.estimator.solver)
        depths = self.estimator._depths(self.fitted["module_"], solver)
        observer = Checkpoints(flow_times, visit)
        fitting = Fitting(
            self.estimator, solver, self.fitted, depths, observer=observer
        )
        net = fitting.sweep(self.tensors, flow_times[-1])
        self.finish(net.module_, net.stop_reason)

    def visit(self, module, index):
        """Take the scores at a flow time."""
        sweep = self.sweep
        if len(sweep.depths) > 1 and is_rough(module):
            raise ValueError(
                "`init` must be smooth in depth where one sweep is to serve several "
                f"depths, got init={self.estimator.init!r}: use GridSearchCV, or one "
                "depth."
            )
        for i, depth in enumerate(sweep.depths):
            model = self.estimator._with_module(at_depth(module, depth))
            self.scores[i, index] = sweep.scorer(
                model, self.X_test, self.y_test, **self.score_params
            )
        if not self._goes_on(self.scores[:, : index + 1]):
            self.stop_reason = "callback"

    def finish(self, module, stop_reason):
        """After the training."""
        if stop_reason == "interrupted":
            raise KeyboardInterrupt
        if self.stop_reason is None and stop_reason == "stationary":
            self._keep_last_score(module)
        self.stop_reason = self.stop_reason or stop_reason

    def _goes_on(self, scores):
        """False if no score has improved for long."""
        if self.sweep.flow_times[scores.shape[1] - 1] < SETTLED_TIME:
            return True
        best = np.nan_to_num(scores, nan=-np.inf).max(axis=0).argmax()
        last = scores.shape[1] - 1
        elapsed = self.sweep.flow_times[last] / self.sweep.flow_times[best]
        return last - best < MIN_WAIT or elapsed < PATIENCE

    def _keep_last_score(self, module):
        """A flow that is stationary has the same score at all later times."""
        unvisited = np.flatnonzero(np.isnan(self.scores[0]))
        if len(unvisited):
            self.visit(module, unvisited[0])
            self.scores[:, unvisited] = self.scores[:, unvisited[:1]]


def at_depth(module, depth):
    """The network at a depth: imitated if there are fewer layers, else resampled."""
    if depth <= module.depth:
        return module.with_depth(depth)
    network = copy.deepcopy(module)
    network.imitated_depth = depth
    return network
