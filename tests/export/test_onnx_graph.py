"""A graph that is built node by node computes what its nodes say."""

import sys

import numpy as np
import pytest

from odenet._export.onnx_graph import IR_VERSION, OPSETS, Graph, import_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def run(graph, value, x=X, dtype=np.float32):
    graph.named_output(value, "result", dtype, [None, None])
    model = graph.build_model("test", author="nobody")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["result"], {"x": x})[0], model


@pytest.fixture
def graph():
    graph = Graph()
    graph.input("x", shape=[None, 3])
    return graph


def test_nodes_and_constants(graph):
    value = graph.add("Mul", "x", graph.constant([1, 2, 3], np.float32))
    result, model = run(graph, value)
    np.testing.assert_array_equal(result, X * [1, 2, 3])
    assert {o.domain: o.version for o in model.opset_import} == OPSETS
    assert model.ir_version == IR_VERSION
    assert [(p.key, p.value) for p in model.metadata_props] == [("author", "nobody")]


def test_columns_are_taken_joined_and_cast(graph):
    parts = [graph.take("x", [2, 0]), graph.take("x", [1])]
    joined = graph.concat(parts)
    assert graph.concat(["x"]) == "x"
    result, _ = run(graph, graph.cast(joined, np.int64), dtype=np.int64)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, X[:, [2, 0, 1]])


def test_several_outputs_of_a_node(graph):
    sizes = graph.constant([1, 2], np.int64)
    first, second = graph.add("Split", "x", sizes, n_outputs=2, axis=1)
    result, _ = run(graph, graph.concat([second, first]))
    np.testing.assert_array_equal(result, X[:, [1, 2, 0]])


def test_a_loop_over_stacks_with_two_states(graph):
    """Products with one matrix after another, and the sum of the products so far."""
    matrices = np.random.default_rng(0).normal(size=(5, 3, 3)).astype(np.float32)

    def body(inner, states, slices):
        (h, total), (matrix,) = states, slices
        h = inner.add("MatMul", h, matrix)
        return [h, inner.add("Add", total, h)]

    states = graph.scan(body, ["x", "x"], [graph.constant(matrices)])
    result, _ = run(graph, graph.add("Sub", states[1], states[0]))
    h, total = X, X
    for matrix in matrices:
        h = h @ matrix
        total = total + h
    np.testing.assert_allclose(result, total - h, rtol=1e-4)


def test_names_are_new():
    graph = Graph(reserved=["Add_0", "constant_1"])
    graph.input("Mul_3")
    names = [graph.new_name(kind) for kind in ("Add", "constant", "Mul", "Mul")]
    assert not set(names) & {"Add_0", "constant_1", "Mul_3"}
    assert len(set(names)) == 4


def test_a_graph_that_is_none_is_refused(graph):
    graph.add("Mul", "x", "nothing")
    graph.output("x")
    with pytest.raises(onnx.checker.ValidationError):
        graph.build_model("test")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install \"odenet-learn\[onnx\]\""):
        import_onnx()
