"""Attributions: they add up, and are what a quadrature of NumPy's loops finds."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad_vec
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from odenet import ResODEClassifier, ResODERegressor, ResODERegressorCV
from odenet._diagnostics import attribution as module
from tests.helpers import SMALL, outputs

FLOW = {**SMALL, "flow_time": 20.0}


@pytest.fixture
def X(rng):
    return rng.normal(size=(40, 3))


@pytest.fixture
def y(X):
    return 50 + 20 * np.tanh(2 * X[:, 0]) + 5 * X[:, 0] * X[:, 1]


@pytest.fixture
def table(X):
    """Numbers that may be missing, two columns of categories, and a constant."""
    kinds = np.where(X[:, 0] > 0.3, "high", np.where(X[:, 1] > 0, "middle", "low"))
    table = pd.DataFrame({"kind": kinds, "size": X[:, 0], "half": X[:, 1] > 0})
    table["half"] = table["half"].astype("category")
    table.loc[::5, "size"] = np.nan
    return table.assign(constant=1.0, other=X[:, 2])


def change(model, X, baseline):
    """What the contributions must add up to."""
    values = outputs(model, X), outputs(model, baseline)
    if isinstance(model, ResODERegressor) and model.loss in ("poisson", "gamma"):
        values = [np.log(v) for v in values]
    return values[0] - values[1].mean(axis=0)


def test_contributions_add_up_to_the_change_of_the_output(X, y):
    """For all kinds of targets and losses, and rows of any number as a baseline."""
    labels = np.digitize(y, [40, 60])
    models = [
        ResODERegressor(**FLOW).fit(X, y),
        ResODERegressor(**FLOW, standardize=False, activation="silu").fit(X, y / 50),
        ResODERegressor(**FLOW).fit(X, np.column_stack([y, X[:, 2]])),
        ResODERegressor(**FLOW, loss="poisson").fit(X, y),
        ResODERegressor(**FLOW, loss="quantile", quantile=[0.2, 0.8]).fit(X, y),
        ResODERegressor(**FLOW, loss="quantile", quantile=[0.4]).fit(X, y[:, None]),
        ResODEClassifier(**FLOW, dtype="float64").fit(X, labels > 1),
        ResODEClassifier(**FLOW).fit(X, labels),
    ]
    models += [models[0].with_depth(2, imitate=True), models[-1].with_depth(9)]
    for model in models:
        for baseline in (None, X[:1], X[:3] + 0.1):
            found = model.attribution(X, baseline=baseline)
            start = X.mean(axis=0, keepdims=True) if baseline is None else baseline
            expected = change(model, X, start)
            assert found.shape == (len(X), 3, *expected.shape[1:])
            size = np.abs(found).sum(axis=1).max()
            assert abs(found.sum(axis=1) - expected).max() <= 3e-6 * size
            split = model.attribution(X, baseline=baseline, by_depth=True)
            assert split.shape == (model.depth_ + 1, *found.shape)
            assert abs(split.sum(axis=0) - found).max() <= 3e-6 * size


def brute_force(model, X, start, column_of):
    """Integrated gradients by autograd and an adaptive quadrature, row by row."""
    predictor = model._predictor
    network = predictor.network_for_evaluation()
    encode = predictor.inputs.encoder
    scale = predictor.targets.standardizer.scale
    found = np.zeros((len(X), max(column_of) + 1))
    u0 = encode(start)[0]
    for i, u in enumerate(encode(X)):

        def gradient(t, step=u - u0):
            point = torch.tensor(u0 + t * step)[None].requires_grad_()
            (slope,) = torch.autograd.grad(network(point).sum(), point)
            return slope[0].numpy() * step

        parts, _ = quad_vec(gradient, 0, 1, epsrel=1e-10)
        np.add.at(found[i], column_of, scale * parts)
    return found


def test_contributions_are_those_of_a_brute_quadrature(table, y):
    """All that a column is turned into counts as the column's."""
    model = ResODERegressor(**FLOW, allow_nan=True).fit(table, y)
    # size, constant, other; three kinds, half, what is missing; scores and bins of two
    column_of = [1, 3, 4, 0, 0, 0, 2, 1, 1, 4, 1, 1, 4, 4]
    rows = model._predictor.inputs.read(table.head(4))
    start = np.array([[-1, table["size"].mean(), -1, 1.0, table["other"].mean()]])
    expected = brute_force(model, rows, start, column_of)
    found = model.attribution(table.head(4))
    size = np.abs(expected).sum(axis=1).max()
    np.testing.assert_allclose(found, expected, atol=1e-6 * size)
    assert (found[:, 3] == 0).all()  # the constant
    assert (found[:, [0, 1, 2, 4]] != 0).any(axis=0).all()
    # an unknown kind is no kind
    unknown = table.head(1).assign(kind="none")
    assert model.attribution(unknown)[0, 0] == 0
    start = table.iloc[[7]]
    total = model.attribution(table, baseline=start).sum(axis=1)
    np.testing.assert_allclose(total, change(model, table, start), atol=1e-3)


