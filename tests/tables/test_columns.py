"""Columns of categories and missing numbers, as a user of the estimators meets them."""

import io
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet._estimators.base import prepare
from odenet._estimators.scoring import serving
from odenet._tables.columns import Columns, read_columns
from odenet._tables.embeddings.piecewise_linear import fit_piecewise_linear
from odenet._tables.reading import Announced
from odenet.solvers import SGD

TINY = {"depth": 2, "width": 4, "flow_time": 1.0, "random_state": 0}
PATH = {"depths": [2, 4], "flow_times": [0.5, 1.0], "cv": 3, "width": 4}
BOTH = pytest.mark.parametrize("make", [ResODERegressor, ResODEClassifier])
COLOURS, SEXES = np.array(["blue", "green", "red"]), np.array(["f", "m"])


@pytest.fixture
def codes(rng):
    return rng.integers(0, 3, size=60), rng.integers(0, 2, size=60)


@pytest.fixture
def size(rng):
    return rng.normal(5, 3, size=60)


@pytest.fixture
def y(codes):
    return (codes[0] == 1).astype(int)


@pytest.fixture
def table(size, codes):
    """Numbers, three colours and two sexes, in a frame of pandas."""
    colour = pd.Categorical(COLOURS[codes[0]])
    return pd.DataFrame({"size": size, "colour": colour, "sex": SEXES[codes[1]]})


@pytest.fixture
def by_hand(size, codes):
    """What the network is to be given."""
    return np.column_stack([size, np.eye(3)[codes[0]], codes[1] - 0.5])


def outputs(model, X):
    is_regressor = isinstance(model, ResODERegressor)
    return model.predict(X) if is_regressor else model.decision_function(X)


def inputs(model, X):
    """What the fitted network is given."""
    return model._predictor.inputs(model._predictor.inputs.read(X))


def with_value(table, row, column, value):
    table = table.astype({column: object})
    table.loc[row, column] = value
    return table


class TestEncoding:
    @BOTH
    def test_the_network_is_given_one_column_for_every_category(
        self, make, table, by_hand, y
    ):
        settings = {**TINY, "standardize": False, "dtype": "float64"}
        model, expected = make(**settings).fit(table, y), make(**settings)
        expected.fit(by_hand, y)
        np.testing.assert_allclose(
            outputs(model, table), outputs(expected, by_hand), rtol=1e-10
        )
        assert model.n_features_in_ == 3
        assert list(model.feature_names_in_) == ["size", "colour", "sex"]
        assert model.module_.embedding.shape[1] == 1 + 5
        assert len(model.get_feature_names_out()) == model.module_.state_dim

    def test_marks_have_the_gain_of_standardised_columns(self, table, codes, y):
        Z = inputs(ResODERegressor(**TINY).fit(table, y), table)
        gain = 2 * Z[:, 4].max()
        share = np.bincount(codes[0]) / 60
        size = gain * np.sqrt(share / (share + 0.1))
        np.testing.assert_allclose(Z[:, 1:4], size * np.eye(3)[codes[0]], rtol=1e-12)
        np.testing.assert_array_equal(Z[:, 4], gain * (codes[1] - 0.5))
        assert Z[:, 0].std() == pytest.approx(gain, rel=0.1)

    @BOTH
    def test_every_kind_of_table_gives_the_same_model(self, make, table, codes, y):
        size, colour, sex = table["size"], COLOURS[codes[0]], SEXES[codes[1]]
        texts = pd.DataFrame({"size": size, "colour": list(colour), "sex": list(sex)})
        polars = pl.DataFrame({"size": size.to_numpy(), "colour": colour, "sex": sex})
        kinds = [pl.Float64, pl.Categorical, pl.Enum(["m", "f"])]
        array = np.column_stack([size, *codes]).astype(float)
        objects = texts.to_numpy(dtype=object)
        expected = outputs(make(**TINY).fit(table, y), table)
        for X, features in [
            (texts, "from_dtype"),
            (texts.astype({"colour": "string", "sex": "object"}), "from_dtype"),
            (texts, ["sex", "colour"]),
            (polars, "from_dtype"),
            (polars.cast(dict(zip(polars.columns, kinds, strict=True))), "from_dtype"),
            (polars, np.array(["colour", "sex"])),
            (array, [1, 2]),
            (array, [False, True, True]),
            (array.astype(np.float32), np.array([2, 1])),
            (array.tolist(), [1, 2]),
            (objects, [1, 2]),
            (objects.tolist(), [1, 2]),
        ]:
            model = make(**TINY, categorical_features=features).fit(X, y)
            np.testing.assert_allclose(outputs(model, X), expected, atol=1e-5)

    def test_numbers_of_any_type_and_size_are_categories(self, y):
        X = np.where(y, 1e6, -0.5)[:, None] + np.arange(60)[:, None] % 2
        model = ResODERegressor(**TINY, categorical_features=[0]).fit(X, y)
        assert model._predictor.inputs.columns.categories == {
            0: (-0.5, 0.5, 1e6, 1e6 + 1)
        }
        integers = pd.DataFrame({"a": [1, 2, 3] * 20})
        model = ResODERegressor(**TINY, categorical_features=["a"]).fit(integers, y)
        floats = outputs(model, integers.astype(float))
        np.testing.assert_array_equal(floats, outputs(model, integers))

    def test_frames_of_numbers_have_no_categories(self, y, size):
        X = pd.DataFrame({"a": size, "b": size > 5, "c": list(range(60))})
        X["d"] = X["c"].astype(object)
        model = ResODERegressor(**TINY).fit(X, y)
        assert model._predictor.inputs.columns.categories == {}
        expected = ResODERegressor(**TINY, categorical_features=None).fit(X, y)
        np.testing.assert_array_equal(model.predict(X), expected.predict(X))


