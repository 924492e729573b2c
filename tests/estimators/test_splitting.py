"""What ``validation_split`` and ``groups`` hold out, and what follows from it."""

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    PredefinedSplit,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import (
    ResODEClassifier,
    ResODEImageClassifier,
    ResODERegressor,
    distil,
)
from odenet._distributed.group import ALONE
from odenet._estimators.checkpoint import checkpoint_of
from odenet._estimators.splitting import Asked, are_apart
from odenet.solvers import SGD, AdamW, Flow

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = Flow(max_evals=20)


def table(n=60):
    """Return rows whose first column is their number."""
    X, y = make_friedman1(n, random_state=0)
    X[:, 0] = np.arange(n)
    return X, y


def make(kind=ResODERegressor, **params):
    few = {"depth": 2, "width": 4, "random_state": 0}
    return kind(
        **{"solver": AdamW(max_epochs=3), "early_stopping": True, **few, **params}
    )


def held_out(model, X, y, *, first=lambda X: X[:, 0], **of_fit):
    """Return the numbers of the rows that judge each network, in their order."""
    seen = []

    def scorer(estimator, X, y, sample_weight=None):
        numbers = sorted(np.asarray(first(X)).astype(int).tolist())
        if numbers not in seen:
            seen.append(numbers)
        return 0.0

    clone(model).set_params(scoring=scorer).fit(X, y, **of_fit)
    return seen


def test_the_last_rows_judge_in_the_order_of_the_table():
    X, y = table()
    last = make(validation_split="last", validation_fraction=0.2)
    frame = pd.DataFrame(X).add_prefix("x")
    cases = [
        (last, X, {}),
        (last, frame, {"first": lambda X: X["x0"]}),
        (last, csr_array(X), {"first": lambda X: X.toarray()[:, 0]}),
        (clone(last).set_params(n_members=3), X, {}),
        (clone(last).set_params(solver=SHORT), X, {}),
        (clone(last).set_params(solver=SHORT, n_members=2), X, {}),
    ]
    for model, data, of_table in cases:
        assert held_out(model, data, y, **of_table) == [list(range(48, 60))]
    order = np.random.default_rng(0).permutation(60)
    assert held_out(last, X[order], y[order]) == [sorted(order[48:])]
    classifier = make(ResODEClassifier, validation_split="last")
    assert held_out(classifier, X, y > 14) == [list(range(54, 60))]


def test_a_flow_of_few_rows_is_judged_in_blocks():
    """By the last half, every block by a network of the rows before it."""
    X, y = table()
    model = make(validation_split="last", early_stopping="auto", solver=SHORT)
    blocks = held_out(model, X, y)
    assert blocks == np.arange(30, 60).reshape(5, 6).tolist()


def test_groups_stay_whole():
    X, y = table()
    groups = np.random.default_rng(0).integers(12, size=60)
    for model, n_parts in [
        (make(), 1),
        (make(ResODEClassifier), 1),
        (make(n_members=5), 5),
        (make(solver=SHORT), 1),
        (make(solver=SHORT, early_stopping="auto"), 5),
        (make(solver=SHORT, n_members=6), 6),
    ]:
        target = y > 14 if isinstance(model, ResODEClassifier) else y
        parts = held_out(model, X, target, groups=groups)
        assert len(parts) == n_parts
        for part in parts:
            assert 0 < len(part) < 30
            assert not np.isin(groups[part], np.delete(groups, part)).any()
        if n_parts > 1:
            assert sorted(sum(parts, [])) == list(range(60))
    names = np.array(["shop"])[0] + groups.astype(str).astype(object)
    assert len(held_out(make(), X, y, groups=pd.Series(names))) == 1


