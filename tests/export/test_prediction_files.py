"""Predictions of large tables in files, which are complete or not there."""

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import LinearSVC

from odenet import ResODEClassifier, ResODERegressor, predict_to_file

N = 50
X = np.random.default_rng(0).normal(size=(N, 3))
KIND = np.resize(["red", "green", "blue"], N)
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": pd.Categorical(KIND)})


def tiny(kind=ResODERegressor, **params):
    return kind(2, width=4, flow_time=0.5, random_state=0, **params)


@pytest.fixture(scope="module")
def regressor():
    return tiny().fit(X, np.stack([X[:, 0], X[:, 1] ** 2], axis=1))


@pytest.fixture(scope="module")
def classifier():
    """A classifier of texts, fitted to a frame with categories."""
    return tiny(ResODEClassifier).fit(FRAME, KIND)


def frame_of(dataset):
    return dataset.to_table().to_pandas()


@pytest.mark.parametrize("size", [1, 7, N, None])
def test_arrays_of_all_kinds_get_the_same_predictions(regressor, tmp_path, size):
    np.save(tmp_path / "X.npy", X)
    memory_map = np.load(tmp_path / "X.npy", mmap_mode="r")
    for table in (X, memory_map, X.tolist()):
        found = predict_to_file(regressor, table, tmp_path / "y.npy", rows_at_once=size)
        assert isinstance(found, np.memmap)
        assert not found.flags.writeable
        # A product of one row in float64 may be rounded in another way.
        np.testing.assert_allclose(found, regressor.predict(X), rtol=1e-12)
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), found)


def test_frames_give_labels_and_probabilities(classifier, tmp_path):
    for table in (FRAME, pl.from_pandas(FRAME)):
        labels = predict_to_file(classifier, table, tmp_path / "y.npy", rows_at_once=9)
        assert labels.dtype == "<U5"
        np.testing.assert_array_equal(labels, classifier.predict(FRAME))
        found = predict_to_file(
            classifier,
            table,
            str(tmp_path / "p.npy"),
            method="predict_proba",
            rows_at_once=9,
        )
        np.testing.assert_array_equal(found, classifier.predict_proba(FRAME))


class Objects(LinearRegression):
    """Predicts objects of Python that are no texts."""

    def predict(self, X):
        return super().predict(X).astype(object)


def test_labels_that_are_objects_become_texts_of_a_width(tmp_path):
    labels = KIND.astype(object)
    model = LogisticRegression().fit(X, labels)
    found = predict_to_file(model, X, tmp_path / "y.npy", rows_at_once=3)
    assert found.dtype == "<U5"
    assert found.tolist() == model.predict(X).tolist()
    objects = Objects().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="without pickle.*end in .parquet"):
        predict_to_file(objects, X, tmp_path / "z.npy")
    assert not (tmp_path / "z.npy").exists()


def test_texts_have_the_width_of_the_longest_class(tmp_path):
    """Whichever of them the first block has."""
    longer = np.where(X[:, 0] > X[:, 0].min(), "a", "a long label")
    model = KNeighborsClassifier(1).fit(X, longer)
    order = np.argsort(-X[:, 0])  # the longest comes last
    found = predict_to_file(model, X[order], tmp_path / "y.npy", rows_at_once=5)
    assert found[-1] == "a long label"
    two = np.column_stack([longer, np.where(X[:, 1] > 0, "bb", "c")]).astype(object)
    model = KNeighborsClassifier(1).fit(X, two)
    found = predict_to_file(model, X, tmp_path / "y.npy", rows_at_once=5)
    assert found.tolist() == two.tolist()


def test_other_estimators_and_sparse_tables(tmp_path):
    y, sparse = X[:, 0], csr_array(X)
    pipeline = make_pipeline(StandardScaler(with_mean=False), LinearRegression())
    found = predict_to_file(pipeline.fit(sparse, y), sparse, tmp_path / "y.npy")
    np.testing.assert_array_equal(found, pipeline.predict(sparse))
    ode = tiny().fit(X, y).to_ode(rtol=1e-3)  # predicts, and cannot be fitted
    found = predict_to_file(ode, X, tmp_path / "y.npy")
    np.testing.assert_allclose(found, ode.predict(X), rtol=1e-6)