class TestUnknownAndMissingCategories:
    def test_unknown_category_is_all_zeros(self, table, y):
        model = ResODERegressor(**TINY).fit(table, y)
        for column, where in [("colour", slice(1, 4)), ("sex", slice(4, 5))]:
            Z = inputs(model, with_value(table, 7, column, "new"))
            np.testing.assert_array_equal(Z[7, where], 0)
            assert np.abs(Z[8, where]).max() > 0

    @pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
    def test_missing_category_is_one_of_its_own_if_it_was_met(self, table, y, missing):
        X = with_value(table, 7, "colour", missing)
        Z = inputs(ResODERegressor(**TINY).fit(X, y), X)
        assert Z.shape[1] == 6 + 1 + 3  # and the score and the bins of the number
        np.testing.assert_array_equal(Z[:, 4] > 0, np.arange(60) == 7)
        Z = inputs(ResODERegressor(**TINY).fit(table, y), X)
        np.testing.assert_array_equal(Z[7, 1:4], 0)

    def test_missing_and_one_known_category_share_a_column(self, y):
        X = pl.DataFrame({"a": ["yes" if i % 3 else None for i in range(60)]})
        Z = inputs(ResODERegressor(**TINY, standardize=False).fit(X, y), X)
        np.testing.assert_array_equal(Z, [[-0.5 if i % 3 else 0.5] for i in range(60)])

    @BOTH
    def test_missing_numbers_that_are_categories(self, make, codes, y):
        X = np.where(codes[0] == 2, np.nan, codes[0])[:, None]
        model = make(**TINY, categorical_features=[True]).fit(X, y)
        expected = make(**TINY, categorical_features=[True]).fit(codes[0][:, None], y)
        np.testing.assert_array_equal(
            outputs(model, X), outputs(expected, codes[0][:, None])
        )

    def test_only_category_is_ignored(self, size, y):
        X = pd.DataFrame(
            {"size": size, "a": "same", "b": pd.Series([None] * 60, dtype="string")}
        )
        model = ResODERegressor(**TINY).fit(X, y)
        np.testing.assert_array_equal(inputs(model, X)[:, 1:3], 0)
        new = model.predict(X.assign(a="other"))
        np.testing.assert_array_equal(new, model.predict(X))


