"""Cross-validation of depth and flow time along the path of a flow."""

import warnings
from dataclasses import replace
from inspect import signature
from itertools import chain
from math import inf
from numbers import Integral, Real

import numpy as np
from joblib import effective_n_jobs
from scipy.stats import rankdata
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    check_scoring,
    get_scorer,
    get_scorer_names,
)
from sklearn.model_selection import (
    GroupKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils import Bunch, indexable
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import delayed

from odenet._estimators.base import read_training_set
from odenet._estimators.checkpoint import Checkpoint
from odenet._estimators.preparation import (
    losing_nothing,
    seed_and_generator,
)
from odenet._estimators.table import embedding_of
from odenet._network.start import dimensions_of_inputs
from odenet._search.jobs import results_of
from odenet._search.sweep import Sweep
from odenet._tables.reading import Announced
from odenet._training.callbacks.scikit_learn import hand_on_callbacks
from odenet._training.stop_reason import StopReason
from odenet._utils.bars import Bar
from odenet._utils.sklearn_private import CALLBACK_STATE, StrOptions, fit_context
from odenet.solvers import resolve_solver

# The number of flow times of a default grid, a choice: neighbours differ by a factor of
# 1.5 to 1.6.
N_FLOW_TIMES = 16
# The parameters of an estimator that a search chooses or sets itself.
NOT_SHARED = {
    "depth",
    "flow_time",
    "gap_tol",
    "early_stopping",
    "validation_fraction",
    "validation_split",
    "scoring",
    "callbacks",
    "memory_limit",
    "processes",
    "warm_start",
}


class PathSearchMixin:
    """Fits by a sweep along the flow on every fold, and a fit with what it chose."""

    _own_constraints = {
        "depths": ["array-like"],
        "depth_schedule": [StrOptions({"doubling"}), None],
        "flow_times": ["array-like", None],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "one_standard_error": ["boolean"],
        "n_jobs": [Integral, None],
    }
    # Parameters of an estimator that a search does not have, and that its code reads.
    early_stopping = warm_start = False
    callbacks = None

    @available_if(lambda self: False)
    def partial_fit(self):
        """Refuse: a search has no ``partial_fit``, which hides the inherited one."""

    @classmethod
    def constraints_beside(cls, estimator_class):
        """Return the constraints of its own parameters and of those of an estimator."""
        shared = estimator_class._parameter_constraints.items()
        return {k: v for k, v in shared if k not in NOT_SHARED} | cls._own_constraints

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, **params):
        """Choose depth and flow time, and train with them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Of a classifier, one column of classes; or a column of 0 and 1 for
            each of several labels, which may be a sparse matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, in training and in the scores.
        **params : dict
            ``groups``, for the splitter of ``cv``: if that is None or a number, it is
            a ``GroupKFold`` (of classes ``StratifiedGroupKFold``) of so many folds.
            With ``sklearn.set_config(enable_metadata_routing=True)``, all metadata that
            the splitter and the scorer ask for.

        Returns
        -------
        self : estimator
            Fitted.
        """
        with losing_nothing(self):
            notices = self._search(X, y, sample_weight, params)
        for text, category in notices:
            warnings.warn(text, category, stacklevel=3)  # the caller of fit
        return self

    def _search(self, X, y, sample_weight, params):
        """Choose depth and flow time, train with them, and return warnings."""
        self._check_solver()
        depths = _ascending("depths", self.depths, Integral)
        if self.flow_times is not None:
            _ascending("flow_times", self.flow_times, Real)
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)
        routed = self._route(sample_weight, params)
        X, y, sample_weight = indexable(X, y, sample_weight)
        estimator = self._estimator(depths[-1])
        reading = read_training_set(clone(estimator), X, y, sample_weight)
        splitter = self._splitter(y, **routed.splitter.split)
        splits = list(splitter.split(X, y, **routed.splitter.split))
        data = X, y, sample_weight, routed.scorer.score
        if self.checkpoint is None:
            return self._choose_and_fit(estimator, depths, reading, splits, data)
        depends_on = [*reading.rows[:3], reading.layout, splits, routed.scorer.score]
        with Checkpoint(self, estimator.random_state, depends_on) as checkpoint:
            estimator.set_params(random_state=checkpoint.seed)
            notices = self._choose_and_fit(
                estimator, depths, reading, splits, data, checkpoint
            )
            checkpoint.end(is_complete=self.stop_reason_ != StopReason.INTERRUPTED)
        return notices + [(text, UserWarning) for text in checkpoint.notices]

    def _choose_and_fit(
        self, estimator, depths, reading, splits, data, checkpoint=None
    ):
        """Choose by the scores of all folds, train, and return warnings.

        ``data`` are X, y, weights, and what the scorer gets besides.
        """
        flow_times = self._flow_times(reading.targets)
        _, y, weight = reading.rows[:3]
        targets = reading.targets.fitted(y, weight, self.standardize)
        classes = targets.classes if targets.has_classes else None
        seed, generator = seed_and_generator(estimator.random_state)
        rows = reading.distinct(seed)
        solver = resolve_solver(self.solver)  # which follows a flow
        embedding = embedding_of(estimator, rows, solver, generator)
        announced = Announced(classes, reading.layout, embedding=embedding)
        swept = clone(estimator).set_params(n_members=1)
        if effective_n_jobs(self.n_jobs) > 1:
            swept.set_params(verbose=0)  # bars of several processes would mix
        sweep = Sweep(swept, depths, flow_times, self._scorer(targets), announced)
        parts = sweep.parts(splits, dimensions_of_inputs(*reading.layout.inputs))
        folds = self._shown(self._results(sweep, parts, data, checkpoint), parts)
        scores, stop_reasons, errors = zip(*chain.from_iterable(folds), strict=True)
        notices = [(text, ConvergenceWarning) for text in _failures(stop_reasons)]
        notices += [(text, UserWarning) for text in _failed_scores(errors)]
        texts = [text for text, _ in notices]
        self._choose(np.stack(scores), depths, flow_times, texts)
        estimator.set_params(**self.cv_results_["params"][self.best_index_])
        hand_on_callbacks(self, estimator)
        X, y, sample_weight, _ = data
        estimator.fit(X, y, sample_weight)
        params = estimator.get_params(deep=False)
        for name, value in vars(estimator).items():
            if name not in params and not name.startswith(CALLBACK_STATE):
                setattr(self, name, value)
        inputs = replace(self._predictor.inputs, estimator_name=type(self).__name__)
        self._predictor = replace(self._predictor, inputs=inputs)
        return notices

    def _results(self, sweep, parts, data, checkpoint):
        """Yield the results of all parts of the folds, in their order.

        With a checkpoint they are kept as they come, and those that were kept already
        are not run again. One whose scorer has failed is to be run again, as are those
        after it.
        """
        X, y, sample_weight, score_params = data
        kept = [] if checkpoint is None else list(checkpoint.records)
        for part in kept:
            yield [(scores, StopReason(reason), None) for scores, reason in part]
        calls = [
            delayed(sweep.run)(X, y, part, sample_weight, score_params)
            for part in parts[len(kept) :]
        ]
        wanted_early = checkpoint is not None or bool(self.verbose)
        results = results_of(calls, self.n_jobs, as_they_come=wanted_early)
        is_kept = checkpoint is not None
        for part in results:
            is_kept = is_kept and all(error is None for *_, error in part)
            if is_kept:
                kept.append([[scores, str(reason)] for scores, reason, _ in part])
                checkpoint.keep(kept)
            yield part

    def _shown(self, results, parts):
        """Yield results as they come, and show a bar over the folds if asked for."""
        n_folds = sum(map(len, parts))
        with Bar(
            total=n_folds, desc="folds", unit="fold", disable=not self.verbose
        ) as bar:
            for part in results:
                bar.update(len(part))
                yield part

    def _check_solver(self):
        """Raise an error if the solver follows no flow."""
        if not resolve_solver(self.solver).follows_flow:
            raise ValueError(
                f"`solver` must follow a flow, as 'flow' and 'gd' do, got "
                f"{self.solver!r}: mini-batches have no flow time."
            )

    def _flow_times(self, targets):
        """Return the flow times to choose from, in ascending order."""
        flow_times = self.flow_times
        if flow_times is None:
            flow_times = np.geomspace(1.0, targets.longest_flow_time, N_FLOW_TIMES)
        return _ascending("flow_times", flow_times, Real)

    def _estimator(self, depth):
        """Return the estimator to fit, with one seed for all folds and the last fit."""
        seed = self.random_state
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        elif not isinstance(seed, Integral):
            seed = seed.randint(2**31)  # the most that fits a C long on any system
        kind = estimator_class(type(self))
        names = kind().get_params(deep=False)
        params = self.get_params(deep=False).items()
        params = {k: v for k, v in params if k in names and k not in NOT_SHARED}
        params.update(depth=depth, early_stopping=False, random_state=seed)
        return kind(**params)

    def _splitter(self, y, groups=None, **_):
        """Return the splitter of ``cv``, stratified for a classifier by default."""
        splitter = check_cv(self.cv, y, classifier=is_classifier(self))
        if groups is None or not self._makes_folds():
            return splitter
        is_stratified = isinstance(splitter, StratifiedKFold)
        kind = StratifiedGroupKFold if is_stratified else GroupKFold
        return kind(splitter.get_n_splits())

    def _makes_folds(self):
        """Tell whether the folds are the search's own, which keep groups together."""
        return self.cv is None or isinstance(self.cv, Integral)

    def _scorer(self, targets=None):
        """Return the scorer of ``scoring``.

        By default it is that of the targets, and takes the weights. Where only those
        are asked for, before there are targets, any scorer will do.
        """
        if self.scoring is not None:
            return check_scoring(estimator_class(type(self))(), scoring=self.scoring)
        scorer = get_scorer("r2") if targets is None else targets.scorer()
        if get_config()["enable_metadata_routing"]:
            scorer = scorer.set_score_request(sample_weight=True)
        return scorer

    def _route(self, sample_weight, params):
        """Return the metadata of ``fit`` for the splitter and for the scorer."""
        if sample_weight is not None:
            params = {**params, "sample_weight": sample_weight}
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **params)
        groups = {"groups": params.pop("groups")} if "groups" in params else {}
        unknown = sorted(set(params) - {"sample_weight"})
        if unknown:
            raise ValueError(
                f"{unknown} can be passed to `fit` only with metadata routing: "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        if not _takes_weights(self.scoring):
            params = {}
        return Bunch(splitter=Bunch(split=groups), scorer=Bunch(score=params))

    def get_metadata_routing(self):
        """Return where ``fit`` sends its metadata: to the splitter and the scorer.

        Returns
        -------
        routing : MetadataRouter
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                splitter=GroupKFold() if self._makes_folds() else check_cv(self.cv),
                method_mapping=MethodMapping().add(caller="fit", callee="split"),
            )
            .add(
                scorer=self._scorer(),
                method_mapping=MethodMapping().add(caller="fit", callee="score"),
            )
        )

    def _choose(self, scores, depths, flow_times, failures):
        """Store the results as a table, and choose its best row."""
        n_folds = len(scores)
        grid = np.meshgrid(depths, flow_times, indexing="ij")
        depth, flow_time = (values.ravel() for values in grid)
        scores = scores.reshape(n_folds, -1)
        mean, std = scores.mean(axis=0), scores.std(axis=0)
        self.cv_results_ = {
            "param_depth": depth,
            "param_flow_time": flow_time,
            "params": [
                {"depth": int(L), "flow_time": float(t)}
                for L, t in zip(depth, flow_time, strict=True)
            ],
            **{f"split{i}_test_score": fold for i, fold in enumerate(scores)},
            "mean_test_score": mean,
            "std_test_score": std,
            "rank_test_score": rankdata(
                np.where(np.isnan(mean), np.inf, -mean), method="min"
            ).astype(np.int32),
        }
        if np.isnan(mean).all():
            raise ValueError(
                "No mean score is a number: some fold has not reached the first of "
                f"`flow_times`={flow_times}, or the scorer has returned NaN. "
                f"{' '.join(failures)}"
            )
        best = int(np.nanargmax(mean))
        if self.one_standard_error:
            error = std[best] / np.sqrt(max(1, n_folds - 1))
            simple = np.flatnonzero(mean >= mean[best] - error)
            best = int(min(simple, key=lambda i: (flow_time[i], depth[i])))
        self.best_index_, self.best_score_ = best, float(mean[best])
        self.n_splits_ = n_folds


def estimator_class(search_class):
    """Return the class that a search fits, which is its base besides the mixin."""
    kinds = search_class.__mro__
    return next(kind for kind in kinds if not issubclass(kind, PathSearchMixin))


def _takes_weights(scoring):
    """Tell whether a scorer takes weights: scikit-learn's do, functions may not."""
    if not callable(scoring) or hasattr(scoring, "set_score_request"):
        return True
    parameters = signature(scoring).parameters.values()
    return any(p.name == "sample_weight" or p.kind == p.VAR_KEYWORD for p in parameters)


def _failures(stop_reasons):
    """Return a list with a warning, if some folds have failed, or an empty list."""
    failed = sorted({str(reason) for reason in stop_reasons if reason.is_failure})
    if not failed:
        return []
    return [
        f"Of {len(stop_reasons)} folds, some ended early ({', '.join(failed)}): the "
        "flow times that they have not reached cannot be chosen. Raise the solver's "
        "max_evals, or lower flow_times."
    ]


def _failed_scores(errors):
    """Return a list with a warning, if a scorer has failed, or an empty list."""
    failed = [error for error in errors if error is not None]
    if not failed:
        return []
    return [
        f"The scorer failed on {len(failed)} of {len(errors)} folds, where scores are "
        f"NaN now: {type(failed[-1]).__name__}: {failed[-1]}."
    ]


def _ascending(name, values, kind):
    """Return the distinct values, sorted; raise an error if any is not positive."""
    values = list(values)
    if not values or not all(isinstance(v, kind) and 0 < v < inf for v in values):
        numbers = "integers" if kind is Integral else "numbers"
        raise ValueError(f"`{name}` must hold positive {numbers}, got {values!r}.")
    return sorted(set(values))