class TestParquet:
    """Columns of Parquet, and tables of Arrow."""

    @pytest.fixture(autouse=True)
    def _needs_pyarrow(self):
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")

    def test_columns_are_called_by_what_they_hold(
        self, regressor, classifier, tmp_path
    ):
        path, y = tmp_path / "y.parquet", X[:, 0]
        calibrated = tiny(early_stopping=True).fit(X, y, X_val=X, y_val=y)
        polynomial = PolynomialFeatures(2, include_bias=False).fit(FRAME[["a", "b"]])
        named = StandardScaler().set_output(transform="pandas").fit(FRAME[["a", "b"]])
        for model, table, method, names in [
            (classifier, FRAME, "predict", ["prediction"]),
            (classifier, FRAME, "predict_proba", ["blue", "green", "red"]),
            (regressor, X, "predict", ["prediction_0", "prediction_1"]),
            (calibrated, X, "predict_interval", ["lower", "upper"]),
            (
                polynomial,
                FRAME[["a", "b"]],
                "transform",
                ["a", "b", "a^2", "a b", "b^2"],
            ),
            (named, FRAME[["a", "b"]], "transform", ["a", "b"]),
            (LinearSVC().fit(X, y > 0), X, "decision_function", ["prediction"]),
        ]:
            found = predict_to_file(model, table, path, method=method, rows_at_once=20)
            expected = np.asarray(getattr(model, method)(table))
            assert frame_of(found).columns.tolist() == names
            values = frame_of(found).to_numpy().reshape(expected.shape)
            np.testing.assert_array_equal(values, expected)

    def test_blocks_are_row_groups(self, regressor, tmp_path):
        from pyarrow import parquet

        predict_to_file(regressor, X, tmp_path / "y.parquet", rows_at_once=20)
        file = parquet.ParquetFile(tmp_path / "y.parquet")
        groups = range(file.num_row_groups)
        assert [file.metadata.row_group(i).num_rows for i in groups] == [20, 20, 10]

    @pytest.mark.parametrize("kind", ["dataset", "file", "table"])
    def test_sources_of_arrow_are_frames_with_categories(
        self, classifier, tmp_path, kind
    ):
        from pyarrow import dataset, parquet

        FRAME.to_parquet(tmp_path / "X.parquet", row_group_size=8)
        source = {
            "dataset": dataset.dataset,
            "file": parquet.ParquetFile,
            "table": parquet.read_table,
        }[kind](tmp_path / "X.parquet")
        for ending in ("npy", "parquet"):
            found = predict_to_file(
                classifier, source, tmp_path / f"y.{ending}", rows_at_once=20
            )
            if ending == "parquet":
                found = frame_of(found)["prediction"]
            np.testing.assert_array_equal(found, classifier.predict(FRAME))
        encoder = OneHotEncoder(sparse_output=False).fit(FRAME[["kind"]])
        with pytest.raises(ValueError, match="feature names"):  # the estimator's own
            predict_to_file(encoder, source, tmp_path / "z.npy", method="transform")

    def test_columns_that_are_no_table_are_refused(self, tmp_path):
        twice = FunctionTransformer(
            lambda X: pd.DataFrame(X[:, [0, 0]], columns=[1, "1"])
        )
        with pytest.raises(ValueError, match="columns of different names"):
            predict_to_file(twice.fit(X), X, tmp_path / "y.parquet", method="transform")
        widening = Widening().fit(X, X[:, 0])
        with pytest.raises(ValueError, match="columns of the same types"):
            predict_to_file(widening, X, tmp_path / "y.parquet", rows_at_once=5)
        assert not list(tmp_path.iterdir())

    def test_more_than_columns_is_refused(self, regressor, tmp_path):
        path = tmp_path / "y.parquet"
        with pytest.raises(ValueError, match="3 axes.*end in .npy"):
            predict_to_file(regressor, X, path, method="attribution")
        assert not path.exists()
        found = predict_to_file(
            regressor, X, tmp_path / "y.npy", method="attribution", rows_at_once=30
        )
        np.testing.assert_allclose(found, regressor.attribution(X), atol=1e-6)


@pytest.mark.cluster
def test_collections_of_dask(regressor, classifier, tmp_path):
    array = pytest.importorskip("dask.array", reason="needs the extra `dask`")
    dataframe = pytest.importorskip("dask.dataframe")
    table = array.from_array(X, chunks=(13, 2))
    found = predict_to_file(regressor, table, tmp_path / "y.npy", rows_at_once=20)
    np.testing.assert_array_equal(found, regressor.predict(X))
    frame = dataframe.from_pandas(FRAME, npartitions=4)
    found = predict_to_file(classifier, frame, tmp_path / "z.npy", rows_at_once=20)
    np.testing.assert_array_equal(found, classifier.predict(FRAME))