class TestMissingNumbers:
    @pytest.fixture
    def X(self, rng):
        X = rng.normal(3, 2, size=(60, 3))
        X[:20, 1] = np.nan
        return X

    def test_missing_number_is_the_mean_and_has_a_mark(self, X, y):
        model = ResODERegressor(**TINY, allow_nan=True).fit(X, y)
        Z = inputs(model, X)
        gain, mean = Z[0, 3], np.nanmean(X[:, 1])
        filled = inputs(model, np.where(np.isnan(X), mean, X))
        np.testing.assert_allclose(Z[:20, :3], filled[:20, :3], atol=1e-12)
        np.testing.assert_array_equal(Z[:, 3], np.where(np.isnan(X[:, 1]), gain, 0))
        np.testing.assert_allclose(Z[20:, 1].std(), gain, rtol=0.1)
        assert Z.shape[1] == 4 + 3 * (1 + 3)  # with the scores and bins of three

    def test_without_standardisation_too(self, X, y):
        weight = np.linspace(1, 3, 60)
        model = ResODERegressor(**TINY, allow_nan=True, standardize=False)
        Z = inputs(model.fit(X, y, weight), X)
        mean = np.average(X[20:, 1], weights=weight[20:])
        np.testing.assert_allclose(Z[:20, 1], mean)
        np.testing.assert_array_equal(Z[20:, :3], X[20:])
        np.testing.assert_array_equal(Z[:, 3], np.isnan(X[:, 1]))

    def test_missing_number_where_training_has_met_none(self, X, y):
        model = ResODERegressor(**TINY, allow_nan=True).fit(X[20:], y[20:])
        plain = ResODERegressor(**TINY).fit(X[20:], y[20:])
        np.testing.assert_array_equal(model.predict(X[20:]), plain.predict(X[20:]))
        filled = np.where(np.isnan(X), X[20:].mean(axis=0), X)
        np.testing.assert_allclose(model.predict(X), plain.predict(filled))

    def test_column_without_a_number_is_ignored(self, X, y):
        X[:, 1] = np.nan
        model = ResODERegressor(**TINY, allow_nan=True).fit(X, y)
        np.testing.assert_array_equal(inputs(model, X)[:, [1, 3]], 0)
        expected = model.predict(X)
        X[:, 1] = 1e9
        np.testing.assert_array_equal(model.predict(X), expected)

    @BOTH
    def test_weight_is_repetition_to_the_last_bit(self, make, X, table, y, rng):
        X = pd.DataFrame(X, columns=list("abc")).assign(colour=table["colour"])
        X = pd.concat([with_value(X[:30], 3, "colour", None)] * 2, ignore_index=True)
        y = np.tile(y[:30], 2)
        weight = rng.integers(0, 4, size=60)
        X.loc[0, "c"], weight[0] = np.nan, 0  # met only where there is no weight
        X.loc[1, "colour"], weight[1] = "unseen", 0
        settings = {**TINY, "allow_nan": True, "early_stopping": True}
        weighted = make(**settings).fit(X, y, weight)
        rows = rng.permutation(np.repeat(np.arange(60), weight))
        repeated = make(**settings).fit(X.iloc[rows], y[rows])
        np.testing.assert_array_equal(outputs(weighted, X), outputs(repeated, X))
        assert len(weighted.module_.embedding.T) == 1 + 3 + 4 + 1 + 3

    def test_frames_with_their_own_missing_numbers(self, X, y):
        expected = ResODERegressor(**TINY, allow_nan=True).fit(X, y).predict(X)
        frame = pd.DataFrame(X, columns=list("abc"))
        for with_nulls in (frame.astype("Float64"), pl.from_pandas(frame)):
            model = ResODERegressor(**TINY, allow_nan=True).fit(with_nulls, y)
            np.testing.assert_array_equal(model.predict(with_nulls), expected)


