"""Export of fitted estimators to the ONNX format, for servers without Python."""

import json

import numpy as np
from sklearn.utils.validation import check_is_fitted

from odenet._export.onnx_graph import Graph
from odenet._export.onnx_inputs import add_inputs
from odenet._export.onnx_network import add_conv_network, add_residual_network
from odenet._network.convolutional import ConvResidualNetwork
from odenet._tables.labels import LabelTargets
from odenet._tables.targets import ClassTargets, RegressionTargets
from odenet._utils.files import replacing
from odenet._version import __version__


def to_onnx(model, path):
    """Write the fitted estimator to a file of the ONNX format.

    The graph takes inputs as ``predict`` does, and returns what ``predict`` returns:
    standardisation, categories, missing numbers and labels are inside. With depth only
    its weights grow, for the layers are a loop. The network is evaluated in float32,
    which agrees with ``predict`` to about 1e-6 of the outputs' scale.

    Parameters
    ----------
    path : str, path-like or binary file object
        The file to write. An existing one is replaced when the new file is complete. A
        file object, such as of ``open(path, "wb")``, is written to at its position.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If the package onnx is missing: ``pip install "odenet-learn[onnx]"``.
    OSError
        If the file cannot be written.
    TypeError
        If a file object is not in binary mode.
    ValueError
        If the categories of a column are neither all numbers nor all texts, or if the
        graph could not tell them apart; if a feature that is an input of its own has
        no name, or the name of an output; or if the labels are of several types. Also
        if a loss of one's own has a method ``decide``, but no ``to_onnx``.

    Notes
    -----
    Input "X" is float64 of shape (batch, n_features), for any batch. If a column of
    categories holds texts, there is one input per column instead, of shape (batch, 1)
    and of texts or float64. It has the name of the column, or "x0", "x1", ... if
    columns have no names. A missing text is the empty text, a missing number is NaN.
    The graph checks nothing: it takes NaN or infinite numbers where ``predict`` refuses
    them.

    A regressor has the output "y", float64 of the shape that ``predict`` returns, for
    every loss of the package. A classifier has "label", of shape (batch,), and
    "probabilities", float64 of shape (batch, n_classes); of several labels, "label" is
    int64 of shape (batch, n_labels), as the probabilities are. The metadata hold
    "estimator", "odenet" (the version) and "classes".

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from odenet import ResODERegressor
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(64, flow_time=10.0, random_state=0).fit(X, y)
    >>> import onnxruntime
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.onnx"
    ...     model.with_depth(8).to_onnx(path)
    ...     session = onnxruntime.InferenceSession(path)
    >>> (served,) = session.run(["y"], {"X": X})
    >>> bool(np.allclose(served, model.with_depth(8).predict(X), rtol=1e-5))
    True
    """
    check_is_fitted(model)
    graph, name = Graph(), type(model).__name__
    metadata = {"odenet": __version__, "estimator": name}
    metadata |= _add_predictor(graph, model._predictor)
    onnx_model = graph.build_model(name, **metadata)
    with replacing(path) as part:
        graph.onnx.save_model(onnx_model, part)


def _add_predictor(graph, predictor):
    """Add inputs, network and outputs to a graph, and return further metadata."""
    inputs, network, targets = predictor.inputs, predictor.network, predictor.targets
    outputs = ["label", "probabilities"] if targets.has_classes else ["y"]
    names = inputs.feature_names
    x = add_inputs(graph, inputs.encoder, inputs.n_features, names, outputs)
    is_conv = isinstance(network, ConvResidualNetwork)
    add_network = add_conv_network if is_conv else add_residual_network
    output = graph.cast(add_network(graph, network, x), np.float64)
    if network.has_models_axis:
        output = _combined(graph, targets, output, network.n_models)
    if targets.temperature != 1:
        output = graph.add("Div", output, graph.constant(targets.temperature))
    _ADD[type(targets)](graph, targets, output)
    if not targets.has_classes:
        return {}
    return {"classes": json.dumps(targets.classes.tolist())}


def _combined(graph, targets, outputs, n_members):
    """Add ``Targets.combine``: the outputs of one network in place of several."""
    if not targets.has_classes:
        return targets.loss.combine_to_onnx(graph, outputs, n_members)

    def log_mean(probabilities):
        mean = graph.add("ReduceMean", probabilities, axes=[0], keepdims=0)
        return graph.add("Log", mean)

    if targets.n_outputs > 1 and isinstance(targets, ClassTargets):
        return log_mean(graph.add("Softmax", outputs, axis=2))
    of_second = log_mean(graph.add("Sigmoid", outputs))
    of_first = log_mean(graph.add("Sigmoid", graph.add("Neg", outputs)))
    return graph.add("Sub", of_second, of_first)


def _add_targets(graph, targets, output):
    """Add the predictions of a regressor, in the units and the shape of y."""
    loss, standardizer = targets.loss, targets.standardizer
    scale, mean = standardizer.inverse_scale, standardizer.mean
    shape = ["batch", len(mean)]
    if per_target := loss.n_predictions:  # on an axis of their own
        scale, mean, shape = scale[:, None], mean[:, None], [*shape, per_target]
    y = graph.add("Mul", loss.to_onnx(graph, output), graph.constant(scale))
    y = graph.add("Add", y, graph.constant(mean))
    if targets.is_1d:
        y = graph.add("Squeeze", y, graph.constant([1], np.int64))
        del shape[1]
    graph.named_output(y, "y", np.float64, shape)


def _add_several_labels(graph, targets, logits):
    """Add the labels that a sample has, and the probability of each."""
    label = graph.cast(graph.add("Greater", logits, graph.constant(0.0)), np.int64)
    shape = ["batch", targets.n_labels]
    graph.named_output(label, "label", np.int64, shape)
    probabilities = graph.add("Sigmoid", logits)
    graph.named_output(probabilities, "probabilities", np.float64, shape)


def _add_classes(graph, targets, logits):
    """Add the labels and the probabilities of a classifier."""
    classes = targets.classes
    if len(classes) == 2:
        negative = graph.add("Neg", logits)
        logits = graph.concat(
            [negative, logits]
        )  # twice as far apart; a tie stays a tie
        probabilities = graph.add("Sigmoid", logits)
    else:
        probabilities = graph.add("Softmax", logits, axis=1)
    index = graph.add("ArgMax", logits, axis=1, keepdims=0)
    labels = _labels(classes)
    label = graph.add("Gather", graph.constant(labels), index)
    graph.named_output(label, "label", labels.dtype, ["batch"])
    shape = ["batch", len(classes)]
    graph.named_output(probabilities, "probabilities", np.float64, shape)


def _labels(classes):
    """Return labels in a type of the format: bool, int64, float64, or texts."""
    kind = classes.dtype.kind
    if kind == "u" and classes.max() > np.iinfo(np.int64).max:
        raise ValueError(
            "Labels can be exported to ONNX if they are within int64, got "
            f"{classes.tolist()}."
        )
    if kind in "biuf":
        return classes.astype({"b": bool, "f": np.float64}.get(kind, np.int64))
    texts = classes.astype(object)
    if all(isinstance(label, str) for label in texts):
        return texts
    raise ValueError(
        "Labels can be exported to ONNX if all are numbers or all are texts, got "
        f"{classes.tolist()}."
    )


_ADD = {  # the outputs of every kind of targets
    RegressionTargets: _add_targets,
    ClassTargets: _add_classes,
    LabelTargets: _add_several_labels,
}
