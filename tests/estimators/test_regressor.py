"""The regressor: outputs, their shape and their units."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_regression
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from odenet import ResODERegressor
from odenet.solvers import SGD
from tests.helpers import SMALL


def test_several_outputs_are_the_outputs_of_one_network(X):
    Y = np.column_stack([X[:, 0], 1000 * X[:, 1] + 5, np.ones(60)])
    model = ResODERegressor(**SMALL, flow_time=100.0).fit(X, Y)
    assert model.predict(X).shape == (60, 3)
    assert model.n_outputs_ == 3
    assert model.score(X, Y) > 0.9
    np.testing.assert_array_equal(model.predict(X)[:, 2], 1)


def test_shape_of_one_output_is_kept(X):
    flat = ResODERegressor(**SMALL, flow_time=1.0).fit(X, X[:, 0])
    column = ResODERegressor(**SMALL, flow_time=1.0).fit(X, X[:, :1])
    assert flat.predict(X).shape == (60,)
    assert column.predict(X).shape == (60, 1)
    np.testing.assert_array_equal(column.predict(X).ravel(), flat.predict(X))


def test_scikit_learn_knows_what_it_can(X, y):
    model = ResODERegressor(**SMALL)
    assert get_tags(model).target_tags.multi_output
    assert not hasattr(model, "partial_fit")
    assert hasattr(model.set_params(solver="sgd"), "partial_fit")
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_weights_count_in_every_part(X, y):
    models = []
    for weight in (np.ones(60), 1.0 + 9 * y):
        model = ResODERegressor(**SMALL, solver=SGD(max_epochs=1))
        models.append(model.partial_fit(X, y, sample_weight=weight))
    light, heavy = (model.predict(X).mean() for model in models)
    assert heavy > light + 0.01


def test_precision_of_training(X, y):
    models = {
        dtype: ResODERegressor(**SMALL, flow_time=5.0, dtype=dtype).fit(X, y)
        for dtype in ("float32", "float64")
    }
    assert models["float64"].module_.V.dtype == torch.float64
    assert all(model.predict(X).dtype == np.float64 for model in models.values())
    np.testing.assert_allclose(*(m.predict(X) for m in models.values()), atol=1e-3)


def test_noise_is_not_fitted(rng):
    X, noise = rng.normal(size=(300, 5)), rng.normal(size=300)
    stopped = ResODERegressor(**SMALL).fit(X, noise)
    assert stopped.stop_reason_ in {"early_stopping", "horizon"}
    assert stopped.score(X, noise) < 0.1
    followed = ResODERegressor(**SMALL, early_stopping=False, flow_time=200.0)
    followed.fit(X, noise)
    assert followed.score(X, noise) > 0.2


def test_constant_target(X):
    model = ResODERegressor(**SMALL).fit(X, np.full(60, 1e30))
    np.testing.assert_array_equal(model.predict(X), 1e30)
    assert model.stop_reason_ == "stationary"


def test_unscaled_extremes_fail_clearly_or_are_fitted(X, y):
    model = ResODERegressor(**SMALL, standardize=False)
    with pytest.raises(FloatingPointError, match="standardize=True"):
        model.fit(X, 1e30 * X[:, 0])
    model.fit(1e15 * X, X[:, 0])
    assert model.score(1e15 * X, X[:, 0]) > 0.99


def test_several_outputs_share_one_loss():
    X, Y = make_regression(100, 5, n_targets=2, random_state=0)
    model = ResODERegressor(**SMALL, flow_time=20.0, early_stopping=False).fit(X, Y)
    scaled = ((Y - model.predict(X)) / Y.std(axis=0)) ** 2
    assert model.loss_curve_[-1] == pytest.approx(scaled.sum(axis=1).mean(), rel=1e-4)
