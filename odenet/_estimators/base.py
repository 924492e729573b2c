"""What both estimators share: their parameters, and how they are fitted."""

import copy
import warnings
from contextlib import contextmanager
from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if

from odenet._diagnostics.gap import is_rough
from odenet._estimators.inference import FittedNetworkMixin
from odenet._estimators.preparation import PreparationMixin
from odenet._export.onnx_model import OnnxMixin
from odenet._export.persistence import PersistenceMixin
from odenet._inspection.summary import SummaryMixin
from odenet._network.residual import ACTIVATIONS, BACKWARDS
from odenet._network.scratch import scratch
from odenet._tables.rows import merge_repeated
from odenet._training.callbacks.progress_bar import ProgressBar
from odenet._training.callbacks.scikit_learn import ScikitLearnCallbacks
from odenet._training.depth.depths import depths_to_walk
from odenet._training.depth.in_stages import stages_of
from odenet._training.depth.walk import VERDICTS
from odenet._training.fitting import WARNINGS, Fitting
from odenet._training.net import TrainingNet
from odenet._utils.devices import torch_threads
from odenet._utils.sklearn_private import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    fit_context,
)
from odenet.schemes import SCHEMES
from odenet.solvers import SOLVERS
from odenet.solvers._base import Solver
from odenet.solvers._registry import takes_parts

CONVERGED = VERDICTS | {"callback"}


