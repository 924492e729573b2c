"""What the estimators share: how they are fitted, and what they offer then."""

import copy
import warnings
from contextlib import closing
from dataclasses import replace
from types import FunctionType

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from odenet._diagnostics.gap import RECORDED_ROWS, gap_after_fit
from odenet._diagnostics.smoothness import depth_smoothness
from odenet._distributed.group import group_of
from odenet._estimators.calibration import calibrated
from odenet._estimators.checkpoint import checkpoint_of
from odenet._estimators.frozen import freeze, thaw
from odenet._estimators.preparation import (
    check_same_constraints,
    check_same_embedding,
    check_same_network,
    evenly,
    losing_nothing,
    rows_of_all,
    seed_and_generator,
    telling_whose,
    with_categories,
)
from odenet._estimators.processes import (
    by_all_processes,
    check_agreement,
    check_supported,
)
from odenet._estimators.scoring import held_out_score
from odenet._estimators.splitting import are_apart, asked_split, splits_of
from odenet._export import onnx_model, persistence
from odenet._export.parts import FROZEN
from odenet._inspection.summary import (
    facts,
    history_frame,
    summary_text,
    told_by,
    with_summary,
)
from odenet._stored.reading import in_memory, opened
from odenet._tables.hold_out import (
    Validation,
    cross_validation_folds,
    held_out_parts,
    hold_out,
    shares_of_members,
    validation,
)
from odenet._tables.reading import Announced, Reading, to_rows
from odenet._tables.samples import to_samples
from odenet._training.callbacks.scikit_learn import scikit_learn_callbacks
from odenet._training.depth.planning import planned_depths
from odenet._training.fitting import restored_net, train, train_on_part
from odenet._training.plan import Plan, Progress
from odenet._training.recorder import Recorder
from odenet._training.stop_reason import StopReason
from odenet._utils.devices import resolve_device_or_cpu, training_device
from odenet._utils.sklearn_private import (
    CallbackSupportMixin,
    feature_names_out,
    fit_context,
    linked_to_site,
)