class Failing(LinearRegression):
    """Predicts two blocks, and then raises an error."""

    error = RuntimeError

    def predict(self, X):
        self.n_calls = getattr(self, "n_calls", 0) + 1
        if self.n_calls > 2:
            raise self.error("enough")
        return super().predict(X)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_a_failed_run_leaves_the_old_file_and_no_other(tmp_path, ending, error):
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    path = tmp_path / f"y.{ending}"
    for old in (None, b"old"):
        if old is not None:
            path.write_bytes(old)
        model = Failing().fit(X, X[:, 0])
        model.error = error
        with pytest.raises(error, match="enough"):
            predict_to_file(model, X, path, rows_at_once=5)
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if old else [])
        assert not old or path.read_bytes() == old


class Widening(LinearRegression):
    """Predicts whole numbers of a block, and others of the next ones."""

    def predict(self, X):
        found = super().predict(X)
        self.n_calls = getattr(self, "n_calls", 0) + 1
        return found.astype(int) if self.n_calls == 1 else found


def test_what_does_not_suit_a_file_is_refused(regressor, tmp_path):
    y = X[:, 0]
    two = MultiOutputClassifier(LogisticRegression())
    two.fit(X, np.stack([y > 0, y > 1], axis=1))
    encoder = OneHotEncoder().fit(FRAME[["kind"]])
    for model, table, method, words in [
        (two, X, "predict_proba", "one dense array or frame.*list"),
        (encoder, FRAME[["kind"]], "transform", "one dense array.*sparse"),
        (Widening().fit(X, y), X, "predict", "the same dtype.*float64.*after int64"),
    ]:
        with pytest.raises(ValueError, match=words):
            predict_to_file(
                model, table, tmp_path / "y.npy", method=method, rows_at_once=5
            )
    folder = tmp_path / "folder.npy"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        predict_to_file(regressor, X, folder)
    with pytest.raises(FileNotFoundError, match="no folder"):
        predict_to_file(regressor, X, tmp_path / "missing" / "y.npy")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.npy"]


def test_wrong_arguments_are_told_before_anything_is_predicted(regressor, tmp_path):
    path = tmp_path / "y.npy"
    for wrong in ("y.csv", "y", "npy"):
        with pytest.raises(ValueError, match="`path` must end in .npy or .parquet"):
            predict_to_file(regressor, X, tmp_path / wrong)
    for wrong in ("fit", "_predict", "hidden_states", None):
        with pytest.raises(ValueError, match="`method` must be one of.*predict_proba"):
            predict_to_file(regressor, X, path, method=wrong)
    for wrong in (0, 2.5, True, "all"):
        with pytest.raises(ValueError, match="`rows_at_once` must be a positive"):
            predict_to_file(regressor, X, path, rows_at_once=wrong)
    with pytest.raises(AttributeError, match="ResODERegressor has no.*'predict_proba'"):
        predict_to_file(regressor, X, path, method="predict_proba")
    with pytest.raises(NotFittedError):
        predict_to_file(ResODERegressor(), X, path)
    with pytest.raises(NotFittedError):
        predict_to_file(make_pipeline(LinearRegression()), X, path)
    with pytest.raises(ValueError, match="at least one row"):
        predict_to_file(regressor, X[:0], path)
    with pytest.raises(TypeError, match="X must be an array-like"):
        predict_to_file(regressor, "X.csv", path)
    assert not path.exists()


def test_parquet_without_pyarrow_is_told(regressor, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"odenet-learn\[parquet\]"):
        predict_to_file(regressor, X, tmp_path / "y.parquet")


def test_memory_stays_that_of_a_block(tmp_path):
    """A table of 32 MB, in blocks of 64 KB."""
    np.save(tmp_path / "X.npy", np.zeros((2**20, 4)))
    table = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = LinearRegression().fit(np.eye(4), np.ones(4))
    tracemalloc.start()
    found = predict_to_file(model, table, tmp_path / "y.npy", rows_at_once=2048)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (2**20,)
    assert peak < table.nbytes / 30