class TestDownstream:
    @pytest.fixture
    def X(self, table):
        """With all that may be missing."""
        table = with_value(table, 3, "colour", None)
        table.loc[5:9, "size"] = np.nan
        return table

    @BOTH
    def test_every_method_takes_the_table(self, make, X, y):
        model = make(**TINY, allow_nan=True).fit(X, y)
        states = model.hidden_states(X)
        np.testing.assert_allclose(states[-1], model.transform(X), rtol=1e-10)
        ode = model.to_ode()
        np.testing.assert_allclose(ode.trajectory(X, [0.0])[0], states[0], rtol=1e-6)
        assert ode.predict(X).shape == y.shape
        assert 0 <= model.ode_gap(X) < 1
        assert model.richardson_predict(X).shape == y.shape
        assert model.score(X, y) > 0
        deep = model.with_depth(4, imitate=True)
        assert np.isfinite(outputs(deep, X)).all()

    @BOTH
    def test_pickle_predicts_to_the_bit_and_holds_no_frame(self, make, X, y):
        model = make(**TINY, allow_nan=True).fit(X, y)
        packed = pickle.dumps(model)

        class Reader(pickle.Unpickler):
            def find_class(self, module, name):
                assert module.partition(".")[0] not in ("pandas", "polars")
                return super().find_class(module, name)

        again = Reader(io.BytesIO(packed)).load()
        np.testing.assert_array_equal(outputs(again, X), outputs(model, X))

    @BOTH
    def test_validation_samples_may_hold_unknown_categories(self, make, X, y):
        model = make(**TINY, allow_nan=True, early_stopping=True)
        model.fit(X[10:], y[10:], X_val=X[:10], y_val=y[:10])
        assert len(model.validation_loss_curve_) > 0

    @BOTH
    def test_first_part_settles_the_categories(self, make, X, y):
        model = make(**TINY | {"flow_time": None}, solver=SGD(), allow_nan=True)
        settings = {} if make is ResODERegressor else {"classes": [0, 1]}
        model.partial_fit(X[10:], y[10:], **settings)
        shape = model.module_.embedding.shape
        model.partial_fit(X[:10], y[:10])
        assert model.module_.embedding.shape == shape
        assert np.isfinite(outputs(model, X)).all()

    def test_warm_start_keeps_the_categories(self, X, y):
        settings = {**TINY, "allow_nan": True, "min_frequency": 1}
        model = ResODERegressor(**settings, warm_start=True).fit(X, y)
        categories = model._predictor.inputs.columns.categories
        model.set_params(flow_time=2.0).fit(X[10:], y[10:])
        assert model._predictor.inputs.columns.categories == categories
        assert model.flow_time_ == pytest.approx(2.0)

    @BOTH
    def test_in_a_pipeline_and_a_grid_search(self, make, X, y):
        pipe = make_pipeline(FunctionTransformer(), make(**TINY, allow_nan=True))
        grid = {f"{make.__name__.lower()}__depth": [2, 3]}
        search = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(X, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()

    @pytest.mark.parametrize("backward", ["stored", "rebuilt"])
    @pytest.mark.parametrize("kind", ["pandas", "polars"])
    @pytest.mark.parametrize("make", [ResODERegressorCV, ResODEClassifierCV])
    def test_path_estimators_share_categories_among_folds(
        self, make, kind, backward, X, y
    ):
        X = X if kind == "pandas" else pl.DataFrame(X.to_dict("list"))
        settings = {**PATH, "allow_nan": True, "backward": backward}
        model = make(**settings, random_state=0).fit(X, y)
        assert np.isfinite(model.cv_results_["mean_test_score"]).all()
        assert model.module_.embedding.shape[1] == 1 + 1 + 4 + 1 + 1 + 3 + 1
        final = model._estimator(model.depth_).set_params(flow_time=model.flow_time_)
        np.testing.assert_array_equal(outputs(final.fit(X, y), X), outputs(model, X))

    def test_fold_ignores_a_category_that_it_lacks(self, table, y):
        """As a fit on the fold alone does, for which it is unknown."""
        table = with_value(table, 0, "colour", "rare")
        model, fold = (ResODERegressor(**TINY, standardize=False) for _ in range(2))
        model.fit(table, y)
        announced = Announced(columns=model._predictor.inputs.columns)
        predictor, *_ = prepare(fold, table[1:], y[1:], None, announced)
        fold = serving(fold, predictor)
        assert fold.module_.embedding.shape == model.module_.embedding.shape
        np.testing.assert_array_equal(inputs(fold, table)[0, 1:5], 0)

    def test_names_of_the_features_are_checked(self, X, y):
        model = ResODERegressor(**TINY, allow_nan=True).fit(X, y)
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(X.rename(columns={"sex": "gender"}))
        array = X.to_numpy(dtype=object)
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            np.testing.assert_array_equal(model.predict(array), model.predict(X))
        settings = {**TINY, "allow_nan": True, "categorical_features": [1, 2]}
        model = ResODERegressor(**settings).fit(array, y)
        with pytest.raises(ValueError, match="X has 2 features"):
            model.predict(array[:, :2])
        with pytest.raises(ValueError, match="Expected 2D array"):
            model.predict(array[0])

    @pytest.mark.parametrize("allow_nan", [False, True])
    def test_tags(self, allow_nan):
        tags = get_tags(ResODERegressor(allow_nan=allow_nan)).input_tags
        assert tags.allow_nan is allow_nan
        assert not tags.categorical
        tags = get_tags(ResODEClassifier(categorical_features=np.array([0])))
        assert tags.input_tags.categorical

    def test_parameters_are_cloned(self):
        model = ResODERegressor(categorical_features=[0, 2], allow_nan=True)
        assert clone(model).get_params() == model.get_params()
        for path in (ResODERegressorCV, ResODEClassifierCV):
            params = path(categorical_features=None)._estimator(2).get_params()
            assert params["categorical_features"] is None


class TestErrors:
    @pytest.mark.parametrize(
        ("features", "message"),
        [
            ([0, 3], r"indices of the 3 .* from 0 to 2, got \[3\]"),
            ([-1], r"indices of the 3 .* from 0 to 2, got \[-1\]"),
            ([True, False], r"one entry for each of the 3 features.*got shape \(2,\)"),
            (["colour", "shape"], r"names of features, got \['shape'\]"),
            ([0.5], r"either booleans, integers or strings, got \[0.5\]"),
        ],
    )
    def test_features_that_are_not_there(self, features, message, table, y):
        model = ResODERegressor(**TINY, categorical_features=features)
        with pytest.raises(ValueError, match="`categorical_features`.*" + message):
            model.fit(table, y)
        assert not hasattr(model, "_predictor")

    def test_names_without_a_frame(self, table, y):
        model = ResODERegressor(**TINY, categorical_features=["colour"])
        with pytest.raises(ValueError, match="only if X is a data frame"):
            model.fit(table.to_numpy(), y)

    def test_other_words(self, table, y):
        model = ResODERegressor(**TINY, categorical_features="all")
        with pytest.raises(ValueError, match="'categorical_features' parameter"):
            model.fit(table, y)

    def test_texts_that_are_not_declared(self, table, y):
        for features, X in [
            (None, table),
            ([1], table),
            ("from_dtype", table.to_numpy()),
            (None, table.to_numpy()),
        ]:
            model = ResODERegressor(**TINY, categorical_features=features)
            with pytest.raises(ValueError, match="could not convert string to float"):
                model.fit(X, y)

    def test_missing_and_infinite_numbers(self, table, y):
        X = table.assign(size=np.nan)
        for frame in (X, X[["size"]]):
            with pytest.raises(ValueError, match="Input X contains NaN"):
                ResODERegressor(**TINY).fit(frame, y)
            model = ResODERegressor(**TINY, allow_nan=True).fit(frame, y)
            with pytest.raises(ValueError, match="Input X contains infinity"):
                model.predict(frame.assign(size=np.inf))
        model = ResODERegressor(**TINY).fit(table, y)
        with pytest.raises(ValueError, match="Input X contains NaN"):
            model.predict(X)

    def test_categories_without_a_hash(self, y):
        X = pd.DataFrame({"a": [[i] for i in y]})
        model = ResODERegressor(**TINY, categorical_features=["a"])
        with pytest.raises(TypeError, match="A category must be hashable"):
            model.fit(X, y)

    def test_targets_are_checked_beside_categories(self, table, y):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            ResODERegressor(**TINY).fit(table, y[:9])
        with pytest.raises(ValueError, match="requires y to be passed"):
            ResODEClassifier(**TINY).fit(table, None)


@pytest.mark.parametrize("wrap", [list, np.array])
def test_categories_are_sorted_whatever_the_order_of_the_rows(wrap, rng):
    values = ["b", None, 2, "a", 10, float("nan"), np.float64(1.0), 2.0]
    for _ in range(5):
        rng.shuffle(values)
        X = wrap([[v] for v in values]) if wrap is list else np.array(values, object)
        X = X if wrap is list else X[:, None]
        columns = read_columns(X, [0], allow_nan=False)
        assert columns.categories == {0: (1.0, 2, 10, "a", "b", None)}
        assert not any(isinstance(v, np.generic) for v in columns.categories[0])


def test_structs_and_dates_are_no_text():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X = pl.DataFrame({"a": [{"x": 1}], "b": ["t"], "c": [True]})
        assert read_columns(X, "from_dtype", False).categories == {1: ("t",)}


def test_columns_of_more_than_two_numbers_are_scored():
    nan = np.nan
    X = np.array(
        [[1, 2, 1, nan, 0], [1, 3, 2, nan, 1], [1, 2, 3, 5, 2], [1, 3, 3, 4, 1]]
    )
    columns, _ = Columns({4: (7, 8, 9)}, True).settled(X.astype(float), scored=True)
    assert columns.numeric.tolist() == [0, 1, 2, 3]
    assert columns.scored.tolist() == [2]
    assert columns.incomplete.tolist() == [3]
    assert columns.inputs[0] == 4 + 3 + 1 + 1
    columns, _ = Columns({4: (7, 8, 9)}, True).settled(X.astype(float), scored=False)
    assert columns.scored.tolist() == []
    assert not columns.are_plain
    assert Columns({}, False).are_plain


def test_categories_without_a_row_are_forgotten():
    X = np.array([[0.0, 2.0], [1.0, 0.0], [2.0, 2.0]])
    columns, matrix = Columns({1: ("a", "b", None)}, False).settled(X, scored=False)
    assert columns.categories == {1: ("a", None)}
    assert matrix.tolist() == [[0, 1], [1, 0], [2, 1]]


def test_inputs_have_the_signs_of_their_columns():
    columns = Columns(
        {1: ("a", "b", "c")},
        allow_nan=True,
        numeric=np.array([0, 2, 3]),
        incomplete=np.array([2]),
        scored=np.array([0, 3]),
    )
    signs = columns.signs_of_inputs(np.array([1, 0, -1, -1]))
    assert signs.tolist() == [1, -1, -1, 0, 0, 0, 0, 1, -1]
    assert len(signs) == columns.inputs[0]
    bins = fit_piecewise_linear(
        columns.scored, np.arange(6.0).reshape(3, 2), np.ones(3)
    )
    further = columns.signs_of_inputs(np.array([1, 0, -1, -1]), bins)
    assert further.tolist() == [*signs, 1, 1, -1, -1]