def test_splits_judge_as_they_are_asked_to():
    X, y = table()
    groups = np.arange(60) // 10
    fold = np.where(np.arange(60) % 7 == 0, 0, -1)
    pairs = [(np.arange(20), np.arange(20, 25)), (np.arange(30), np.arange(40, 60))]

    def tests(splitter, groups=None):
        return [sorted(part.tolist()) for _, part in splitter.split(X, y, groups)]

    kfold, windows, by_group = KFold(3), TimeSeriesSplit(3), GroupKFold(3)
    for how, of_batches, of_flow, of_members in [
        (kfold, tests(kfold)[-1:], tests(kfold), tests(kfold)),
        (windows, tests(windows)[-1:], tests(windows), tests(windows)[-1:]),
        (by_group, tests(by_group, groups)[-1:], *[tests(by_group, groups)] * 2),
        (PredefinedSplit(fold), *[tests(PredefinedSplit(fold))] * 3),
        (pairs, [list(range(40, 60))], [p[1].tolist() for p in pairs], None),
    ]:
        given = {"groups": groups} if how is by_group else {}
        for params, expected in [
            ({}, of_batches),
            ({"solver": SHORT}, of_flow),
            ({"n_members": 3}, of_members or of_batches),
            ({"n_members": 3, "solver": SHORT}, of_members or of_batches),
        ]:
            model = make(validation_split=how, **params)
            assert held_out(model, X, y, **given) == expected, (how, params)
    masks = [(np.arange(60) < 50, np.arange(60) >= 50)]
    assert held_out(make(validation_split=masks), X, y) == [list(range(50, 60))]


def test_batches_train_only_on_what_a_split_trains_on():
    X, y = table()
    changed = y.copy()
    changed[20:40] += 100.0
    split = [(np.arange(20), np.arange(40, 60))]
    wanted = make(validation_split=split, standardize=False)
    first, second = (clone(wanted).fit(X, target) for target in (y, changed))
    assert_array_equal(first.predict(X), second.predict(X))
    flow = make(validation_split=split, solver="flow")  # ends on all samples
    first, second = (clone(flow).fit(X[:, 1:], target) for target in (y, changed))
    X = X[:, 1:]
    assert (first.predict(X) != second.predict(X)).any()


def test_images_are_held_out_as_tables_are():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 4, 4))
    images[:, 0, 0] = np.arange(40)
    labels, groups = np.arange(40) % 2, np.arange(40) // 8
    model = ResODEImageClassifier(
        2, channels=2, solver=SGD(max_epochs=2), early_stopping=True, random_state=0
    )
    for of_fit, how, n in [({}, "last", 4), ({"groups": groups}, "random", 8)]:
        fitted = clone(model).set_params(validation_split=how)
        fitted.fit(images, labels, **of_fit)
        assert fitted._predictor.calibration.weights[0].sum() == n


def test_a_weight_is_as_many_repetitions():
    X, y = table(40)
    weight = np.random.default_rng(1).integers(0, 4, size=40)
    weight[-2] = 5
    repeated = np.repeat(np.arange(40), weight)
    groups = np.arange(40) // 4
    for kind, target in [(ResODERegressor, y), (ResODEClassifier, y > 14)]:
        for params, grouped in [
            ({"validation_split": "last"}, False),
            ({"validation_split": "last", "n_members": 3}, False),
            ({"validation_split": "last", "solver": SHORT}, False),
            (
                {
                    "validation_split": "last",
                    "solver": SHORT,
                    "early_stopping": "auto",
                },
                False,
            ),
            ({}, True),
            ({"n_members": 3}, True),
            ({"solver": SHORT, "early_stopping": "auto"}, True),
        ]:
            of_weights = {"groups": groups} if grouped else {}
            of_copies = {"groups": groups[repeated]} if grouped else {}
            model = make(kind, **params)
            weighted = clone(model).fit(X, target, weight, **of_weights)
            copies = clone(model).fit(X[repeated], target[repeated], **of_copies)
            assert_array_equal(weighted.predict(X), copies.predict(X))
            assert weighted.history_["valid_loss"].equals(copies.history_["valid_loss"])


def test_bad_groups_are_named():
    X, y = np.arange(40.0).reshape(20, 2), np.arange(20.0)
    for groups in (
        ["a", None] * 10,
        np.array(["a", np.nan] * 10, dtype=object),
        np.ones((20, 2)),
        [np.nan] * 20,
    ):
        with pytest.raises(ValueError, match="`groups` must hold one label"):
            ResODERegressor().fit(X, y, groups=groups)


def test_groups_do_not_depend_on_the_order_of_rows():
    X, y = table()
    groups = np.arange(60) // 5
    order = np.random.default_rng(0).permutation(60)
    for params in ({}, {"solver": SHORT, "early_stopping": "auto"}, {"n_members": 3}):
        model = make(**params)
        one = clone(model).fit(X, y, groups=groups)
        other = clone(model).fit(X[order], y[order], groups=groups[order])
        assert_array_equal(one.predict(X), other.predict(X))


def test_equal_rows_of_several_groups_are_shared_out():
    X, y = np.repeat(np.arange(30.0), 2)[:, None], np.repeat(np.arange(30.0), 2)
    groups = np.tile([0, 1], 30)
    parts = held_out(make(), X, y, groups=groups)
    assert parts == [list(range(30))]  # half of the weight of all distinct rows


