"""Models of several files, or of an archive, whose parts are missing, broken or no files: refused as in
test_bad_models.py. At the end: models that are replaced while they are served."""
import math
import os
import shutil
import struct
import zipfile

import pytest

from harness import MODELS, SANITIZE, Server, Tensor, start_fails
from needs import need
from test_bad_models import LISTEN, content, linked, piped, refused, source

SAVED = MODELS / "tensorflow/saved"

# --- weights beside ONNX ----------------------------------------------------------------

def dropped(name):
    return lambda folder: (folder / name).unlink()


def replaced(name, make):
    def change(folder):
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        make(folder / name, whole)
    return change


def circle(path, _):
    linked(path, path.name)


WEIGHTS = {
    "missing": dropped("external.onnx.data"),
    "short": replaced("external.onnx.data", content(lambda whole: whole[:3])),
    "folder": replaced("external.onnx.data", lambda path, _: path.mkdir()),
    "pipe": replaced("external.onnx.data", piped),
    "circle": replaced("external.onnx.data", circle),
}


@pytest.mark.parametrize("defect", WEIGHTS)
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_weights_beside_an_onnx_file(tmp_path, engine, defect):
    need(engine)
    for name in ("external.onnx", "external.onnx.data"):
        shutil.copy(MODELS / name, tmp_path)
    WEIGHTS[defect](tmp_path)
    short = defect == "short" and engine == "onnx"
    refused(engine, tmp_path / "external.onnx",
            "out of bounds" if short else "external.onnx.data")


# --- SavedModels --------------------------------------------------------------------------

INNER, INDEX = "saved_model.pb", "variables/variables.index"
DATA = "variables/variables.data-00000-of-00001"

FOLDERS = {"no variables": (lambda folder: shutil.rmtree(folder / "variables"), "ariable"),
           "no index": (dropped(INDEX), "ariable"), "no data": (dropped(DATA), "data-00000"),
           "no operator": (replaced(INNER, content(lambda d: d.replace(b"MatMul", b"MatMix"))),
                           "MatMix")}
