"""Small models with some bytes changed, lost or put in: each either opens or is refused in one line, and
none ends the process by a signal. GP_MUTATIONS=200 makes that many of each; a few are made without."""
import io
import os
import random
import shutil
import subprocess
import zipfile

import pytest

import caffe2_models
import cntk_models
import mxnet_models
from harness import MODELS, PATIENCE, PROGRAM, REPORT
from needs import need
from test_bad_parts import BIN, DATA, INDEX, INNER, SAVED, XML
from test_openvino import graph_def, write_tflite

COUNT = int(os.environ.get("GP_MUTATIONS", "6"))

# Engine, what is served, and the files one of which is changed. No SavedModel for openvino, whose own
# reader crashes at some of them: docs/engines.md.
SOURCES = [("onnx", "mlp.onnx", ["mlp.onnx"]), ("onnx", "layers.onnx", ["layers.onnx"]),
           ("onnx", "external.onnx", ["external.onnx", "external.onnx.data"]),
           ("tensorflow", "tensorflow/pair.pb", ["pair.pb"]),
           ("tensorflow", "tensorflow/saved", [INNER, INDEX, DATA]),
           ("pytorch", "pytorch/mlp.pt", ["mlp.pt"]),
           ("openvino", "layers.onnx", ["layers.onnx"]), ("openvino", XML, [XML, BIN]),
           ("openvino", "neg.tflite", ["neg.tflite"]), ("openvino", "neg.pb", ["neg.pb"]),
           ("openvino", "external.onnx", ["external.onnx", "external.onnx.data"]),
           ("mxnet", "mlp-symbol.json", ["mlp-symbol.json", "mlp-0000.params"]),
           ("cntk", "mlp.model", ["mlp.model"]),
           ("caffe2", "predict_net.pb", ["predict_net.pb", "init_net.pb", "value_inputs.json"])]


def mutate(whole, dice):
    data = bytearray(whole)
    at, other, size = dice.randrange(len(data)), dice.randrange(len(data)), dice.randrange(1, 17)
    kind = dice.randrange(5)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        for _ in range(size):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == 2:
        data[at] = dice.choice([0, 1, 0x7f, 0x80, 0xff])
    elif kind == 3:
        data[at:at] = data[other:other + size]
    else:
        del data[at:at + size]
    return bytes(data)


def mutate_inside(whole, dice):
    """One of an archive's files, so that the archive itself is whole."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = dice.choice([name for name in names if not name.endswith("_id")])
        for name in names:
            new.writestr(name, mutate(old.read(name), dice) if name == chosen else old.read(name))
    return out.getvalue()


def copy(name, folder):
    """The model, in a folder of its own; gives what is served."""
    if name == "neg.tflite":
        return write_tflite(folder / name)
    if name == "mlp-symbol.json":
        return mxnet_models.mlp(folder, __shape__=(0, 3))
    if name == "mlp.model":
        return cntk_models.mlp(folder)
    if name == "predict_net.pb":
        return caffe2_models.mlp(folder) / name
    if name == "neg.pb":
        (folder / name).write_bytes(graph_def())
    elif (MODELS / name).is_dir():
        shutil.copytree(SAVED, folder, dirs_exist_ok=True)
        return folder
    else:
        for file in (MODELS / name).parent.glob(name.rpartition("/")[2].rpartition(".")[0] + ".*"):
            shutil.copy(file, folder)
    return folder / name.rpartition("/")[2]


@pytest.mark.timeout(60 + 2 * COUNT * PATIENCE)
@pytest.mark.parametrize("engine, name, files", SOURCES, ids=[f"{e}-{n}" for e, n, _ in SOURCES])
def test_opens_or_says_why_not(tmp_path, engine, name, files):
    need(engine)
    n_refused = 0
    for i in range(COUNT):
        dice = random.Random(f"{name} {i}")
        folder = tmp_path / str(i)
        folder.mkdir()
        served = copy(name, folder)
        path = folder / dice.choice(files)
        change = mutate_inside if path.suffix == ".pt" and i % 2 else mutate
        path.write_bytes(change(path.read_bytes(), dice))
        run = subprocess.run([PROGRAM, "inspect", "--engine", engine, served], text=True,
                             stdin=subprocess.DEVNULL, capture_output=True, errors="replace",
                             timeout=20 * PATIENCE)
        assert run.returncode in (0, 1) and not REPORT.search(run.stderr), (i, run)
        if run.returncode:
            n_refused += 1
            assert run.stdout == "" and run.stderr.startswith("graphpipe: "), (i, run)
            assert run.stderr.count("\n") == 1 and str(served) in run.stderr, (i, run)
        else:
            assert run.stderr == "", (i, run)
        shutil.rmtree(folder)
    assert n_refused > 0
