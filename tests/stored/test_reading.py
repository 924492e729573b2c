import warnings
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from odenet import ResODEClassifier, ResODERegressor
from odenet._stored import reading
from odenet._stored.reading import TableToRead, opened
from odenet.solvers import SOAP, AdamW, Flow
from tests.helpers import BOTH, outputs

N = 1500
ENOUGH, LITTLE = "50MB", "500KB"  # for all rows, and for some of them
FEW = {"depth": 4, "width": 8, "random_state": 0}
EPOCHS = {"max_epochs": 4, "patience": 4}

pytestmark = pytest.mark.filterwarnings("ignore:Training ended")


@pytest.fixture(autouse=True)
def all_tables_are_stored(monkeypatch):
    monkeypatch.setattr(reading, "COPIES_IN_MEMORY", 10**9)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    """See that no fit leaves a file behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert not list(Path(gettempdir()).glob("odenet-*"))


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, 3)).astype(np.float32)


@pytest.fixture
def y(X):
    return np.sin(X[:, 0]) + X[:, 1] ** 2


@pytest.fixture
def frame(X, rng):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["kind"] = rng.choice(["red", "green", "blue"], N)
    frame.loc[7, "kind"] = "rare"
    return frame


@pytest.mark.parametrize(
    "solver",
    [
        AdamW(**EPOCHS),
        SOAP(**EPOCHS),
        Flow(max_evals=30),
        Flow(method="rkc", max_evals=60),
    ],
    ids=["adamw", "soap", "flow", "rkc"],
)
def test_a_regressor_is_that_of_rows_in_memory(X, y, solver, monkeypatch):
    """With room for all rows, there are the same batches as well."""
    weight = np.where(X[:, 2] > 0, 1.0, 2.0)
    model = ResODERegressor(solver=solver, **FEW).fit(X, y, weight)
    stored = ResODERegressor(solver=solver, memory_limit=ENOUGH, **FEW)
    stored.fit(X, y, weight)
    np.testing.assert_allclose(stored.predict(X), model.predict(X), atol=1e-5)
    assert stored.loss_curve_ == pytest.approx(model.loss_curve_, abs=1e-6)
    assert stored.n_samples_fit_ == model.n_samples_fit_ == N
    assert stored.stop_reason_ == model.stop_reason_


@pytest.mark.parametrize("class_weight", [None, "balanced", {"low": 3.0}])
def test_a_classifier_is_that_of_rows_in_memory(X, y, class_weight):
    labels = np.where(y > 2, "high", np.where(y < 0, "low", "middle"))
    params = {"solver": AdamW(**EPOCHS), "class_weight": class_weight, **FEW}
    params["early_stopping"] = False  # for strata are not kept in proportion
    model = ResODEClassifier(**params).fit(X, labels)
    stored = ResODEClassifier(memory_limit=ENOUGH, **params).fit(X, labels)
    np.testing.assert_allclose(
        stored.predict_proba(X), model.predict_proba(X), atol=1e-5
    )
    assert stored.classes_.tolist() == ["high", "low", "middle"]


@pytest.mark.parametrize("limit", [ENOUGH, LITTLE])
def test_categories_are_learned(frame, y, limit):
    """Their rows are in another order than in memory, where rare ones are pooled."""
    y = y + 3 * (frame["kind"] == "red")
    model = ResODERegressor(solver=AdamW(max_epochs=20), memory_limit=limit, **FEW)
    assert model.fit(frame, y).score(frame, y) > 0.9
    columns = model._predictor.inputs.columns
    assert columns.categories == {3: ("blue", "green", "red")}
    if limit == ENOUGH:  # else the sample may lack it
        assert columns.pooled == {3: "rare"}
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "kind"]


def test_labels_and_several_targets(X, y):
    several = np.column_stack([y, X[:, 0]])
    for estimator, targets in [
        (ResODERegressor, several),
        (ResODEClassifier, (several > 0).astype(int)),
    ]:
        params = {"solver": AdamW(**EPOCHS), "early_stopping": False, **FEW}
        model = estimator(**params).fit(X, targets)
        stored = estimator(memory_limit=ENOUGH, **params).fit(X, targets)
        np.testing.assert_allclose(outputs(stored, X), outputs(model, X), atol=1e-5)


@BOTH
@pytest.mark.parametrize(
    "solver", [AdamW(max_epochs=40), Flow(max_evals=100)], ids=["adamw", "flow"]
)
def test_rows_of_which_few_are_in_memory_are_learned_as_well(make, X, y, solver):
    y = y if make is ResODERegressor else y > 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make(solver=solver, **FEW).fit(X, y)
        stored = make(solver=solver, memory_limit=LITTLE, **FEW).fit(X, y)
    assert stored.score(X, y) > model.score(X, y) - 0.05
    assert stored.score(X, y) > 0.5


def test_the_flow_has_the_same_steps_whatever_is_in_memory(X, y):
    fits = [
        ResODERegressor(flow_time=3.0, memory_limit=limit, **FEW).fit(X, y)
        for limit in (ENOUGH, LITTLE)
    ]
    # The quantiles of columns are those of a sample, which is all of them or a part.
    assert fits[0].n_iter_ == pytest.approx(fits[1].n_iter_, abs=3)
    assert fits[0].loss_ == pytest.approx(fits[1].loss_, rel=0.1)


@BOTH
def test_missing_numbers_and_validation_samples(make, X, y):
    y = y if make is ResODERegressor else y > 0.5
    X[::7, 1] = np.nan
    params = {"solver": AdamW(**EPOCHS), "allow_nan": True, "scoring": None, **FEW}
    model = make(**params).fit(X, y, X_val=X[:200], y_val=y[:200])
    stored = make(memory_limit=ENOUGH, **params)
    stored.fit(X, y, X_val=X[:200], y_val=y[:200])
    np.testing.assert_allclose(outputs(stored, X), outputs(model, X), atol=1e-5)
    assert stored.validation_scores_ == pytest.approx(model.validation_scores_)


def test_held_out_rows_calibrate(X, y):
    model = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=LITTLE, **FEW)
    interval = model.fit(X, y).predict_interval(X, 0.9)
    inside = (interval[:, 0] <= y) & (y <= interval[:, 1])
    assert 0.8 < inside.mean() <= 1.0


def test_all_that_has_rows_can_be_a_source(frame, y, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    dataset = pytest.importorskip("pyarrow.dataset")
    arrow = pytest.importorskip("pyarrow")
    whole = arrow.Table.from_pandas(frame.assign(target=y, weight=1.0))
    parquet.write_table(whole, tmp_path / "table.parquet", row_group_size=400)
    source = dataset.dataset(tmp_path / "table.parquet")
    model = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=LITTLE, **FEW)
    expected = model.fit(frame, y).predict(frame)
    found = model.fit(source, "target", "weight").predict(frame)
    np.testing.assert_array_equal(found, expected)
    in_memory = ResODERegressor(solver=AdamW(**EPOCHS), **FEW)
    expected = in_memory.fit(frame, y).predict(frame)
    found = in_memory.fit(source, "target", "weight").predict(frame)
    np.testing.assert_array_equal(found, expected)


def test_memory_maps_can_be_a_source(X, y, tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    maps = (np.load(tmp_path / name, mmap_mode="r") for name in ("X.npy", "y.npy"))
    model = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=LITTLE, **FEW)
    expected = model.fit(X, y).predict(X)
    np.testing.assert_array_equal(model.fit(*maps).predict(X), expected)


def test_categories_of_all_blocks_are_known(frame, y):
    """Of blocks with none of the texts that others have, too."""
    frame["kind"] = np.where(frame.index < 900, None, frame["kind"])
    model = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=LITTLE, **FEW)
    survey = TableToRead(model, frame, y, None).survey()
    assert survey.columns.categories == {3: ("blue", "green", "red", None)}
    assert survey.n_rows == N
    model.fit(frame, y)
    assert set(model._predictor.inputs.columns.categories[3]) >= {"red", None}


def test_a_table_is_read_in_blocks_that_fit(X, y):
    model = ResODERegressor(memory_limit=LITTLE)
    sizes = [len(block) for block, *_ in TableToRead(model, X, y, None).blocks()]
    assert sum(sizes) == N
    assert max(sizes) * 12 * 8 * 6 <= 500_000 < 2 * max(sizes) * 12 * 8 * 6


def test_rows_without_weight_leave_no_trace(X, y):
    """Nor do blocks of them."""
    weight = (np.arange(N) > 900).astype(float)
    model = ResODEClassifier(solver=AdamW(**EPOCHS), memory_limit=ENOUGH, **FEW)
    labels = np.where(weight > 0, y > 0.5, 7)
    expected = model.fit(X[901:], labels[901:]).predict_proba(X)
    model.set_params(memory_limit=LITTLE)
    sizes = [len(block) for block, *_ in TableToRead(model, X, y, None).blocks()]
    assert sizes[0] < 900
    model.set_params(memory_limit=ENOUGH).fit(X, labels, weight)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert model.n_samples_fit_ == N - 901
    assert model.set_params(memory_limit=LITTLE).fit(X, labels, weight)
    assert model.classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match="`sample_weight` must not be 0"):
        model.fit(X, labels, 0 * weight)


@pytest.mark.parametrize("kind", ["list", "polars", "Int64"])
def test_tables_of_other_kinds(X, y, kind):
    X = X.round(2)
    table = {
        "list": lambda: X.astype(float).tolist(),
        "polars": lambda: pytest.importorskip("polars").DataFrame(X),
        "Int64": lambda: pd.DataFrame(np.rint(X)).astype("Int64"),
    }[kind]()
    model = ResODERegressor(solver=AdamW(**EPOCHS), **FEW)
    expected = model.fit(table, y).predict(table)
    found = model.set_params(memory_limit=ENOUGH).fit(table, y).predict(table)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_few_rows_have_is_known(X, y):
    """A number, a gap and a target that no row of the sample may have."""
    X[:, 2] = 0.0
    X[3, 2] = 1.0
    X[4, 1] = np.nan
    y = np.where(np.arange(N) == 5, 1.0, 0.0)
    model = ResODERegressor(memory_limit="360KB", allow_nan=True)
    for seed in range(5):  # each is in the sample of some
        unread = opened(model, X, y, None, has_judges=False, is_usual=True)[-1]
        found = unread.distinct(seed)
        unread.close()
        assert found.layout.incomplete.tolist() == [1]
        assert found.sample.X[:, 2].max() == 1.0
        assert found.sample.y.max() == 1.0


@pytest.mark.parametrize("least", [None, 2, 100])
def test_rare_categories_are_those_of_all_rows(X, y, least):
    kinds = np.where(np.arange(N) < 30, "rare", np.where(X[:, 2] > 0, "a", "b"))
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(kind=kinds)
    model = ResODERegressor(memory_limit="360KB", min_frequency=least)
    unread = opened(model, frame, y, None, has_judges=False, is_usual=True)[-1]
    for seed in range(5):
        columns = unread.distinct(seed).layout
        pooled = {3: "rare"} if least == 100 else {}
        assert columns.pooled == pooled
    unread.close()


def test_a_heavy_row_is_shared_out(X, y):
    """As in memory, in place of all its weight being held out."""
    X[:1000], y[:1000] = X[0], y[0]
    model = ResODERegressor(memory_limit=LITTLE, solver=AdamW(**EPOCHS), **FEW)
    for seed in range(5):
        unread = opened(model, X, y, None, has_judges=False, is_usual=True)[-1]
        train, held_out = unread.distinct(seed).rows.hold_out(
            0.1, 200, at_least_some=False
        )
        assert held_out.weight.sum() == pytest.approx(0.1 * N, abs=1.5)
        weights = np.concatenate(list(train.weights()))
        assert weights.sum() == pytest.approx(0.9 * N, abs=1.5)
        assert train.weight == pytest.approx(weights.sum())
        # If it is not among the first rows, it is trained on as a whole.
        assert weights.max() == pytest.approx(900 if max(held_out.weight) > 1 else 1000)
        unread.close()
    model.fit(X, y)
    expected = ResODERegressor(solver=AdamW(**EPOCHS), **FEW).fit(X, y)
    found = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=ENOUGH, **FEW)
    found.fit(X, y)
    assert found.score(X, y) == pytest.approx(expected.score(X, y), abs=0.05)


@pytest.mark.parametrize("unit", [1e-50, 1e40])
def test_weights_are_of_any_unit(X, y, unit):
    model = ResODERegressor(memory_limit=LITTLE, solver=AdamW(**EPOCHS), **FEW)
    assert model.fit(X, y, unit).score(X, y) > 0.9


def test_names_of_columns_work_in_memory_too(X, y, monkeypatch):
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(t=y)
    model = ResODERegressor(memory_limit="1GB", solver=AdamW(**EPOCHS), **FEW)
    monkeypatch.setattr(reading, "COPIES_IN_MEMORY", 8)
    expected = model.fit(frame[["a", "b", "c"]], y).predict(frame[["a", "b", "c"]])
    found = model.fit(frame, "t").predict(frame[["a", "b", "c"]])
    np.testing.assert_array_equal(found, expected)
    model.fit(frame, "t", X_val=frame[:99], y_val="t")
    assert model.n_features_in_ == 3


def test_a_small_table_stays_in_memory(X, y, monkeypatch):
    monkeypatch.setattr(reading, "COPIES_IN_MEMORY", 8)
    written = []
    monkeypatch.setattr(TableToRead, "written", lambda *task: written.append(task))
    ResODERegressor(solver=AdamW(**EPOCHS), memory_limit="1GB", **FEW).fit(X, y)
    assert not written


def test_in_a_pipeline(X, y):
    model = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=LITTLE, **FEW)
    assert make_pipeline(StandardScaler(), model).fit(X, y).score(X, y) > 0.5


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_members": 2}, "several members"),
        ({"scoring": "r2"}, "`scoring`, but by the loss"),
        ({"validation_split": "last"}, "a `validation_split` that is not random"),
        ({"checkpoint": "file"}, "`checkpoint`"),
        ({"solver": Flow(method="exponential")}, "method='exponential'"),
    ],
)
def test_what_is_not_supported_is_told(X, y, params, match):
    model = ResODERegressor(memory_limit=LITTLE, **params)
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)
    assert not hasattr(model, "n_features_in_")


def test_an_error_or_an_interrupt_leaves_no_file(X, y, tmp_path):
    class Fails(Callback):
        def on_epoch_end(self, net, **settings):
            raise MemoryError("as if")

    model = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=LITTLE, **FEW)
    model.callbacks = [Fails()]
    with pytest.raises(MemoryError) as kept:
        model.fit(X, y)
    assert kept.value  # and its traceback, which knows all that the fit had
    assert not list(tmp_path.glob("odenet-*"))


def test_groups_and_warm_starts_are_told(X, y):
    model = ResODERegressor(solver=AdamW(**EPOCHS), memory_limit=LITTLE, **FEW)
    with pytest.raises(ValueError, match="`groups`, `warm_start`"):
        model.fit(X, y, groups=np.arange(N))
    model.fit(X, y).set_params(warm_start=True)
    before = model.predict(X)
    with pytest.raises(ValueError, match="`groups`, `warm_start`"):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_wrong_rows_are_told_as_in_memory(X, y):
    model = ResODERegressor(memory_limit=LITTLE)
    with pytest.raises(ValueError, match="is sparse|sparse X"):
        model.fit(csr_array(X), y)
    with pytest.raises(ValueError, match="same number of rows"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="at least one row"):
        model.fit(X[:0], y[:0])
    with pytest.raises(ValueError, match="`memory_limit` is too small"):
        model.set_params(memory_limit=1000).fit(X, y)
    with pytest.raises(ValueError, match="`memory_limit` must be a positive number"):
        model.set_params(memory_limit="much").fit(X, y)
    X[N - 1, 0] = np.nan  # in the last block
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.set_params(memory_limit=LITTLE).fit(X, y)
    with pytest.raises(ValueError, match="at least two classes"):
        ResODEClassifier(memory_limit=LITTLE).fit(X[:-1], np.zeros(N - 1))
    with pytest.raises(ValueError, match="requires y to be passed"):
        ResODEClassifier(memory_limit=LITTLE).fit(X[:-1], None)
    with pytest.raises(ValueError, match="Expected 2D array"):
        ResODERegressor(memory_limit=LITTLE).fit(X[:-1, 0], y[:-1])


def test_class_weights_of_labels_are_told(X, y):
    labels = np.column_stack([y > 0, X[:, 0] > 0]).astype(int)
    model = ResODEClassifier(memory_limit=LITTLE, class_weight="balanced")
    with pytest.raises(ValueError, match="`class_weight` of several labels"):
        model.fit(X, labels)
