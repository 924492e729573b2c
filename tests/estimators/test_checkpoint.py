"""A fit that is cut short goes on to the result that it would have had, to the bit."""

import pickle
import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from skorch.callbacks import EarlyStopping

from odenet import (
    DepthSmoothnessMonitor,
    ResODEClassifier,
    ResODEClassifierCV,
    ResODEImageClassifier,
    ResODERegressor,
    ResODERegressorCV,
)
from odenet._estimators.checkpoint import Checkpoint
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

TINY = {"width": 3, "state_dim": 6, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = X[:, 0] + 2.0 * RNG.normal(size=60)  # so that trainings end early
LABELS = np.where(Y > 0, "up", "down")
IMAGES = RNG.normal(size=(24, 5, 5))
GRID = {"depths": [4, 8], "flow_times": [0.5, 2.0], "cv": 3}
IMAGE = ResODEImageClassifier(4, channels=3, random_shift=1, random_flip=True)
# Every kind of training, with the samples that it has.
FITS = {
    "flow": (ResODERegressor(8, flow_time=2.0, **TINY), X, Y),
    "folds, then a flow": (ResODERegressor(8, **TINY), X, Y),
    "a part held out, then a flow": (
        ResODERegressor(8, early_stopping=True, smoothness_penalty=0.01, **TINY),
        X,
        Y,
    ),
    "depth by gap": (ResODEClassifier("auto", flow_time=5.0, **TINY), X, LABELS),
    "rebuilt": (
        ResODEClassifier(8, backward="rebuilt", flow_time=3.0, **TINY),
        X,
        LABELS,
    ),
    "gd": (
        ResODERegressor(4, solver=GradientDescent(0.1), flow_time=2.0, **TINY),
        X,
        Y,
    ),
    "exponential": (
        ResODERegressor(16, solver=Flow(method="exponential"), **TINY),
        X,
        Y,
    ),
    "adamw, early": (
        ResODERegressor(
            16, solver=AdamW(batch_size=8, max_epochs=20), dtype="float64", **TINY
        ),
        X,
        Y,
    ),
    "folds, by accuracy": (
        ResODEClassifier(8, scoring="accuracy", **TINY),
        X,
        LABELS,
    ),
    "sgd": (
        ResODEClassifier(
            16,
            solver=SGD(schedule="cosine", batch_size=8, max_epochs=12),
            early_stopping=True,
            **TINY,
        ),
        X,
        LABELS,
    ),
    "images": (
        clone(IMAGE).set_params(
            solver=SGD(batch_size=8, max_epochs=6), random_state=0, early_stopping=True
        ),
        IMAGES,
        np.arange(24) % 2,
    ),
    "members": (ResODERegressor(8, n_members=3, **TINY), X, Y),
    "members, adamw": (
        ResODEClassifier(
            8,
            n_members=3,
            solver=AdamW(batch_size=8, max_epochs=12),
            early_stopping=True,
            **TINY,
        ),
        X,
        LABELS,
    ),
    "search": (ResODERegressorCV(**GRID, backward="rebuilt", **TINY), X, Y),
    "joint search": (ResODEClassifierCV(**GRID, **TINY), X, LABELS),
}


class Killed(BaseException):
    """Ends a process, as far as one can be ended within a test."""


@pytest.fixture
def path(tmp_path, every_epoch_is_kept):
    """The path of a checkpoint, to which every epoch is written."""
    return tmp_path / "fit.checkpoint"


def ended_at_a_write(fit, n=1, error=Killed):
    """Call a fit, and end it after the nth write; return whether it came so far."""
    n_written = []
    keep = Checkpoint.keep

    def keep_and_end(self, records):
        keep(self, records)
        n_written.append(1)
        if len(n_written) == n:
            raise error

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoint, "keep", keep_and_end)
        try:
            fit()
        except Killed:
            return True
    return len(n_written) >= n


def learnt(model, X):
    """Return everything that a fit has learnt and recorded, but for seconds."""
    history = model.history_.drop(columns="seconds")
    path = [{**row, "seconds": 0.0} for row in model.depth_path_]
    scores = getattr(model, "cv_results_", {})
    facts = [model.flow_time_, model.n_grad_evals_, model.loss_, model.stop_reason_]
    return [
        *(p.detach().numpy() for p in model.module_.parameters()),
        model.predict(X),
        *history.to_dict("list").values(),
        [str(row) for row in path],
        [str(fact) for fact in facts],
        *scores.values(),
    ]


def assert_same(model, other, X):
    for mine, theirs in zip(learnt(model, X), learnt(other, X), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FITS)
