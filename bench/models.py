"""Writes what bench/inference.py asks about, by the Python of the virtual environment:

  .deps/venv/bin/python bench/models.py FOLDER

tiny.onnx is one product, 4 KB in and 32 bytes out: next to nothing. mlp.onnx has six layers
of 1024: 25 MB of weights, about a millisecond. small.onnx has two of 256: rows of 1 KB, in and
out. picture.json and picture.npy are one input of the image model, as the rival
(bench/rivals/json_server.py) takes it; since the values are those of a picture, (x - 127) / 128,
they are short in JSON.
"""
import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, LAYERS = 1024, 6
SMALL_WIDTH, SMALL_LAYERS = 256, 2


def write(path, nodes, weights, output, width, n_inputs=WIDTH):
    graph = helper.make_graph(
        nodes, path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", n_inputs])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", width])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()])
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, path)


def main(folder):
    random = np.random.default_rng(1)

    def matrix(columns):
        return (random.standard_normal((WIDTH, columns)) / WIDTH ** 0.5).astype(np.float32)

    write(folder / "tiny.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])],
          {"w": matrix(8)}, "y", 8)

    def write_mlp(path, n_layers, width):
        nodes, weights = [], {}
        for i in range(n_layers):
            weights[f"w{i}"] = matrix(width)[:width]
            nodes += [helper.make_node("MatMul", [f"y{i - 1}" if i else "x", f"w{i}"], [f"z{i}"]),
                      helper.make_node("Relu", [f"z{i}"], [f"y{i}"])]
        write(path, nodes, weights, f"y{n_layers - 1}", width, width)
    write_mlp(folder / "mlp.onnx", LAYERS, WIDTH)
    write_mlp(folder / "small.onnx", SMALL_LAYERS, SMALL_WIDTH)

    picture = ((random.integers(0, 256, (1, 3, 224, 224)) - 127) / 128).astype(np.float32)
    np.save(folder / "picture.npy", picture)
    (folder / "picture.json").write_text(json.dumps({"inputs": picture.tolist()}))


main(pathlib.Path(sys.argv[1]))
