"""What the estimators of tables share: their parameters, and tools for the depth."""

import os
from dataclasses import replace
from functools import partial
from math import inf
from numbers import Real

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.metrics import get_scorer_names
from sklearn.utils.validation import check_is_fitted

from odenet._diagnostics.attribution import attribution
from odenet._diagnostics.gap import (
    ExtrapolatedNetwork,
    is_rough,
    ode_gap,
    warn_if_rough,
)
from odenet._diagnostics.serving_depth import serving_depth
from odenet._distributed.group import group_of
from odenet._estimators.base import BaseResODE, around
from odenet._network.activations import ACTIVATIONS
from odenet._network.model_axis import join_networks, networks_of
from odenet._network.ode import NeuralODE
from odenet._network.predictor import Predictor
from odenet._network.residual import BACKWARDS
from odenet._network.start import LIMIT, input_scaling, start_network
from odenet._stored.budget import NUMBER, in_bytes
from odenet._tables.column_checks import notices_of
from odenet._tables.columns import read_columns
from odenet._tables.embeddings.piecewise_linear import BINS
from odenet._tables.encoder import fit_embedding, fit_encoder
from odenet._tables.labels import kind_of_classes
from odenet._tables.rare_categories import Pooling
from odenet._tables.reading import (
    Reading,
    TableInputs,
    has_scores,
    read_table,
    to_rows,
)
from odenet._tables.targets import RegressionTargets
from odenet._training.depth.depths import DEEPEST
from odenet._utils.devices import torch_threads
from odenet._utils.sklearn_private import (
    Count,
    Interval,
    RealNotInt,
    Splits,
    StrOptions,
    check_monotonic_cst,
)
from odenet._utils.sparse_rows import as_rows
from odenet.schemes import SCHEMES
from odenet.solvers import resolve_solver
from odenet.solvers._base import Solver
from odenet.solvers._registry import MOST_FLOW_ROWS, SolverNames

FURTHER_INPUTS = {"piecewise_linear", "periodic"}  # beside values and scores
EMBEDDINGS = {"auto", "scores", *FURTHER_INPUTS}
# "auto" has bins of so many distinct samples and more: with 30, errors were even.
FEWEST_ROWS_WITH_BINS = 40
# "auto" gives no more than so many numbers of all bins of all rows, 134 MB in float32:
# bins are many times the columns, in memory and in the seconds of their encoding.
MOST_SHARES = 2**25


