"""Students: they learn what their teacher says, and are estimators like others."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from odenet import (
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
    distil,
)
from odenet._estimators import distillation
from odenet.solvers import AdamW
from tests.helpers import SMALL

FLOW = {**SMALL, "flow_time": 30.0}
PLAIN = {"n_augmented": 0}
LONG = {**SMALL, "flow_time": 300.0}
BATCHES = {**SMALL, "solver": AdamW(max_epochs=20)}


class Oracle(ClassifierMixin, BaseEstimator):
    """A classifier that says what a function of the first columns says."""

    def __init__(self, classes, sharpness=2.0):
        self.classes = classes
        self.sharpness = sharpness

    def fit(self, X, y=None):
        self.classes_ = np.asarray(self.classes)
        self.asked_ = []
        return self

    def predict_proba(self, X):
        self.asked_.append(X)
        logits = np.asarray(X, dtype=float)[:, : len(self.classes)]
        return softmax(self.sharpness * np.tanh(logits), axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Killed(Exception):
    """What ends a fit."""


class Killer(Callback):
    """Ends a fit after five epochs."""

    only_watches = True

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 5:
            raise Killed


@pytest.fixture
def X(rng):
    return rng.normal(size=(120, 3))


@pytest.fixture
def labels(X):
    return np.where(X[:, 0] > 0.2, "yes", np.where(X[:, 1] > 0.8, "maybe", "no"))


@pytest.fixture
def numbers(X):
    return 30 + 10 * np.sin(X[:, 0]) + X[:, 1] * X[:, 2]


def assert_same(one, two, X):
    name = "predict_proba" if hasattr(one, "predict_proba") else "predict"
    np.testing.assert_array_equal(getattr(one, name)(X), getattr(two, name)(X))


def test_a_student_learns_probabilities(X):
    """Nearer to them than one that is told the likeliest labels."""
    for classes in (["a", "b"], ["b", "c", "a"], [3, 1, 2]):
        teacher = Oracle(classes).fit(X)
        student = distil(teacher, X, student=ResODEClassifier(**LONG), **PLAIN)
        assert student.classes_.tolist() == sorted(classes)
        said = teacher.predict_proba(X)[:, np.argsort(classes)]
        found = student.predict_proba(X)
        told = ResODEClassifier(**LONG).fit(X, teacher.predict(X))
        error = abs(found - said).mean()
        assert error < 0.05
        assert error < 0.25 * abs(told.predict_proba(X) - said).mean()
        assert set(student.predict(X)) <= set(classes)
        assert student.validation_scores_ is None
        assert student.n_outputs_ == (1 if len(classes) == 2 else 3)


def test_certain_probabilities_are_labels(X):
    """A training without smoothing is the same, up to the order of the rows."""
    for classes in ([0, 1], [0, 1, 2]):
        teacher = Oracle(classes, sharpness=1e6).fit(X)
        student = distil(teacher, X, student=ResODEClassifier(**FLOW), **PLAIN)
        told = ResODEClassifier(**FLOW, label_smoothing=0.0)
        told.fit(X, teacher.predict(X))
        found, expected = (m.predict_proba(X) for m in (student, told))
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_held_out_samples_judge_by_what_the_teacher_says(X):
    X = np.vstack([X, X + 0.3])
    for settings in (BATCHES, {**SMALL}):
        for classes in ([0, 1], [0, 1, 2]):
            teacher = Oracle(classes, sharpness=4.0).fit(X)
            model = ResODEClassifier(**{**settings, "early_stopping": True})
            student = distil(teacher, X, student=model, **PLAIN)
            assert max(student.validation_scores_) > 0.8
            assert len(student.validation_loss_curve_) > 1
            entropy = -(teacher.predict_proba(X) ** 2).sum(axis=1).mean()
            assert min(student.validation_loss_curve_) > -entropy / 10


def test_a_weight_is_a_repetition(X):
    teacher, weight = Oracle([0, 1, 2]).fit(X), np.arange(120) % 3
    settings = {"student": ResODEClassifier(**FLOW), **PLAIN}
    student = distil(teacher, X, sample_weight=weight, **settings)
    repeated = distil(teacher, np.repeat(X, weight, axis=0), **settings)
    assert_same(student, repeated, X)


def test_a_student_of_predictions_is_a_fit_to_them(X, labels, numbers):
    """Of regressors, and of classifiers that have no probabilities."""
    two = np.column_stack([numbers, X[:, 0]])
    teachers = [
        (HistGradientBoostingRegressor().fit(X, numbers), ResODERegressor),
        (make_pipeline(StandardScaler(), LinearRegression()).fit(X, two), None),
        (RidgeClassifier().fit(X, labels), ResODEClassifier),
        (GridSearchCV(LinearRegression(), {}).fit(X, two), None),
    ]
    for teacher, kind in teachers:
        model = (kind or ResODERegressor)(**FLOW)
        student = distil(teacher, X, student=model, **PLAIN)
        expected = clone(model).fit(X, teacher.predict(X))
        assert_same(student, expected, X)
        assert student.predict(X).shape == teacher.predict(X).shape
        assert not hasattr(model, "classes_")
        assert not hasattr(model, "module_")


def test_by_default_the_teacher_decides_about_the_kind(X, labels, numbers):
    """Of the student; and there are four extra rows for each, up to some number."""
    teacher = LogisticRegression().fit(X, labels)
    student = distil(teacher, X, random_state=3, n_augmented=0)
    assert type(student) is ResODEClassifier
    assert student.classes_.tolist() == teacher.classes_.tolist()
    assert (student.predict(X) == teacher.predict(X)).mean() > 0.95
    told = {"random_state": 3, "n_augmented": 480}
    again, auto = (
        distil(teacher, X, student=ResODEClassifier(4, width=8, flow_time=5.0), **more)
        for more in (told, {"random_state": 3})
    )
    assert_same(again, auto, X)
    assert auto.n_samples_fit_ == 600
    regressor = distil(LinearRegression().fit(X, numbers), X, n_augmented=0)
    assert type(regressor) is ResODERegressor
    another = distil(student, X, student=ResODEClassifier(**FLOW))
    assert another.score(X, student.predict(X)) > 0.95


def test_the_most_extra_rows_by_default(X, monkeypatch):
    monkeypatch.setattr(distillation, "MOST_BY_DEFAULT", 7)
    student = distil(Oracle([0, 1]).fit(X), X, student=ResODEClassifier(**FLOW))
    assert student.n_samples_fit_ == 127


def test_labels_that_the_teacher_never_says_are_classes(X):
    teacher = Oracle([0, 1, 2]).fit(X)
    teacher.predict_proba = lambda X: np.tile([0.7, 0.3, 0.0], (len(X), 1))
    student = distil(teacher, X, student=ResODEClassifier(**FLOW))
    assert student.classes_.tolist() == [0, 1, 2]
    expected = np.tile([0.7, 0.3, 0.0], (len(X), 1))
    np.testing.assert_allclose(student.predict_proba(X), expected, atol=0.02)
    hard = RidgeClassifier().fit(X, np.arange(120) % 3)
    rows = X[hard.predict(X) != 2]
    student = distil(hard, rows, student=ResODEClassifier(**FLOW))
    assert student.classes_.tolist() == [0, 1, 2]


def test_a_student_is_an_estimator_like_others(X, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    teacher = Oracle(["a", "b", "c"]).fit(X)
    said = teacher.predict(X)
    for settings in (FLOW, {**BATCHES, "dtype": "float64"}):
        student = distil(teacher, X, student=ResODEClassifier(**settings))
        student.save(tmp_path / "student.safetensors")
        loaded = ResODEClassifier.load(tmp_path / "student.safetensors")
        for copy in (loaded, pickle.loads(pickle.dumps(student))):
            assert_same(copy, student, X)
        shallow = student.with_depth(2, imitate=True)
        shallow.to_onnx(tmp_path / "student.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
        label, p = session.run(["label", "probabilities"], {"X": X})
        np.testing.assert_array_equal(label, shallow.predict(X))
        np.testing.assert_allclose(p, shallow.predict_proba(X), atol=1e-5)
        ode = student.to_ode(rtol=1e-3)
        assert (ode.predict(X) == student.predict(X)).mean() > 0.95
        assert student.attribution(X).shape == (120, 3, 3)
        assert student.summary().startswith("ResODEClassifier\nsamples     600 of 3")
        refitted = clone(student).fit(X, said)
        assert_same(refitted, ResODEClassifier(**settings).fit(X, said), X)


def test_trainings_by_labels_go_on_from_a_student(X):
    teacher = Oracle(["a", "b", "c"]).fit(X)
    said = teacher.predict(X)
    student = distil(teacher, X, student=ResODEClassifier(**BATCHES))
    for _ in range(30):
        student.partial_fit(X, said)
    assert student.score(X, said) > 0.9
    assert student.net_.loss.label_smoothing == student.label_smoothing
    assert student.n_iter_ > 30
    with pytest.raises(ValueError, match="labels that are not among"):
        student.partial_fit(X, np.full(120, "d"))
    warm = ResODEClassifier(**FLOW, warm_start=True)
    student = distil(teacher, X, student=warm)
    student.set_params(flow_time=60.0).fit(X, said)
    assert student.flow_time_ == 60
    assert student.score(X, said) > 0.95


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_frames_with_categories_and_gaps(library, X, labels):
    size = np.where(X[:, 1] > 1, np.nan, X[:, 1]).tolist()
    table = library.DataFrame({"size": size, "kind": labels.tolist(), "x": X[:, 0]})

    class OfFrames(Oracle):
        def predict_proba(self, X):
            self.asked_.append(X)
            p = np.where(np.asarray(X["kind"]) == "yes", 0.9, 0.2)
            return np.column_stack([1 - p, p])

    teacher = OfFrames([0, 1]).fit(table)
    model = ResODEClassifier(**LONG, allow_nan=True)
    student = distil(teacher, table, student=model, n_augmented=60, random_state=0)
    (asked,) = teacher.asked_
    assert type(asked) is type(table)
    assert len(asked) == 180
    assert list(asked.dtypes) == list(table.dtypes)
    assert student.feature_names_in_.tolist() == ["size", "kind", "x"]
    assert student.n_samples_fit_ == 180
    expected = np.where(labels == "yes", 0.9, 0.2)
    found = student.predict_proba(table)[:, 1]
    assert abs(found - expected).mean() < 0.03


def test_extra_rows_are_mixed_of_rows_with_weight(X):
    teacher, weight = Oracle([0, 1, 2]).fit(X), np.r_[np.zeros(60), np.ones(60)]
    settings = {"student": ResODEClassifier(**FLOW), "sample_weight": weight}
    student = distil(teacher, X, n_augmented=500, random_state=0, **settings)
    (asked,) = teacher.asked_
    np.testing.assert_array_equal(asked[:120], X)
    extra = asked[120:]
    assert len(extra) == 500
    source = [np.searchsorted(np.sort(X[60:, j]), extra[:, j]) for j in range(3)]
    for j in range(3):
        assert np.isin(extra[:, j], X[60:, j]).all()
        assert len(np.unique(source[j])) > 50
    rows = [np.argsort(X[60:, j])[source[j]] for j in range(3)]
    same = np.mean([rows[0] == rows[1], rows[1] == rows[2]])
    assert same == pytest.approx(0.7**2, abs=0.06)
    assert student.n_samples_fit_ == 560
    again = distil(teacher, X, n_augmented=500, random_state=0, **settings)
    other = distil(teacher, X, n_augmented=500, random_state=1, **settings)
    assert_same(student, again, X)
    assert not np.array_equal(student.predict_proba(X), other.predict_proba(X))
    distil(teacher, X.tolist(), n_augmented=5, student=ResODEClassifier(**FLOW))
    assert np.shape(teacher.asked_[-1]) == (125, 3)


def test_warnings_name_the_line_of_the_caller(X):
    model = ResODEClassifier(**{**BATCHES, "solver": AdamW(max_epochs=1)})
    model.set_params(early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="ended after 1 epochs") as caught:
        distil(Oracle([0, 1]).fit(X), X, student=model)
    assert caught[0].filename == __file__


def test_what_cannot_teach_or_learn_is_told(X, labels, numbers):
    teacher = RandomForestClassifier(n_estimators=3).fit(X, labels)
    line = LinearRegression().fit(X, numbers)
    with pytest.raises(NotFittedError):
        distil(HistGradientBoostingClassifier(), X)
    for wrong in (KMeans(2).fit(X), StandardScaler().fit(X), "Ridge", LinearRegression):
        with pytest.raises(TypeError, match="`teacher` must be a fitted classifier or"):
            distil(wrong, X)
    with pytest.raises(TypeError, match="must be a ResODEClassifier.*ResODERegressor"):
        distil(teacher, X, student=ResODERegressor())
    with pytest.raises(TypeError, match="must be a ResODERegressor.*ResODEClassifier"):
        distil(line, X, student=ResODEClassifier())
    with pytest.raises(TypeError, match="must be a ResODEClassifier.*ImageClassifier"):
        distil(teacher, X, student=ResODEImageClassifier())
    for who, search in ((teacher, ResODEClassifierCV()), (line, ResODERegressorCV())):
        with pytest.raises(TypeError, match="fit a search to the predictions"):
            distil(who, X, student=search)
    with pytest.raises(ValueError, match="X has 2 features, but .* 3 features"):
        distil(teacher, X[:, :2])
    with pytest.raises(ValueError, match="The 'depth' parameter of ResODEClassifier"):
        distil(teacher, X, student=ResODEClassifier(depth=-1))
    for wrong in (-1, 1.5, None, "all", True):
        with pytest.raises(
            ValueError, match="`n_augmented` must be .auto., or an integer .* got"
        ):
            distil(teacher, X, n_augmented=wrong)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample"):
        distil(teacher, X, sample_weight=-np.ones(120), n_augmented=2)
    several = MultiOutputClassifier(teacher).fit(X, np.column_stack([labels, labels]))
    with pytest.raises(ValueError, match="must predict one label.*several arrays"):
        distil(several, X)
    wrong = Oracle([0, 1]).fit(X)
    wrong.predict_proba = lambda X: np.full((len(X), 2), 0.7)
    with pytest.raises(ValueError, match="whose sum is 1 .of several labels"):
        distil(wrong, X)
    with pytest.raises(ValueError, match="ResODEClassifier needs samples of at least"):
        distil(Oracle([4]).fit(X), X)
    with pytest.raises(ValueError, match="seed"):
        distil(teacher, X, random_state="one")


def test_a_student_goes_on_from_its_checkpoint(X, tmp_path, every_epoch_is_kept):
    teacher, path = Oracle([0, 1, 2]).fit(X), tmp_path / "fit.checkpoint"
    settings = {"random_state": 0, "n_augmented": 100}
    model = ResODEClassifier(**BATCHES)
    expected = distil(teacher, X, student=model, **settings)
    model.set_params(checkpoint=path, callbacks=[Killer()])
    with pytest.raises(Killed):
        distil(teacher, X, student=model, **settings)
    assert path.exists()
    student = distil(teacher, X, student=model.set_params(callbacks=None), **settings)
    assert not path.exists()
    assert_same(student, expected, X)
