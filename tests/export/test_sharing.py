"""A shared file tells no value of fewer than ten samples."""

import io

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load

from odenet import ResODEClassifier, ResODEImageClassifier, ResODERegressor
from odenet._export.sharing import FEWEST
from odenet.solvers import AdamW

# Of columns that nearly identify their rows.
pytestmark = pytest.mark.filterwarnings("ignore:These columns have nearly")
SMALL = {"width": 4, "state_dim": 8, "flow_time": 0.5, "random_state": 0}
N = 300


@pytest.fixture
def table(rng):
    """Numbers of several kinds, and texts of which most are rare."""
    many = rng.normal(size=N)
    return pd.DataFrame(
        {
            "many": many,
            "few": rng.integers(5, size=N) + 0.25,
            "rounded": many.round(1),
            "missing": np.where(rng.random(N) < 0.2, np.nan, rng.random(N)),
            "text": np.where(rng.random(N) < 0.6, "usual", "other"),
            "name": [f"patient {i}" for i in range(N)],
        }
    )


def shared(model):
    """Return the bytes of a shared file, and the model that is loaded from it."""
    file = io.BytesIO()
    model.save(file, share=True)
    file.seek(0)
    return file.getvalue(), type(model).load(file)


def values_told(content):
    """Return all numbers of the arrays of a file that are not those of a network."""
    arrays = {n: a for n, a in load(content).items() if not n.startswith("module_.")}
    return np.concatenate([array.ravel().astype(float) for array in arrays.values()])


def test_no_value_and_no_text_of_few_samples_is_told(table, rng):
    y = table["many"] + rng.normal(size=N)
    model = ResODERegressor(4, min_frequency=FEWEST, allow_nan=True, **SMALL)
    content, loaded = shared(model.fit(table, y))
    told = values_told(content)
    for name in ("many", "few", "rounded", "missing"):
        values, counts = np.unique(table[name].dropna(), return_counts=True)
        if name != "rounded":  # the mean of several may be a rounded number as well
            assert not np.isin(values[counts < FEWEST], told).any()
        if name == "few":  # elsewhere rare neighbours may have joined common ones
            assert np.isin(values[counts >= FEWEST], told).all()
    assert not np.isin(y, told).any()
    assert b"patient" not in content
    assert b"usual" in content
    difference = loaded.predict(table) - model.predict(table)
    assert 0 < np.abs(difference).mean() < 0.02 * np.std(model.predict(table))
    new = table.assign(name="somebody else")
    np.testing.assert_array_equal(loaded.predict(new), loaded.predict(table))
    with pytest.raises(ValueError, match="name"):  # as before: a number is no name
        loaded.predict(table.assign(name=np.arange(N)))
    again, _ = shared(loaded)  # what was shared can be shared again
    assert not np.isin(table["many"], values_told(again)).any()


def test_edges_of_bins_are_not_told(rng):
    X = np.column_stack([rng.normal(size=4000), rng.integers(4, size=4000)])
    settings = {**SMALL, "numeric_embedding": "piecewise_linear"}
    model = ResODERegressor(4, **settings).fit(X, np.sin(3 * X[:, 0]))
    content, loaded = shared(model)
    assert not np.isin(X[:, 0], values_told(content)).any()
    before, after = (
        m._predictor.inputs.encoder.embedding.edges for m in (model, loaded)
    )
    np.testing.assert_allclose(after[0][1:-1], before[0][1:-1], atol=0.03)
    np.testing.assert_array_equal(after[1], before[1])
    few = ResODERegressor(4, **settings).fit(X[:20], X[:20, 0])
    assert not np.isin(X[:20, 0], values_told(shared(few)[0])).any()
    largest = np.repeat([0, 1.7e308, 1.78e308], [10, 9, 1])[:, None]
    with pytest.raises(ValueError, match="numeric_embedding='scores'"):
        shared(few.fit(largest, X[:20, 0]))  # no room above