def test_what_is_not_asked_for_changes_nothing():
    X, y = table()
    given = {"X_val": X[:20], "y_val": y[:20]}
    needs_groups = {"validation_split": GroupKFold(3)}
    for params, of_fit in [
        ({"early_stopping": False}, {}),
        ({}, given),
        ({}, {**given, "groups": np.arange(60)}),
    ]:
        plain = make(**params).fit(X, y, **{k: v for k, v in given.items() if of_fit})
        other = make(**params, **needs_groups).fit(X, y, **of_fit)
        assert_array_equal(plain.predict(X), other.predict(X))
    model = make(validation_split=GroupKFold(3), early_stopping="auto")
    model.partial_fit(X, y)
    few = make(validation_split="last", early_stopping="auto").fit(X, y)
    assert few.validation_loss_curve_ is None


def test_errors_say_what_is_wrong():
    X, y = table(20)
    n = np.arange(20)
    odd = "The split 0 of `validation_split` "
    for how, groups, message in [
        ("first", None, "The 'validation_split' parameter of ResODERegressor must be"),
        (0.2, None, "The 'validation_split' parameter of ResODERegressor must be"),
        (None, None, "The 'validation_split' parameter of ResODERegressor must be"),
        ("last", n, "`groups` cannot be kept together where the last rows"),
        ("random", n[:5], "inconsistent numbers of samples: \\[20, 20, 5\\]"),
        ("random", 0 * n, "`groups` must hold at least 2 groups .* got 1"),
        (GroupKFold(2), None, "The 'groups' parameter should not be None"),
        (KFold(30), None, "Cannot have number of splits n_splits=30 greater"),
        ([], None, r"`validation_split`=\[\] has no split"),
        ([n], None, odd + "must be a pair"),
        ([1], None, odd + "must be a pair"),
        ([(n[:5], [])], None, odd + "has an empty part"),
        ([(n, [20])], None, odd + "must hold indices from 0 to 19"),
        ([(n, [-1])], None, odd + "must hold indices from 0 to 19"),
        ([([0.5], [1])], None, odd + "must hold indices from 0 to 19"),
        ([(n, [3])], None, odd + "holds out samples that it trains on, as 3"),
        (iter([(n[:9], n[9:])]), None, "which is empty after a first fit"),
    ]:
        model = make(validation_split=how)
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, groups=groups)
        assert not hasattr(model, "module_")
    weight = np.where(n < 10, 1.0, 0.0)
    for pair, does in [((n[:9], n[10:]), "holds out"), ((n[10:], n[:9]), "trains on")]:
        with pytest.raises(ValueError, match=odd + f"{does} no sample that has"):
            make(validation_split=[pair]).fit(X, y, weight)
    with pytest.raises(ValueError, match="at least 3 groups .* n_members=3.* got 2"):
        make(n_members=3).fit(X, y, groups=n % 2)
    with pytest.raises(ValueError, match="each is the only one of some class"):
        make(ResODEClassifier).fit(X, n % 2, groups=n % 2)


def test_intervals_rest_on_what_is_held_out_for_good_and_once():
    X, y = table(120)
    groups = np.arange(120) // 6
    for params, of_fit, sizes in [
        ({"validation_split": "last"}, {}, [12]),
        ({"validation_split": "last", "n_members": 3}, {}, [12]),
        ({"validation_split": KFold(3)}, {}, [40]),
        ({"validation_split": KFold(3), "n_members": 3}, {}, [40] * 3),
        ({"validation_split": KFold(3), "n_members": 2}, {}, [40] * 2),
        ({"n_members": 5}, {"groups": groups}, [24] * 5),
        ({"n_members": 5, "solver": SHORT}, {"groups": groups}, [24] * 5),
    ]:
        model = make(**params).fit(X, y, **of_fit)
        calibration = model._predictor.calibration
        assert [len(s) for s in calibration.scores] == sizes, params
        assert (np.diff(model.predict_interval(X, 0.8)) > 0).all()
    twice = ShuffleSplit(3, test_size=0.5, random_state=0)
    for params in [
        {"validation_split": twice, "n_members": 3},
        {"validation_split": KFold(2), "n_members": 3},
        {"validation_split": "last", "solver": SHORT},
        {"validation_split": "last", "solver": SHORT, "n_members": 3},
        {"validation_split": TimeSeriesSplit(3), "solver": SHORT, "n_members": 3},
    ]:
        model = make(**params).fit(X, y)
        with pytest.raises(ValueError, match="hold out a sample twice"):
            model.predict_interval(X)
    assert are_apart(np.eye(3))
    assert not are_apart(np.ones((2, 3)))


