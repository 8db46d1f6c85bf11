"""Small Caffe2 models, written by tools/zoo/caffe2_files.py, and what they compute. Each function writes
one into a folder and gives the folder."""
import sys

import numpy as np

from harness import SOURCE

sys.path.insert(0, str(SOURCE / "tools/zoo"))
from caffe2_files import TYPES, Net, init_net, operator, write  # noqa: E402, F401

W = np.array([[1, 2, 3], [-1, 0, 1], [2, -2, 0.5], [0, 1, -1]], np.float32)
B = np.array([0.5, -1, 0, 2], np.float32)
MLP = {"fc1_w": W, "fc1_b": B}

SAID = {"data": ("float32", [1, 3])}
NO_WEIGHTS = {"unused": np.zeros(1, np.float32)}  # an init net fills something

# of GraphPipe's types those that a blob can have and that Copy can copy
COPIED = list(TYPES)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mlp_net(fc="FC", **more):
    net = Net("mlp", ["data", *MLP], ["prob"])
    net.add(fc, ["data", "fc1_w", "fc1_b"], "fc1", **more)
    net.add("Relu", "fc1", "fc1")
    net.add("Softmax", "fc1", "prob")
    return net


def mlp(folder, arrays=MLP, said=SAID, **more):
    write(folder, mlp_net(), arrays, said, **more)
    return folder


def mlp_answer(x, w=W, b=B):
    return softmax(np.maximum(x @ w.T + b, 0))


def pair(folder):
    """Two inputs of floats and one of whole numbers; outputs of two types, one without rows, one whose
    rows are not first."""
    net = Net("pair", outputs=["sum", "double", "total", "turned"])
    net.add("Add", ["a", "b"], "sum")
    net.add("Add", ["n", "n"], "double")
    net.add("SumElements", "b", "total")
    net.add("Transpose", "b", "turned")
    write(folder, net, NO_WEIGHTS, {"a": ("float32", [1, 2]), "b": ("float32", [1, 2]),
                            "n": ("int32", [1])})
    return folder


def fire(folder, random):
    """The operators of SqueezeNet: a convolution, a module of three, a pooled answer."""
    arrays = {}

    def conv(x, name, inputs, outputs, kernel, pad=0, stride=1):
        arrays[f"{name}_w"] = random.normal(0, 0.3, (outputs, inputs, kernel, kernel)).astype("f4")
        arrays[f"{name}_b"] = random.normal(0, 0.1, outputs).astype("f4")
        net.add("Conv", [x, f"{name}_w", f"{name}_b"], name, kernel=kernel, pad=pad, stride=stride)
        return net.add("Relu", name, name)

    net = Net("", outputs=["softmaxout"])
    x = conv("data", "conv1", 3, 8, 3, stride=2)
    x = net.add("MaxPool", x, "pool1", kernel=3, stride=2, pad=0)
    x = conv(x, "squeeze1x1", 8, 4, 1)
    left, right = conv(x, "expand1x1", 4, 8, 1), conv(x, "expand3x3", 4, 8, 3, pad=1)
    x = net.add("Concat", [left, right], ["concat", "_concat_dims"], order="NCHW")
    x = net.add("Dropout", x, [x, "_concat_mask"], ratio=0.5, is_test=1)
    x = conv(x, "conv10", 16, 10, 1)
    x = net.add("AveragePool", x, "pool10", stride=1, pad=0, kernel=0, global_pooling=1)
    net.add("Softmax", x, "softmaxout")
    write(folder, net, arrays, {"data": ("float32", [1, 3, 23, 23])})
    return folder


def types(folder):
    """Every type there and back."""
    net = Net("types", outputs=[f"out_{name}" for name in COPIED])
    for name in COPIED:
        net.add("Copy", name, f"out_{name}")
    write(folder, net, NO_WEIGHTS, {name: (name, [1]) for name in COPIED})
    return folder


def in_place(folder):
    """Writes into its input."""
    net = Net("in_place", outputs=["x"])
    net.add("Relu", "x", "x")
    write(folder, net, NO_WEIGHTS, {"x": ("float32", [1, 2])})
    return folder
