"""From the columns of a table to the inputs of a network, as nodes of an ONNX graph.

The nodes compute what :mod:`odenet._tables.encoder` does, in float64.
"""

from numbers import Real

import numpy as np

from odenet._tables.embeddings.piecewise_linear import PiecewiseLinear
from odenet._tables.standardizer import LARGEST, Standardizer


def add_inputs(graph, encoder, n_features, feature_names, outputs):
    """Add the inputs of a table and their encoding to a graph.

    Parameters
    ----------
    graph : Graph
    encoder : Encoder or Standardizer
        The map from columns to the inputs of the network.
    n_features : int
        The number of columns of the table.
    feature_names : sequence of str or None
        The names of the columns, for graphs that have an input per column. None stands
        for "x0", "x1", ...
    outputs : list of str
        The names that the graph's outputs will have. No input may have one of them.

    Returns
    -------
    inputs : str
        The name of the encoded matrix, in float32.

    Raises
    ------
    ValueError
        If a graph cannot tell the categories of a column apart, or if a feature has a
        name that its input cannot have.
    """
    if isinstance(encoder, Standardizer):
        X = graph.input("X", np.float64, ["batch", n_features])
        return graph.cast(_add_standardizer(graph, X, encoder), np.float32)
    columns = encoder.columns
    table = _Table(graph, columns, n_features, feature_names, outputs)
    numbers = given = table.columns(columns.numeric)
    if columns.allow_nan and len(columns.numeric):
        missing = graph.add("IsNaN", numbers)
        numbers = graph.add("Where", missing, graph.constant(encoder.fill), numbers)
    marks = [_add_marks(graph, table, j, columns) for j in columns.categories]
    if len(columns.incomplete):
        places = np.searchsorted(columns.numeric, columns.incomplete)
        missing = graph.add("IsNaN", graph.take(given, places))
        marks.append(graph.cast(missing, np.float64))
    inputs = graph.concat([numbers, *marks] if len(columns.numeric) else marks)
    parts = [_add_standardizer(graph, inputs, encoder.standardizer)]
    places = np.searchsorted(columns.numeric, columns.scored)
    for place, knots in zip(places, encoder.scores.knots, strict=True):
        parts.append(_add_scores(graph, graph.take(numbers, [place]), *knots))
    if len(places) and encoder.embedding is not None:
        embedded = graph.take(numbers, places)
        is_bins = isinstance(encoder.embedding, PiecewiseLinear)
        add = _add_bins if is_bins else _add_waves
        parts.append(add(graph, embedded, encoder.embedding))
    return graph.cast(graph.concat(parts), np.float32)


class _Table:
    """The columns of a table, as inputs of a graph.

    They are one input X, or one input each if some hold texts: ONNX has no matrix of
    both numbers and texts.
    """

    def __init__(self, graph, columns, n_features, feature_names, outputs):
        self.graph = graph
        self.texts = {j for j in columns.categories if _are_texts(j, columns)}
        self.n_features = n_features
        self.inputs = None
        if not self.texts:
            self.X = graph.input("X", np.float64, ["batch", n_features])
            return
        if feature_names is None:
            feature_names = [f"x{j}" for j in range(n_features)]
        _check_names(feature_names, outputs)
        self.inputs = [
            graph.input(name, object if j in self.texts else np.float64, ["batch", 1])
            for j, name in enumerate(feature_names)
        ]

    def columns(self, indices):
        """Return the name of some columns side by side, None if no index is given."""
        if self.inputs is not None:
            chosen = [self.inputs[j] for j in indices]
            return self.graph.concat(chosen) if chosen else None
        if len(indices) == self.n_features:
            return self.X
        return self.graph.take(self.X, indices) if len(indices) else None


def _check_names(names, outputs):
    """Raise an error if an input has no name, or the name of an output."""
    wrong = [name for name in names if name in ("", *outputs)]
    if wrong:
        raise ValueError(
            f"Features cannot be exported to ONNX under the names {wrong}: the graph "
            f"has outputs {outputs}, and every input needs a name. Rename the features "
            "and fit again."
        )


def _are_texts(j, columns):
    """Tell whether categories are texts; raise an error if only some of them are."""
    known = columns.categories[j]
    if j in columns.pooled:
        known = (*known, columns.pooled[j])
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
    """Raise an error if a graph could not tell two categories apart.

    In a graph a missing text is the empty text, and numbers are float64.
    """
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


def _add_marks(graph, table, j, columns):
    """Add a column of marks for every category, or one column for two categories."""
    hot_of = _hot_of_texts if j in table.texts else _hot_of_numbers
    known, is_pooled = columns.categories[j], j in columns.pooled
    hot = hot_of(graph, table.columns([j]), known, is_pooled)
    if columns.n_categories(j) != 2:
        return hot
    difference = graph.add("Sub", graph.take(hot, [1]), graph.take(hot, [0]))
    return graph.add("Div", difference, graph.constant(2.0))


