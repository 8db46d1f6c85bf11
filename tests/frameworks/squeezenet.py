"""SqueezeNet as Caffe2's model zoo has it: its predict_net.pb is given, its weights are made here, from a
seed, since no package has them. The same network as ONNX is what the answers are held to."""
import pathlib
import shutil
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools/zoo"))
import caffe2_files  # noqa: E402
import caffe2_onnx  # noqa: E402

PREDICT, SAID = "squeezenet.predict_net.pb", "squeezenet.value_inputs_caffe2.json"
CLASSES = 1000


def n_filters(name):
    """Of the layers of SqueezeNet 1.1."""
    if not name.startswith("fire"):
        return {"conv1": 64, "conv10": CLASSES}[name]
    module, layer = name.split("/")
    squeezed = int(module.removeprefix("fire")) // 2 * 16
    return squeezed if layer.startswith("squeeze") else squeezed * 4


def weights(operators):
    """{blob: array}, of a size at which the answers differ from class to class."""
    random = np.random.default_rng(2018)
    channels, arrays = {"data": 3}, {}
    for kind, inputs, outputs, arguments in operators:
        given = sum(channels[name] for name in inputs if name in channels)
        if kind == "Conv":
            shape = n_filters(outputs[0]), given, arguments["kernel"], arguments["kernel"]
            spread = np.sqrt(2 / np.prod(shape[1:]))
            arrays[inputs[1]] = random.normal(0, spread, shape).astype(np.float32)
            arrays[inputs[2]] = random.normal(0, 0.1, shape[0]).astype(np.float32)
            given = shape[0]
        channels[outputs[0]] = given
    return arrays


def make(given, folder):
    """Makes the model in the folder, and gives (predict net, ONNX file)."""
    folder.mkdir(parents=True, exist_ok=True)
    predict, made = folder / PREDICT, folder / "squeezenet.onnx"
    init, said = folder / "squeezenet.init_net.pb", folder / "squeezenet.value_inputs.json"
    shutil.copyfile(given / PREDICT, predict)
    shutil.copyfile(given / SAID, said)
    arrays = weights(caffe2_files.read(predict)[0])
    init.write_bytes(caffe2_files.init_net(arrays).serialize())
    made.write_bytes(caffe2_onnx.convert(predict, init, said).SerializeToString())
    return predict, made
