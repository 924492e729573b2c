"""Building a graph of the ONNX format, node by node."""

from itertools import count

import numpy as np

OPSETS = {"": 17, "ai.onnx.ml": 2}
IR_VERSION = 8  # of the time of opset 17, for runtimes that are older than the library


def import_onnx():
    """The library, or an error that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'to_onnx requires the package onnx: pip install "odenet[onnx]".'
        ) from error
    return onnx


class Graph:
    """Nodes and constants; a body of a loop shares the names of the graph around it.

    Its methods hand around names of values.
    """

    def __init__(self, names=None, reserved=()):
        self.onnx = import_onnx()
        self.names = names or count()
        self.reserved = set(reserved)
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def add(self, operation, *inputs, n_outputs=1, domain="", **attributes):
        """A node; the name of its output, or a list of several."""
        outputs = [self.new_name(operation) for _ in range(n_outputs)]
        self.nodes.append(
            self.onnx.helper.make_node(
                operation, inputs, outputs, domain=domain, **attributes
            )
        )
        return outputs[0] if n_outputs == 1 else outputs

    def constant(self, values, dtype=None):
        """An array, of objects if it holds texts."""
        name = self.new_name("constant")
        array = np.asarray(values, dtype=dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def new_name(self, kind):
        """A name that no other value has, given ones included."""
        return next(
            name
            for name in (f"{kind}_{n}" for n in self.names)
            if name not in self.reserved
        )

    def take(self, value, columns):
        """Some columns of a matrix."""
        return self.add("Gather", value, self.constant(columns, np.int64), axis=1)

    def concat(self, values):
        """Matrices side by side."""
        return self.add("Concat", *values, axis=1) if len(values) > 1 else values[0]

    def cast(self, value, dtype):
        """Another type of number."""
        return self.add("Cast", value, to=self.type_of(dtype))

    def scan(self, body, states, stacks):
        """A loop over the first axis of stacks; the last states.

        ``body(graph, states, slices)`` returns the next states.
        """
        inner = Graph(self.names, self.reserved)
        given = [inner.input(self.new_name("given")) for _ in states + stacks]
        results = body(inner, given[: len(states)], given[len(states) :])
        for name in results:
            inner.output(name)
        return self.add(
            "Scan",
            *states,
            *stacks,
            n_outputs=len(states),
            num_scan_inputs=len(stacks),
            body=inner.build("layer"),
        )

    def input(self, name, dtype=np.float32, shape=None):
        """An input; its name, which is to come before names that are made."""
        self.reserved.add(name)
        self.inputs.append(self._information(name, dtype, shape))
        return name

    def output(self, name, dtype=np.float32, shape=None):
        """An output, which is there."""
        self.outputs.append(self._information(name, dtype, shape))

    def named_output(self, value, name, dtype, shape):
        """An output of a name of its own."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self.output(name, dtype, shape)

    def _information(self, name, dtype, shape):
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(dtype), shape)

    def type_of(self, dtype):
        """The format's own code of a type."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def build(self, name):
        """The graph."""
        return self.onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.constants
        )

    def build_model(self, name, **facts):
        """The model, with facts as its metadata."""
        helper = self.onnx.helper
        opsets = [helper.make_opsetid(*opset) for opset in OPSETS.items()]
        model = helper.make_model(
            self.build(name), opset_imports=opsets, ir_version=IR_VERSION
        )
        helper.set_model_props(model, facts)
        self.onnx.checker.check_model(model, full_check=True)
        return model