def test_a_fit_goes_on_to_the_last_bit(kind, path):
    """It is ended again and again, and no epoch and no fold is run twice."""
    model, X, y = FITS[kind]
    whole = clone(model).fit(X, y)
    kept = clone(model).set_params(checkpoint=path)
    with pytest.MonkeyPatch.context() as patched:
        keep = Checkpoint.keep
        patched.setattr(Checkpoint, "keep", lambda *a: n_written.append(keep(*a)))
        n_written = []
        kept.fit(X, y)
    assert_same(kept, whole, X)
    assert not path.exists()
    assert kept.net_.recorder is None  # nothing of what was kept stays in memory
    n_ends, every = 0, max(1, len(n_written) // 8)
    again = clone(kept)
    while ended_at_a_write(partial(again.fit, X, y), every):
        n_ends += 1
        assert path.exists()
        again = clone(kept)
    assert n_ends == len(n_written) // every > 3
    assert_same(again, whole, X)
    assert list(path.parent.iterdir()) == []


def cut_short(model, path):
    """Return a model whose fit has been ended after three epochs."""
    model = clone(model).set_params(checkpoint=path)
    assert ended_at_a_write(partial(model.fit, X, Y), 3)
    return model


def test_what_has_changed_is_told_and_training_begins_anew(path, monkeypatch):
    first, _, _ = FITS["flow"]
    weight = np.ones(60)
    weight[0] = 2.0
    held_out = {"X_val": X[:20], "y_val": Y[:20]}
    for params, fit, told in [
        ({}, {"y": Y + 1e-9}, "data"),
        ({}, {"X": X[:-1], "y": Y[:-1]}, "data"),
        ({}, {"sample_weight": weight}, "data"),
        ({}, held_out, "data"),
        ({"width": 4}, {}, "width (3, now 4)"),
        ({"random_state": 1}, {}, "random_state"),
        ({"solver": Flow(rtol=0.5)}, {}, "solver__rtol (None, now 0.5)"),
        ({"dtype": "float64"}, {}, "dtype ('float32', now 'float64')"),
    ]:
        model = cut_short(first, path).set_params(**params)
        fit = {"X": X, "y": Y} | fit
        with pytest.warns(UserWarning, match=f"differ: .*{re.escape(told)}.*anew"):
            model.fit(**fit)
        assert_same(model, clone(model).set_params(checkpoint=None).fit(**fit), X)
        assert not path.exists()
    with monkeypatch.context() as patched:
        cut_short(first, path)
        patched.setattr("odenet._estimators.checkpoint.__version__", "1.x")
        with pytest.warns(UserWarning, match="version of odenet .*, now 1.x"):
            clone(first).set_params(checkpoint=path).fit(X, Y)


def scorer_of(power):
    """A local function: all of them have the same name."""

    def score(estimator, X, y):
        return -np.mean(np.abs(estimator.predict(X) - y) ** power)

    return score


def test_functions_are_compared_by_their_code(path):
    first, _, _ = FITS["folds, then a flow"]
    for one, other in [
        (lambda e, X, y: e.score(X, y), lambda e, X, y: -e.score(X, y)),
        (scorer_of(1), scorer_of(2)),
    ]:
        model = cut_short(clone(first).set_params(scoring=one), path)
        with pytest.warns(UserWarning, match="differ: scoring.* Training began anew"):
            model.set_params(scoring=other).fit(X, Y)
    whole = clone(first).set_params(scoring=scorer_of(1)).fit(X, Y)
    model = cut_short(clone(first).set_params(scoring=scorer_of(1)), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(model.set_params(scoring=scorer_of(1)).fit(X, Y), whole, X)


def test_parameters_that_change_no_number_may_change(path):
    first, _, _ = FITS["flow"]
    whole = clone(first).fit(X, Y)
    model = cut_short(first, path)
    model.set_params(verbose=1, callbacks=[DepthSmoothnessMonitor(every=10**6)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(model.fit(X, Y), whole, X)


def test_a_seed_that_was_drawn_is_kept(path):
    for random_state in (None, np.random.RandomState(3)):
        first = clone(FITS["adamw, early"][0]).set_params(random_state=random_state)
        cut_short(first, path)
        one = clone(first).set_params(checkpoint=path)
        content = path.read_bytes()
        one.fit(X, Y)
        path.write_bytes(content)
        two = clone(first).set_params(checkpoint=path).fit(X, Y)
        assert_same(one, two, X)
        free = clone(first).fit(X, Y)
        assert (free.predict(X) == one.predict(X)).all() == (random_state is not None)


def test_a_warm_start_goes_on_from_its_own_start(path):
    first = clone(FITS["flow"][0]).set_params(warm_start=True).fit(X, Y)
    copies = [pickle.loads(pickle.dumps(first)) for _ in range(4)]
    for copy in copies:
        copy.set_params(flow_time=6.0)
    whole, killed, again, other = copies
    whole.fit(X, Y)
    killed.set_params(checkpoint=path)
    assert ended_at_a_write(partial(killed.fit, X, Y), 3)
    assert killed.flow_time_ == 2.0
    content = path.read_bytes()
    assert_same(again.set_params(checkpoint=path).fit(X, Y), whole, X)
    path.write_bytes(content)
    other.set_params(flow_time=2.5).fit(X, Y).set_params(flow_time=6.0)
    with pytest.warns(UserWarning, match="differ: data"):  # it starts elsewhere
        other.set_params(checkpoint=path).fit(X, Y)
    with pytest.warns(UserWarning, match="reached already"):
        again.fit(X, Y)
    assert not path.exists()


@pytest.mark.filterwarnings("ignore:Training was interrupted")
def test_after_ctrl_c_a_fit_goes_on(path):
    for kind in ("flow", "search"):
        model, _, _ = FITS[kind]
        whole = clone(model).fit(X, Y)
        again = clone(model).set_params(checkpoint=path)
        n = 3 if kind == "flow" else 6
        assert ended_at_a_write(partial(again.fit, X, Y), n, KeyboardInterrupt)
        assert again.stop_reason_ == "interrupted"
        assert path.exists()
        assert_same(again.fit(X, Y), whole, X)
        assert not path.exists()


def test_a_full_disk_ends_no_fit(path, monkeypatch):
    model, _, _ = FITS["flow"]
    whole = clone(model).fit(X, Y)
    write_bytes, n_written = Path.write_bytes, []

    def full_after_three(self, content):
        n_written.append(1)
        if len(n_written) > 3:
            write_bytes(self, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        write_bytes(self, content)

    monkeypatch.setattr(Path, "write_bytes", full_after_three)
    again = clone(model).set_params(checkpoint=path)
    assert ended_at_a_write(partial(again.fit, X, Y), 5)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.warns(UserWarning, match="could not be kept: .*No space left"):
        again.fit(X, Y)
    assert_same(again, whole, X)
    n_written[:] = [1] * 3
    with pytest.raises(OSError, match="No space left"):
        clone(again).fit(X, Y)


def test_a_fit_that_fails_at_once_leaves_nothing(path):
    model = clone(FITS["flow"][0]).set_params(checkpoint=path)
    for error, params, fit in [
        (ValueError, {}, {"X_val": X[:, :1], "y_val": Y}),
        (ValueError, {"device": "nowhere"}, {}),
        (FloatingPointError, {"standardize": False}, {"y": Y * 1e30}),
        (FileNotFoundError, {"checkpoint": path / "no folder" / "fit"}, {}),
        (ValueError, {"checkpoint": 3}, {}),
    ]:
        with pytest.raises(error):
            clone(model).set_params(**params).fit(**{"X": X, "y": Y} | fit)
        assert list(path.parent.iterdir()) == []


def test_callbacks_with_a_memory_are_refused_by_name(path):
    for callback in (EarlyStopping(), ("mine", EarlyStopping())):
        model = clone(FITS["flow"][0]).set_params(checkpoint=path)
        with pytest.raises(ValueError, match="EarlyStopping.*only_watches = True"):
            model.set_params(callbacks=[callback]).fit(X, Y)
    assert not path.exists()


def test_partial_fit_and_files_of_models_know_no_checkpoint(path, tmp_path):
    model = clone(FITS["adamw, early"][0]).set_params(checkpoint=path)
    with pytest.raises(ValueError, match="partial_fit writes no checkpoint"):
        model.partial_fit(X, Y)
    model.fit(X, Y).save(tmp_path / "model")
    assert str(path).encode() not in (tmp_path / "model").read_bytes()
    assert type(model).load(tmp_path / "model").checkpoint is None
    assert pickle.loads(pickle.dumps(model)).checkpoint == path


@pytest.mark.filterwarnings("ignore:The scorer failed")
def test_folds_whose_scorer_failed_are_run_again(path):
    def fails_once(estimator, X, y):
        if len(X) == 20 and not failed:
            failed.append(1)
            raise RuntimeError
        return estimator.score(X, y)

    model = clone(FITS["search"][0]).set_params(scoring=fails_once, checkpoint=path)
    failed = []
    assert ended_at_a_write(partial(model.fit, X, Y))
    assert np.isfinite(model.fit(X, Y).best_score_)
    assert not np.isnan(model.cv_results_["split0_test_score"]).any()