def test_a_temperature_comes_from_what_is_held_out_for_good():
    X, y = table(120)
    for how in ("last", KFold(3), TimeSeriesSplit(2)):
        model = make(ResODEClassifier, validation_split=how).fit(X, y > 14)
        assert model.temperature_ != 1.0
        flow = clone(model).set_params(solver=SHORT).fit(X, y > 14)
        assert flow.temperature_ == 1.0


def test_members_end_a_flow_on_all_samples():
    """Those that all hold out the same part, as a single network does."""
    X, y = table()
    model = make(validation_split="last", solver="flow", n_members=2).fit(X, y)
    roles = model.history_["role"]
    assert set(roles) == {"choose", "fit"}
    alone = make(solver="flow", n_members=2, early_stopping=False)
    alone.set_params(flow_time=model.flow_time_).fit(X, y)
    np.testing.assert_allclose(alone.predict(X), model.predict(X), atol=0.05)


def test_tools_of_scikit_learn_pass_splits_and_groups_on():
    X, y = table()
    groups = np.arange(60) // 6
    splits = ["random", "last", TimeSeriesSplit(2)]
    search = GridSearchCV(make(), {"validation_split": splits}, cv=3)
    assert np.isfinite(search.fit(X, y).cv_results_["mean_test_score"]).all()
    seen = []

    def scorer(estimator, X, y, sample_weight=None):
        seen.append(groups[X[:, 0].astype(int)])
        return 0.0

    with sklearn.config_context(enable_metadata_routing=True):
        model = make(scoring=scorer).set_fit_request(groups=True)
        for tool in (
            GridSearchCV(model, {"alpha": [0.0]}, cv=GroupKFold(3), scoring="r2"),
            make_pipeline(StandardScaler(with_mean=False, with_std=False), model),
        ):
            seen.clear()
            tool.fit(X, y, groups=groups)
            assert seen
            for part in seen:
                assert (np.bincount(part)[np.unique(part)] == 6).all()


def test_files_pickles_and_other_depths(tmp_path):
    X, y = table()
    model = make(validation_split=KFold(3)).fit(X, y)
    for copy in (pickle.loads(pickle.dumps(model)), model.with_depth(3)):
        assert isinstance(copy.validation_split, KFold)
    with pytest.raises(ValueError, match=r"set_params\(validation_split=...\)"):
        model.save(tmp_path / "model")
    for how in ("last", [(np.arange(40), np.arange(40, 60))]):
        model.set_params(validation_split=how).save(tmp_path / "model")
        loaded = ResODERegressor.load(tmp_path / "model")
        assert repr(loaded.validation_split) == repr(how)
        assert_array_equal(loaded.predict(X), model.predict(X))
        assert_array_equal(
            loaded.fit(X, y).predict(X), clone(model).fit(X, y).predict(X)
        )


def test_training_goes_on_with_the_same_split():
    X, y = table()
    for how in ("last", KFold(3)):
        model = make(validation_split=how, solver="flow", warm_start=True)
        model.fit(X, y).set_params(flow_time=2 * model.flow_time_).fit(X, y)
        assert model.validation_loss_curve_


def test_a_student_of_mixed_rows_has_no_order():
    X, y = table()
    teacher = LogisticRegression().fit(X, y > 14)
    student = make(ResODEClassifier, validation_split="last")
    with pytest.raises(ValueError, match="pass n_augmented=0"):
        distil(teacher, X, student=student)
    fitted = distil(teacher, X, student=student, n_augmented=0)
    assert fitted.validation_loss_curve_


def test_a_checkpoint_is_of_the_same_groups_and_splits(tmp_path):
    X, y = table(20)
    reading = SimpleNamespace(group=ALONE, rows=(X, y, np.ones(20)), layout=None)
    model = make(checkpoint=tmp_path / "fit")
    n = np.arange(20)
    all_asked = [Asked(groups=n // 2), Asked(groups=n // 4), Asked(pairs=((n, n),))]
    for asked in all_asked:
        first = checkpoint_of(model, reading, None, asked, None)
        assert not first.records
        first.keep([{"weights": n}])
        assert checkpoint_of(model, reading, None, asked, None).records
