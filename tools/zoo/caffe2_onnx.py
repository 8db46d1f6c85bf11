#!/usr/bin/env python3
"""Makes an ONNX model of Caffe2's init_net.pb and predict_net.pb, without Caffe2, whose own exporter
needs a Python of 2020. It knows the operators of common classifiers; a net with others is refused,
with their names. The ONNX model gives the same answers, faster, and any number of rows.

usage: tools/zoo/caffe2_onnx.py PREDICT_NET INIT_NET VALUE_INPUTS OUT.onnx   (Python with onnx, numpy)
"""
import json
import pathlib
import sys

import numpy as np
import onnx
import onnx.shape_inference
from onnx import helper, numpy_helper

import caffe2_files

OPSET, IR_VERSION = 17, 8
DTYPES = {number: np.dtype(name) for name, number in caffe2_files.TYPES.items()}


def sizes(arguments, name, default):
    """A kernel, stride or the like: one number, two of the dimensions, or a list."""
    if f"{name}_h" in arguments:
        return [arguments[f"{name}_h"], arguments[f"{name}_w"]]
    found = arguments.get(f"{name}s") or [arguments.get(name, default)]
    return list(found) * 2 if len(found) == 1 else list(found)


def pads(arguments):
    if "pad_t" in arguments:
        return [arguments[f"pad_{side}"] for side in "tlbr"]
    found = arguments.get("pads") or [arguments.get("pad", 0)]
    return list(found) * (4 // len(found))


def windows(arguments):
    """The attributes that convolutions and pools share."""
    if arguments.get("order", "NCHW") != "NCHW":
        raise ValueError("only nets with channels first are converted")
    return {"kernel_shape": sizes(arguments, "kernel", 0), "pads": pads(arguments),
            "strides": sizes(arguments, "stride", 1), "dilations": sizes(arguments, "dilation", 1)}


def convert_conv(arguments):
    return "Conv", {**windows(arguments), "group": arguments.get("group", 1)}


def pooling(kind):
    def convert(arguments):
        attributes = windows(arguments)
        if arguments.get("global_pooling"):
            return f"Global{kind}", {}
        if arguments.get("legacy_pad", 0) not in (0, CAFFE_LEGACY_POOLING):
            raise ValueError(f"{kind} with legacy_pad {arguments['legacy_pad']} is not converted")
        if kind == "MaxPool" and attributes["dilations"] != [1, 1]:
            raise ValueError("MaxPool with a dilation is not converted")
        del attributes["dilations"]
        return kind, {**attributes, "ceil_mode": int(arguments.get("legacy_pad", 0) > 0)}
    return convert


def plain(name):
    return lambda arguments: (name, {})


def with_axis(name):
    return lambda arguments: (name, {"axis": arguments.get("axis", 1)})


CAFFE_LEGACY_POOLING = 3  # Caffe rounds the number of places up

CONVERTERS = {"Conv": convert_conv, "MaxPool": pooling("MaxPool"),
              "AveragePool": pooling("AveragePool"), "Relu": plain("Relu"),
              "Sigmoid": plain("Sigmoid"), "Tanh": plain("Tanh"), "Add": plain("Add"),
              "Sum": plain("Sum"), "Mul": plain("Mul"), "Concat": with_axis("Concat"),
              "Flatten": with_axis("Flatten"), "Dropout": plain("Identity"),
              "Copy": plain("Identity"), "Clip": None, "FC": None, "Softmax": None}

# the arguments of each that are heeded, and those that change nothing
WINDOWS = {f"{name}{end}" for name in ("kernel", "stride", "dilation", "pad")
           for end in ("", "s", "_h", "_w", "_t", "_l", "_b", "_r")} | {"order"}
HEEDED = {"Conv": WINDOWS | {"group"}, "MaxPool": WINDOWS | {"global_pooling", "legacy_pad"},
          "AveragePool": WINDOWS | {"global_pooling", "legacy_pad"}, "Concat": {"axis", "order"},
          "Flatten": {"axis"}, "Softmax": {"axis"}, "Clip": {"min", "max"},
          "Dropout": {"ratio", "is_test"}}
HINTS = {"exhaustive_search", "cudnn_exhaustive_search", "ws_nbytes_limit", "use_cudnn",
         "shared_buffer", "is_test"}


def check_arguments(kind, arguments):
    unknown = arguments.keys() - HEEDED.get(kind, set()) - HINTS
    if unknown:
        raise ValueError(f"{kind} with {', '.join(sorted(unknown))} is not converted")
    if kind == "Dropout" and not arguments.get("is_test"):
        raise ValueError("Dropout that is not for a test is not converted")


class Converter:
    """The nodes so far. Caffe2 writes blobs again, which ONNX does not: `names` has the latest name of
    each."""

    def __init__(self, weights):
        self.nodes, self.names = [], {}
        self.constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]

    def node(self, op, inputs, **attributes):
        name = f"{len(self.nodes)}_{op}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value, dtype=np.float32):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, kind, inputs, outputs, arguments):
        check_arguments(kind, arguments)
        given = [self.names.get(name, name) for name in inputs]
        if kind == "Clip":
            made = self.node("Clip", [given[0], self.constant(arguments["min"]),
                                      self.constant(arguments["max"])])
        elif kind == "FC":
            made = self.node("Gemm", [self.node("Flatten", given[:1], axis=1), *given[1:]], transB=1)
        elif kind == "Softmax":
            flat = self.node("Flatten", given, axis=arguments.get("axis", 1))
            made = self.node("Reshape", [self.node("Softmax", [flat], axis=1),
                                         self.node("Shape", given)])
        else:
            op, attributes = CONVERTERS[kind](arguments)
            made = self.node(op, given[:1] if op == "Identity" else given, **attributes)
        self.names[outputs[0]] = made


def weights_of(operators):
    found = {}
    for kind, _, (name, *_), arguments in operators:
        names = [dtype for dtype, filler in caffe2_files.FILLERS.items() if filler == kind]
        if not names:
            raise ValueError(f"the init net has the operator {kind}, whose values are not in it")
        found[name] = np.array(arguments["values"], names[0]).reshape(arguments["shape"])
    return found


def convert(predict, init, value_inputs):
    """The onnx.ModelProto of three files."""
    operators, _, outputs = caffe2_files.read(predict)
    said = json.loads(value_inputs.read_text())
    weights = weights_of(caffe2_files.read(init)[0])
    unknown = {op[0] for op in operators} - CONVERTERS.keys()
    if unknown:
        raise ValueError(f"{predict} has operators that are not converted: "
                         f"{', '.join(sorted(unknown))}")
    converter = Converter({name: array for name, array in weights.items() if name not in said})
    for op in operators:
        converter.add(*op)
    for name in outputs:
        converter.nodes.append(helper.make_node("Identity", [converter.names[name]], [name]))
    made = helper.make_model(helper.make_graph(
        converter.nodes, predict.name.removesuffix(".pb"),
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(DTYPES[kind]),
                                       ["batch", *shape[1:]])
         for name, (kind, shape) in said.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        initializer=converter.constants),
        ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    made = onnx.shape_inference.infer_shapes(made)
    onnx.checker.check_model(made)
    return made


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        model = convert(*map(pathlib.Path, sys.argv[1:4]))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"caffe2_onnx.py: {error}")
    pathlib.Path(sys.argv[4]).write_bytes(model.SerializeToString(deterministic=True))