class BaseResODE(
    CallbackSupportMixin,
    PreparationMixin,
    FittedNetworkMixin,
    SummaryMixin,
    PersistenceMixin,
    OnnxMixin,
    BaseEstimator,
):
    """Base of the estimators; a subclass says what the targets mean."""

    _parameter_constraints = {
        "depth": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "width": [Interval(Integral, 1, None, closed="left")],
        "state_dim": [Interval(Integral, 1, None, closed="left"), None],
        "activation": [StrOptions(ACTIVATIONS.keys())],
        "init": [StrOptions(SCHEMES.keys()), callable],
        "solver": [StrOptions({*SOLVERS, "auto"}), Solver],
        "flow_time": [Interval(Real, 0, None, closed="neither"), None],
        "depth_schedule": [StrOptions({"doubling"}), "array-like", None],
        "gap_tol": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "smoothness_penalty": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "standardize": ["boolean"],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "allow_nan": ["boolean"],
        "backward": [StrOptions(set(BACKWARDS))],
        "callbacks": [list, None],
        "device": [str, torch.device],
        "dtype": [StrOptions({"float32", "float64"})],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        depth=64,
        *,
        width=64,
        state_dim=None,
        activation="gelu",
        init="tied",
        solver="auto",
        flow_time=None,
        depth_schedule="doubling",
        gap_tol=0.01,
        alpha=0.0,
        smoothness_penalty=0.0,
        early_stopping="auto",
        validation_fraction=0.1,
        standardize=True,
        categorical_features="from_dtype",
        allow_nan=False,
        backward="stored",
        callbacks=None,
        device="auto",
        dtype="float32",
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.depth = depth
        self.width = width
        self.state_dim = state_dim
        self.activation = activation
        self.init = init
        self.solver = solver
        self.flow_time = flow_time
        self.depth_schedule = depth_schedule
        self.gap_tol = gap_tol
        self.alpha = alpha
        self.smoothness_penalty = smoothness_penalty
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.categorical_features = categorical_features
        self.allow_nan = allow_nan
        self.backward = backward
        self.callbacks = callbacks
        self.device = device
        self.dtype = dtype
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; one column for a classifier.
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of w is the same as w repetitions, to the last bit.
        X_val, y_val : array-like, default=None
            Samples to stop early on, instead of a part of the training samples.

        Returns
        -------
        self : estimator
            Fitted.
        """
        with self._losing_nothing():
            return self._fit(X, y, sample_weight, X_val, y_val)

    def _fit(self, X, y, sample_weight, X_val, y_val):
        self._resolve_solver()
        device = self._resolve_device()
        past = self.net_.progress if self.warm_start and hasattr(self, "net_") else None
        if past is not None:
            self._check_same_network()
        samples = self._check_samples(X, y, sample_weight, reset=past is None)
        validation = self._check_validation_samples(X_val, y_val)
        seed, generator = self._draw_seed()
        samples, train = merge_repeated(*samples, seed), None
        solver = self._resolve_solver(len(samples[-1]))
        if past is not None and self._has_passed(self.flow_time, solver):
            return self
        if validation is None and self._holds_out(len(samples[-1])):
            train, validation = self._hold_out(*samples)
        fitted = self._start(samples, generator) if past is None else self._fitted()
        module = fitted["module_"].to(device)
        module.backward = self.backward
        depths = self._depths(module, solver, past)
        with self._scikit_learn_callbacks(X, y, fitted) as observer:
            fitting = Fitting(self, solver, fitted, depths, past, generator, observer)
            tensors = [
                None if part is None else self._tensors(fitted, *part)
                for part in (samples, train, validation)
            ]
            net = fitting.run(*tensors)
            self._finish(fitted, net, fitting.depth_path, tensors[0])
        return self

    def _prepare(self, X, y, sample_weight):
        """The start of a fit without validation samples, and its samples as tensors."""
        device = self._resolve_device()
        samples = self._check_samples(X, y, sample_weight, reset=True)
        seed, generator = self._draw_seed()
        samples = merge_repeated(*samples, seed)
        fitted = self._start(samples, generator)
        fitted["module_"].to(device)
        vars(self).update(fitted)
        return fitted, self._tensors(fitted, *samples)

    def _depths(self, module, solver, past=None):
        """The depths to train at."""
        if past is not None and self.depth != "auto":
            return [module.depth]
        if past is not None:
            deeper = (
                d for d in depths_to_walk("auto", "doubling") if d >= module.depth
            )
            return list(deeper) or [module.depth]
        depths = depths_to_walk(self.depth, self.depth_schedule)
        if not isinstance(self.depth_schedule, str):
            return depths
        if not is_rough(module):
            return depths if solver.batch_size is None else stages_of(depths)
        if self.depth == "auto":
            raise ValueError(
                "`depth='auto'` needs a start that is smooth in depth, got "
                f"init={self.init!r}: its gap to a neural ODE would not close."
            )
        return depths[-1:]

    @available_if(takes_parts)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one pass over a part of the data; for mini-batch solvers.

        The first call settles the standardisation and the categories, and starts the
        network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; one column for a classifier.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        self : estimator
            Fitted.
        """
        if self.early_stopping is True:
            raise ValueError("partial_fit does not support early_stopping=True.")
        with self._losing_nothing():
            return self._partial_fit(X, y, sample_weight)

    def _partial_fit(self, X, y, sample_weight):
        solver, device = self._resolve_solver(), self._resolve_device()
        first = not hasattr(self, "module_")
        if first and self.depth == "auto":
            raise ValueError("`depth` must be an integer in partial_fit, got 'auto'.")
        if not first:
            self._check_same_network()
        samples = self._check_samples(X, y, sample_weight, reset=first)
        seed, generator = self._draw_seed()
        samples = merge_repeated(*samples, seed)
        fitted = self._start(samples, generator) if first else self._fitted()
        module = fitted["module_"].to(device)
        module.backward = self.backward
        penalties = self.alpha, self.smoothness_penalty
        settings = repr((solver, penalties, device, self.backward, *self._novelties()))
        if first or getattr(self.net_, "part_settings", None) != settings:
            net = self._make_net(module, generator=generator)
            net.max_epochs, net.part_settings = 1, settings
            if not first:
                net.resume(self.net_.progress)
        else:
            net = self.net_
        fitted["module_"] = net.module_
        before = net.weights()
        try:
            tensors = self._tensors(fitted, *samples, weights_have_mean_one=False)
            self._train(net, tensors)
        except BaseException:
            net.module_.set_weights(before)
            raise
        self._finish(fitted, net, [] if first else self.depth_path_)
        return self

    @contextmanager
    def _losing_nothing(self):
        """Take everything back if an error is raised."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            ours = {n for n in vars(self) if not n.startswith(("_skl", "_callback"))}
            for name in ours - set(before):
                delattr(self, name)
            vars(self).update({n: before[n] for n in ours & set(before)})
            raise

    def _check_same_network(self):
        """A network that goes on training keeps its structure."""
        dtype = str(self.module_.V.dtype).removeprefix("torch.")
        for name, fitted in {**self._structure(self.module_), "dtype": dtype}.items():
            if getattr(self, name) != fitted:
                raise ValueError(
                    f"`{name}` must stay {fitted!r} while training goes on, got "
                    f"{getattr(self, name)!r}: use warm_start=False to start anew."
                )

    def _structure(self, module):
        """Parameters that a network was made by, as it has them."""
        return {
            "depth": module.depth if self.depth != "auto" else "auto",
            "width": module.width,
            "state_dim": module.state_dim if self.state_dim is not None else None,
            "activation": module.activation,
        }

    def _has_passed(self, flow_time, solver):
        """Whether an earlier fit went as far as this one is asked to go."""
        if solver.batch_size is not None or flow_time is None:
            return False
        if flow_time > (self.flow_time_ or 0.0):
            return False
        warnings.warn(
            f"Warm start: flow_time={flow_time} is reached already "
            f"(flow_time_={self.flow_time_}), so that nothing was trained.",
            stacklevel=4,
        )
        return True

    def _fitted(self):
        """What predictions need; the network as a copy, to be trained further."""
        names = ("module_", "_X_encoder", "_y_standardizer")
        return {name: copy.deepcopy(getattr(self, name)) for name in names}

    def _make_net(
        self,
        module,
        *,
        callbacks=None,
        solver=None,
        loss=None,
        net_class=TrainingNet,
        **settings,
    ):
        """A net to train the module with; by default with the user's callbacks."""
        callbacks = list((self.callbacks or []) if callbacks is None else callbacks)
        if self.verbose:
            callbacks.append(ProgressBar())
        return net_class(
            module,
            loss or self._loss(),
            solver or self._resolve_solver(),
            alpha=self.alpha,
            smoothness_penalty=self.smoothness_penalty,
            callbacks=callbacks,
            **settings,
        ).initialize()

    @contextmanager
    def _scikit_learn_callbacks(self, X, y, fitted):
        """Open scikit-learn's callbacks; the skorch callback that serves them."""
        if not getattr(self, "_skl_callbacks", None):
            yield None
            return
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        yield ScikitLearnCallbacks(self, context, X, y, fitted)
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes=self._fitted
        )

    def _train(self, net, train, held_out=None):
        """Train a net on tensors."""
        module = net.module_
        n_rows = train.weight.numel()
        n_rows = min(n_rows, net.solver.rows_of_a_batch(n_rows))
        try:
            n_products = n_rows * module.state_dim * module.width
            with scratch(), torch_threads(n_products):
                net.partial_fit((train, held_out))
        finally:
            module.eval()
            module.zero_grad(set_to_none=True)

    def _note_gap(self, samples):
        """Record the distance from the neural ODE, if there is one."""

    def _novelties(self):
        """Further settings that ask for another net, where a training goes on."""
        return ()

    def _finish(self, fitted, net, depth_path, samples=None):
        """Set the fitted attributes."""
        vars(self).update(fitted, net_=net, depth_path_=depth_path)
        self._note_gap(samples)
        self.solver_ = net.solver
        self.loss_curve_ = net.curve("train_loss", role="fit")
        self.validation_loss_curve_ = net.curve("valid_loss")
        self.validation_scores_ = net.curve("valid_score")
        self.validation_flow_times_ = net.curve("flow_time", having="valid_loss")
        self.depth_ = net.module_.depth
        self.stop_reason_ = net.stop_reason
        self.converged_ = net.stop_reason in CONVERGED
        self.n_iter_ = len(self.loss_curve_ or ())
        self.flow_time_ = net.flow_time
        self.n_grad_evals_ = net.n_grad_evals
        if net.stop_reason in WARNINGS:
            warnings.warn(WARNINGS[net.stop_reason], ConvergenceWarning, stacklevel=5)
