"""The same network through every engine and format: rows of EfficientNet-Lite0 in a second.

tools/zoo writes the files, `make test-engines` checks that they all answer alike. Every server is
up while another is measured, idle; each has the default threads of its engine. The ratio is of
ONNX Runtime's rows to the others' in the same round.
"""
import contextlib
import pathlib

import harness
from harness import ROOT

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ROOT / "build/models"
PYTHON = ROOT / ".deps/test-engines/bin/python"
ROUNDS = 5
SECONDS = {1: 1.5, 8: 2.0}  # of a measurement, by batch
OURS = "ONNX, onnx"

# name: engine, file, and what its process has in its environment
SUBJECTS = {
    OURS: ("onnx", "efficientnet-lite0.onnx", {}),
    "torch.onnx.export, onnx": ("onnx", "efficientnet-lite0-exported.onnx", {}),
    "TorchScript, pytorch": ("pytorch", "efficientnet-lite0.pt", {}),
    "AOTInductor, pytorch": ("pytorch", "efficientnet-lite0.pt2", {}),
    "SavedModel, tensorflow": ("tensorflow", "efficientnet-lite0-savedmodel", {}),
    "GraphDef, tensorflow": ("tensorflow", "efficientnet-lite0.pb", {}),
    "GraphDef NCHW, tensorflow": ("tensorflow", "efficientnet-lite0-nchw.pb",
                                  {"TF_ENABLE_ONEDNN_OPTS": "1"}),
    "GraphDef NCHW, tensorflow without oneDNN": ("tensorflow", "efficientnet-lite0-nchw.pb",
                                                 {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "ONNX, openvino": ("openvino", "efficientnet-lite0.onnx", {}),
    "TFLite, openvino": ("openvino", "efficientnet-lite0.tflite", {}),
    "GraphDef, openvino": ("openvino", "efficientnet-lite0.pb", {}),
    "TorchScript, python": ("python", HERE / "engines/torch_model.py",
                            {"GP_BENCH_MODEL": str(MODELS / "efficientnet-lite0.pt")}),
}


OPTIONS = {".pt2": ["--allow-native-code"], ".py": ["--python", PYTHON]}


def serve(engine, file, env):
    options = OPTIONS.get(pathlib.Path(file).suffix, [])
    return harness.graphpipe(engine, "--model", MODELS / file, *options, env=env)


def main(smoke):
    missing = [file for _, file, _ in SUBJECTS.values() if not (MODELS / file).exists()]
    if missing or not PYTHON.exists():
        raise RuntimeError(f"engines needs {MODELS / [*missing, PYTHON][0]}: run make test-engines")
    result = harness.Result("engines", "One network, every engine", smoke)
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(serve(*subject))
                   for name, subject in SUBJECTS.items()}
        for rows, seconds in SECONDS.items():
            result.compare(
                f"rows-{rows}", f"EfficientNet-Lite0, 1 client, batch {rows}", "rows/s",
                {name: harness.rate(address, "--rows", rows, key="rows_per_s",
                                    seconds=2 if smoke else seconds, pid=process.pid)
                 for name, (address, process) in servers.items()},
                rounds=ROUNDS, ours=OURS,
                note="By format and engine. TensorFlow's formats take channels last, NCHW first.")
    result.save()