class TableResODE(BaseResODE):
    """Base of the estimators of tables, whose networks are neural ODEs."""

    _parameter_constraints = {
        "depth": [Count(), StrOptions({"auto"})],
        "width": [Count()],
        "state_dim": [Count(), None],
        "activation": [StrOptions(ACTIVATIONS.keys())],
        "init": [StrOptions(SCHEMES.keys()), callable],
        "solver": [SolverNames(), Solver],
        "flow_time": [Interval(Real, 0, inf, closed="right"), None],
        "depth_schedule": [StrOptions({"doubling"}), "array-like", None],
        "gap_tol": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "smoothness_penalty": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "validation_split": [StrOptions({"random", "last"}), Splits()],
        "n_members": [Count()],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "standardize": ["boolean"],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "min_frequency": [Count(), Interval(RealNotInt, 0, 1, closed="neither"), None],
        "max_categories": [Count(), None],
        "allow_nan": ["boolean"],
        "numeric_embedding": [StrOptions(EMBEDDINGS), None],
        "monotonic_cst": ["array-like", dict, None],
        "backward": [StrOptions(set(BACKWARDS))],
        "callbacks": [list, None],
        "checkpoint": [str, os.PathLike, None],
        "memory_limit": [Count(), str, None],
        "processes": [StrOptions({"group"}), None],
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
        validation_split="random",
        n_members=1,
        scoring="loss",
        standardize=True,
        categorical_features="from_dtype",
        min_frequency=2,
        max_categories=None,
        allow_nan=False,
        numeric_embedding="auto",
        monotonic_cst=None,
        backward="stored",
        callbacks=None,
        checkpoint=None,
        memory_limit=None,
        processes=None,
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
        self.validation_split = validation_split
        self.n_members = n_members
        self.scoring = scoring
        self.standardize = standardize
        self.categorical_features = categorical_features
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.allow_nan = allow_nan
        self.numeric_embedding = numeric_embedding
        self.monotonic_cst = monotonic_cst
        self.backward = backward
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.memory_limit = memory_limit
        self.processes = processes
        self.device = device
        self.dtype = dtype
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.allow_nan
        chosen = self.categorical_features
        tags.input_tags.categorical = not (chosen is None or isinstance(chosen, str))
        tags.input_tags.sparse = not (tags.input_tags.categorical or self.allow_nan)
        tags.target_tags.multi_output = isinstance(self, RegressorMixin)
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_class = self.monotonic_cst is None
        return tags

    def _read_anew(self, X, y, sample_weight, announced):
        scored = has_scores(self, X)
        is_regressor = isinstance(self, RegressorMixin)
        usual = RegressionTargets if is_regressor else kind_of_classes(y)
        kind = announced.targets or usual
        columns, notices = announced.columns, ()
        group = group_of(self.processes)
        if columns is None:
            chosen = self.categorical_features
            columns = read_columns(X, chosen, self.allow_nan, group)
        if columns.categories and announced.columns is None:
            notices = tuple(notices_of(columns, X))
        X, y = read_table(self, columns, X, y, reset=True, **kind.checks)
        kind.check(y)
        names = list(getattr(self, "feature_names_in_", ()))
        group.check_same("features of X", f"{X.shape[1]} {names}")
        group.check_same("outputs of y", f"{y.shape[1:]}")
        targets_of = partial(
            kind.of,
            estimator_name=type(self).__name__,
            params=self.get_params(deep=False),
            classes=announced.classes,
            group=group,
        )
        rows, targets = to_rows(X, y, sample_weight, targets_of, group)
        if columns.numeric is None:
            pooling = None
            if columns.categories:
                limits = self.min_frequency, self.max_categories
                pooling = Pooling(rows[:3], *limits, group)
            columns, X = columns.settled(rows.X, scored, pooling, group)
            rows = rows._replace(X=X)
        return Reading(rows, targets, columns, notices, announced.embedding, group)

    def _start(self, reading, solver, generator):
        X, y, weight = reading.sample[:3]
        columns = reading.layout
        embedding = embedding_of(self, reading, solver, generator)
        n_embedded = 0 if embedding is None else embedding.n_inputs
        signs = self._signs_of_inputs(columns, embedding, reading.targets)
        group = reading.group
        targets = reading.targets.fitted(y, weight, self.standardize, group)
        n_inputs, marks = columns.inputs
        draw = partial(
            start_network,
            n_inputs,
            targets.outputs_at_start(),
            categories=marks,
            met=_met_columns(X) if issparse(X) else None,
            signs=signs,
            n_embedded=n_embedded,
            state_dim=self.state_dim,
            init=self.init,
            depth=DEEPEST if self.depth == "auto" else self.depth,
            width=self.width,
            activation=self.activation,
            backward=self.backward,
            generator=generator,
            dtype=getattr(torch, self.dtype),
        )
        network = draw()
        if self.n_members > 1:
            others = [draw() for _ in range(self.n_members - 1)]
            if any(o.monotonicity != network.monotonicity for o in others):
                raise ValueError(
                    "`monotonic_cst` of several members needs a state with room for "
                    f"all inputs: raise state_dim={network.state_dim} to "
                    f"{n_inputs + targets.n_outputs + 1}, or use n_members=1."
                )
            network = join_networks([network, *others])
            network.backward = self.backward  # as is asked for; `_plan` judges it
        scaling = {}
        if self.standardize:
            scaling = input_scaling(network, issparse(X), n_embedded)
        inputs = TableInputs(
            type(self).__name__,
            self.n_features_in_,
            getattr(self, "feature_names_in_", None),
            fit_encoder(
                columns, X, weight, embedding=embedding, group=group, **scaling
            ),
        )
        return Predictor(network, inputs, targets)

    def _signs_of_inputs(self, columns, embedding, targets):
        """Return the signs that ``monotonic_cst`` gives the inputs, or None."""
        if self.monotonic_cst is None:
            return None
        signs = check_monotonic_cst(self, self.monotonic_cst)
        if not signs.any():
            return None
        if wrong := [j for j in columns.categories if signs[j]]:
            names = getattr(self, "feature_names_in_", range(len(signs)))
            raise ValueError(
                "`monotonic_cst` must be 0 for columns of categories, which have no "
                f"order, got {signs[wrong].tolist()} for {[names[j] for j in wrong]}."
            )
        targets.check_monotonic()
        found = columns.signs_of_inputs(signs, embedding)
        if embedding is not None and not embedding.is_monotone:
            wrong = np.unique(embedding.sources[signs[embedding.sources] != 0])
            if len(wrong):
                raise ValueError(
                    "`numeric_embedding` must be monotone for `monotonic_cst`, as "
                    "'piecewise_linear' and 'scores' are, got "
                    f"{self.numeric_embedding!r} for the constrained columns "
                    f"{wrong.tolist()}."
                )
        return found

    def _resolved_solver(self, n_rows=0, loss=None):
        return resolve_solver(self.solver, n_rows, self.flow_time, loss)

    def _plan(self, solver, predictor, **settings):
        network = predictor.network
        if network.backward == "rebuilt" and network.n_models > 1:
            raise ValueError(
                "`backward` must be 'stored' for several members, which are trained as "
                f"one network, got 'rebuilt' with n_members={network.n_models}."
            )
        if network.monotonicity is not None:
            solver = solver.confined()
        return super()._plan(
            solver,
            predictor,
            longest_flow_time=predictor.targets.longest_flow_time,
            alpha=self.alpha,
            smoothness_penalty=self.smoothness_penalty,
            **settings,
        )

    def with_depth(
        self,
        depth=None,
        interpolation="linear",
        *,
        imitate=False,
        merge=False,
        tol=None,
        X=None,
    ):
        """The model with another number of layers, which sample the same function.

        Predictions differ by O(1/L) of the smaller depth where the weights are smooth
        in depth (see ``depth_smoothness_``).

        Parameters
        ----------
        depth : int, default=None
            Number of layers of the new network, larger or smaller. It is left out if
            ``tol`` is given.
        interpolation : {"linear", "constant"}, default="linear"
            "linear" is piecewise linear through the layers' depth times
            :math:`s = (k - 1/2)/L`, with an error of the weights of O(1/L^2);
            "constant" is piecewise constant on :math:`[(k-1)/L, k/L)`, as in Marion,
            Wu, Sander and Biau (ICLR 2024, section 2), with an error of O(1/L).
        imitate : bool, default=False
            Whether the new model is to predict as this one up to O(1/L'^2) of its own
            depth L', by layers that look ahead: the better way to serve few layers. It
            is then no plain residual network.
        merge : bool, default=False
            Whether neighbouring layers become one that is as wide as all of them:
            ``width`` of the new model is a multiple of that of this one. Nothing is
            left out, so that predictions differ by O(1/L') even for layers that are not
            smooth in depth, as those of ``init="iid"``.
        tol : float, default=None
            Chooses the fewest imitating layers whose outputs at ``X`` differ by at most
            this share of the outputs, which are standardised targets or logits.
        X : array-like or sparse matrix of shape (n_samples, n_features), default=None
            Samples at which the outputs are compared, such as those to be served.

        Returns
        -------
        model : estimator
            A fitted copy with ``depth`` and ``depth_`` changed, and the other fitted
            attributes those of this one, which stays as it is. Intervals and sets
            are kept with ``imitate`` or ``tol``, by which predictions change least.

        Raises
        ------
        ValueError
            If the depth is no positive integer, or the interpolation unknown; or if
            neither a depth nor ``tol`` with ``X`` is given, or both are; or if layers
            are to be merged that imitate more, into more layers, or with ``imitate``;
            or if more layers are to imitate those of a monotone network.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> model.with_depth(tol=0.01, X=X).depth_ < 16
        True
        >>> shallow = model.with_depth(8)
        >>> difference = shallow.predict(X) - model.predict(X)
        >>> shallow.depth_, bool(abs(difference).max() < 0.1)
        (8, True)
        """
        check_is_fitted(self)
        if (tol is None) != (X is None):
            raise ValueError("`tol` and `X` must be given together.")
        if (depth is None) == (tol is None):
            raise ValueError("Either `depth`, or `tol` and `X`, must be given.")
        if tol is not None:
            depth, imitate = self._depth_within(tol, X), True
        network = self.module_.with_depth(
            depth, interpolation, imitate=imitate, merge=merge
        )
        model = around(self, network)
        model.width = network.width
        if network.imitated_depth != self.module_.imitated_depth or (
            depth != self.depth_
        ):
            model.ode_gap_ = None
            if not imitate or is_rough(self.module_):  # it may err by far more
                model._predictor = replace(model._predictor, calibration=None)
        return model

    @property
    def members_(self):
        """The networks of a fit, each in an estimator of its own, as a list.

        They have ``n_members=1`` and predict alone; what tells of their training is
        that of all together.
        """
        check_is_fitted(self)
        members = [around(self, network) for network in networks_of(self.module_)]
        calibration = self._predictor.calibration
        if calibration is not None and len(members) > 1:
            for i, member in enumerate(members):
                own = calibration.of_member(i)
                member._predictor = replace(member._predictor, calibration=own)
        return members

    def _depth_within(self, tol, X):
        """Return the fewest imitating layers that are within a tolerance at samples."""
        if not (isinstance(tol, Real) and 0 < tol < inf):
            raise ValueError(f"`tol` must be a positive number, got {tol!r}.")
        network = self._predictor.network_for_evaluation()
        X = self._predictor.inputs.read(X)
        x = as_rows(self._predictor.inputs(X), network.V)
        with torch_threads(len(x) * self.module_.V[0].numel()):
            return serving_depth(network, x, tol)

    def to_ode(
        self, *, method="dopri5", rtol=1e-6, atol=1e-8, max_steps=10_000, adjoint=False
    ):
        """The neural ODE whose discretisation this model is, as a model of its own.

        Parameters
        ----------
        method : {"dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"}, \
                default="dopri5"
            The adaptive Runge-Kutta method of torchdiffeq.
        rtol, atol : float, default=1e-6 and 1e-8
            Tolerances of the error of one step.
        max_steps : int, default=10_000
            Largest number of steps of one integration.
        adjoint : bool, default=False
            Whether gradients come from the adjoint equation.

        Returns
        -------
        ode : NeuralODE
            With a copy of the weights in float64, and the standardisation and the
            classes of this model.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> ode = model.to_ode(rtol=1e-3)
        >>> ode.predict(X).shape, ode.trajectory(X, [0.0, 0.5, 1.0]).shape
        ((4,), (3, 4, 16))
        """
        check_is_fitted(self)
        return NeuralODE(
            self._predictor.network_for_evaluation(),
            method=method,
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
            adjoint=adjoint,
            inputs=self._predictor.inputs,
            targets=self._predictor.targets,
        )

    def ode_gap(self, X, method="solver"):
        r"""Distance between this network and its neural ODE, at given samples.

        .. math::
            \|F_L(X) - F_{ode}(X)\|_F \,/\, \|F_{ode}(X)\|_F,

        of the network's outputs, which are standardised targets or logits, in float64.
        For weights that are smooth in depth it is O(1/L) (Marion, Wu, Sander and Biau,
        ICLR 2024, theorem 4).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        method : {"solver", "richardson"}, default="solver"
            "solver" integrates the ODE adaptively. "richardson" estimates its output by
            2 F_2L - F_L, from a network of twice the depth: cheap, and right up to
            O(1/L^2) where the weights are smooth in depth, but not where they are not.

        Returns
        -------
        gap : float

        Warns
        -----
        UserWarning
            If the weights are not smooth in depth, as with ``init="iid"``: there is no
            neural ODE that the network comes near to, and no estimate of its distance
            can be trusted.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> 0 < model.ode_gap(X) < 0.02
        True
        """
        check_is_fitted(self)
        inputs = self._predictor.inputs
        X = inputs.read(X)
        with torch_threads(X.shape[0] * self.module_.V[0].numel()):
            return ode_gap(self.module_, inputs(X), method)

    def richardson_predict(self, X):
        r"""Predict by :math:`2 F_{2L} - F_L`, which is the neural ODE's up to O(1/L^2).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As from ``predict``; of a classifier, the classes of extrapolated logits.

        Warns
        -----
        UserWarning
            If the weights are not smooth in depth: see ``ode_gap``.

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
        >>> error = model.richardson_predict(X) - model.to_ode().predict(X)
        >>> bool(abs(error).max() < 0.01)
        True
        """
        check_is_fitted(self)
        if self.module_.monotonicity is not None:
            raise ValueError(
                "`richardson_predict` is a difference of two networks, which is not "
                f"monotone, as monotonic_cst={self.monotonic_cst!r} asks for: use "
                "`to_ode().predict`."
            )
        warn_if_rough(self.module_)
        network = ExtrapolatedNetwork(self._predictor.network_for_evaluation())
        return self._predictor.around(network).predict(X)

    def attribution(self, X, *, baseline=None, by_depth=False, rtol=1e-6):
        r"""Contributions of the columns of X to what is predicted.

        They are integrated gradients (Sundararajan, Taly and Yan, ICML 2017): the
        gradient of the network by its inputs, integrated along the straight line from
        those of a baseline to those of a row. Over the columns they add up to the
        change of the output,

        .. math::
            \sum_i a_i(x) = F(x) - F(baseline),

        and a column that the network does not read contributes 0. All that a column is
        turned into (a number and its score, the marks of its categories and of missing
        values) counts as the column's.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        baseline : array-like of shape (n_baselines, n_features), default=None
            What the rows are compared with: a row, or several, over which contributions
            are averaged, such as some of the training set. None is one row, whose
            numbers are the means of the training set, and which is of no category, as
            if all its categories were unknown.
        by_depth : bool, default=False
            Whether to split the contributions by depth. The output is what the head
            reads in the first state, plus what it reads in the step of every layer:
            :math:`F = B h_0 + \sum_k B (h_k - h_{k-1})`. Each of these terms has
            contributions of its own, at the cost of n_features / n_outputs times the
            seconds.
        rtol : float, default=1e-6
            Tolerance of the error of a contribution, relative to the sum of the
            absolute contributions to the same output. The number of points on the line
            is doubled until they change by less, and is at most 256.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_features, ...)
            With ``by_depth``, of shape (depth + 1, n_samples, n_features, ...): a first
            axis of depth, beginning with the first state. Its sum is the contributions
            without ``by_depth``.

            The last axes are those of what is explained. Of a regressor, that is what
            ``predict`` returns, in the units of y, without further axis if it returns
            one number for a sample; for a loss whose link is the logarithm ("poisson",
            "gamma"), it is the logarithm of that. Of a classifier, it is what
            ``decision_function`` returns: the logit of the second of two classes, or
            an axis of the logits of all. Of several members it is the mean of what
            each contributes, so that logarithms and logits are means as well.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X or the baseline do not fit the training set, or ``rtol`` is no positive
            number.

        Warns
        -----
        UserWarning
            If the tolerance is not reached, as with activation="relu", whose gradients
            jump.

        Notes
        -----
        The contributions tell how this model comes to an output. What the score of a
        model loses without a column is told by
        ``sklearn.inspection.permutation_importance``, which takes these estimators. The
        contributions of the neural ODE are those of a deep network, up to O(1/L):
        ``model.with_depth(512).attribution(X)``.

        Examples
        --------
        >>> import numpy as np
        >>> from odenet import ResODERegressor
        >>> X = np.random.default_rng(0).normal(size=(60, 2))
        >>> y = 3 * X[:, 0] - X[:, 1]
        >>> model = ResODERegressor(8, flow_time=10.0, random_state=0).fit(X, y)
        >>> contributions = model.attribution(X)
        >>> change = model.predict(X) - model.predict(X.mean(axis=0, keepdims=True))
        >>> contributions.shape, bool(np.allclose(contributions.sum(axis=1), change))
        ((60, 2), True)
        >>> model.attribution(X, by_depth=True).shape
        (9, 60, 2)
        """
        check_is_fitted(self)
        settings, contributions = {"by_depth": by_depth, "rtol": rtol}, []
        for network in networks_of(self.module_):
            predictor = self._predictor.around(network)
            contributions.append(attribution(predictor, X, baseline, **settings))
        return np.mean(contributions, axis=0)


def embedding_of(estimator, reading, solver, generator):
    """Return the embedding of numbers that was announced, or else fit it.

    Parameters
    ----------
    estimator : TableResODE
    reading : Reading
        With merged rows.
    solver : Solver
    generator : torch.Generator

    Returns
    -------
    embedding : PiecewiseLinear, Periodic or None
    """
    if reading.embedding is not None:
        return reading.embedding
    name, bins = estimator.numeric_embedding, BINS
    n_rows, n_columns = reading.n_rows, len(reading.layout.scored)
    may_have_bins = reading.targets.has_bins_on_mini_batches
    if solver.follows_flow:  # with bins that of more samples takes far longer
        may_have_bins = n_rows <= MOST_FLOW_ROWS
    has_enough = n_columns and n_rows >= FEWEST_ROWS_WITH_BINS
    if name == "auto" and may_have_bins and has_enough:
        bins = BINS.within(n_rows, n_columns, _most_shares(estimator.memory_limit))
        name = "scores" if bins is None else "piecewise_linear"
    if name not in FURTHER_INPUTS:
        return None
    X, _, weight = reading.sample[:3]
    task = name, reading.layout, X, weight, generator, LIMIT
    return fit_embedding(*task, reading.group, bins)


def _most_shares(memory_limit):
    """Return how many shares of bins may be in memory, at most half of a limit."""
    if memory_limit is None:
        return MOST_SHARES
    return min(MOST_SHARES, in_bytes(memory_limit) // (2 * NUMBER))


def _met_columns(X):
    """Tell which columns of a sparse matrix have entries."""
    return np.bincount(X.indices, minlength=X.shape[1]) > 0
