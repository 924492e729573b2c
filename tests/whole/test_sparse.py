"""Sparse tables, as a user of the estimators meets them."""

import inspect
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from skorch.callbacks import Callback

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
    TrajectoryDisplay,
    distil,
)
from odenet.solvers import SGD, AdamW, Flow, GradientDescent
from tests.helpers import BOTH, outputs, serve_onnx

TINY = {"depth": 2, "width": 4, "flow_time": 2.0, "random_state": 0}
BATCHES = {**TINY, "flow_time": None, "solver": AdamW(max_epochs=3)}


def drawn(n_rows, n_columns, density):
    """A matrix of numbers from 0 to 1, at random places."""
    rng, n = np.random.default_rng(0), round(density * n_rows * n_columns)
    places = rng.integers(n_rows, size=n), rng.integers(n_columns, size=n)
    return sp.csr_array((rng.random(n), places), shape=(n_rows, n_columns))


@pytest.fixture
def wide():
    """Few rows of many columns, of which the matrix A has no coordinate for each."""
    X = drawn(60, 300, 0.05)
    return X, (X.toarray()[:, :150].sum(axis=1) > X.toarray()[:, 150:].sum(axis=1)) * 1


def fit(model, *data, **more):
    """Fit a model, which may well end before the loss is at rest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data, **more)


def test_every_solver_fits_and_predicts_as_from_a_dense_table(wide):
    X, y = wide
    settings = [
        {"solver": Flow()},
        {"solver": Flow(method="exponential")},
        {"solver": Flow(), "flow_time": None, "depth_schedule": None},  # folds, as one
        {"solver": GradientDescent(learning_rate=0.1)},
        {"solver": AdamW(max_epochs=2), "flow_time": None},
        {"solver": SGD(max_epochs=2), "flow_time": None},
        {"backward": "rebuilt"},
        {"depth": "auto", "gap_tol": 0.1},
        {"early_stopping": True, "alpha": 1e-3, "smoothness_penalty": 1e-3},
        {"standardize": False, "dtype": "float64"},
        {"state_dim": 2},
        {"n_members": 2},
        {"n_members": 3, "flow_time": None, "scoring": None},
        {"n_members": 2, **BATCHES, "early_stopping": True},
    ]
    for more in settings:
        for make in (ResODERegressor, ResODEClassifier):
            model = fit(make(**{**TINY, **more}), X, y)
            expected = outputs(model, X.toarray())
            np.testing.assert_allclose(
                outputs(model, X), expected, rtol=1e-9, atol=1e-12
            )
            assert 0 < np.ptp(expected) < np.inf, more
            assert model.score(X, y) == pytest.approx(model.score(X.toarray(), y))


def test_rows_have_mean_square_norm_one(wide):
    X, y = wide
    weight = np.arange(60) % 3.0
    model = ResODERegressor(**TINY).fit(5 * X, y, sample_weight=weight)
    squares = X.power(2).sum(axis=1)
    expected = X.toarray() / np.sqrt(np.average(squares, weights=weight))
    inputs = model._predictor.inputs(5 * X)
    np.testing.assert_allclose(inputs.toarray(), expected)


@BOTH
def test_all_formats_and_dtypes_give_the_same_fit(make, wide):
    X, y = sp.csr_array(wide[0] > 0), wide[1]
    expected = outputs(make(**TINY).fit(X.astype(float), y), X)
    large = X.astype(np.float64)
    large.indices, large.indptr = (a.astype(np.int64) for a in (X.indices, X.indptr))
    formats = [X.asformat(name) for name in ("csc", "coo", "lil", "dok", "bsr")]
    others = [
        *formats,
        sp.csr_matrix(X),
        X.astype(np.int32),
        X.astype("float32"),
        large,
    ]
    for other in others:
        model = make(**TINY).fit(other, y)
        np.testing.assert_array_equal(outputs(model, other), expected)


@BOTH
def test_a_weight_is_a_number_of_repetitions(make, wide, rng):
    X, y = wide
    weight = rng.integers(0, 4, size=60)
    rows = rng.permutation(np.repeat(np.arange(60), weight))
    for params in (TINY, BATCHES):
        weighted = fit(make(**params), X, y, sample_weight=weight)
        repeated = fit(make(**params), X[rows], y[rows])
        np.testing.assert_array_equal(outputs(weighted, X), outputs(repeated, X))


@BOTH
def test_every_use_of_a_fitted_model(make, wide, tmp_path):
    X, y = wide
    dense = X.toarray()
    model = make(**TINY).fit(X, y)
    same = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(model.transform(X), model.transform(dense), **same)
    states = model.hidden_states(X)
    np.testing.assert_allclose(states, model.hidden_states(dense), **same)
    assert model.ode_gap(X) == pytest.approx(model.ode_gap(dense), rel=1e-4)
    ode = model.to_ode()
    np.testing.assert_allclose(outputs(ode, X), outputs(ode, dense), **same)
    deeper = model.with_depth(4)
    np.testing.assert_allclose(outputs(deeper, X), outputs(deeper, dense), **same)
    assert model.with_depth(tol=0.5, X=X).depth_ <= 2
    assert "300 numbers" in model.summary()
    model.save(tmp_path / "model.safetensors")
    loaded = make.load(tmp_path / "model.safetensors")
    for other in (pickle.loads(pickle.dumps(model)), loaded):
        np.testing.assert_array_equal(outputs(other, X), outputs(model, X))
    assert model.set_output(transform="pandas").transform(X).shape == states.shape[1:]


def test_served_by_onnx_from_a_dense_table(wide, tmp_path):
    X, y = wide
    model = ResODERegressor(**TINY).fit(X, y)
    served = serve_onnx(model, X.toarray(), tmp_path / "model.onnx")
    np.testing.assert_allclose(served, model.predict(X), rtol=1e-4, atol=1e-5)


@BOTH
def test_a_model_of_a_dense_table_takes_a_sparse_one(make, wide):
    X, y = wide[0][:, :20], wide[1]
    for params in ({}, {"allow_nan": True}, {"standardize": False}):
        model = make(**TINY, **params).fit(X.toarray(), y)
        np.testing.assert_allclose(outputs(model, X), outputs(model, X.toarray()))
    held_out = {"X_val": X, "y_val": y}
    fit(make(**BATCHES), X.toarray(), y, **held_out)  # converted
    fit(make(**BATCHES), X, y, X_val=X.toarray(), y_val=y)


@BOTH
def test_training_goes_on(make, wide):
    X, y = wide
    model = fit(make(**BATCHES, warm_start=True), X, y)
    before = outputs(model, X)
    assert fit(model, X, y).n_iter_ == 6
    assert not np.array_equal(outputs(model, X), before)
    part = make(**BATCHES)
    new = sp.csr_array(X.toarray() * (np.arange(300) < 200))  # the rest comes later
    part.partial_fit(new, y)
    at_start = part.module_.embedding.detach()[:, 200:-1].abs().max()
    part.partial_fit(X, y)
    assert at_start == 0
    assert part.module_.embedding.detach()[:, 200:-1].abs().max() > 0


def test_searches_over_paths_and_grids(wide):
    X, y = wide
    path = {"depths": [2, 4], "flow_times": [0.5, 1.0], "cv": 3, "width": 4}
    for make in (ResODERegressorCV, ResODEClassifierCV):
        search = make(**path, random_state=0).fit(X, y)
        alone = make(**path, random_state=0, backward="rebuilt").fit(X, y)  # no joint
        np.testing.assert_allclose(
            search.cv_results_["mean_test_score"],
            alone.cv_results_["mean_test_score"],
            rtol=0.05,
        )
    texts = ["one two", "two three", "three four four"] * 12
    pipeline = make_pipeline(TfidfVectorizer(), ResODEClassifier(**TINY))
    grid = GridSearchCV(pipeline, {"resodeclassifier__width": [2, 4]}, cv=2)
    assert grid.fit(texts, [0, 1, 1] * 12).best_score_ == 1.0


@BOTH
def test_rows_and_columns_without_entries(make, wide):
    X, y = wide
    empty = sp.csr_array(X.shape)
    assert np.ptp(outputs(fit(make(**TINY), empty, y), X)) == 0
    X = sp.vstack([X[:, :-100], X[:2, :-100] * 0]).tocsr()
    X = sp.csr_array(sp.hstack([X, sp.csr_array((62, 100))]))
    model = make(**TINY).fit(X, np.append(y, [0, 1]))
    unknown = sp.csr_array((np.ones(100), (np.zeros(100, int), np.arange(200, 300))))
    unknown.resize((1, 300))
    of_nothing = outputs(model, sp.csr_array((1, 300)))
    np.testing.assert_array_equal(outputs(model, unknown), of_nothing)


def test_what_a_sparse_table_cannot_have(wide):
    X, y = wide
    fitted = ResODERegressor(**TINY).fit(X, y)
    before = fitted.predict(X)
    bad = X.copy()
    bad.data[0] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted.fit(bad, y)
    bad.data[0] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        fitted.fit(bad, y)
    np.testing.assert_array_equal(fitted.predict(X), before)
    for params in ({"allow_nan": True}, {"categorical_features": [1]}):
        model = ResODERegressor(**TINY, **params)
        assert not get_tags(model).input_tags.sparse
        with pytest.raises(ValueError, match="X is sparse"):
            model.fit(X, y)
    assert get_tags(fitted).input_tags.sparse
    with pytest.raises(TypeError, match="[Ss]parse"):
        ResODEImageClassifier().fit(X, y)


class InterruptsOnce(Callback):
    """Interrupts the first training that it sees, after two epochs."""

    only_watches = True
    is_done = False

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3 and not InterruptsOnce.is_done:
            InterruptsOnce.is_done = True
            raise KeyboardInterrupt


def test_a_checkpoint_goes_on_to_the_same_model(wide, tmp_path, every_epoch_is_kept):
    X, y = wide
    data = {"X": X, "y": y, "X_val": X, "y_val": y}
    whole = fit(ResODERegressor(**BATCHES), **data)
    model = ResODERegressor(
        **BATCHES, checkpoint=tmp_path / "fit", callbacks=[InterruptsOnce()]
    )
    assert fit(model, **data).stop_reason_ == "interrupted"
    assert (tmp_path / "fit").exists()
    resumed = fit(clone(model), **data)
    assert not (tmp_path / "fit").exists()
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))


@pytest.mark.parametrize("state_dim", [None, 8])
def test_memory_is_that_of_the_entries(state_dim):
    """Dense, the table would take 32 gigabytes."""
    X = drawn(20_000, 200_000, 1e-4)
    solver = AdamW(max_epochs=1, batch_size=10_000)
    model = ResODERegressor(
        1, width=2, state_dim=state_dim, solver=solver, random_state=0
    )
    fit(model, X, X[:, [0]].toarray()[:, 0] + np.arange(20_000) % 2)
    for values in (model.predict(X), model.transform(X)[:, 0]):
        assert values.shape == (20_000,)
        assert np.isfinite(values).all()


@pytest.mark.gpu
def test_fits_alike_on_a_gpu(wide):
    X, y = wide
    for params in (TINY, BATCHES):
        here, there = (
            outputs(fit(ResODERegressor(**params, device=device), X, y), X)
            for device in ("cpu", "cuda")
        )
        np.testing.assert_allclose(there, here, rtol=1e-2, atol=1e-3)
    assert torch.cuda.is_available()


def test_several_models_share_rows_and_hold_out_their_own(wide):
    X, y = wide
    model = fit(ResODEClassifier(n_members=5, **{**TINY, "flow_time": None}), X, y)
    members = np.mean([m.predict_proba(X) for m in model.members_], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), members, rtol=1e-9)
    assert model.predict_set(X, 0.8).shape == (60, 2)
    sizes = [len(scores) for scores in model._predictor.calibration.scores]
    assert sum(sizes) == 60


def test_what_needs_dense_rows_says_so(wide):
    X, y = wide
    model = fit(ResODERegressor(**TINY), X, y)
    with pytest.raises(ValueError, match="pass dense rows"):
        model.attribution(X)
    assert model.attribution(X[:3].toarray()).shape == (3, 300)
    with pytest.raises(ValueError, match="n_augmented=0"):
        distil(model, X, n_augmented=10)
    student = fit_student(model, X)
    assert student.predict(X).shape == (60,)


def test_members_with_signs_need_a_state_with_room(wide):
    X, y = wide
    signs = np.eye(1, 300, dtype=int)[0]
    settings = {**TINY, "state_dim": 8, "monotonic_cst": signs}
    assert fit(ResODERegressor(**settings), X, y).module_.monotonicity is not None
    with pytest.raises(ValueError, match="raise state_dim=8 to 302"):
        ResODERegressor(**settings, n_members=2).fit(X, y)


def fit_student(teacher, X):
    """A student of a teacher on sparse rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return distil(teacher, X, student=ResODERegressor(**TINY))


@pytest.mark.filterwarnings("ignore")
def test_docstrings_tell_of_sparse_matrices(wide):
    """Those of all methods that take some: of all but ``attribution``."""
    X, y = wide
    told = "X : array-like or sparse matrix of shape"
    called = set()
    for kind in (ResODERegressor, ResODEClassifier):
        content = pickle.dumps(kind(**BATCHES).fit(X, y, X_val=X, y_val=y))
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            is_ours = method.__module__.startswith("odenet") and name[0] != "_"
            names = inspect.signature(method).parameters
            if not is_ours or "X" not in names or name == "attribution":
                continue
            more = {"y": y} if "y" in names else {}
            more |= {"tol": 0.1} if name == "with_depth" else {}
            getattr(pickle.loads(content), name)(X=X, **more)
            assert told in method.__doc__, name
            called.add(name)
    assert {"fit", "partial_fit", "predict_interval", "predict_set"} < called
    for function in (distil, TrajectoryDisplay.from_estimator):
        assert told in function.__doc__
    assert told not in ResODERegressor.attribution.__doc__
