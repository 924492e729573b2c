"""Estimators whose numbers enter the network in several forms."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
    distil,
)
from odenet._estimators import table
from odenet._tables.embeddings import piecewise_linear
from odenet._tables.embeddings.piecewise_linear import BINS, FEWEST
from odenet.solvers import AdamW
from tests.helpers import BOTH, SMALL, outputs, serve_onnx

FURTHER = ("piecewise_linear", "periodic")
NAMES = ("auto", "scores", *FURTHER, None)
QUICK = {**SMALL, "flow_time": 2.0}


def data(make=ResODERegressor, n=150, seed=0):
    """Steps in one column, a wave in another, and a column of two numbers."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, 2)), rng.integers(2, size=n)])
    y = np.floor(2 * X[:, 0]) + np.sin(2 * X[:, 1]) + X[:, 2]
    y = y + 0.1 * rng.normal(size=n)
    return X, y if make is ResODERegressor else (y > y.mean()).astype(int)


def encoder_of(model):
    return model._predictor.inputs.encoder


def test_each_name_stands_for_its_inputs():
    X, y = data()
    shapes = {}
    for name in NAMES:
        model = ResODERegressor(**QUICK, numeric_embedding=name).fit(X, y)
        shapes[name] = model.module_.embedding.shape[1]
        assert shapes[name] == encoder_of(model).n_inputs + 1
        assert model.module_.state_dim == 16
    assert shapes[None] == 3 + 1
    assert shapes["scores"] == 3 + 2 + 1
    assert shapes["auto"] == shapes["piecewise_linear"] == 3 + 2 + 2 * 7 + 1
    assert shapes["periodic"] == 3 + 2 + 2 * 16 + 1
    bins = ResODERegressor(**QUICK, numeric_embedding="piecewise_linear").fit(X, y)
    assert "3 numbers, 2 of them in 14 bins" in str(bins.summary())


