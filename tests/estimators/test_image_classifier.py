"""The estimator of images: shapes, pipelines, smoothness, what bad input gets."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import get_tags
from skorch.callbacks import Callback

from odenet import ResODEImageClassifier
from odenet.solvers import SGD, SOAP, AdamW

SOLVER = SGD(learning_rate=0.04, schedule="cosine", batch_size=16, max_epochs=4)
SMALL = {"depth": 4, "channels": 8, "solver": SOLVER, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400]


@pytest.fixture(scope="module")
def fitted(digits):
    return ResODEImageClassifier(**SMALL).fit(*digits)


def test_it_learns(fitted, digits):
    X, y = load_digits(return_X_y=True)
    assert fitted.score(X[400:], y[400:]) > 0.7
    assert fitted.stop_reason_ == "max_epochs"
    assert len(fitted.loss_curve_) == fitted.n_iter_ == 4
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


def test_flat_square_and_coloured_images_are_the_same(fitted, digits):
    X, y = digits
    expected = fitted.predict_proba(X)
    for shape in [(8, 8), (8, 8, 1)]:
        images = X.reshape(-1, *shape)
        model = ResODEImageClassifier(**SMALL).fit(images, y)
        assert model.image_shape_ == (8, 8, 1)
        np.testing.assert_array_equal(model.predict_proba(images), expected)
        np.testing.assert_array_equal(model.predict_proba(X), expected)
        given = ResODEImageClassifier(image_shape=shape, **SMALL).fit(X, y)
        np.testing.assert_array_equal(given.predict_proba(X), expected)


def test_images_that_are_not_square_and_have_colours(rng):
    X = rng.integers(256, size=(60, 9, 5, 3), dtype=np.uint8)
    y = (X[..., 0].mean(axis=(1, 2)) > 127).astype(int)
    X[y == 1, ..., 0] //= 2
    model = ResODEImageClassifier(**SMALL).fit(X, y)
    assert model.image_shape_ == (9, 5, 3)
    assert model.decision_function(X).shape == (60,)
    assert model.transform(X).shape == (60, 8 * 3 * 2)
    assert model.hidden_states(X).shape == (5, 60, 8 * 3 * 2)
    assert len(model.get_feature_names_out()) == 48


def test_units_do_not_matter(digits):
    X, y = digits
    colours = np.stack([X, 5 * X + 2], axis=2)  # of a pixel, side by side
    solver = clone(SOLVER).set_params(max_epochs=1)
    settings = {**SMALL, "image_shape": (8, 8, 2), "solver": solver}
    model = ResODEImageClassifier(**settings).fit(colours.reshape(400, -1), y)
    seen = model._predictor.inputs(colours.reshape(400, -1)).reshape(400, 64, 2)
    np.testing.assert_allclose(seen[:, :, 0], (X - X.mean()) / X.std())
    np.testing.assert_allclose(seen[:, :, 1], seen[:, :, 0])


def test_predictions_do_not_depend_on_the_batch(fitted, digits):
    X, _ = digits
    one_by_one = np.vstack([fitted.predict_proba(row[None]) for row in X[:5]])
    np.testing.assert_allclose(one_by_one, fitted.predict_proba(X)[:5], rtol=1e-10)


def test_pipelines_and_grid_searches(digits):
    pipeline = make_pipeline(MinMaxScaler(), ResODEImageClassifier(**SMALL))
    grid = {
        "resodeimageclassifier__depth": [2, 4],
        "resodeimageclassifier__solver__learning_rate": [1e-6, 0.04],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(*digits)
    assert search.best_params_["resodeimageclassifier__solver__learning_rate"] == 0.04


@pytest.mark.parametrize(("init", "is_smooth"), [("tied", True), ("iid", False)])
def test_tied_filters_stay_functions_of_depth_and_independent_ones_do_not(
    init, is_smooth, digits
):
    """So that a change of depth keeps what is learned, or loses it."""
    X, y = digits
    solver = clone(SOLVER).set_params(max_epochs=12)
    settings = {**SMALL, "depth": 16, "solver": solver, "init": init}
    model = ResODEImageClassifier(**settings).fit(X, y)
    assert model.score(X, y) > 0.95
    assert (model.depth_smoothness_.von_neumann_ratio < 0.2) == is_smooth
    assert (model.depth_smoothness_.von_neumann_ratio < 0.8) == is_smooth
    logits = model.decision_function(X)
    for depth in (8, 32):
        moved = model.with_depth(depth).decision_function(X) - logits
        assert (np.linalg.norm(moved) < 0.15 * np.linalg.norm(logits)) == is_smooth


def test_with_depth_leaves_the_model_as_it_is(fitted, digits):
    X, _ = digits
    before = fitted.predict_proba(X)
    deeper = fitted.with_depth(16)
    assert (deeper.depth, deeper.depth_, fitted.depth_) == (16, 16, 4)
    np.testing.assert_array_equal(fitted.predict_proba(X), before)


def test_pickles_hold_no_tensors_and_predict_the_same(fitted, digits):
    X, _ = digits
    model = clone(fitted).set_params(random_shift=1).fit(*digits)
    data = pickle.dumps(model)
    assert b"_rebuild_tensor" not in data
    assert len(data) < 1.5 * sum(p.nbytes for p in model.module_.state_dict().values())
    np.testing.assert_array_equal(
        pickle.loads(data).predict_proba(X), model.predict_proba(X)
    )


def test_same_seed_same_model_and_global_states_untouched(fitted, digits):
    X, y = digits
    torch_state = torch.get_rng_state()
    settings = {**SMALL, "random_shift": 1, "random_flip": True}
    one, two = (ResODEImageClassifier(**settings).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert not np.array_equal(one.predict_proba(X), fitted.predict_proba(X))
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_shifts_bring_in_black(digits):
    """In the units that the network sees."""
    X, y = digits
    model = ResODEImageClassifier(random_shift=2, **SMALL).fit(X + 100, y)
    mean, std = (X + 100).mean(), (X + 100).std()
    (background,) = model.net_.augmentation.background
    assert background == pytest.approx(-mean / std)


def test_early_stopping_ends_where_the_validation_loss_rises(digits, rng):
    X, y = digits
    solver = clone(SOLVER).set_params(schedule="constant", patience=2, max_epochs=50)
    settings = {**SMALL, "solver": solver, "early_stopping": True}
    model = ResODEImageClassifier(**settings)
    model.fit(X[:300], y[:300], X_val=X[300:], y_val=rng.permutation(y[300:]))
    assert model.stop_reason_ == "early_stopping"
    assert len(model.validation_loss_curve_) == model.n_iter_ < 20
    logits = model.decision_function(X)
    assert abs(logits).max() < 2  # nothing was to be learned for such labels


def test_adamw_trains_it_too(digits):
    solver = AdamW(learning_rate=0.02, max_epochs=4, batch_size=32)
    model = ResODEImageClassifier(**{**SMALL, "solver": solver}).fit(*digits)
    assert model.score(*digits) > 0.7
    assert model.depth_smoothness_.von_neumann_ratio < 0.6


def test_parts_of_the_data_only_at_a_constant_rate(digits):
    X, y = digits
    assert not hasattr(ResODEImageClassifier(**SMALL), "partial_fit")
    solver = clone(SOLVER).set_params(schedule="constant")
    model = ResODEImageClassifier(**{**SMALL, "solver": solver})
    for _ in range(4):
        model.partial_fit(X[:200], y[:200], classes=np.unique(y))
        model.partial_fit(X[200:], y[200:])
    assert model.score(X, y) > 0.6
    model.set_params(random_shift=1).partial_fit(X, y)
    assert model.net_.augmentation.shift == 1
    for name, value in [("channels", 5), ("image_shape", (4, 16))]:
        with pytest.raises(ValueError, match=f"`{name}` must stay"):
            copy.deepcopy(model).set_params(**{name: value}).partial_fit(X, y)


def test_class_weights_and_sample_weights_matter(fitted, digits):
    X, y = digits
    weighted = ResODEImageClassifier(class_weight={3: 50.0}, **SMALL).fit(X, y)
    shares = (model.predict_proba(X)[:, 3].mean() for model in (weighted, fitted))
    assert next(shares) > 1.2 * next(shares)
    none = ResODEImageClassifier(**SMALL).fit(X, y, sample_weight=y != 3)
    assert 3 not in none.classes_


@pytest.mark.parametrize(
    ("image_shape", "X_shape", "message"),
    [
        ((8, 9), (20, 64), "has 72 numbers an image, but X has rows of 64"),
        ((8,), (20, 64), r"must be \(height, width\) or"),
        ((8, -8), (20, 64), r"must be \(height, width\) or"),
        ((8, 8), (20, 4, 16), "but X has images of shape"),
        (None, (20, 2, 2, 4, 4), "X must have the shape"),
    ],
)
def test_shapes_that_do_not_fit(image_shape, X_shape, message):
    X, y = np.zeros(X_shape), np.arange(20) % 2
    with pytest.raises(ValueError, match=message):
        ResODEImageClassifier(image_shape=image_shape, **SMALL).fit(X, y)


def test_images_of_another_shape_are_refused(fitted):
    with pytest.raises(ValueError, match="was fitted to images of shape"):
        fitted.predict(np.zeros((3, 4, 16)))
    with pytest.raises(ValueError, match="expecting 64 features"):
        fitted.predict(np.zeros((3, 9, 9)))


def test_nan_is_refused_and_loses_nothing(digits):
    X, y = digits
    model = ResODEImageClassifier(**SMALL).fit(X, y)
    before = model.predict(X)
    images = X.reshape(-1, 8, 8).copy()
    images[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(images, y)
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("solver", ["flow", "gd"])
def test_solvers_of_whole_batches_are_refused(solver, digits):
    with pytest.raises(ValueError, match="The 'solver' parameter"):
        ResODEImageClassifier(solver=solver).fit(*digits)


def test_soap_is_refused(digits):
    for solver, message in (
        ("soap", "The 'solver' parameter"),
        (SOAP(), "not, got SO"),
    ):
        with pytest.raises(ValueError, match=message):
            ResODEImageClassifier(solver=solver).fit(*digits)


def test_the_default_is_the_papers_training():
    model = ResODEImageClassifier()
    solver = model._resolved_solver()
    assert (solver.momentum, solver.weight_decay) == (0.9, 5e-4)
    assert solver.schedule == "cosine"
    assert model._resolved_solver() is not solver  # which its owner may change


def test_scikit_learn_knows_what_it_takes(digits):
    assert get_tags(ResODEImageClassifier()).input_tags.three_d_array
    X, y = digits
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        ResODEImageClassifier(**SMALL).fit(X, y + 0.5)


class Raises(Callback):
    """Raises an error at the end of a batch, from some number of batches on."""

    def __init__(self, error, batches=2):
        self.error = error
        self.left = batches

    def on_batch_end(self, net, training=False, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise self.error


def test_interruption_leaves_a_usable_model(digits):
    X, y = digits
    model = ResODEImageClassifier(callbacks=[Raises(KeyboardInterrupt())], **SMALL)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(X, y)
    assert model.stop_reason_ == "interrupted"
    model.callbacks = None
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert model.with_depth(2).predict(X).shape == y.shape


def test_an_error_in_partial_fit_loses_nothing(digits):
    X, y = digits
    solver = clone(SOLVER).set_params(schedule="constant")
    error = Raises(ValueError("no more"), batches=30)
    model = ResODEImageClassifier(**{**SMALL, "solver": solver, "callbacks": [error]})
    model.partial_fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="no more"):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert not model.module_.training


def test_a_shift_is_smaller_than_the_images(digits):
    for shift in (8, 100):
        with pytest.raises(
            ValueError, match=f"`random_shift` must .*8 x 8.* got {shift}"
        ):
            ResODEImageClassifier(random_shift=shift, **SMALL).fit(*digits)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_divergence_goes_back_to_finite_weights_and_moments(digits):
    solver = clone(SOLVER).set_params(learning_rate=1e20)
    model = ResODEImageClassifier(**{**SMALL, "solver": solver}).fit(*digits)
    assert model.stop_reason_ == "diverged"
    assert all(p.isfinite().all() for p in model.module_.state_dict().values())
    assert np.isfinite(model.decision_function(digits[0])).all()


def test_callbacks_at_the_end_of_an_epoch_evaluate_and_change_nothing(fitted, digits):
    """The batch normalisations use and keep their running moments."""

    class Evaluates(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.module_(torch.zeros(5, 64, device=net.module_.V.device))

    model = ResODEImageClassifier(callbacks=[Evaluates()], **SMALL).fit(*digits)
    np.testing.assert_array_equal(
        model.predict_proba(digits[0]), fitted.predict_proba(digits[0])
    )


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_batch_of_a_single_value_per_channel(batch_size):
    X, y = np.arange(12.0).reshape(3, 2, 2), [0, 1, 0]
    solver = clone(SOLVER).set_params(batch_size=batch_size)
    model = ResODEImageClassifier(**{**SMALL, "solver": solver}).fit(X, y)
    assert np.isfinite(model.decision_function(X)).all()
