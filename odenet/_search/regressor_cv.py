"""The regressor that chooses its depth and its flow time itself."""

from odenet._estimators.regressor import ResODERegressor
from odenet._search.path_search import PathSearchMixin


class ResODERegressorCV(PathSearchMixin, ResODERegressor):
    """ResODERegressor with depth and flow time chosen by cross-validation.

    Parameters
    ----------
    depths : array-like of int, default=(4, 8, 16, 32, 64)
        Depths to choose from.
    flow_times : array-like of float, default=None
        Flow times to choose from; None is 16 of them from 1 to 300, in equal
        ratios. From flow time 30 on, a fold stops early if its score has not improved
        for three of them, over which the flow time has grown at least threefold. A flow
        time that some fold has not reached is NaN in ``cv_results_`` and cannot be
        chosen.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn; None is five. If ``fit`` gets ``groups``, None and a
        number keep them together.
    scoring : str or callable, default=None
        Scorer of scikit-learn; None is R2 for the squared error, and for another
        ``loss`` minus this loss.
    one_standard_error : bool, default=False
        Whether to choose, instead of the best mean score, the shortest flow time (and
        then the smallest depth) within one standard error of it.
    n_jobs : int, default=None
        Number of folds that joblib runs at the same time.
    width, state_dim, activation, init : optional
        As in :class:`ResODERegressor`.
    solver : {"flow", "gd"} or solver object, default="flow"
        A solver that follows the flow. "auto" stands for "flow" here.
    depth_schedule, alpha, smoothness_penalty, standardize : optional
        As in :class:`ResODERegressor`; the ``depth_schedule`` is "doubling" or None.
    n_members : int, default=1
        Number of networks of the last fit, see :class:`ResODERegressor`. The search
        trains one on every fold. All samples train all members, to the flow time
        chosen.
    categorical_features, min_frequency, max_categories, allow_nan, \
            numeric_embedding, monotonic_cst : optional
        As in :class:`ResODERegressor`; the folds share categories and bins.
    checkpoint : str or path-like, default=None
        A file in which an unfinished search keeps the folds that are done, and then the
        state of the last fit: see :class:`ResODERegressor`.
    loss, quantile : optional
        As in :class:`ResODERegressor`. ``score`` is R2 for all losses.
    backward, device, dtype, random_state, verbose : optional
        As in :class:`ResODERegressor`.

    Attributes
    ----------
    depth_ : int
        The depth chosen.
    flow_time_ : float
        The flow time chosen, or the earlier one at which the flow became stationary.
    cv_results_ : dict of ndarray
        "param_depth", "param_flow_time", "mean_test_score", "std_test_score",
        "rank_test_score", "params" and "split{k}_test_score" of every pair of depth and
        flow time. ``pandas.DataFrame(cv_results_)`` shows them as a table.
    best_index_, best_score_ : int, float
        The row of ``cv_results_`` that was chosen, and its mean score.
    n_splits_ : int
        Number of folds.

    All fitted attributes of :class:`ResODERegressor` are there too. They belong to the
    last network, which was trained on all samples.

    Notes
    -----
    Every fold follows the flow once, with as few layers as the depth schedule allows.
    Whenever it reaches one of the flow times, the network is scored at every depth. To
    get there from its own l layers, it imitates more layers (up to O(1/l^2)), or it is
    resampled to fewer.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from odenet import ResODERegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ResODERegressorCV([4, 16], flow_times=[1, 10], cv=3, random_state=0)
    >>> model = model.fit(X, y)
    >>> model.depth_ in [4, 16], model.flow_time_ in [1, 10]
    (True, True)
    """

    _parameter_constraints = PathSearchMixin.constraints_beside(ResODERegressor)

    def __init__(
        self,
        depths=(4, 8, 16, 32, 64),
        *,
        flow_times=None,
        cv=None,
        scoring=None,
        one_standard_error=False,
        n_jobs=None,
        width=64,
        state_dim=None,
        activation="gelu",
        init="tied",
        solver="flow",
        depth_schedule="doubling",
        alpha=0.0,
        smoothness_penalty=0.0,
        n_members=1,
        standardize=True,
        categorical_features="from_dtype",
        min_frequency=2,
        max_categories=None,
        allow_nan=False,
        numeric_embedding="auto",
        monotonic_cst=None,
        loss="squared_error",
        quantile=0.5,
        backward="stored",
        checkpoint=None,
        device="auto",
        dtype="float32",
        random_state=None,
        verbose=0,
    ):
        self.depths = depths
        self.flow_times = flow_times
        self.cv = cv
        self.scoring = scoring
        self.one_standard_error = one_standard_error
        self.n_jobs = n_jobs
        self.width = width
        self.state_dim = state_dim
        self.activation = activation
        self.init = init
        self.solver = solver
        self.depth_schedule = depth_schedule
        self.alpha = alpha
        self.smoothness_penalty = smoothness_penalty
        self.n_members = n_members
        self.standardize = standardize
        self.categorical_features = categorical_features
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.allow_nan = allow_nan
        self.numeric_embedding = numeric_embedding
        self.monotonic_cst = monotonic_cst
        self.loss = loss
        self.quantile = quantile
        self.backward = backward
        self.checkpoint = checkpoint
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose
