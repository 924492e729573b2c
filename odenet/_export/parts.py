"""What files call the parts of a predictor: names that older files have, too.

A fitted estimator owns inputs and targets. In files they stand as ``_X_encoder``,
``_columns``, ``_y_standardizer`` and ``_y_is_1d``, and images have ``image_shape_`` and
``_black`` besides; so they were called when the first files were written.
"""

from odenet._network.predictor import Predictor
from odenet._tables.images import ImageInputs
from odenet._tables.reading import TableInputs
from odenet._tables.targets import ClassTargets, RegressionTargets

FROZEN = "_frozen"  # of the state: what the network and its training are made of


def state_of_parts(state):
    """Return the state of a fitted estimator with its parts by their names in files.

    Parameters
    ----------
    state : dict
        With a predictor as "parts" in ``_frozen``.

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
    return state | named | {FROZEN: frozen}


def parts_of_state(state, estimator_name):
    """Return the state of an estimator from one with the names that files have.

    The inverse of :func:`state_of_parts`.
    """
    state = dict(state)
    features = estimator_name, state["n_features_in_"], state.get("feature_names_in_")
    encoder, standardizer = state.pop("_X_encoder"), state.pop("_y_standardizer")
    state.pop("_columns", None)  # the encoder has them
    state.pop("_black", None)  # follows from the encoder
    if "image_shape_" in state:
        inputs = ImageInputs(*features, state.pop("image_shape_"), encoder)
    else:
        inputs = TableInputs(*features, encoder)
    if standardizer is None:
        targets = ClassTargets(
            state["classes_"],
            label_smoothing=state["label_smoothing"],
            class_weight=state["class_weight"],
        )
    else:
        targets = RegressionTargets(standardizer, state.pop("_y_is_1d"))
    parts = Predictor(None, inputs, targets)
    return state | {FROZEN: state[FROZEN] | {"parts": parts}}
