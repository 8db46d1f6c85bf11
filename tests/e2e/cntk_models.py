"""Small CNTK models, and what they compute. Some are written by tools/zoo/cntk_files.py, others are ONNX
that CNTK's own loader has made a model of. Each function makes one in a folder and gives its path."""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness import SOURCE

sys.path.insert(0, str(SOURCE / "tools/zoo"))
from cntk_files import (FREE, ROWS, STEPS, Network, Shape, array_bytes, convert,  # noqa: E402, F401
                        dictionary_bytes)

W = np.array([[1, 2, 3], [-1, 0, 1], [2, -2, 0.5], [0, 1, -1]], np.float32)
B = np.array([0.5, -1, 0, 2], np.float32)
R = np.array([[0.5, -1], [1, 0.25]], np.float32)
V = np.array([[1, -0.5, 2], [0, 1, -1]], np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# --- written by ourselves ---------------------------------------------------------------

def mlp_network(dtype="float32", **more):
    network = Network()
    x = network.times(network.input("x", (3,), dtype=dtype, **more), W.astype(dtype))
    x = network.function("Plus", [x, network.parameter(B.astype(dtype))])
    network.function("Sigmoid", [x], "y")
    return network


def mlp(folder):
    """As CNTK trains it: with rows, and nothing that says how many."""
    return mlp_network().write(folder / "mlp.model")


def mlp_answer(x):
    return sigmoid(x @ W.T + B)


def pair(folder):
    """Two inputs with two dimensions each, and two outputs."""
    network = Network()
    a, b = network.input("a", (2, 3)), network.input("b", (2, 3))
    total = network.function("Plus", [a, b], "sum")
    product = network.function("ElementTimes", [a, b], "product")
    return network.write(folder / "pair.model", total, product)


def recurrent(folder):
    """Sequences: h of each step from x, and from h of the step before."""
    network = Network()
    x = network.times(network.input("x", (3,), (STEPS, ROWS)), V)
    h = network.placeholder("Tanh4_Output_0", (2,), (STEPS, ROWS))
    zero = network.parameter(np.zeros((), np.float32))
    past = network.function("PastValue", [h, zero], offset=1)
    total = network.function("Plus", [x, network.times(past, R)])
    assert network.function("Tanh", [total], "h") == h
    return network.write(folder / "recurrent.model")


def recurrent_answer(x):
    h, steps = np.zeros((len(x), 2), np.float32), []
    for at in range(x.shape[1]):
        h = np.tanh(x[:, at] @ V.T + h @ R.T)
        steps.append(h)
    return np.stack(steps, 1)


# --- made from ONNX by CNTK -------------------------------------------------------------

def from_onnx(folder, name, nodes, inputs, outputs, constants=()):
    """IR 3 and operators of release 7, which CNTK 2.7 knows: constants are inputs, too."""
    made = [numpy_helper.from_array(array, key) for key, array in dict(constants).items()]
    values = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)
              for key, shape in (inputs | {c.name: list(c.dims) for c in made}).items()]
    graph = helper.make_graph(nodes, name, values, [
        helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)
        for key, shape in outputs.items()], initializer=made)
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, ir_version=3, opset_imports=[helper.make_opsetid("", 7)]),
              path)
    return convert(path, folder / f"{name}.model")


def onnx_mlp(folder):
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"], name="z", transB=1),
             helper.make_node("Sigmoid", ["z"], ["y"], name="y")]
    return from_onnx(folder, "onnx_mlp", nodes, {"x": ["rows", 3]}, {"y": ["rows", 4]},
                     {"w": W, "b": B})


def onnx_pair(folder):
    """Two inputs and two outputs, one of which has no name any more in CNTK."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"], name="sum"),
             helper.make_node("MatMul", ["sum", "w"], ["z"], name="z"),
             helper.make_node("Mul", ["a", "b"], ["product"], name="product")]
    return from_onnx(folder, "onnx_pair", nodes, {"a": ["rows", 3], "b": ["rows", 3]},
                     {"z": ["rows", 4], "product": ["rows", 3]}, {"w": W.T.copy()})


def onnx_recurrent(folder):
    """Steps come first in ONNX. What CNTK makes of it is for one sequence: of several it would mix up
    the rows."""
    nodes = [helper.make_node("RNN", ["x", "w", "r"], ["h"], name="h", hidden_size=2)]
    return from_onnx(folder, "onnx_recurrent", nodes, {"x": ["steps", 1, 3]},
                     {"h": ["steps", 1, 1, 2]}, {"w": V[None], "r": R[None]})
