"""From images to rows of numbers, and to the inputs of a network."""

from dataclasses import dataclass
from math import isqrt, prod
from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.utils.validation import validate_data

from odenet._tables.reading import FLOATS, NO_Y, stand_in
from odenet._tables.standardizer import Standardizer, fit_standardizer

USUAL_CHANNELS = (1, 3, 4)  # of grey, coloured and transparent images


@dataclass(frozen=True)
class ImageInputs:
    """How images become the inputs of a network: rows of standardised pixels.

    Parameters
    ----------
    estimator_name : str
        The name of the estimator, for errors.
    n_features : int
        Number of pixels times number of channels.
    feature_names : ndarray of str or None
        Names of the pixels, if they had any.
    image_shape : tuple (height, width, n_channels)
    encoder : Standardizer
    """

    estimator_name: str
    n_features: int
    feature_names: np.ndarray | None
    image_shape: tuple
    encoder: Standardizer

    # The most images in one evaluation of the network, which bounds its memory.
    rows_at_once: ClassVar = 1024

    def contents(self):
        """Return words for the images."""
        height, width, n_channels = self.image_shape
        return f"{height} x {width} pixels of {n_channels} channel(s)"

    def notices(self):
        """Return nothing: the scale of a channel is that of all its pixels."""
        return []

    def read(self, X, y=NO_Y, **checks):
        """Check images against those of the training; return rows of pixels (and y)."""
        owner = stand_in(self.estimator_name, self.n_features, self.feature_names)
        read, shape = read_images(owner, X, y, **checks)
        if len(shape) > 1 and with_channels(shape) != self.image_shape:
            raise ValueError(
                f"X has images of shape {shape}, but {self.estimator_name} was fitted "
                f"to images of shape {self.image_shape}."
            )
        return read

    def __call__(self, X):
        """Return the inputs for rows of pixels."""
        return self.encoder(X)

    @property
    def black(self):
        """The value of a black pixel in every channel, as the network sees it."""
        pixels = self.encoder(np.zeros((1, self.n_features)))
        return tuple(pixels[0, : self.image_shape[2]].tolist())


def read_images(owner, X, y=NO_Y, *, reset=False, **checks):
    """Return images as rows of pixels, with y if there is one, and their shape.

    The shape is that of X without its first axis.
    """
    X = X if hasattr(X, "shape") else np.asarray(X)
    shape = X.shape[1:]
    if len(shape) > 1:
        X = np.asarray(X).reshape(len(X), prod(shape))
    return validate_data(owner, X, y, reset=reset, dtype=FLOATS, **checks), shape


def fit_channels(X, weight, n_channels):
    """Fit one mean and one scale for every channel, for rows of pixels."""
    n_cells = X.shape[1] // n_channels
    channels = fit_standardizer(X.reshape(-1, n_channels), np.repeat(weight, n_cells))
    return Standardizer(
        np.tile(channels.mean, n_cells), np.tile(channels.scale, n_cells)
    )


def find_image_shape(asked, shape, n_pixels):
    """Return height, width and number of channels of the images of a training set.

    Parameters
    ----------
    asked : tuple or None
        The parameter ``image_shape``.
    shape : tuple
        The shape of X without its first axis.
    n_pixels : int
        Number of values in an image: pixels times channels.

    Raises
    ------
    ValueError
        If the shapes do not agree.
    """
    if asked is not None:
        return _checked(tuple(asked), shape, n_pixels)
    if len(shape) == 3 and shape[0] in USUAL_CHANNELS and shape[2] > USUAL_CHANNELS[-1]:
        raise ValueError(
            f"X has images of shape {shape}, which seem to have the channels first: "
            "pass np.moveaxis(X, 1, -1). If these are images of few rows and many "
            f"channels, pass image_shape={shape}."
        )
    if len(shape) > 1:
        return with_channels(shape)
    side = isqrt(n_pixels)
    return (side, side, 1) if side**2 == n_pixels else (1, n_pixels, 1)


def _checked(asked, shape, n_pixels):
    """Return the shape that is asked for, or raise an error if it does not fit."""
    if len(asked) not in (2, 3) or not all(
        isinstance(n, Integral) and n > 0 for n in asked
    ):
        raise ValueError(
            "`image_shape` must be (height, width) or (height, width, n_channels), "
            f"got {asked!r}."
        )
    asked = with_channels(tuple(int(n) for n in asked))
    if len(shape) > 1 and with_channels(shape) != asked:
        raise ValueError(
            f"`image_shape` is {asked}, but X has images of shape {shape}."
        )
    if prod(asked) != n_pixels:
        raise ValueError(
            f"`image_shape` {asked} has {prod(asked)} numbers an image, but X has "
            f"rows of {n_pixels}."
        )
    return asked


def with_channels(shape):
    """Add an axis of channels to the shape of images that have none."""
    if len(shape) not in (2, 3):
        raise ValueError(
            "X must have the shape (n_samples, n_pixels), (n_samples, height, width) "
            f"or (n_samples, height, width, n_channels), got {('n_samples', *shape)}."
        )
    return (*shape, 1)[:3]
