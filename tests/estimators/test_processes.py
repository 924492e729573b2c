"""Fits by two threads in place of processes; tests/whole/test_ranks.py has those."""

import threading

import numpy as np
import pytest
from skorch.callbacks import Callback

from odenet import ResODEClassifier, ResODERegressor
from odenet._distributed.group import ALONE
from odenet._estimators import base, processes, table
from odenet._training.net import TrainingNet
from odenet.solvers import AdamW
from tests.distributed.threads import in_threads, parts_of

SMALL = {"depth": 4, "width": 8, "random_state": 0, "dtype": "float64"}


@pytest.fixture
def fit_in_threads(monkeypatch):
    """A function that fits copies of an estimator in threads, as processes do."""
    local = threading.local()

    def group_of(word):
        return getattr(local, "group", ALONE) if word == "group" else ALONE

    for module in (base, processes, table):
        monkeypatch.setattr(module, "group_of", group_of)

    def fit(make, *arrays, size=2):
        def task(group):
            local.group = group
            return make().fit(*parts_of(group, *arrays))

        return in_threads(size, task)

    return fit


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        (ResODERegressor, {"solver": "flow", "flow_time": 2.0}),
        (ResODERegressor, {"solver": AdamW(max_epochs=3), "allow_nan": True}),
        (ResODEClassifier, {"solver": AdamW(max_epochs=3)}),
    ],
)
def test_several_fit_the_model_of_one(fit_in_threads, rng, estimator, params):
    X = rng.normal(size=(600, 3))
    y = X[:, 0] * X[:, 1]
    weight = rng.integers(1, 4, 600).astype(float)
    if estimator is ResODEClassifier:
        y = np.array(["a", "b"])[(y > 0).astype(int)]
    if params.get("allow_nan"):
        X[:50, 1] = np.nan  # all on the first
    one = estimator(**SMALL, **params).fit(X, y, weight)
    several = fit_in_threads(
        lambda: estimator(**SMALL, **params, processes="group"), X, y, weight
    )
    for model in several:
        assert model.n_samples_fit_ == 600
        expected = one._predictor.outputs(X)
        found = model._predictor.outputs(X)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert model.loss_ == pytest.approx(one.loss_, rel=1e-9)
        np.testing.assert_array_equal(found, several[0]._predictor.outputs(X))


class Memory(Callback):
    """A callback that may change a training."""


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"n_members": 2}, "several members"),
        ({"scoring": "r2"}, "`scoring`"),
        ({"validation_split": "last"}, "`validation_split`"),
        ({"callbacks": [Memory()]}, "only_watches"),
    ],
)
def test_what_is_not_supported_is_an_error(fit_in_threads, rng, params, words):
    X = rng.normal(size=(60, 2))
    with pytest.raises(ValueError, match=words):
        fit_in_threads(
            lambda: ResODERegressor(**SMALL, **params, processes="group"), X, X[:, 0]
        )


def test_several_labels_are_an_error(fit_in_threads, rng):
    X = rng.normal(size=(60, 2))
    with pytest.raises(ValueError, match="several labels"):
        fit_in_threads(
            lambda: ResODEClassifier(**SMALL, processes="group"), X, (X > 0).astype(int)
        )


def test_different_parameters_are_an_error_that_names_them(fit_in_threads, rng):
    X, widths = rng.normal(size=(60, 2)), iter([8, 9])
    with pytest.raises(ValueError, match="same `width`: rank 0 has"):
        fit_in_threads(
            lambda: ResODERegressor(4, width=next(widths), processes="group"),
            X,
            X[:, 0],
        )


def test_a_checkpoint_is_asked_for_by_all_or_none(fit_in_threads, rng, tmp_path):
    X, paths = rng.normal(size=(60, 2)), iter([tmp_path / "checkpoint", None])
    with pytest.raises(ValueError, match="same `checkpoint`: rank 0 has"):
        fit_in_threads(
            lambda: ResODERegressor(4, checkpoint=next(paths), processes="group"),
            X,
            X[:, 0],
        )


def test_samples_to_stop_by_are_given_to_all_or_none(fit_in_threads, rng):
    X, given = rng.normal(size=(60, 2)), iter([{"X_val": np.ones((5, 2))}, {}])

    class Given(ResODERegressor):
        def fit(self, X, y):
            some = next(given)
            y_val = {"y_val": np.ones(5)} if some else {}
            return super().fit(X, y, **some, **y_val)

    with pytest.raises(ValueError, match="same `X_val`: rank 0 has"):
        fit_in_threads(lambda: Given(4, processes="group"), X, X[:, 0])


def test_labels_are_of_one_kind(fit_in_threads, rng):
    X = rng.normal(size=(60, 2))
    y = np.arange(60) % 2
    y = np.array([*y[:30], *y[30:].astype(str)], dtype=object)

    class Mixed(ResODEClassifier):
        def fit(self, X, y):
            return super().fit(X, y.astype(type(y[-1])))

    with pytest.raises(ValueError, match="same kind of labels"):
        fit_in_threads(lambda: Mixed(4, processes="group"), X, y)


def test_no_model_is_left_of_folds_that_were_interrupted(
    fit_in_threads, rng, monkeypatch
):
    notify = TrainingNet.notify

    def interrupted(net, name, **kwargs):
        if name == "on_batch_begin" and len(net.history) == 3:
            raise KeyboardInterrupt
        notify(net, name, **kwargs)

    monkeypatch.setattr(TrainingNet, "notify", interrupted)
    X = rng.normal(size=(60, 2))
    with pytest.raises(RuntimeError, match="no model is left"):
        fit_in_threads(
            lambda: ResODERegressor(**SMALL, solver="flow", processes="group"),
            X,
            X[:, 0],
        )


def test_parts_are_trained_on_in_one_process(rng):
    X = rng.normal(size=(60, 2))
    model = ResODERegressor(**SMALL, solver="adamw", processes="group")
    with pytest.raises(ValueError, match="one process"):
        model.partial_fit(X, X[:, 0])


def test_the_word_asks_for_a_process_group(rng):
    X = rng.normal(size=(60, 2))
    with pytest.raises(ValueError, match="init_process_group"):
        ResODERegressor(**SMALL, processes="group").fit(X, X[:, 0])
    with pytest.raises(ValueError, match="'processes' parameter"):
        ResODERegressor(**SMALL, processes="all").fit(X, X[:, 0])
