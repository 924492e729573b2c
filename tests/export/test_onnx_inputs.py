"""The inputs of a graph are those that the encoder of the table gives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from odenet._export.onnx_graph import Graph
from odenet._export.onnx_inputs import add_inputs
from odenet._tables.columns import Columns
from odenet._tables.encoder import fit_embedding, fit_encoder
from odenet._tables.standardizer import fit_standardizer

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def fitted(
    X,
    categories=None,
    allow_nan=False,
    scored=True,
    keeps=None,
    embedded=None,
    **settings,
):
    """The encoder of a matrix, in which categories are indices."""
    columns = Columns(categories or {}, allow_nan)
    pooling = keeps and SimpleNamespace(keeps=keeps, fewest=1)
    columns, X = columns.settled(X.copy(), scored, pooling)
    weight, generator = np.linspace(1, 2, len(X)), torch.Generator().manual_seed(0)
    embedding = embedded and fit_embedding(embedded, columns, X, weight, generator, 4.0)
    return fit_encoder(columns, X, weight, embedding=embedding, **settings)


def served(encoder, given, n_features, names=None, outputs=("y",)):
    """What a graph of the encoder alone returns."""
    graph = Graph()
    x = add_inputs(graph, encoder, n_features, names, list(outputs))
    graph.named_output(x, "encoded", np.float32, ["batch", "width"])
    model = graph.build_model("inputs").SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = [i.name for i in session.get_inputs()]
    (encoded,) = session.run(["encoded"], dict(zip(inputs, given, strict=True)))
    return encoded, inputs


def assert_same_inputs(encoder, X, matrix=None):
    encoded, names = served(encoder, [X], X.shape[1])
    assert names == ["X"]
    assert encoded.dtype == np.float32
    expected = encoder(X if matrix is None else matrix)
    np.testing.assert_allclose(encoded, expected, rtol=1e-6, atol=1e-6)


@pytest.fixture
def X(rng):
    return np.column_stack([rng.normal(5, 3, 40), rng.exponential(size=40)])


def test_numbers_are_standardised_and_scored(X):
    new = np.vstack([X, 10 * X, -X, [[1e300, -1e300]]])
    assert_same_inputs(fitted(X, gain=2.0, limit=4.0), new)
    assert_same_inputs(fitted(X, gain=2.0), new[:-1])
    assert_same_inputs(fitted(X, scored=False), new[:-1])


def test_numbers_are_embedded(X):
    X = np.column_stack([X, X[:, 0] > 5, np.exp(X[:, 0])])  # one column is not
    X[::5, 1] = np.nan
    new = np.vstack([X, 10 * X, -X, [[1e300, np.nan, -1e300, 0.0]]])
    for embedded in ("piecewise_linear", "periodic"):
        for settings in ({"gain": 2.0, "limit": 4.0}, {"gain": 0.5}):
            encoder = fitted(X, allow_nan=True, embedded=embedded, **settings)
            assert len(set(encoder.embedding.sources)) == 3
            assert_same_inputs(encoder, new if "limit" in settings else new[:-1])
    only_two = (X[:, 2:3] > 0).astype(float)
    assert_same_inputs(
        fitted(only_two, embedded="piecewise_linear", gain=1.0), only_two
    )


def test_a_standardizer_alone_is_an_encoder_too(X):
    for limit in (np.inf, 3.0):
        standardizer = fit_standardizer(X, np.ones(40), 2.0, limit)
        assert_same_inputs(standardizer, np.vstack([X, 5 * X]))


def test_missing_numbers_are_filled_and_marked(X):
    X[::5, 1] = np.nan
    encoder = fitted(X, allow_nan=True, gain=2.0, limit=4.0)
    new = np.array([[np.nan, 1.0], [1.0, np.nan], [np.nan, np.nan]])
    assert_same_inputs(encoder, np.vstack([X, new]))


@pytest.mark.parametrize(
    "known", [(10.0, 20.0, 30.0), (10.0, 20.0), (10.0,), (10.0, 20.0, None), (None,)]
)
def test_numbers_that_are_categories_have_marks(known, X):
    n = len(known)
    matrix = np.column_stack([X, np.arange(40) % n])
    encoder = fitted(matrix, {2: known}, gain=2.0, limit=4.0)
    values = np.array([np.nan if v is None else v for v in known] + [99.0])
    matrix[-1, 2] = -1  # a category that is not known
    table = np.column_stack([X, values[matrix[:, 2].astype(int)]])
    assert_same_inputs(encoder, table, matrix)


def test_texts_are_inputs_of_their_own(X):
    known = ("blue", "red", None)
    matrix = np.column_stack([np.arange(40) % 3, X])
    encoder = fitted(matrix, {0: known}, gain=2.0, limit=4.0)
    matrix[-1, 0] = -1
    texts = np.array(["blue", "red", "", "mauve"], dtype=object)
    given = [texts[matrix[:, [0]].astype(int)], X[:, [0]], X[:, [1]]]
    for names in (None, ["colour", "size", "age"]):
        encoded, inputs = served(encoder, given, 3, names)
        assert inputs == (names or ["x0", "x1", "x2"])
        np.testing.assert_allclose(encoded, encoder(matrix), rtol=1e-6, atol=1e-6)


def test_rare_categories_and_those_to_come_are_one(X):
    indices, new = np.arange(40) % 4, np.arange(40) % 5
    for known in (("a", "b", "c", None), (10.0, 20.0, 30.0, None)):
        values = np.array([*known, "new" if "a" in known else 99.0], dtype=object)
        values[3] = "" if "a" in known else np.nan
        for kept in np.ndindex(2, 2, 2, 2):
            kept = np.array(kept, dtype=bool)
            encoder = fitted(
                np.column_stack([indices, X]),
                {0: known},
                keeps=lambda *given, kept=kept: kept,
                gain=2.0,
                limit=4.0,
            )
            other = -1 if kept.all() else kept.sum()
            places = np.append(np.where(kept, np.cumsum(kept) - 1, other), other)
            column = values[new][:, None]
            if "a" in known:
                given = [column, X[:, [0]], X[:, [1]]]
            else:
                given = [np.hstack([column, X]).astype(float)]
            encoded, _ = served(encoder, given, 3)
            expected = encoder(np.column_stack([places[new], X]))
            np.testing.assert_allclose(encoded, expected, rtol=1e-6, atol=1e-6)


def test_names_are_not_needed_where_there_is_one_input(X):
    encoded, inputs = served(fitted(X), [X], 2, ["y", ""])
    assert inputs == ["X"]
    assert encoded.shape == (40, 4)


@pytest.mark.parametrize("names", [["y", "b"], ["a", ""]])
def test_names_that_an_input_cannot_have_are_refused(names, X):
    encoder = fitted(np.column_stack([np.arange(40) % 3, X[:, 0]]), {0: tuple("abc")})
    wrong = [name for name in names if name in ("y", "")]
    with pytest.raises(ValueError, match="under the names .*Rename the features") as e:
        add_inputs(Graph(), encoder, 2, names, ["y"])
    assert f"the names {wrong}:" in str(e.value)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ((1, "a", 2), "either numbers or texts"),
        ((1, (2, 3), 4), "either numbers or texts"),
        (("", "a", None), "the same there"),
        ((5, 2**60, 2**60 + 1), "the same there"),
    ],
)
def test_categories_that_a_graph_cannot_tell_apart_are_refused(known, message, X):
    matrix = np.column_stack([X, np.arange(40) % 3])
    encoder = fitted(matrix, {2: known})
    with pytest.raises(ValueError, match=f"Column 2 cannot be exported .*{message}"):
        add_inputs(Graph(), encoder, 3, None, ["y"])