for name in (INNER, INDEX, DATA):
    FOLDERS |= {f"{name} {what}": (replaced(name, make), "") for what, make in {
        "empty": content(lambda whole: b""), "text": content(lambda whole: b"no model\n" * 9),
        "half": content(lambda whole: whole[:len(whole) // 2]), "circle": circle, "pipe": piped,
        "folder": lambda path, whole: path.mkdir()}.items()}
for form in ("onnx", "pb", "pt"):
    FOLDERS[f"{form} in it"] = (lambda folder, form=form: (folder / INNER).write_bytes(
        source(form, folder)), "")


@pytest.mark.parametrize("defect", FOLDERS)
@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_saved_models(tmp_path, engine, defect):
    need(engine)
    change, word = FOLDERS[defect]
    folder = tmp_path / "model"
    shutil.copytree(SAVED, folder)
    change(folder)
    refused(engine, folder, word)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_folder_that_holds_no_model(tmp_path, engine):
    need(engine)
    refused(engine, tmp_path, INNER)
    assert INNER in start_fails(*LISTEN, "--model", tmp_path)


# --- OpenVINO's IR ------------------------------------------------------------------------

BIN, XML = "bounded.bin", "bounded.xml"


def spelled(old, new):
    return replaced(XML, content(lambda whole: whole.replace(old, new)))


IR = {"no bin": (dropped(BIN), "bin file"),
      "empty bin": (replaced(BIN, content(lambda whole: b"")), "bin file"),
      "short bin": (replaced(BIN, content(lambda whole: whole[:10])), "bin file"),
      "folder": (replaced(BIN, lambda path, _: path.mkdir()), BIN),
      "pipe": (replaced(BIN, piped), BIN), "circle": (replaced(BIN, circle), BIN),
      "operator": (spelled(b"Multiply", b"Frobnica"), "Frobnica"),
      "operators": (spelled(b'opset1"', b'opset99"'), "opset99"),
      "type": (spelled(b'"f32"', b'"f33"'), "f33"),
      "version": (spelled(b'version="11"', b'version="99"'), ""),
      "far weights": (spelled(b'offset="0"', b'offset="999"'), "weights"),
      "large weights": (spelled(b'size="16"', b'size="99999999999999"'), "weights")}


@pytest.mark.parametrize("defect", IR)
def test_intermediate_representation(tmp_path, defect):
    need("openvino")
    for name in (BIN, XML):
        shutil.copy(MODELS / name, tmp_path)
    change, words = IR[defect]
    change(tmp_path)
    refused("openvino", tmp_path / XML, words)


def test_suffix_that_openvino_does_not_read(tmp_path):
    need("openvino")
    (tmp_path / "model.xyz").write_bytes(b"what is this")
    refused("openvino", tmp_path / "model.xyz", ".tflite")


# --- TorchScript --------------------------------------------------------------------------

def archive(path, change, name="mlp"):
    """A model with each of its files as change(name, content) gives it; None leaves it out."""
    with zipfile.ZipFile(MODELS / f"pytorch/{name}.pt") as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            inner = change(entry.split("/", 1)[1], old.read(entry))
            if inner is not None:
                new.writestr(entry, inner)


def code(old, new):
    return lambda name, whole: whole.replace(old, new) if name.endswith(".py") else whole


def without(lost):
    return lambda name, whole: None if name == lost else whole


def emptied(lost):
    return lambda name, whole: b"" if name == lost else whole


def halved(cut):
    return lambda name, whole: whole[:len(whole) // 2] if name == cut else whole


def version(text):
    return lambda name, whole: text if name == "version" else whole


ARCHIVES = {
    "no tensor": (without("data/0"), "data/0"), "no pickle": (without("data.pkl"), "data.pkl"),
    "no code": (without("code/__torch__.py"), "__torch__.Mlp"),
    "no constants": (without("constants.pkl"), "torch.save"),
    "no version": (without("version"), "version"), "empty tensor": (emptied("data/1"), '"b"'),
    "empty pickle": (emptied("data.pkl"), "end of pickler"),
    "half a pickle": (halved("data.pkl"), "end of pickler"),
    "half the code": (halved("code/__torch__.py"), ""),
    "attribute": (code(b"self.a", b"self.nix"), "'nix'"),
    "operator": (code(b"torch.relu", b"ops.mine.twice"), "mine::twice"),
    "syntax": (code(b"torch.relu(", b"torch.relu(("), "expected )"),
    "new": (version(b"99\n"), "version 99"), "old": (version(b"0\n"), "version 0"),
    "no number": (version(b"x\n"), "version")}


@pytest.mark.parametrize("defect", ARCHIVES)
def test_archives(tmp_path, defect):
    need("pytorch")
    change, words = ARCHIVES[defect]
    if "address" in SANITIZE and "version" in words:
        pytest.skip("libtorch leaks its reader of an archive whose version is wrong")
    archive(tmp_path / "model.pt", change)
    refused("pytorch", tmp_path / "model.pt", words)


BESIDE = {"text": (content(lambda _: b"no json"), "not JSON"), "empty": (content(lambda _: b""), "empty"),
          "list": (content(lambda _: b"[]"), "object"),
          "bytes": (content(lambda _: b"\1"), "not JSON"),
          "deep": (content(lambda _: b'{"inputs": ' + b"[" * 100_000), "too deep"),
          "negations": (content(lambda _: b'{"inputs": ' + b"-" * 100_000), "too deep"),
          "words": (content(lambda _: b'{"inputs": ' + b"not " * 100_000), "too deep"),
          "sums": (content(lambda _: b'{"inputs": ' + b"1 +\n" * 100_000), "too deep"),
          "pipe": (piped, "not a file"), "folder": (lambda path, _: path.mkdir(), "folder")}


@pytest.mark.parametrize("defect", BESIDE)
def test_json_beside_a_module(tmp_path, defect):
    need("pytorch")
    shutil.copy(MODELS / "pytorch/mlp.pt", tmp_path / "model.pt")
    make, words = BESIDE[defect]
    make(tmp_path / "model.json", b"")
    refused("pytorch", tmp_path / "model.pt", "model.json", words)


# --- replaced while it is served ----------------------------------------------------------

def ones(*shape):
    count = math.prod(shape)
    return Tensor("float32", list(shape), struct.pack(f"<{count}f", *[1] * count))


SERVED = [("onnx", "mlp.onnx", ones(1, 4)), ("onnx", "external.onnx", ones(1, 4)),
          ("tensorflow", "tensorflow/conv.pb", ones(1, 2, 6, 7)),
          ("tensorflow", "tensorflow/saved", ones(1, 2)), ("pytorch", "pytorch/mlp.pt", ones(1, 3)),
          ("openvino", "mlp.onnx", ones(1, 4)), ("openvino", "external.onnx", ones(1, 4)),
          ("openvino", "bounded.xml", ones(1, 4)), ("openvino", "tensorflow/saved", ones(1, 2))]


@pytest.mark.parametrize("engine, name, x", SERVED, ids=[f"{e}-{n}" for e, n, _ in SERVED])
def test_renaming_another_file_over_it_changes_nothing(tmp_path, engine, name, x):
    """Writing into the file would: weights in files of their own are mapped."""
    need(engine)
    folder = tmp_path / "models"
    shutil.copytree(MODELS, folder)
    with Server(engine=engine, model=folder / name) as server:
        answer = server.infer(x)
        assert answer.status == 200, answer.text
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            (tmp_path / "new").write_bytes(b"no model")
            os.replace(tmp_path / "new", path)
        assert server.infer(x).body == answer.body
        shutil.rmtree(folder)
        assert server.infer(x).body == answer.body
