"""Translation between the parts of a predictor and their names in files.

A fitted estimator owns inputs and targets. In files they are called ``_X_encoder``,
``_columns``, ``_y_standardizer`` and ``_y_is_1d``, and for images ``image_shape_`` and
``_black`` as well. Those were attributes of the estimators when the first files were
written. The names stay, so that old files can be read. ``_y_loss`` is the loss that was
fitted, in files of another one than the squared error. ``_class_shares`` are those of
the classes; ``_label_shares`` tell of several labels instead. ``_temperature`` is that
of a classifier, unless it is 1. ``_calibration`` is what held-out samples say of the
errors, in files of estimators that have some.
"""

from odenet._losses.squared_error import SquaredError
from odenet._network.predictor import Predictor
from odenet._tables.images import ImageInputs
from odenet._tables.labels import LabelTargets
from odenet._tables.reading import TableInputs
from odenet._tables.targets import ClassTargets, RegressionTargets

# The entry of an estimator's state that holds its network (as weights) and training.
FROZEN = "_frozen"


def state_of_parts(state):
    """Return the state of a fitted estimator with its parts under their names in files.

    Parameters
    ----------
    state : dict
        The state of an estimator, with a predictor as "parts" in ``_frozen``.

    Returns
    -------
    state : dict
    """
    frozen = dict(state[FROZEN])
    parts = frozen.pop("parts")
    inputs, targets = parts.inputs, parts.targets
    named = {"_X_encoder": inputs.encoder, "_y_standardizer": None}
    if isinstance(inputs, ImageInputs):
        named |= {"image_shape_": inputs.image_shape, "_black": inputs.black}
    else:
        named["_columns"] = inputs.columns
    if isinstance(targets, RegressionTargets):
        named |= {"_y_standardizer": targets.standardizer, "_y_is_1d": targets.is_1d}
        if targets.loss != SquaredError():
            named["_y_loss"] = targets.loss
    elif isinstance(targets, LabelTargets):
        named["_label_shares"] = list(targets.shares)
    elif targets.shares is not None:
        named["_class_shares"] = list(targets.shares)
    if targets.temperature != 1:
        named["_temperature"] = targets.temperature
    if parts.calibration is not None:
        named["_calibration"] = parts.calibration
    return state | named | {FROZEN: frozen}


def parts_of_state(state, estimator_name):
    """Return the state of an estimator, given a state with the names in files.

    This is the inverse of :func:`state_of_parts`.
    """
    state = dict(state)
    features = estimator_name, state["n_features_in_"], state.get("feature_names_in_")
    encoder, standardizer = state.pop("_X_encoder"), state.pop("_y_standardizer")
    state.pop("_columns", None)  # the encoder holds them as well
    state.pop("_black", None)  # computed from the encoder
    if "image_shape_" in state:
        inputs = ImageInputs(*features, state.pop("image_shape_"), encoder)
    else:
        inputs = TableInputs(*features, encoder)
    targets = _targets_of_state(state, standardizer)
    parts = Predictor(None, inputs, targets, state.pop("_calibration", None))
    return state | {FROZEN: state[FROZEN] | {"parts": parts}}


def _targets_of_state(state, standardizer):
    """Take what belongs to the targets out of a state, and return them."""
    temperature = state.pop("_temperature", 1.0)
    of_labels = state.pop("_label_shares", None)
    of_classes = state.pop("_class_shares", None)  # the first files had none
    if standardizer is not None:
        loss = state.pop("_y_loss", SquaredError())
        return RegressionTargets(standardizer, state.pop("_y_is_1d"), loss)
    settings = {name: state[name] for name in ("label_smoothing", "class_weight")}
    if of_labels is not None:
        return LabelTargets(len(of_labels), **settings, shares=tuple(of_labels))
    shares = of_classes and tuple(of_classes)
    settings |= {"shares": shares, "temperature": temperature}
    return ClassTargets(state["classes_"], **settings)
