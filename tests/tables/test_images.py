"""From images to rows of pixels, and to the inputs of a network."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from odenet._tables.images import (
    ImageInputs,
    find_image_shape,
    fit_channels,
    read_images,
    with_channels,
)
from odenet._tables.standardizer import Standardizer


class Owner(BaseEstimator):
    pass


def image_inputs(shape=(2, 3, 1), encoder=None):
    n = int(np.prod(shape))
    return ImageInputs("Model", n, None, shape, encoder or Standardizer.identity(n))


def test_images_become_rows_of_pixels():
    owner, X = Owner(), np.arange(12).reshape(2, 3, 2)
    (rows, y), shape = read_images(owner, X, [1, 0], reset=True)
    np.testing.assert_array_equal(rows, X.reshape(2, 6))
    assert shape == (3, 2)
    assert y.tolist() == [1, 0]
    assert owner.n_features_in_ == 6
    rows, shape = read_images(owner, X.reshape(2, 6).tolist())
    assert shape == (6,)
    assert rows.dtype == np.float64


def test_shape_of_images():
    for asked, shape, n_pixels, expected in [
        (None, (4, 5), 20, (4, 5, 1)),
        (None, (4, 5, 3), 60, (4, 5, 3)),
        (None, (49,), 49, (7, 7, 1)),
        (None, (48,), 48, (1, 48, 1)),
        ((6, 8), (48,), 48, (6, 8, 1)),
        ([4, 4, 3], (48,), 48, (4, 4, 3)),
        ((4, 5), (4, 5), 20, (4, 5, 1)),
    ]:
        assert find_image_shape(asked, shape, n_pixels) == expected


def test_shapes_that_do_not_agree_are_errors():
    for asked, shape, n_pixels, match in [
        ((4,), (4,), 4, r"must be \(height, width\) or .* got \(4,\)"),
        ((4.0, 2), (8,), 8, "must be"),
        ((0, 8), (0,), 0, "must be"),
        ((4, 5), (5, 4), 20, r"is \(4, 5, 1\), but X has images of shape \(5, 4\)"),
        ((4, 5), (19,), 19, "has 20 numbers an image, but X has rows of 19"),
        (None, (2, 2, 2, 2), 16, "X must have the shape"),
        (
            None,
            (3, 32, 32),
            3072,
            r"channels first.*moveaxis.*image_shape=\(3, 32, 32\)",
        ),
    ]:
        with pytest.raises(ValueError, match=match):
            find_image_shape(asked, shape, n_pixels)


def test_few_rows_of_many_channels_are_images_if_that_is_said():
    assert find_image_shape((3, 32, 32), (3, 32, 32), 3072) == (3, 32, 32)
    assert find_image_shape(None, (3, 32, 4), 384) == (3, 32, 4)


def test_gray_images_have_one_channel():
    assert with_channels((3, 4)) == (3, 4, 1)
    assert with_channels((3, 4, 2)) == (3, 4, 2)


def test_channels_are_scaled_each_over_all_pixels_and_weights(rng):
    X = rng.normal([5.0, -3.0], [2.0, 0.1], size=(50, 6, 2)).reshape(50, 12)
    weight = rng.uniform(1, 3, size=50)
    seen = fit_channels(X, weight, 2)(X).reshape(50, 6, 2)
    mean = np.average(seen, axis=0, weights=weight).mean(axis=0)
    square = np.average(seen**2, axis=0, weights=weight).mean(axis=0)
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(square, 1)


def test_inputs_accept_images_of_their_shape_and_rows():
    inputs = image_inputs()
    X = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(inputs.read(X), X.reshape(2, 6))
    np.testing.assert_array_equal(inputs.read(X[..., None]), X.reshape(2, 6))
    np.testing.assert_array_equal(inputs.read(X.reshape(2, 6)), X.reshape(2, 6))
    rows, y = inputs.read(X, ["a", "b"])
    assert y.tolist() == ["a", "b"]


def test_images_of_another_shape_are_errors():
    with pytest.raises(ValueError, match=r"of shape \(3, 2\), but Model was fitted"):
        image_inputs().read(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="X has 5 features, but Model is expecting 6"):
        image_inputs().read(np.zeros((4, 5)))


def test_black_is_zero_as_the_network_sees_it():
    encoder = Standardizer(np.tile([1.0, 8.0], 6), np.tile([2.0, 4.0], 6))
    inputs = image_inputs((2, 3, 2), encoder)
    np.testing.assert_allclose(inputs.black, encoder(np.zeros((1, 12)))[0, :2])
    np.testing.assert_allclose(inputs(np.ones((1, 12))), encoder(np.ones((1, 12))))
