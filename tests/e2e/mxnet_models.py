"""Small MXNet models, written by tools/zoo/mxnet_files.py, and what they compute. Each function writes one
into a folder and gives the symbol's path."""
import sys

import numpy as np

from harness import SOURCE

sys.path.insert(0, str(SOURCE / "tools/zoo"))
from mxnet_files import TYPES, Symbol, params_bytes, write  # noqa: E402, F401

W = np.array([[1, 2, 3], [-1, 0, 1], [2, -2, 0.5], [0, 1, -1]], np.float32)
B = np.array([0.5, -1, 0, 2], np.float32)
MLP = {"arg:fc1_weight": W, "arg:fc1_bias": B}

# what 1.9.1 can copy
COPIED = "float32 float64 float16 uint8 int8 int32 int64 bool".split()


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mlp_symbol(**data):
    """As Module saves it: trained with a label, and without shapes."""
    symbol = Symbol()
    x = symbol.variable("data", **data)
    x = symbol.operator("FullyConnected", "fc1", [x, symbol.variable("fc1_weight"),
                                                  symbol.variable("fc1_bias")], num_hidden=4)
    x = symbol.operator("Activation", "relu1", [x], act_type="relu")
    return symbol.graph(symbol.operator("SoftmaxOutput", "softmax",
                                        [x, symbol.variable("softmax_label")]))


def mlp(folder, arrays=MLP, **data):
    return write(folder, "mlp", mlp_symbol(**data), arrays)


def mlp_answer(x, w=W, b=B):
    return softmax(np.maximum(x @ w.T + b, 0))


def pair(folder):
    """Two inputs and two outputs, the second of an integer type, and a part of another."""
    symbol = Symbol()
    a = symbol.variable("a", __shape__=(0, 2))
    b = symbol.variable("b", __shape__=(0, 2))
    n = symbol.variable("n", __shape__=(0,), __dtype__=TYPES.index("int32"))
    total = symbol.operator("elemwise_add", "sum", [a, b])
    double = symbol.operator("_mul_scalar", "double", [n], scalar=2)
    halves = symbol.operator("SliceChannel", "halves", [b], num_outputs=2, axis=1)
    return write(folder, "pair", symbol.graph(total, double, (halves, 1)), {})


def normed(folder, arrays=None):
    """A convolution and a BatchNorm, whose averages are auxiliary states."""
    symbol = Symbol()
    x = symbol.variable("data", __shape__=(0, 1, 4, 4))
    x = symbol.operator("Convolution", "conv", [x, symbol.variable("conv_weight")],
                        kernel=(1, 1), num_filter=2, no_bias=True)
    x = symbol.operator("BatchNorm", "bn", [x] + [
        symbol.variable(f"bn_{name}") for name in "gamma beta moving_mean moving_var".split()],
        eps=0.001, fix_gamma=False)
    x = symbol.operator("Pooling", "pool", [x], global_pool=True, pool_type="avg", kernel=(1, 1))
    return write(folder, "normed", symbol.graph(symbol.operator("Flatten", "out", [x])),
                 NORMED if arrays is None else arrays)


NORMED = {"arg:conv_weight": np.float32([2, -1]).reshape(2, 1, 1, 1),
          "arg:bn_gamma": np.float32([3, 1]), "arg:bn_beta": np.float32([1, 0]),
          "aux:bn_moving_mean": np.float32([1, 2]), "aux:bn_moving_var": np.float32([4, 9])}


def normed_answer(x):
    mean = x.mean((1, 2, 3))[:, None] * NORMED["arg:conv_weight"].reshape(1, 2)
    scale = NORMED["arg:bn_gamma"] / np.sqrt(NORMED["aux:bn_moving_var"] + 0.001)
    return (mean - NORMED["aux:bn_moving_mean"]) * scale + NORMED["arg:bn_beta"]


def types(folder):
    """Every type there and back."""
    symbol = Symbol()
    heads = [symbol.operator("_copy", "out_" + name, [
        symbol.variable(name, __dtype__=TYPES.index(name))]) for name in COPIED]
    return write(folder, "types", symbol.graph(*heads), {})


def numpy_shapes(folder):
    """As Gluon exports under npx.set_np: arrays without sizes and without elements."""
    symbol = Symbol(is_np_shape=1)
    x = symbol.operator("_npi_add_scalar", "out", [symbol.variable("x")], scalar=1.0)
    return write(folder, "numpy", symbol.graph(x), {})


def relu(folder):
    symbol = Symbol()
    x = symbol.operator("relu", "y", [symbol.variable("x")])
    return write(folder, "relu", symbol.graph(x), {})
