"""Whatever the data and the parameters, a fit ends well, or says what is wrong."""

import numpy as np
from hypothesis import strategies as st
from joblib import parallel_config
from sklearn.base import clone

from odenet import ResODEClassifier, ResODERegressor, ResODERegressorCV
from odenet._estimators.base import prepare
from odenet._tables.reading import Announced
from odenet._training.fitting import make_net
from odenet._training.monitor import LARGEST_RISE
from odenet.solvers import Flow
from tests.properties.cases import (
    generators,
    holds,
    layouts,
    problems,
    tables,
    trainings,
)

MORE = st.fixed_dictionaries(
    {
        "state_dim": st.sampled_from([None, 2, 5, 30]),
        "activation": st.sampled_from(["gelu", "tanh", "relu", "identity"]),
        "init": st.sampled_from(["tied", "gaussian_process", "iid"]),
        "depth_schedule": st.sampled_from(["doubling", None]),
        "alpha": st.sampled_from([0.0, 0.1]),
        "smoothness_penalty": st.sampled_from([0.0, 0.01]),
        "backward": st.sampled_from(["stored", "rebuilt"]),
        "dtype": st.sampled_from(["float32", "float64"]),
    }
)


@holds(60, 900, X=tables(), params=trainings(), more=MORE, rng=generators())
def test_a_fit_ends_with_finite_predictions_and_no_larger_loss(X, params, more, rng):
    """Of a flow by steps of error control; others stay below the bound of a divergence.

    Euler's fixed steps may be too long for a network, and mini-batches rise and fall. A
    flow that runs out of gradients while held-out samples judge it has weights that
    were trained without these.
    """
    is_regressor = rng.integers(2)
    y = rng.normal(size=len(X)) if is_regressor else rng.integers(2, size=len(X))
    y[:2] = 0, 1
    model = (ResODERegressor if is_regressor else ResODEClassifier)(**params | more)
    model.fit(X, y)
    assert np.isfinite(model.predict(X)).all() if is_regressor else True
    assert np.isfinite(getattr(model, "predict_proba", model.predict)(X)).all()
    assert model.n_grad_evals_ < 1000
    predictor, samples, plan = prepare(model, X, y, None, Announced())
    start = make_net(predictor.network, plan).objective(samples)
    is_controlled = params["solver"] == "flow" or isinstance(params["solver"], Flow)
    saw_all = model.stop_reason_ != "max_evals" or not params["early_stopping"]
    rise = 1 + 1e-4 if is_controlled and saw_all else LARGEST_RISE
    assert model.loss_ <= rise * start + 1e-6


@holds(40, 1000, X=tables(), params=trainings(), rng=generators())
def test_predictions_of_a_row_do_not_depend_on_the_others(X, params, rng):
    y = rng.normal(size=len(X))
    model = ResODERegressor(**params).fit(X, y)
    expected, scale = model.predict(X), np.abs(y).max()
    chosen = rng.integers(len(X), size=7)
    tolerance = {"rtol": 1e-9, "atol": 1e-9 * scale}
    np.testing.assert_allclose(model.predict(X[chosen]), expected[chosen], **tolerance)
    np.testing.assert_allclose(model.predict(X[:1]), expected[:1], **tolerance)


@holds(15, 60, X=tables(["few", "constant"]), params=trainings(), rng=generators())
def test_the_layout_of_a_table_does_not_matter(X, params, rng):
    """The numbers are exact in every dtype."""
    X = np.round(8 * X) / 8
    y = rng.normal(size=len(X))
    model = ResODERegressor(**params)
    expected = model.fit(X, y).predict(X)
    for table in layouts(X):
        np.testing.assert_array_equal(model.fit(table, y).predict(table), expected)


@holds(
    30,
    150,
    problem=problems(),
    params=trainings(["flow", "gd", "sgd"]),
    more=MORE,
)
def test_single_precision_differs_by_rounding_only(problem, params, more):
    """Nothing is held out, so that rounding decides nothing."""
    X, y = problem
    params |= more | {"early_stopping": False}
    one, two = (
        ResODERegressor(**params | {"dtype": dtype}).fit(X, y).predict(X)
        for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3 * np.abs(y).max())


@holds(5, 40, problem=problems(least=8), params=trainings(["flow"]))
def test_the_number_of_jobs_does_not_matter(problem, params):
    """Of folds that are trained one by one, as those are that rebuild their states."""
    X, y = problem
    del params["depth"], params["early_stopping"], params["flow_time"]
    params["backward"] = "rebuilt"
    grid = {"depths": [1, 3], "flow_times": [0.1, 0.5], "cv": 2}
    one = ResODERegressorCV(**grid, **params).fit(X, y)
    with parallel_config("threading"):
        two = clone(one).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    for name, scores in one.cv_results_.items():
        np.testing.assert_array_equal(scores, two.cv_results_[name])