def test_a_linear_network_contributes_by_its_coefficients(X, y):
    settings = {"activation": "identity", "standardize": False, "dtype": "float64"}
    model = ResODERegressor(**FLOW, **settings)
    model.fit(X, np.column_stack([y, X[:, 1]]))
    rows = np.vstack([np.zeros(3), np.eye(3)])
    intercept, *coefficients = model.predict(rows)
    coefficients = np.array(coefficients) - intercept
    expected = (X - X.mean(axis=0))[..., None] * coefficients
    size = np.abs(expected).max()
    np.testing.assert_allclose(model.attribution(X), expected, atol=1e-12 * size)


def test_a_column_that_is_not_read_contributes_nothing(X, y):
    model = ResODERegressor(**FLOW).fit(X, y)
    with torch.no_grad():
        model.module_.embedding[:, [1, 4, 8, 9]] = 0.0  # the number, its score and bins
    for by_depth in (False, True):
        found = model.attribution(X, by_depth=by_depth)
        assert (found[..., 1] == 0).all()
        assert (found[..., [0, 2]] != 0).any()


def test_each_depth_adds_up_to_what_the_head_reads_in_its_step(X, y):
    model = ResODERegressor(**FLOW).fit(X, np.column_stack([y, X[:, 1] ** 2]))
    start = X[:1]
    head = model.module_.head.detach().double().numpy()
    steps = np.diff(model.hidden_states(X) @ head.T, axis=0, prepend=0.0)
    before = np.diff(model.hidden_states(start) @ head.T, axis=0, prepend=0.0)
    expected = (steps - before) * model._predictor.targets.standardizer.scale
    found = model.attribution(X, baseline=start, by_depth=True).sum(axis=2)
    np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max())
    assert abs(found).max(axis=(1, 2)).min() > 1e-3  # every depth has its share


def test_few_points_are_enough_and_kinks_are_told(X, y, monkeypatch):
    counts = []
    quadrature = module._quadrature
    monkeypatch.setattr(
        module, "_quadrature", lambda *a: counts.append(a[-1]) or quadrature(*a)
    )
    for activation in ("gelu", "tanh", "silu", "softplus"):
        model = ResODERegressor(**FLOW, activation=activation).fit(X, y)
        model.attribution(X)
    assert max(counts) <= 64
    model = ResODERegressor(**FLOW, activation="relu").fit(X, y)
    with pytest.warns(UserWarning, match=r"rtol=1e-06.*256 points.*'relu'") as caught:
        rough = model.attribution(X)
    assert caught[0].filename == __file__
    fine = model.attribution(X, rtol=0.05)
    np.testing.assert_allclose(rough, fine, atol=0.05 * np.abs(fine).sum(axis=1).max())


def test_rows_in_parts_and_rows_alone(X, y, monkeypatch):
    model = ResODERegressor(**FLOW).fit(X, y)
    expected = [model.attribution(X, by_depth=way) for way in (False, True)]
    np.testing.assert_allclose(model.attribution(X[:1]), expected[0][:1], rtol=1e-9)
    monkeypatch.setattr(module, "LARGEST", 4000)
    for way, whole in zip((False, True), expected, strict=True):
        found = model.attribution(X, by_depth=way)
        np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-12)


def test_an_untrained_network_contributes_nothing(X, y):
    """And so does a row that is the baseline."""
    model = ResODERegressor(**SMALL, flow_time=1e-30).fit(X, y)
    assert abs(model.attribution(X)).max() < 1e-20
    fitted = ResODERegressor(**FLOW).fit(X, y)
    assert (fitted.attribution(X[:1], baseline=X[:1]) == 0).all()
    assert (clone(fitted).fit(X, 0 * y).attribution(X) == 0).all()


def test_what_comes_back_from_a_file_or_a_search_contributes_the_same(X, y, tmp_path):
    model = ResODERegressor(**FLOW).fit(X, y)
    expected = model.attribution(X)
    model.save(tmp_path / "model.safetensors")
    loaded = ResODERegressor.load(tmp_path / "model.safetensors")
    for other in (loaded, pickle.load(io.BytesIO(pickle.dumps(model)))):
        np.testing.assert_array_equal(other.attribution(X), expected)
    search = ResODERegressorCV(depths=[2, 4], flow_times=[5.0], cv=2, width=8)
    search.fit(X, y)
    total = search.attribution(X).sum(axis=1)
    mean = X.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(total, change(search, X, mean), atol=1e-3)


def test_bad_input_gets_an_error(X, y, table):
    with pytest.raises(NotFittedError):
        ResODERegressor().attribution(X)
    model = ResODERegressor(**FLOW).fit(X, y)
    with pytest.raises(ValueError, match="X has 2 features, but .* 3 features"):
        model.attribution(X[:, :2])
    with pytest.raises(ValueError, match="X has 2 features, but .* 3 features"):
        model.attribution(X, baseline=X[:, :2])
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        model.attribution(X, baseline=X[0])
    for rtol in (0, -1, np.nan, np.inf, "1", True, None):
        with pytest.raises(ValueError, match="`rtol` must be a positive number, got"):
            model.attribution(X, rtol=rtol)


def test_the_petals_tell_the_irises_apart():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = ResODEClassifier(8, width=16, flow_time=50.0, random_state=0).fit(X, y)
    found = np.abs(model.attribution(X)).mean(axis=(0, 2))
    assert set(X.columns[np.argsort(found)[-2:]]) == {
        "petal length (cm)",
        "petal width (cm)",
    }
