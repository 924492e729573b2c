"""From the columns of a table to the inputs of a network, as nodes of an ONNX graph.

What :mod:`odenet._tables.encoder` computes, in float64.
"""

from numbers import Real

import numpy as np

from odenet._tables.standardizer import Standardizer


def add_inputs(graph, estimator, outputs):
    """The inputs of the graph, encoded, in float32; the name of the matrix.

    The graph will have outputs of the given names.
    """
    encoder = estimator._X_encoder
    if isinstance(encoder, Standardizer):
        X = graph.input("X", np.float64, ["batch", estimator.n_features_in_])
        return graph.cast(_standardized(graph, X, encoder), np.float32)
    table = _Table(graph, estimator, outputs)
    columns = encoder.columns
    numbers = given = table.columns(columns.numeric)
    if columns.allow_nan and len(columns.numeric):
        missing = graph.add("IsNaN", numbers)
        numbers = graph.add("Where", missing, graph.constant(encoder.fill), numbers)
    marks = [_marks(graph, table, j, known) for j, known in columns.categories.items()]
    if len(columns.incomplete):
        places = np.searchsorted(columns.numeric, columns.incomplete)
        missing = graph.add("IsNaN", graph.take(given, places))
        marks.append(graph.cast(missing, np.float64))
    inputs = graph.concat([numbers, *marks] if len(columns.numeric) else marks)
    parts = [_standardized(graph, inputs, encoder.standardizer)]
    places = np.searchsorted(columns.numeric, columns.scored)
    for place, knots in zip(places, encoder.scores.knots, strict=True):
        parts.append(_scores(graph, graph.take(numbers, [place]), *knots))
    return graph.cast(graph.concat(parts), np.float32)


class _Table:
    """The columns: of one matrix X, or, if some hold texts, an input each."""

    def __init__(self, graph, estimator, outputs):
        self.graph = graph
        categories = estimator._X_encoder.columns.categories
        self.texts = {j for j, known in categories.items() if _are_texts(j, known)}
        n = estimator.n_features_in_
        self.inputs = None
        if not self.texts:
            self.X = graph.input("X", np.float64, ["batch", n])
            self.n = n
            return
        default = [f"x{j}" for j in range(n)]
        names = getattr(estimator, "feature_names_in_", default)
        _check_names(names, outputs)
        self.inputs = [
            graph.input(name, object if j in self.texts else np.float64, ["batch", 1])
            for j, name in enumerate(names)
        ]

    def columns(self, indices):
        """Some columns of numbers; None of none."""
        if self.inputs is not None:
            chosen = [self.inputs[j] for j in indices]
            return self.graph.concat(chosen) if chosen else None
        if len(indices) == self.n:
            return self.X
        return self.graph.take(self.X, indices) if len(indices) else None


def _check_names(names, outputs):
    """Inputs of a graph have names, and others than its outputs."""
    wrong = [name for name in names if name in ("", *outputs)]
    if wrong:
        raise ValueError(
            f"Features cannot be exported to ONNX under the names {wrong}: the graph "
            f"has outputs {outputs}, and every input needs a name. Rename the features "
            "and fit again."
        )


def _are_texts(j, known):
    """Whether a column holds texts, not numbers."""
    kinds = {
        "texts" if isinstance(value, str) else "numbers"
        for value in known
        if isinstance(value, (str, Real))
    }
    others = [v for v in known if v is not None and not isinstance(v, (str, Real))]
    if len(kinds) > 1 or others:
        raise ValueError(
            f"Column {j} cannot be exported to ONNX: its categories must be either "
            f"numbers or texts, got {list(known)}."
        )
    _check_distinct(j, known)
    return kinds == {"texts"}


def _check_distinct(j, known):
    """A graph knows a missing text as "", and a number in float64."""
    served = [
        "" if value is None else float(value) if isinstance(value, Real) else value
        for value in known
    ]
    if len(set(served)) < len(known):
        raise ValueError(
            f"Column {j} cannot be exported to ONNX: some of its categories would be "
            "the same there, where a missing text is the empty one and numbers are "
            f"float64, got {list(known)}."
        )


def _marks(graph, table, j, known):
    """Which category a row has: a column each, or a single one of two."""
    column = table.columns([j])
    hot_of = _hot_of_texts if j in table.texts else _hot_of_numbers
    hot = hot_of(graph, column, known)
    if len(known) != 2:
        return hot
    difference = graph.add("Sub", graph.take(hot, [1]), graph.take(hot, [0]))
    return graph.add("Div", difference, graph.constant(2.0))


def _hot_of_texts(graph, column, known):
    """A missing text is the empty one."""
    index = {"" if text is None else text: i for i, text in enumerate(known)}
    found = graph.add(
        "LabelEncoder",
        column,
        domain="ai.onnx.ml",
        keys_strings=list(index),
        values_int64s=list(index.values()),
        default_int64=-1,
    )
    hot = graph.add("Equal", found, graph.constant(np.arange(len(known))))
    return graph.cast(hot, np.float64)


def _hot_of_numbers(graph, column, known):
    """A missing number is NaN."""
    numbers = [float(value) for value in known if value is not None]
    hot = []
    if numbers:
        hot.append(graph.add("Equal", column, graph.constant(numbers)))
    if None in known:
        hot.append(graph.add("IsNaN", column))
    return graph.concat([graph.cast(part, np.float64) for part in hot])


def _standardized(graph, value, standardizer):
    centred = graph.add("Sub", value, graph.constant(standardizer.mean))
    scaled = graph.add("Div", centred, graph.constant(standardizer.scale))
    if np.all(np.isinf(standardizer.limit)):
        return scaled
    least, most = graph.constant(-1e100), graph.constant(1e100)
    scaled = graph.add("Clip", scaled, least, most)
    share = graph.add("Div", scaled, graph.constant(standardizer.limit, np.float64))
    square = graph.add("Mul", share, share)
    root = graph.add("Sqrt", graph.add("Add", square, graph.constant(1.0)))
    return graph.add("Div", scaled, root)


def _scores(graph, column, values, scores):
    """Interpolation: the first score, and the passed share of every segment.

    There are several values: a column of two numbers or less is not scored.
    """
    low, high = graph.constant(values[:-1]), graph.constant(values[1:])
    inside = graph.add("Min", graph.add("Max", column, low), high)
    passed = graph.add("Sub", inside, low)
    share = graph.add("Div", passed, graph.constant(np.diff(values)))
    steps = graph.constant(np.diff(scores)[:, None])
    return graph.add(
        "Add", graph.add("MatMul", share, steps), graph.constant(scores[0])
    )