@linked_to_site
class BaseResODE(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Base of the estimators: the way from samples to a fitted model and its uses.

    A fitted estimator owns a :class:`odenet._network.predictor.Predictor`, as
    ``_predictor``, and ``net_``, which could train it further. A subclass implements
    the hooks ``_read_anew``, ``_start`` and ``_resolved_solver``, and extends
    ``_plan``.
    """

    # What only some estimators leave to their users.
    warm_start = False
    scoring = "loss"
    validation_split = "random"
    depth_schedule = flow_time = gap_tol = checkpoint = processes = None
    memory_limit = None
    n_members = 1

    def __init_subclass__(cls, **kwargs):
        """Let the errors of an inherited ``__init__`` name the class that is called."""
        super().__init_subclass__(**kwargs)
        if "__init__" not in vars(cls):
            init = cls.__init__
            own = FunctionType(
                init.__code__, init.__globals__, closure=init.__closure__
            )
            own.__defaults__, own.__kwdefaults__ = (
                init.__defaults__,
                init.__kwdefaults__,
            )
            own.__qualname__ = f"{cls.__qualname__}.__init__"
            cls.__init__ = own

    def set_params(self, **params):
        """Set parameters, those of a solver object as ``solver__rtol``.

        Parameters
        ----------
        **params : dict
            Parameters by their names.

        Returns
        -------
        self : estimator
        """
        nested = [name for name in params if name.startswith("solver__")]
        solver = params.get("solver", self.solver)
        if nested and isinstance(solver, str):
            raise ValueError(
                f"`{nested[0]}` is a parameter of a solver object, and solver is "
                f"{solver!r}: pass an object, as in solver=odenet.solvers.Flow()."
            )
        return super().set_params(**params)

    @by_all_processes
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        groups=None,
    ):
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training inputs. Estimators of images take no sparse matrix.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Of a classifier, one column of classes; or a column of 0 and 1 for
            each of several labels, which may be a sparse matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of w is the same as w repetitions, to the last bit.
        X_val, y_val : array-like, default=None
            Samples to stop early on, instead of a part of the training samples.
        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of these samples, in their loss and in their score.
        groups : array-like of shape (n_samples,), default=None
            Labels of groups, such as patients or shops: samples of a group are held
            out together, or not at all. A splitter as ``validation_split`` gets them.

        Returns
        -------
        self : estimator
            Fitted.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("`X_val` and `y_val` must be given together.")
        if X_val is None and sample_weight_val is not None:
            raise ValueError("`sample_weight_val` must be given with `X_val`, `y_val`.")
        given = None
        if X_val is not None:
            given = in_memory(X_val, y_val, sample_weight_val)
        with losing_nothing(self):
            notices = self._fit(X, y, sample_weight, given, groups=groups)
        for text, category in notices:
            warnings.warn(text, category, stacklevel=4)
        return self

    def _fit(self, X, y, sample_weight, given, announced=None, groups=None):
        """Fit, and return what the user is to be warned of, with its category.

        ``given`` are the samples to stop early on, with their weights, or None.
        """
        if not isinstance(self.solver, str):
            self.solver.validate()  # a wrong one is told before the data are read
        predictor = past = None
        if self.warm_start and hasattr(self, "_predictor"):
            predictor, past = self._resumed(), self._past()
        has_judges = given is not None
        is_usual = all(part is None for part in (groups, announced, predictor))
        if (group := group_of(self.processes)).size > 1:
            check_agreement(self, group, has_judges=has_judges)
            check_supported(self, X, y, is_usual=is_usual)
        X, y, sample_weight, reading = opened(
            self, X, y, sample_weight, has_judges=has_judges, is_usual=is_usual
        )
        if reading is None:
            reading = self._read(X, y, sample_weight, predictor, announced)
        how, asked = self.validation_split, None
        if groups is not None or not (isinstance(how, str) and how == "random"):
            asked = asked_split(self, X, y, groups, is_needed=given is None)
        task = X, y, reading, given, asked, predictor, past
        if self.checkpoint is None:
            with closing(reading):
                return self._train(*task)
        with checkpoint_of(self, reading, given, asked, predictor) as checkpoint:
            notices = self._train(*task, checkpoint)
            checkpoint.end(is_complete=self.stop_reason_ != StopReason.INTERRUPTED)
        return notices + [(text, UserWarning) for text in checkpoint.notices]

    def _train(self, X, y, reading, given, asked, predictor, past, checkpoint=None):
        """Train, set the fitted attributes, and return what to warn of.

        ``asked`` is what to hold out, or None. ``predictor`` and ``past`` are what an
        earlier fit has left, to go on from.
        """
        recorder, group = None, reading.group
        if checkpoint is None:
            seed, generator = seed_and_generator(self.random_state, group)
        else:
            seed, generator = checkpoint.seed_and_generator()
            recorder = Recorder(checkpoint.records, checkpoint.keep, group)
        distinct = reading.distinct(seed)
        rows = distinct.rows
        solver = self._resolved_solver(distinct.n_rows, distinct.targets.loss)
        if past is not None and (notice := self._has_passed(solver)):
            return [(notice, UserWarning)]
        device = training_device(self.device, self.dtype)
        if predictor is None:
            predictor = self._start(distinct, solver, generator)
        judges, table = rows, X
        if given is not None:
            with telling_whose("`X_val`, `y_val` and `sample_weight_val`"):
                judges = self._read(*given, predictor).distinct(seed).rows
            splits, table = {"held_out": judges}, given[0]
        elif distinct.is_stored:
            splits = distinct.splits(self, predictor, solver)
        else:
            splits = self._splits(reading, rows, solver, past, asked, seed)
        parts = held_out_parts(rows, splits) if splits else []
        metric = held_out_score(self, predictor, judges, parts, table)
        predictor.network.to(device)
        shares = splits.get("shares")
        del rows, judges  # of which training needs the encoded inputs only
        data = distinct.training_data(predictor, splits)
        del splits
        path = self._path(predictor.network, solver, past)
        path.update(metric=metric, past=past, generator=generator, group=group)
        plan = self._plan(solver, predictor, **path)
        fitted = {"_predictor": predictor, **predictor.targets.attributes()}
        with scikit_learn_callbacks(self, X, y, fitted) as observer:
            plan = replace(plan, observer=observer, recorder=recorder)
            outcome = train(predictor.network, data, plan)
            self._take(predictor, outcome, distinct.n_samples, data.samples)
        if given is not None or past is None:
            self._calibrate(parts, shares, group, stay_out=given is not None)
        return with_categories(
            distinct, outcome, predictor if self.warm_start and past is None else None
        )

    def _fit_part(self, X, y, sample_weight, announced):
        """Train on a part, and return what the user is to be warned of."""
        solver = self._resolved_solver()
        device = training_device(self.device, self.dtype)
        is_first = not hasattr(self, "_predictor")
        if is_first and self.depth == "auto":
            raise ValueError("`depth` must be an integer in partial_fit, got 'auto'.")
        predictor = None if is_first else self._resumed()
        reading = self._read(X, y, sample_weight, predictor, announced)
        seed, generator = seed_and_generator(self.random_state)
        reading = reading.distinct(seed)
        if is_first:
            predictor = self._start(reading, solver, generator)
        predictor.network.to(device)
        samples = to_samples(predictor, reading.rows, weights_have_mean_one=False)
        past = None if is_first else self._past()
        plan = self._plan(solver, predictor, past=past, generator=generator)
        net = None if is_first else self.net_
        outcome = train_on_part(predictor.network, samples, plan, net)
        n_before = 0 if is_first else getattr(self, "n_samples_fit_", 0)
        self._take(predictor, outcome, n_before + reading.n_samples)
        return with_categories(reading, outcome, predictor if is_first else None)

    def _read(self, X, y, sample_weight, predictor=None, announced=None):
        """Read samples, anew or as those that a predictor was fitted to.

        Returns
        -------
        reading : Reading
        """
        if predictor is None:
            return self._read_anew(X, y, sample_weight, announced or Announced())
        group = group_of(self.processes)
        targets = predictor.targets
        X, y = predictor.inputs.read(X, y, **targets.checks)
        targets.check(y)
        rows, targets = to_rows(X, y, sample_weight, targets, group)
        return Reading(rows, targets, layout=None, group=group)

    def _read_anew(self, X, y, sample_weight, announced):
        """Read a training set, and find what there is to know of its layout.

        Returns
        -------
        reading : Reading
        """
        raise NotImplementedError

    def _start(self, reading, solver, generator):
        """Return a predictor with the network that a solver starts to train."""
        raise NotImplementedError

    def _resolved_solver(self, n_rows=0, loss=None):
        """Return the solver object for so many distinct samples, and for a loss."""
        raise NotImplementedError

    def _resumed(self):
        """Return a copy of the predictor, to be trained with the present parameters."""
        check_same_network(self, self.module_)
        params = self.get_params(deep=False)
        check_same_constraints(self, self._predictor)
        check_same_embedding(self, self._predictor)
        predictor = copy.deepcopy(self._predictor)
        network, targets = predictor.network, predictor.targets
        network.backward = params.get("backward", network.backward)
        return replace(predictor, targets=targets.under(params))

    def _past(self):
        """Return how far the training has come so far."""
        return replace(self.net_.progress, depth_path=self.depth_path_)

    def _plan(self, solver, predictor, **settings):
        """Return all that training asks of this estimator.

        Parameters
        ----------
        solver : Solver
        predictor : Predictor
            With the network at the start.
        **settings : dict
            Further fields of the plan.
        """
        return Plan(
            solver=solver,
            loss=predictor.targets.loss,
            early_stopping=self.early_stopping is not False,
            callbacks=tuple(self.callbacks or ()),
            shows_progress=bool(self.verbose),
            **settings,
        )

    def _path(self, network, solver, past=None):
        """Return the fields of a plan that say how far and how deep to train."""
        depths = planned_depths(
            network,
            depth=self.depth,
            schedule=self.depth_schedule,
            init=self.init,
            in_stages=not solver.follows_flow,
            goes_on=past is not None,
        )
        gap_tol = self.gap_tol if self.depth == "auto" else None
        return {"depths": depths, "gap_tol": gap_tol, "flow_time": self.flow_time}

    def _splits(self, reading, rows, solver, past, asked, seed):
        """Hold out some of the rows, if that is due, to judge the training.

        Returns
        -------
        splits : dict
            Fields of the training data, as rows or parts of them.
        """
        targets = reading.targets
        chooses_time = solver.follows_flow and self.flow_time is None
        keeps_to_time = solver.follows_flow and not chooses_time
        if keeps_to_time and self.early_stopping == "auto":
            return {}
        group = reading.group
        way = validation(
            self.early_stopping,
            group.sum(len(rows.y)),
            flow=chooses_time,
            goes_on=past is not None,
            has_kink=targets.loss.has_kink,
        )
        strata = targets.strata(rows.y)
        if asked is not None and way is not Validation.NONE:
            all_splits = solver.follows_flow and past is None
            task = self, asked, way, reading.rows, rows, strata, seed
            return splits_of(*task, all_splits=all_splits)
        if self.n_members > 1 and way is not Validation.NONE:
            return {"shares": shares_of_members(rows, strata, self.n_members)}
        if way is Validation.FOLDS:
            rows = rows_of_all(rows, group)
            return {"folds": cross_validation_folds(rows, targets.strata(rows.y))}
        if way is Validation.NONE:
            return {}
        is_auto = self.early_stopping == "auto"
        parts = hold_out(
            rows, strata, self.validation_fraction, at_least_some=is_auto, group=group
        )
        if group.size > 1:
            parts = [part and evenly(part.of(rows), group) for part in parts]
        return dict(zip(("train", "held_out"), parts, strict=True))

    def _has_passed(self, solver):
        """Return a notice if an earlier fit went as far as this one is asked to go."""
        if not solver.follows_flow or self.flow_time is None:
            return None
        if self.flow_time > (self.flow_time_ or 0.0):
            return None
        return (
            f"Warm start: flow_time={self.flow_time} is reached already "
            f"(flow_time_={self.flow_time_}), so that nothing was trained."
        )

    def _take(self, predictor, outcome, n_samples, samples=None):
        """Set the fitted attributes; ``samples`` are those to measure the gap at."""
        self.n_samples_fit_ = n_samples
        predictor = replace(predictor, network=outcome.network, calibration=None)
        self._predictor = predictor
        vars(self).update(predictor.targets.attributes(), **outcome.attributes())
        if hasattr(self, "ode_gap"):  # that of images has no neural ODE
            self.ode_gap_ = None
            if samples is not None:
                some = samples.first(RECORDED_ROWS)[0]["X"]
                self.ode_gap_ = gap_after_fit(self.module_, some)

    def _calibrate(self, parts, shares, group, *, stay_out):
        """Let held-out samples say how far predictions err, unless they trained too.

        Networks that have followed a flow to the time that a part of the samples chose
        are trained on all in the end, unless these are others, or each has held out
        its own. Then no sample must be held out twice.
        """
        stay_out = stay_out or self.flow_time_ is None
        if shares is not None:
            stay_out = are_apart(shares)
        if parts and stay_out and self._predictor.targets.is_calibrated:
            self._predictor = calibrated(self._predictor, parts, group)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_predictor")

    @property
    def module_(self):
        """The network, on encoded inputs."""
        return self._predictor.network

    @property
    def depth_smoothness_(self):
        """Smoothness of the weights in depth, a :class:`odenet.DepthSmoothness`."""
        check_is_fitted(self)
        return depth_smoothness(self.module_)

    @property
    def history_(self):
        r"""The training as a pandas data frame, with a row for every step or epoch.

        The column "role" tells a training that chooses the flow time ("choose") from
        the one that fits the model ("fit"). "depth", "flow_time" and "train_loss" hold
        at the end of the step; "n_grad_evals" and "seconds" are sums from the start;
        "valid_loss" and "valid_score" are those of held-out samples: the score is that
        of ``scoring``, or else R2 or the accuracy. Columns of the solver and of
        callbacks follow, such as "energy_ratio" of a flow: the fall of the loss in a
        step over the integral of :math:`|\nabla l|^2` in the flow's metric, which is 1
        where the step has followed the flow. A value that is missing is NaN.
        """
        check_is_fitted(self)
        return history_frame(self.net_.history)

    def transform(self, X):
        """Last hidden state of every sample.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        h : ndarray of shape (n_samples, state_dim)
            The state h_L, float64. Those of several members are side by side.
        """
        check_is_fitted(self)
        return self._predictor.states(X, "last_state")

    def get_feature_names_out(self, input_features=None):
        """Names of the columns that ``transform`` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only checked against the names of the features.

        Returns
        -------
        names : ndarray of str
            The lower-case name of the class, with a number.
        """
        check_is_fitted(self)
        network = self.module_
        n_names = network.n_models * network.state_dim
        return feature_names_out(self, n_names, input_features)

    def hidden_states(self, X):
        """All hidden states of every sample.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        h : ndarray of shape (depth + 1, n_samples, state_dim)
            The states h_0, ..., h_L, float64. Those of several members are side by
            side.
        """
        check_is_fitted(self)
        return self._predictor.states(X, "hidden_states", axis=1)

    def summary(self):
        """Describe the fitted estimator in a few lines of text.

        The lines tell of the samples, of the network, of how it was trained, of its
        losses, of how smooth its weights are in depth, and of the gap to its neural
        ODE. A loss is named if it is another one than by default.

        Returns
        -------
        summary : str

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(8, flow_time=10.0, random_state=0).fit(X, y)
        >>> print("\\n".join(model.summary().split("\\n")[1:3]))
        samples     4 of 1 number
        network     8 layers, state 16, width 64, gelu: 16,448 parameters
        """
        check_is_fitted(self)
        said = facts(self, **told_by(self._predictor))
        return summary_text(type(self).__name__, said)

    save = persistence.save
    load = classmethod(persistence.load)
    to_onnx = onnx_model.to_onnx

    def _attach(self, predictor, solver, history):
        """Take a predictor, and a net that could train it further."""
        predictor.network.eval()
        self._predictor = predictor
        past = Progress(history, self.flow_time_, self.n_grad_evals_)
        self.net_ = restored_net(
            predictor.network, self._plan(solver, predictor, past=past)
        )

    def __getstate__(self):
        """Return arrays and plain values: no tensor, no device, no samples.

        Values of the columns are there as knots of their normal scores, and as edges of
        their bins.
        """
        state = super().__getstate__().copy()
        if "_predictor" in state:
            state[FROZEN] = freeze(state.pop("_predictor"), state.pop("net_"))
        return state

    def __setstate__(self, state):
        """Rebuild the network on the device that the estimator asks for."""
        frozen = state.pop(FROZEN, None)
        super().__setstate__(state)
        if frozen is not None:
            predictor = thaw(frozen, resolve_device_or_cpu(self.device))
            self._attach(predictor, frozen["solver"], frozen["history"])

    def _repr_html_inner(self):
        return self._with_summary(super()._repr_html_inner())

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._with_summary(bundle["text/html"])
        return bundle

    def _with_summary(self, html):
        """Add the facts to scikit-learn's picture of a fitted estimator."""
        if not hasattr(self, "_predictor"):
            return html
        return with_summary(html, facts(self, **told_by(self._predictor)))


def fit_part(estimator, X, y, sample_weight, classes=None):
    """Train an estimator for one pass over a part of the data.

    Parameters
    ----------
    estimator : BaseResODE
    X, y, sample_weight
        As of ``partial_fit``.
    classes : array-like, default=None
        All labels that any part has.

    Returns
    -------
    notices : list of tuple (text, category)
        What the user is to be warned of.
    """
    if estimator.early_stopping is True:
        raise ValueError("partial_fit does not support early_stopping=True.")
    if estimator.processes is not None:
        raise ValueError(
            "partial_fit trains in one process: call it with processes=None, got "
            f"{estimator.processes!r}."
        )
    if estimator.checkpoint is not None:
        raise ValueError(
            "partial_fit writes no checkpoint: save the estimator after a part, or "
            f"call it with checkpoint=None, got {estimator.checkpoint!r}."
        )
    with losing_nothing(estimator):
        return estimator._fit_part(X, y, sample_weight, Announced(classes=classes))


@fit_context(prefer_skip_nested_validation=True)
def fit_announced(estimator, X, y, sample_weight, announced):
    """Fit an estimator to a training set of which more is known than its rows tell.

    Parameters
    ----------
    estimator : BaseResODE
        One that is not fitted yet.
    X, y, sample_weight
        As of ``fit``; y may be of another kind, which is announced.
    announced : Announced

    Returns
    -------
    notices : list of tuple (text, category)
        What the user is to be warned of.
    """
    return estimator._fit(X, y, sample_weight, None, announced)


def prepare(estimator, X, y, sample_weight, announced):
    """Do what a fit does before it trains, without held-out samples.

    Parameters
    ----------
    estimator : BaseResODE
        Gets ``n_features_in_`` and ``feature_names_in_``.
    X, y, sample_weight
        As of ``fit``.
    announced : Announced

    Returns
    -------
    predictor : Predictor
    samples : Samples
    plan : Plan
    """
    device = training_device(estimator.device, estimator.dtype)
    reading = estimator._read(X, y, sample_weight, announced=announced)
    seed, generator = seed_and_generator(estimator.random_state)
    reading = reading.distinct(seed)
    solver = estimator._resolved_solver()
    predictor = estimator._start(reading, solver, generator)
    predictor.network.to(device)
    plan = estimator._plan(
        solver, predictor, **estimator._path(predictor.network, solver)
    )
    return predictor, to_samples(predictor, reading.rows), plan


def read_training_set(estimator, X, y, sample_weight):
    """Read a training set as a fit of an estimator would.

    Returns
    -------
    reading : Reading
    """
    return estimator._read(X, y, sample_weight)


def around(estimator, network):
    """Return a fitted copy of an estimator around a network of another depth.

    Or around another number of networks: those of an estimator, or one of them.
    """
    model = type(estimator).__new__(type(estimator))
    owned = ("_predictor", "net_")
    rest = {name: v for name, v in vars(estimator).items() if name not in owned}
    vars(model).update(copy.deepcopy(rest))
    model.depth_ = network.depth
    if "depth" in model.get_params(deep=False):  # a search has depths to choose from
        model.depth = network.depth
    if network.n_models != model.n_members:
        model.n_members = network.n_models
    if model.depth_schedule is not None:
        model.depth_schedule = "doubling"
    history = [dict(row) for row in estimator.net_.history]
    predictor = estimator._predictor.around(network)
    model._attach(predictor, estimator.net_.solver, history)
    return model