def test_auto_has_bins_but_for_long_flows_and_mini_batches_of_several_classes():
    X, y = data(n=520)
    few = {**SMALL, "solver": AdamW(max_epochs=1)}
    for model, n_rows, has_bins in (
        (ResODERegressor(**few), 501, True),
        (ResODERegressor(**few, n_members=2), 501, True),
        (ResODERegressor(**few, monotonic_cst=[1, 0, 0]), 501, True),
        (ResODERegressor(**few, loss="quantile"), 501, True),
        (ResODERegressor(**few), 40, True),
        (ResODERegressor(**few), 39, False),
        (ResODERegressor(**QUICK), 501, False),
        (ResODERegressor(**QUICK), 500, True),
        (ResODERegressor(**QUICK), 40, True),
        (ResODERegressor(**QUICK), 39, False),
        (ResODERegressor(**few, standardize=False), 501, False),
        (ResODEClassifier(**few), 501, True),
        (ResODEClassifier(**QUICK), 501, False),
        (ResODEClassifier(**QUICK), 40, True),
        (ResODEClassifier(**QUICK), 39, False),
    ):
        has_classes = isinstance(model, ResODEClassifier)
        target = y > 0 if has_classes else y
        embedding = encoder_of(model.fit(X[:n_rows], target[:n_rows])).embedding
        assert (embedding is not None) is has_bins, (model, n_rows)
        if has_bins:
            assert embedding.name == "piecewise_linear"
            assert embedding.n_bins == [n_rows // BINS.samples] * 2
            assert embedding.size == BINS.size
    several = ResODEClassifier(**few).fit(X, np.digitize(y, [-1, 1]))
    assert encoder_of(several).embedding is None
    several.set_params(numeric_embedding="piecewise_linear")
    embedding = encoder_of(several.fit(X, np.digitize(y, [0, 1]))).embedding
    assert embedding.size == BINS.size
    several = ResODEClassifier(**QUICK).fit(X[:40], np.digitize(y[:40], [-1, 1]))
    assert encoder_of(several).embedding.n_bins == [40 // BINS.samples] * 2
    labels = ResODEClassifier(**QUICK).fit(
        X[:40], np.column_stack([y > -1, y > 1])[:40]
    )
    assert encoder_of(labels).embedding.n_bins == [40 // BINS.samples] * 2
    repeated = np.arange(520) % 39
    model = ResODERegressor(**few).fit(X[repeated], y[repeated])
    assert encoder_of(model).embedding is None  # the same 39 rows, again and again


def test_auto_has_no_more_bins_than_a_step_can_bear(monkeypatch):
    """Bins of all columns have as many columns of A, each of which takes its time."""
    X, y = data(n=510)
    model = ResODERegressor(**SMALL, solver=AdamW(max_epochs=1))
    for most, n_bins in (
        (2 * BINS.most, 510 // BINS.samples),
        (2 * FEWEST + 1, FEWEST),
        (2 * FEWEST - 1, None),
    ):
        monkeypatch.setattr(piecewise_linear, "MOST_INPUTS", most)
        embedding = encoder_of(model.fit(X, y)).embedding
        assert (embedding and embedding.n_bins) == (n_bins and [n_bins] * 2)
    few = encoder_of(model.fit(X[:60], y[:60])).embedding
    assert few.n_bins == [3, 3]  # they have no rows for more
    monkeypatch.setattr(piecewise_linear, "MOST_INPUTS", 5)
    assert encoder_of(model.fit(X[:60], y[:60])).embedding is None
    model.set_params(numeric_embedding="piecewise_linear")
    for most in (5, 2 * FEWEST):  # whoever asks for bins has all of them
        monkeypatch.setattr(piecewise_linear, "MOST_INPUTS", most)
        assert encoder_of(model.fit(X[:60], y[:60])).embedding.n_bins == [3, 3]
        assert encoder_of(model.fit(X, y)).embedding.n_bins == [510 // BINS.samples] * 2


def test_auto_has_no_bins_where_they_would_fill_the_memory(monkeypatch):
    X, y = data(n=510)
    model = ResODERegressor(**SMALL, solver=AdamW(max_epochs=1))
    shares = 510 * 2 * FEWEST  # the third column has two numbers
    for most, has_bins in ((shares, True), (shares - 1, False)):
        monkeypatch.setattr(table, "MOST_SHARES", most)
        assert (encoder_of(model.fit(X, y)).embedding is not None) is has_bins
    classifier = ResODEClassifier(**SMALL, solver=AdamW(max_epochs=1))
    for most, n_bins in ((shares + 1020, FEWEST + 1), (shares, FEWEST)):
        monkeypatch.setattr(table, "MOST_SHARES", most)
        assert encoder_of(classifier.fit(X, y > 0)).embedding.n_bins == [n_bins] * 2
    monkeypatch.setattr(table, "MOST_SHARES", shares - 1)
    assert encoder_of(classifier.fit(X, y > 0)).embedding is None
    for asked, target in ((model, y), (classifier, y > 0)):
        asked.set_params(numeric_embedding="piecewise_linear")
        embedding = encoder_of(asked.fit(X, target)).embedding
        assert embedding.n_bins == [510 // BINS.samples] * 2
    monkeypatch.undo()
    for limit, has_bins in ((16 * shares, True), (16 * shares - 1, False)):
        model = ResODEClassifier(
            **SMALL, solver=AdamW(max_epochs=1), memory_limit=limit
        ).fit(X, y > 0)
        assert (encoder_of(model).embedding is not None) is has_bins


@pytest.mark.parametrize("make", [ResODERegressor, ResODEClassifier])
def test_the_weights_of_bins_decay_unless_the_user_says_otherwise(make):
    X, y = data(make, n=510)
    sizes = {}
    for decay in ("auto", 0.0, 0.1):
        solver = AdamW(max_epochs=30, weight_decay=decay)
        model = make(**SMALL, solver=solver, early_stopping=False).fit(X, y)
        A, bins = model.module_.embedding.detach(), model.module_.n_embedded
        assert bins == encoder_of(model).embedding.n_inputs
        sizes[decay] = A[:, -1 - bins : -1].norm(), A[:, : -1 - bins].norm()
    of_bins, of_others = zip(*sizes.values(), strict=True)
    assert of_bins[0] < 0.8 * of_bins[1]
    assert of_others[0] > 1.05 * of_others[2]


@pytest.mark.parametrize("n_members", [1, 2])
def test_a_file_keeps_which_inputs_are_embedded(n_members, tmp_path):
    X, y = data(n=510)
    solver = AdamW(max_epochs=2)
    model = ResODERegressor(**SMALL, solver=solver, n_members=n_members).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    loaded = ResODERegressor.load(tmp_path / "model.safetensors")
    assert loaded.module_.n_embedded == model.module_.n_embedded == 50
    assert loaded.with_depth(4).module_.n_embedded == 50
    plain = ResODERegressor(**SMALL, solver=solver, numeric_embedding=None)
    assert "n_embedded" not in plain.fit(X, y).module_.settings()


def test_bins_learn_steps_that_scores_smooth_over():
    X, y = data(n=2400)
    settings = {**SMALL, "width": 16, "solver": AdamW(max_epochs=40)}
    errors = {}
    for name in ("scores", "piecewise_linear"):
        model = ResODERegressor(**settings, numeric_embedding=name).fit(
            X[:1600], y[:1600]
        )
        errors[name] = np.mean((model.predict(X[1600:]) - y[1600:]) ** 2)
    assert errors["piecewise_linear"] < 0.8 * errors["scores"]


@BOTH
def test_a_weight_is_a_repetition(make):
    X, y = data(make)
    weight = np.random.default_rng(1).integers(0, 4, size=len(y))
    where = np.repeat(np.arange(len(y)), weight)
    for name in FURTHER:
        for solver in ("flow", AdamW(max_epochs=2)):
            settings = {**SMALL, "solver": solver, "numeric_embedding": name}
            if solver == "flow":
                settings["flow_time"] = 1.0
            weighted = make(**settings).fit(X, y, sample_weight=weight)
            repeated = make(**settings).fit(X[where], y[where])
            np.testing.assert_array_equal(outputs(weighted, X), outputs(repeated, X))


def test_they_are_kept_by_all_that_is_made_of_a_model(tmp_path):
    X, y = data()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.loc[::9, "a"] = np.nan
    frame["d"] = np.array(["x", "y", "z"])[np.arange(len(X)) % 3]
    for name in FURTHER:
        for dtype in ("float32", "float64"):
            model = ResODERegressor(
                **QUICK, dtype=dtype, allow_nan=True, numeric_embedding=name
            ).fit(frame, y)
            expected = model.predict(frame)
            model.save(tmp_path / "model.safetensors")
            for same in (
                pickle.loads(pickle.dumps(model)),
                ResODERegressor.load(tmp_path / "model.safetensors"),
                clone(model).fit(frame, y),
            ):
                np.testing.assert_array_equal(same.predict(frame), expected)
            deep = model.with_depth(64)
            gap = np.abs(deep.to_ode().predict(frame) - deep.predict(frame)).max()
            assert gap < 0.02 * np.std(expected)
            baseline = frame.iloc[:1]
            contributions = model.attribution(frame, baseline=baseline)
            assert contributions.shape == (len(X), 4)
            change = expected - model.predict(baseline)
            np.testing.assert_allclose(contributions.sum(axis=1), change, atol=1e-4)
        far = frame.assign(a=1e300, b=-1e300)
        assert np.isfinite(model.predict(far)).all()


def test_a_graph_computes_them(tmp_path):
    X, y = data()
    X[::9, 0] = np.nan
    for name in FURTHER:
        for members in (1, 2):
            model = ResODERegressor(
                **QUICK, allow_nan=True, n_members=members, numeric_embedding=name
            ).fit(X, y)
            served = serve_onnx(model, X, tmp_path / "model.onnx")
            np.testing.assert_allclose(served.ravel(), model.predict(X), atol=1e-5)


@BOTH
def test_a_search_and_a_student_take_them(make):
    X, y = data(make, n=240)
    X[:120, 0] = X[:, 0].min()  # by themselves the folds would have other bins
    search_class = ResODERegressorCV if make is ResODERegressor else ResODEClassifierCV
    for name in FURTHER:
        settings = {"depths": (2, 4), "flow_times": (0.5, 1.0), "cv": 3, "width": 8}
        model = search_class(**settings, random_state=0, numeric_embedding=name)
        assert encoder_of(model.fit(X, y)).embedding.name == name
        file = io.BytesIO()
        model.save(file)
        file.seek(0)
        loaded = search_class.load(file)
        np.testing.assert_array_equal(outputs(loaded, X), outputs(model, X))
        student = make(**QUICK, numeric_embedding=name)
        student = distil(model, X, student=student, random_state=0)
        assert encoder_of(student).embedding.name == name
    pipeline = make_pipeline(StandardScaler(), make(**QUICK))
    grid = {f"{make.__name__.lower()}__numeric_embedding": list(NAMES)}
    assert len(GridSearchCV(pipeline, grid, cv=2).fit(X, y).cv_results_["params"]) == 5


def test_training_goes_on_with_the_bins_of_the_first_part():
    X, y = data()
    for name in FURTHER:
        settings = {**SMALL, "solver": AdamW(max_epochs=2), "numeric_embedding": name}
        model = ResODERegressor(**settings).partial_fit(X[:60], y[:60])
        first = encoder_of(model)(X)
        model.partial_fit(10 * X[60:], y[60:])
        np.testing.assert_array_equal(encoder_of(model)(X), first)
        model.set_params(warm_start=True).fit(X, y)
        np.testing.assert_array_equal(encoder_of(model)(X), first)
        for other in {*NAMES} - {"auto", name}:  # None among them
            model.set_params(numeric_embedding=other)
            with pytest.raises(ValueError, match=f"must stay '{name}'"):
                model.fit(X, y)
        model.set_params(numeric_embedding="auto").fit(X, y)


def test_training_does_not_go_on_with_other_inputs_without_bins():
    X, y = data()
    for first, other in ((None, "scores"), ("scores", None)):
        model = ResODERegressor(**SMALL, solver=AdamW(max_epochs=2))
        model.set_params(numeric_embedding=first).partial_fit(X, y)
        model.set_params(numeric_embedding=other)
        if first is None:  # no column has scores: "scores" cannot be told from it
            model.partial_fit(X, y)
            continue
        with pytest.raises(ValueError, match="must stay 'scores'"):
            model.partial_fit(X, y)


def test_monotone_columns_have_bins_and_no_waves():
    X, y = data()
    model = ResODERegressor(
        **SMALL,
        solver=AdamW(max_epochs=20),
        monotonic_cst=[1, 0, 0],
        numeric_embedding="piecewise_linear",
    ).fit(X, y)
    rows = np.repeat(X[:50], 200, axis=0)
    rows[:, 0] = np.tile(np.linspace(-4, 4, 200), 50)
    for other in (model, model.to_ode(rtol=1e-3), model.with_depth(2)):
        predicted = other.predict(rows).reshape(50, 200)
        assert (np.diff(predicted, axis=1) >= -1e-6).all()
    A = model.module_.embedding.detach().numpy()
    bins = A[:, :-1][:, encoder_of(model).sources == 0][:, 2:]
    assert (bins >= 0).all()
    assert bins.any()
    model.set_params(numeric_embedding="periodic")
    with pytest.raises(
        ValueError, match=r"'periodic' for the constrained columns \[0\]"
    ):
        model.fit(X, y)
    model.set_params(monotonic_cst=[0, 0, 1]).fit(X, y)  # it has no waves


def test_tables_without_standardisation_have_them_if_they_are_asked_for():
    X, y = data()
    for name, n in (("auto", 3), (None, 3), ("scores", 5), ("piecewise_linear", 19)):
        model = ResODERegressor(**QUICK, standardize=False, numeric_embedding=name)
        Z = encoder_of(model.fit(X, y))(X)
        assert Z.shape[1] == n
        np.testing.assert_array_equal(Z[:, :3], X)


def test_what_has_no_numbers_to_embed_says_so():
    X, y = data()
    for name in ("scores", *FURTHER):
        with pytest.raises(ValueError, match=f"numeric_embedding='{name}'"):
            ResODERegressor(**QUICK, numeric_embedding=name).fit(sp.csr_array(X), y)
    for name in ("auto", None):
        ResODERegressor(**QUICK, numeric_embedding=name).fit(sp.csr_array(X), y)
    with pytest.raises(ValueError, match="'numeric_embedding' parameter .* 'bins'"):
        ResODEClassifier(**QUICK, numeric_embedding="bins").fit(X, y > 0)
    with pytest.raises(TypeError, match="numeric_embedding"):
        ResODEImageClassifier(numeric_embedding="periodic")
    for name in FURTHER:  # two numbers and a constant are as they are
        few = np.column_stack([X[:, 2], np.ones(len(X))])
        model = ResODERegressor(**QUICK, numeric_embedding=name).fit(few, y)
        assert encoder_of(model).n_inputs == 2
        file = io.BytesIO()
        model.save(file)
        file.seek(0)
        loaded = ResODERegressor.load(file)
        np.testing.assert_array_equal(loaded.predict(few), model.predict(few))