def _hot_of_texts(graph, column, known, is_pooled):
    """Add a column of 0 and 1 for every text; a missing text is the empty text.

    If rare ones are pooled, a last column is 1 for all others.
    """
    index = {"" if text is None else text: i for i, text in enumerate(known)}
    index = index or {"": 0}  # A map of nothing is no map in ONNX.
    found = graph.add(
        "LabelEncoder",
        column,
        domain="ai.onnx.ml",
        keys_strings=list(index),
        values_int64s=list(index.values()),
        default_int64=len(known) if is_pooled else -1,
    )
    places = np.arange(len(known) + is_pooled)
    hot = graph.add("Equal", found, graph.constant(places))
    return graph.cast(hot, np.float64)


def _hot_of_numbers(graph, column, known, is_pooled):
    """Add a column of 0 and 1 for every number; a missing number is NaN.

    If rare ones are pooled, a last column is 1 for all others.
    """
    numbers = [float(value) for value in known if value is not None]
    # The first column is 1 for no number at all: a sum needs something to add up.
    hot = [graph.add("Equal", column, graph.constant([np.inf, *numbers]))]
    if None in known:
        hot.append(graph.add("IsNaN", column))
    hot = graph.concat([graph.cast(part, np.float64) for part in hot])
    if is_pooled:
        ones = graph.constant(np.ones((1 + len(known), 1)))
        some = graph.add("MatMul", hot, ones)
        hot = graph.concat([hot, graph.add("Sub", graph.constant(1.0), some)])
    return graph.take(hot, np.arange(1, 1 + len(known) + is_pooled))


def _add_standardizer(graph, value, standardizer):
    """Add the nodes of a standardizer; ONNX lacks hypot, so its limit takes a root."""
    centred = graph.add("Sub", value, graph.constant(standardizer.mean))
    scaled = graph.add("Div", centred, graph.constant(standardizer.scale))
    if np.all(np.isinf(standardizer.limit)):
        return scaled
    least, most = graph.constant(-LARGEST), graph.constant(LARGEST)
    scaled = graph.add("Clip", scaled, least, most)
    share = graph.add("Div", scaled, graph.constant(standardizer.limit, np.float64))
    square = graph.add("Mul", share, share)
    root = graph.add("Sqrt", graph.add("Add", square, graph.constant(1.0)))
    return graph.add("Div", scaled, root)


def _add_scores(graph, column, values, scores):
    """Add the interpolation of normal scores between knots.

    ONNX has no interpolation. So it is a sum: the first score, and for every segment
    between two knots the rise of the score times the share of the segment below x.
    There are at least three knots, because no column of fewer numbers has scores.
    """
    share = _add_shares(graph, column, values)
    steps = graph.constant(np.diff(scores)[:, None])
    return graph.add(
        "Add", graph.add("MatMul", share, steps), graph.constant(scores[0])
    )


def _add_shares(graph, column, edges):
    """Add the share of every segment between two edges that is below x."""
    low, high = graph.constant(edges[:-1]), graph.constant(edges[1:])
    inside = graph.add("Min", graph.add("Max", column, low), high)
    passed = graph.add("Sub", inside, low)
    return graph.add("Div", passed, graph.constant(np.diff(edges)))


def _add_bins(graph, numbers, embedding):
    """Add the shares of the bins of all columns that are embedded."""
    shares = graph.concat(
        [
            _add_shares(graph, graph.take(numbers, [i]), edges)
            for i, edges in enumerate(embedding.edges)
        ]
    )
    centred = graph.add("Sub", shares, graph.constant(embedding.means))
    return graph.add("Mul", centred, graph.constant(embedding.sizes))


def _add_waves(graph, numbers, embedding):
    """Add the sines and cosines of all columns that are embedded.

    The products of the columns with their frequencies are one product of matrices.
    """
    n_columns, n = embedding.frequencies.shape
    z = _add_standardizer(graph, numbers, embedding.standardizer)
    factors = np.zeros((n_columns, n_columns, n))
    i = np.arange(n_columns)
    factors[i, i] = 2 * np.pi * embedding.frequencies
    factors = graph.constant(factors.reshape(n_columns, n_columns * n))
    angles = graph.add("MatMul", z, factors)
    sines = graph.add("Sin", angles)
    cosines = graph.add("Sub", graph.add("Cos", angles), graph.constant(1.0))
    waves = graph.concat([sines, cosines])
    places = np.arange(2 * n_columns * n).reshape(2, n_columns, n).swapaxes(0, 1)
    waves = graph.take(waves, places.ravel())
    return graph.add("Mul", waves, graph.constant(embedding.size))
