"""A builder of graphs of the ONNX format, node by node."""

from itertools import count

import numpy as np

# Versions of the operators and of the format. They are those of 2022, not the latest
# ones, so that older runtimes can read the files.
OPSETS = {"": 17, "ai.onnx.ml": 2}
IR_VERSION = 8


def import_onnx():
    """Return the library onnx, or raise an error that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'to_onnx requires the package onnx: pip install "odenet-learn[onnx]".'
        ) from error
    return onnx


class Graph:
    """A graph that grows node by node; its methods take and return names of values.

    Parameters
    ----------
    names : iterator of int, default=None
        Numbers for new names. The body of a loop shares those of the graph around it,
        since both together must not have a name twice.
    reserved : iterable of str, default=()
        Names that new values must not get.
    """

    def __init__(self, names=None, reserved=()):
        self.onnx = import_onnx()
        self.names = names or count()
        self.reserved = set(reserved)
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def add(self, operation, *inputs, n_outputs=1, domain="", **attributes):
        """Add a node; return the name of its output, or a list of names of several."""
        outputs = [self.new_name(operation) for _ in range(n_outputs)]
        self.nodes.append(
            self.onnx.helper.make_node(
                operation, inputs, outputs, domain=domain, **attributes
            )
        )
        return outputs[0] if n_outputs == 1 else outputs

    def constant(self, values, dtype=None):
        """Add a constant array (of objects if it holds texts), and return its name."""
        name = self.new_name("constant")
        array = np.asarray(values, dtype=dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def new_name(self, kind):
        """Return a name that no other value has, and that is not reserved."""
        return next(
            name
            for name in (f"{kind}_{n}" for n in self.names)
            if name not in self.reserved
        )

    def take(self, value, columns):
        """Add a node that selects columns of a matrix."""
        return self.add("Gather", value, self.constant(columns, np.int64), axis=1)

    def concat(self, values):
        """Add a node that puts matrices side by side, unless there is only one."""
        return self.add("Concat", *values, axis=1) if len(values) > 1 else values[0]

    def cast(self, value, dtype):
        """Add a node that converts numbers to another type."""
        return self.add("Cast", value, to=self.type_of(dtype))

    def scan(self, body, states, stacks):
        """Add a loop over the first axis of stacks; return names of the last states.

        ``body(graph, states, slices)`` adds one turn of the loop to a graph of its own,
        and returns the next states.
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
        """Declare an input and return its name, which new names will avoid.

        Declare inputs first: a name that was made before could be the same.
        """
        self.reserved.add(name)
        self.inputs.append(self._information(name, dtype, shape))
        return name

    def output(self, name, dtype=np.float32, shape=None):
        """Declare that a value of the graph is one of its outputs."""
        self.outputs.append(self._information(name, dtype, shape))

    def named_output(self, value, name, dtype, shape):
        """Declare an output, and give its value a new name."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self.output(name, dtype, shape)

    def _information(self, name, dtype, shape):
        """Return the format's record of an input or output."""
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(dtype), shape)

    def type_of(self, dtype):
        """Return the code that the format has for a type."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def build(self, name):
        """Return the graph as an object of the library onnx."""
        return self.onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.constants
        )

    def build_model(self, name, **facts):
        """Return the model, checked by the library onnx, with facts as its metadata."""
        helper = self.onnx.helper
        opsets = [helper.make_opsetid(*opset) for opset in OPSETS.items()]
        model = helper.make_model(
            self.build(name), opset_imports=opsets, ir_version=IR_VERSION
        )
        helper.set_model_props(model, facts)
        self.onnx.checker.check_model(model, full_check=True)
        return model