@pytest.mark.parametrize(
    "ends", [(-1, 1), (0.5, 1), (-1, -0.5)], ids=["both sides", "above", "below"]
)
def test_bins_of_a_column_that_is_nearly_all_zeros_are_shared(ends, rng):
    """Few numbers that are not zero leave one knot for all edges."""
    X = np.zeros((600, 1))
    X[:9, 0] = rng.uniform(*ends, size=9)
    settings = {**SMALL, "numeric_embedding": "piecewise_linear"}
    model = ResODERegressor(4, **settings).fit(X, X[:, 0] + 0.1 * rng.normal(size=600))
    content, loaded = shared(model)
    assert not np.isin(X[:9, 0], values_told(content)).any()
    before, after = (m._predictor.inputs.encoder.embedding for m in (model, loaded))
    zero = np.zeros((1, 1))
    np.testing.assert_allclose(
        after(zero) / after.sizes, before(zero) / before.sizes, atol=0.15
    )


def test_of_a_column_with_few_numbers_none_is_told(rng):
    """How many samples have a value is not the share of those with any value."""
    X = rng.normal(size=(600, 3))
    X[3:, 0], X[40:, 1], X[500:, 2] = np.nan, np.nan, np.nan
    for embedding in ("scores", "piecewise_linear"):
        settings = {**SMALL, "numeric_embedding": embedding}
        model = ResODERegressor(4, allow_nan=True, **settings).fit(
            X, rng.normal(size=600)
        )
        content, loaded = shared(model)
        assert not np.isin(X, values_told(content)).any()
        assert np.isfinite(loaded.predict(X)).all()


def test_of_more_values_than_knots_none_is_told(rng):
    X = rng.normal(size=(2000, 2))
    X[:700, 1] = 3.0  # many samples have it, but that is not known
    model = ResODEClassifier(4, **SMALL).fit(X, X[:, 0] > 0)
    content, loaded = shared(model)
    assert not np.isin(X[:, 0], values_told(content)).any()
    agreement = loaded.predict(X) == model.predict(X)
    assert agreement.mean() > 0.98


def test_what_cannot_be_told_is_refused(table, rng):
    y = np.arange(N) % 3
    X = table[["many", "name"]]
    for min_frequency in (2, 9, None, 0.01):
        model = ResODEClassifier(4, min_frequency=min_frequency, **SMALL)
        with pytest.raises(ValueError, match="fit with min_frequency=10 or more"):
            shared(model.fit(X, y))
        model.set_params(min_frequency=10)  # which is for the next fit
        for fitted in (model, round_trip(model)):
            with pytest.raises(ValueError, match="fit with min_frequency=10 or more"):
                shared(fitted)
    model = ResODEClassifier(4, min_frequency=0.1, **SMALL).fit(X, y)
    shared(model)
    shared(model.set_params(min_frequency=2))
    columns = model._predictor.inputs.encoder.columns
    vars(columns)["fewest"] = None  # as in files of before it was known
    with pytest.raises(ValueError, match="kept those of 2 or more"):
        shared(model)
    shared(model.set_params(min_frequency=10))
    few = ResODERegressor(4, **SMALL).fit(X[["many"]][:19], y[:19])
    with pytest.raises(ValueError, match="needs 20 samples or more.*got 19"):
        shared(few)
    stream = ResODERegressor(4, solver=AdamW(), **SMALL)
    stream.partial_fit(X[["many"]], y)
    for model in (stream, round_trip(stream)):
        with pytest.raises(ValueError, match="after partial_fit"):
            shared(model)


def round_trip(model):
    """Save a model in full, and load it."""
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return type(model).load(file)


def test_images_have_nothing_to_take_out(rng):
    X = rng.normal(size=(20, 4, 4))
    model = ResODEImageClassifier(2, channels=2, solver=AdamW(max_epochs=1))
    content, loaded = shared(model.fit(X, np.arange(20) % 2))
    assert not np.isin(X, values_told(content)).any()
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
