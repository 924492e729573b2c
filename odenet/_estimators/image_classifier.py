"""The estimator of images: a convolutional residual network."""

import os
from dataclasses import replace
from functools import partial
from numbers import Real

import torch
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from odenet._estimators.base import BaseResODE, around
from odenet._estimators.classification import ClassificationMixin
from odenet._estimators.table import TableResODE
from odenet._network.convolutional import ConvResidualNetwork
from odenet._network.predictor import Predictor
from odenet._tables.images import (
    ImageInputs,
    find_image_shape,
    fit_channels,
    read_images,
)
from odenet._tables.labels import kind_of_classes
from odenet._tables.reading import Reading, to_rows
from odenet._tables.standardizer import Standardizer
from odenet._training.augmentation import Augmentation
from odenet._utils.sklearn_private import Count, Interval, Splits, StrOptions
from odenet.solvers import SGD, SOAP, AdamW, resolve_solver

PAPERS_SGD = SGD(
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    flow_rates=False,
    schedule="cosine",
    batch_size=64,
    max_epochs=60,
)


class ResODEImageClassifier(ClassificationMixin, BaseResODE):
    """Classification of images by a convolutional residual network.

    Its filters and batch normalisations are stacked samples of functions of depth, each
    layer is scaled by 1/L, and the network is trained on mini-batches: see
    :class:`ConvResidualNetwork`. Minimises the cross-entropy. Takes several labels at
    once as :class:`ResODEClassifier` does.

    Parameters
    ----------
    depth : int, default=32
        Number L of residual layers.
    channels : int, default=16
        Number of maps of a state.
    image_shape : tuple (height, width) or (height, width, n_channels), default=None
        Shape of an image. None takes it from X, if that has three or four dimensions;
        flat rows are gray square images if their length is a square, else images of a
        single row.
    activation : {"gelu", "tanh", "silu", "softplus", "relu", "identity"}, \
            default="gelu"
        Activation between the two convolutions of a layer.
    init : {"tied", "gaussian_process", "iid"} or callable, default="tied"
        The filters at the start, as functions of depth: see :mod:`odenet.schemes`.
        With "iid" the network is no discretised ODE.
    solver : {"sgd", "adamw"} or object of ``SGD`` or ``AdamW``, default="sgd"
        "sgd" is that of the paper: momentum 0.9, weight decay 5e-4, batches of 64, the
        same rate for all parameters, which falls along a cosine, here from 0.1 in 60
        epochs. With a constant rate there is ``partial_fit`` as well. See
        :mod:`odenet.solvers`.
    random_shift : int, default=0
        In training, images are shifted by up to so many pixels, at random and anew in
        every epoch; black comes in at their edges.
    random_flip : bool, default=False
        Whether, in training, images are replaced by their mirror images at random.
    early_stopping : bool, default=False
        Whether to hold out samples, and to end with the weights of the lowest loss on
        them.
    validation_fraction : float, default=0.1
        Share of every class that is held out.
    validation_split : {"random", "last"}, splitter or iterable, default="random"
        Which samples are held out: drawn at random (whole groups, if ``fit`` gets
        ``groups``), the last ones in the order of X, or the held-out part of the last
        split of a splitter of scikit-learn, or of a list of pairs (train, held_out) of
        indices, which takes the place of ``validation_fraction``.
    standardize : bool, default=True
        Whether to scale the channels inside the model.
    class_weight : dict, "balanced" or list of dict, default=None
        Weights of the classes; "balanced" gives all the same total weight. Of several
        labels, a list has a dict for each; the weights are multiplied.
    label_smoothing : float, default=0.0
        Probability that a label is taken to be spread over all classes, in proportion
        to their shares among the samples.
    callbacks : list, default=None
        Callbacks of skorch, called at every epoch.
    checkpoint : str or path-like, default=None
        A file in which an unfinished fit keeps its state every ten seconds. If the
        process is killed, ``fit`` with the same data and parameters goes on from there,
        on the same machine to the same model, to the last bit. The file is removed when
        the fit is complete. See "Long fits" in the user guide.
    device : str, default="auto"
        "auto" is CUDA where there is one, else the CPU; or any name of a torch device.
    dtype : {"float32", "float64"}, default="float32"
        Number format of training. Predictions are computed in float64.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, of the held-out samples, of the mini-batches and of what is
        random about images. The same int gives the same model on the same machine; on a
        GPU up to rounding, as cuDNN adds numbers in an order that varies. The global
        random states are neither read nor set.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes; of several labels, the numbers of the columns of y.
    image_shape_ : tuple (height, width, n_channels)
        Shape of an image.
    n_features_in_ : int
        Number of pixels times channels.
    n_samples_fit_ : int
        Number of training images that have weight.
    n_outputs_ : int
        Number of outputs of the network.
    temperature_ : float
        What the outputs of the network are divided by to be logits, by which samples
        that were held out have the least log loss; 1 without any.
    module_ : ConvResidualNetwork
        The network, on standardised channels.
    net_ : skorch net
        What trained it, with ``net_.history``.
    depth_ : int
        Number of layers.
    depth_smoothness_ : DepthSmoothness
        How smooth the filters V and W are in depth.
    history_ : pandas.DataFrame
        The training, a row for every epoch.
    solver_ : solver object
        What the network was trained by.
    depth_path_ : list of dict
        One row, for the one depth that is trained at.
    loss_ : float
        Objective of the model on all training samples; None after ``partial_fit``.
    loss_curve_, validation_loss_curve_, validation_scores_ : list of float
        Mean loss of every epoch; log loss (of labels that are not smoothed) and
        accuracy of the held-out samples, or None.
    n_iter_, n_grad_evals_ : int
        Number of epochs, and of mini-batches.
    stop_reason_ : str
        "max_epochs", "early_stopping", "callback", "interrupted" or "diverged".
    converged_ : bool
        Whether early stopping, or a callback, ended the training.

    Notes
    -----
    The network and its training are those of P. Marion, Y.-H. Wu, M. E. Sander and
    G. Biau, *Implicit regularization of deep residual networks towards neural ODEs*,
    ICLR 2024, section 5.2, on CIFAR-10. A batch normalisation couples the samples of a
    batch, so that their theorems do not hold as they stand.

    X may have the shape (n_samples, n_pixels), with the channels of a pixel side by
    side, (n_samples, height, width) or (n_samples, height, width, n_channels).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from odenet import ResODEImageClassifier
    >>> from odenet.solvers import SGD
    >>> X, y = load_digits(return_X_y=True)
    >>> solver = SGD(learning_rate=0.04, schedule="cosine", max_epochs=3)
    >>> model = ResODEImageClassifier(
    ...     4, channels=8, image_shape=(8, 8), solver=solver, random_state=0
    ... )
    >>> bool(model.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.7)
    True
    >>> model.depth_smoothness_.increments["W"].shape
    (3,)
    """

    _parameter_constraints = {
        "depth": [Count()],
        "channels": [Count()],
        "image_shape": ["array-like", None],
        "activation": TableResODE._parameter_constraints["activation"],
        "init": TableResODE._parameter_constraints["init"],
        "solver": [StrOptions({"sgd", "adamw"}), SGD, AdamW],
        "random_shift": [Count(0)],
        "random_flip": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "validation_split": [StrOptions({"random", "last"}), Splits()],
        "standardize": ["boolean"],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "callbacks": [list, None],
        "checkpoint": [str, os.PathLike, None],
        "device": [str, torch.device],
        "dtype": [StrOptions({"float32", "float64"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        depth=32,
        *,
        channels=16,
        image_shape=None,
        activation="gelu",
        init="tied",
        solver="sgd",
        random_shift=0,
        random_flip=False,
        early_stopping=False,
        validation_fraction=0.1,
        validation_split="random",
        standardize=True,
        class_weight=None,
        label_smoothing=0.0,
        callbacks=None,
        checkpoint=None,
        device="auto",
        dtype="float32",
        random_state=None,
        verbose=0,
    ):
        self.depth = depth
        self.channels = channels
        self.image_shape = image_shape
        self.activation = activation
        self.init = init
        self.solver = solver
        self.random_shift = random_shift
        self.random_flip = random_flip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validation_split = validation_split
        self.standardize = standardize
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def with_depth(self, depth, interpolation="linear"):
        """The model with another number of layers, which sample the same functions.

        Parameters
        ----------
        depth : int
            Number of layers of the new network, larger or smaller.
        interpolation : {"linear", "constant"}, default="linear"
            Piecewise linear through the middles of the layers, or piecewise constant.

        Returns
        -------
        model : estimator
            A fitted copy with ``depth`` and ``depth_`` changed; this one stays as it
            is.
        """
        check_is_fitted(self)
        model = around(self, self.module_.with_depth(depth, interpolation))
        if model.depth_ != self.depth_:  # it may err by far more
            model._predictor = replace(model._predictor, calibration=None)
        return model

    def _resolved_solver(self, n_rows=0, loss=None):
        if isinstance(self.solver, SOAP):
            raise ValueError(
                "`solver` must be 'sgd', 'adamw', or an object of SGD or AdamW: SOAP "
                f"turns matrices, which filters are not, got {self.solver!r}."
            )
        return resolve_solver(
            clone(PAPERS_SGD) if self.solver == "sgd" else self.solver
        )

    def _read_anew(self, X, y, sample_weight, announced):
        kind = kind_of_classes(y)
        (X, y), shape = read_images(self, X, y, reset=True, **kind.checks)
        shape = find_image_shape(self.image_shape, shape, self.n_features_in_)
        if self.random_shift >= min(shape[:2]):
            raise ValueError(
                f"`random_shift` must be smaller than the images of {shape[0]} x "
                f"{shape[1]} pixels, got {self.random_shift}."
            )
        kind.check(y)
        targets_of = partial(
            kind.of,
            estimator_name=type(self).__name__,
            params=self.get_params(deep=False),
            classes=announced.classes,
        )
        rows, targets = to_rows(X, y, sample_weight, targets_of)
        return Reading(rows, targets, shape)

    def _start(self, reading, solver, generator):
        X, y, weight = reading.rows[:3]
        network = ConvResidualNetwork(
            reading.layout,
            reading.targets.n_outputs,
            depth=self.depth,
            channels=self.channels,
            activation=self.activation,
            init=self.init,
            generator=generator,
            dtype=getattr(torch, self.dtype),
        )
        inputs = ImageInputs(
            type(self).__name__,
            self.n_features_in_,
            getattr(self, "feature_names_in_", None),
            reading.layout,
            fit_channels(X, weight, reading.layout[2])
            if self.standardize
            else Standardizer.identity(X.shape[1]),
        )
        targets = reading.targets.fitted(y, weight, self.standardize)
        return Predictor(network, inputs, targets)

    def _plan(self, solver, predictor, **settings):
        augmentation = None
        if self.random_shift or self.random_flip:
            inputs = predictor.inputs
            augmentation = Augmentation(
                inputs.image_shape, self.random_shift, self.random_flip, inputs.black
            )
        return super()._plan(solver, predictor, augmentation=augmentation, **settings)

    @property
    def image_shape_(self):
        """Height, width and number of channels of an image."""
        return self._predictor.inputs.image_shape
