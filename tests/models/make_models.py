#!/usr/bin/env python3
"""Writes the small ONNX models of the tests into this folder, or into the one that is given.

They are committed, since they are small, change never and need the onnx package to be made:

  .deps/venv/bin/python tests/models/make_models.py

Each function below makes the model of its name; its doc string says what the model is for.
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
DTYPES = ("FLOAT UINT8 INT8 UINT16 INT16 INT32 INT64 STRING BOOL FLOAT16 DOUBLE UINT32 UINT64 "
          "BFLOAT16").split()


def value(name, shape, dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def array(name, values):
    return onnx.numpy_helper.from_array(np.asarray(values), name)


def model(nodes, inputs, outputs, weights=(), ir=8, opset=17, **more):
    graph = h.make_graph(nodes, more.pop("graph", "test"), inputs, outputs, list(weights))
    return h.make_model(graph, ir_version=ir, opset_imports=[h.make_opsetid("", opset)], **more)


def mlp():
    """y = relu(x w + b): free rows, and everything that metadata can say."""
    w = np.arange(12, dtype=np.float32).reshape(4, 3)
    b = np.array([0, 1, -100], dtype=np.float32)
    return model([h.make_node("Gemm", ["x", "w", "b"], ["z"]), h.make_node("Relu", ["z"], ["y"])],
                 [value("x", ["N", 4])], [value("y", ["N", 3])], [array("w", w), array("b", b)],
                 model_version=7, doc_string="A layer.", producer_name="make_models")


def types():
    """Every element type there and back, rows free."""
    names = [d.lower() for d in DTYPES]
    return model([h.make_node("Identity", [n], ["out_" + n]) for n in names],
                 [value(n, ["N"], T.DataType.Value(d)) for n, d in zip(names, DTYPES)],
                 [value("out_" + n, ["N"], T.DataType.Value(d)) for n, d in zip(names, DTYPES)])


def pair():
    """Two inputs, two outputs; rows that do not fit each other fail in the run."""
    return model([h.make_node("Add", ["a", "b"], ["sum"]),
                  h.make_node("Mul", ["a", "b"], ["product"])],
                 [value("a", ["N"]), value("b", ["M"])],
                 [value("sum", ["K"]), value("product", ["K"])], producer_name="make_models")


def optional():
    """An initializer that a request may override."""
    return model([h.make_node("Mul", ["x", "scale"], ["y"])],
                 [value("scale", [2]), value("x", ["N", 2])], [value("y", ["N", 2])],
                 [array("scale", np.array([10, 100], dtype=np.float32))])


def old_ir():
    """As exporters did up to 2018: every weight is listed as an input and means nothing by it."""
    return model([h.make_node("Mul", ["x", "scale"], ["y"])],
                 [value("scale", [2]), value("x", ["N", 2])], [value("y", ["N", 2])],
                 [array("scale", np.array([10, 100], dtype=np.float32))], ir=3, opset=8)


def fixed():
    """Two rows, no more and no less."""
    return model([h.make_node("Neg", ["x"], ["y"])], [value("x", [2, 3])], [value("y", [2, 3])])


def external():
    """Weights in a file beside the model."""
    return model([h.make_node("Mul", ["x", "w"], ["y"])], [value("x", ["N", 4])],
                 [value("y", ["N", 4])], [array("w", np.arange(4, dtype=np.float32))])


def scalar():
    """A scalar to a scalar, beside a shape that is not known."""
    return model([h.make_node("Neg", ["x"], ["y"]), h.make_node("Neg", ["any"], ["any_y"])],
                 [value("x", []), value("any", None)], [value("y", []), value("any_y", None)])


def layers():
    """784 to 512 to 512 to 10: as much work as a small model, in a small file, since the weights
    are made from a constant when it is loaded."""
    sizes, nodes, last = (784, 512, 512, 10), [], "x"
    for i, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        nodes += [h.make_node("Constant", [], [f"shape{i}"], value_ints=[rows, columns]),
                  h.make_node("ConstantOfShape", [f"shape{i}"], [f"w{i}"],
                              value=array("value", np.array([0.01], dtype=np.float32))),
                  h.make_node("MatMul", [last, f"w{i}"], [f"z{i}"]),
                  h.make_node("Relu", [f"z{i}"], ["y" if columns == 10 else f"y{i}"])]
        last = f"y{i}"
    return model(nodes, [value("x", ["N", 784])], [value("y", ["N", 10])])


def float8():
    """A type that the wire does not have."""
    return model([h.make_node("Cast", ["x"], ["y"], to=T.FLOAT)],
                 [value("x", ["N"], T.FLOAT8E4M3FN)], [value("y", ["N"])], ir=9, opset=19)


def float8_out():
    """The same as an output."""
    return model([h.make_node("Cast", ["x"], ["y"], to=T.FLOAT8E4M3FN)],
                 [value("x", ["N"])], [value("y", ["N"], T.FLOAT8E4M3FN)], ir=9, opset=19)


def sequence_out():
    """An output that is no tensor, beside one that is."""
    return model([h.make_node("SequenceConstruct", ["x", "x"], ["list"]),
                  h.make_node("Neg", ["x"], ["y"])], [value("x", ["N"])],
                 [h.make_tensor_sequence_value_info("list", T.FLOAT, None), value("y", ["N"])])


def sequence_in():
    """An input that is no tensor."""
    return model([h.make_node("ConcatFromSequence", ["list"], ["y"], axis=0)],
                 [h.make_tensor_sequence_value_info("list", T.FLOAT, None)], [value("y", ["N"])])


def optional_in():
    """An input of an optional type."""
    kind = h.make_optional_type_proto(h.make_tensor_type_proto(T.FLOAT, ["N"]))
    return model([h.make_node("OptionalGetElement", ["x"], ["y"])],
                 [h.make_value_info("x", kind)], [value("y", ["N"])], opset=18)


def unknown_op():
    """An operator that nobody has."""
    return model([h.make_node("Frobnicate", ["x"], ["y"], domain="org.example")],
                 [value("x", ["N"])], [value("y", ["N"])])


def lies():
    """Outputs whose shapes are not always those that it declares."""
    return model([h.make_node("Reshape", ["x", "shape"], ["turned"]),
                  h.make_node("Reshape", ["x", "shape"], ["fixed"]),
                  h.make_node("NonZero", ["x"], ["places"]), h.make_node("Neg", ["x"], ["honest"])],
                 [value("x", ["A", "B"]), value("shape", [2], T.INT64)],
                 [value("turned", ["A", "B"]), value("fixed", [2, 3]),
                  value("places", [2, "B"], T.INT64), value("honest", ["A", "B"])])


def passed():
    """The input as an output, and one value as several."""
    return model([h.make_node("Identity", ["x"], ["y"]), h.make_node("Identity", ["x"], ["z"]),
                  h.make_node("Identity", ["z"], ["w"]), h.make_node("Identity", ["c"], ["d"])],
                 [value("x", ["N"])],
                 [value("y", ["N"]), value("x", ["N"]), value("z", ["N"]), value("w", ["N"]),
                  value("c", [3]), value("d", [3])], [array("c", np.array([1, 2, 3], np.float32))])


def slow():
    """Multiplies a 64x64 matrix with itself n times, in a loop: time to stop it."""
    body = h.make_graph([h.make_node("MatMul", ["m", "m"], ["next"]),
                         h.make_node("Identity", ["go"], ["go_on"])], "body",
                        [value("i", [], T.INT64), value("go", [], T.BOOL), value("m", [64, 64])],
                        [value("go_on", [], T.BOOL), value("next", [64, 64])])
    return model([h.make_node("ConstantOfShape", ["shape"], ["zero"]),
                  h.make_node("EyeLike", ["zero"], ["eye"]),
                  h.make_node("Loop", ["n", "", "eye"], ["y"], body=body)],
                 [value("n", [], T.INT64)], [value("y", [64, 64])],
                 [array("shape", np.array([64, 64], dtype=np.int64))])



for make in (mlp, types, pair, optional, old_ir, fixed, external, scalar, layers, float8,
             float8_out, sequence_out, sequence_in, optional_in, unknown_op, lies, passed,
             slow):
    made = make()
    if make not in (unknown_op, scalar):  # what the checker would not have
        onnx.checker.check_model(made)
    path = os.path.join(FOLDER, make.__name__ + ".onnx")
    if make is external:
        onnx.save(made, path, save_as_external_data=True, location="external.onnx.data",
                  size_threshold=0)
    else:
        onnx.save(made, path)
