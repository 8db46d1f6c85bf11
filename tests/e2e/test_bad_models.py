"""Models that cannot be, for each engine: files that are cut off, of another kind, or no files; weights
that are missing; operators and types that the framework lacks. Each is refused within seconds by exit
status 1 and one line that names the file, without a framework's chatter on stdout or stderr. At the
end: models that were replaced while they are served.

A row is a defect, made in an empty folder, which gives the path to serve and words that the line has."""
import math
import os
import re
import shutil
import socket
import struct
import zipfile

import onnx
import pytest

from harness import BUILD, MODELS, SANITIZE, SOURCE, Server, Tensor, start_fails
from test_openvino import graph_def, write_tflite

LISTEN = ("--listen", "127.0.0.1:0")
SAVED = MODELS / "tensorflow/saved"

# What tells a framework's makers where they are, or sends the reader elsewhere.
NOISE = re.compile(r"\.(cc|cpp|h|hpp):\d|0x[0-9a-f]{6}|ASSERT|https?:|report|ONNXRuntimeError|Frontend\]"
                   r"|Exception|saved_model_cli|\?\?")


def need(engine):
    """Skips where the engine, or its framework, is not there or not for this sanitizer."""
    there = {"onnx": ".deps/onnxruntime", "tensorflow": ".deps/tensorflow/VERSION",
             "pytorch": ".deps/pytorch/VERSION", "openvino": ".deps/openvino/VERSION"}[engine]
    if not (BUILD / f"lib/graphpipe/graphpipe-engine-{engine}.so").exists() or not (
            SOURCE / there).exists():
        pytest.skip(f"the {engine} engine is not built: tools/setup {engine}")
    if SANITIZE and engine == "openvino":
        pytest.skip(f"{engine} does not run under this sanitizer")


def refused(engine, path, *words):
    line = start_fails("--engine", engine, *LISTEN, "--model", path, errors="replace")
    assert line.startswith("graphpipe: ") and len(line) < 480, line
    assert str(path).rstrip("/") in line, line
    assert all(word in line for word in words), line
    assert not NOISE.search(line.replace(str(path), "")), line
    return line


# --- every form of file, every way to be none ---------------------------------------------

def source(form, folder):
    if form == "tflite":
        return write_tflite(folder / "source.tflite").read_bytes()
    return {"onnx": lambda: (MODELS / "mlp.onnx").read_bytes(),
            "pb": lambda: (MODELS / "tensorflow/conv.pb").read_bytes(),
            "pt": lambda: (MODELS / "pytorch/mlp.pt").read_bytes(),
            "xml": lambda: (MODELS / "bounded.xml").read_bytes()}[form]()


FORMS = [("onnx", "onnx"), ("tensorflow", "pb"), ("pytorch", "pt"), ("openvino", "onnx"),
         ("openvino", "xml"), ("openvino", "tflite"), ("openvino", "pb")]


def linked(path, target):
    path.symlink_to(target)


def piped(path, _):
    os.mkfifo(path)


def bound(path, _):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def sparse(size):
    def make(path, whole):
        path.write_bytes(whole)
        os.truncate(path, size)
    return make


def unreadable(path, whole):
    path.write_bytes(whole)
    path.chmod(0)


def content(change):
    return lambda path, whole: path.write_bytes(change(whole))


OPENED = {
    "missing": (lambda path, whole: None, "No such file"),
    "dangling": (lambda path, whole: linked(path, "nowhere"), "No such file"),
    "circle": (lambda path, whole: linked(path, path.name), "symbolic links"),
    "folder": (lambda path, whole: path.mkdir(), "folder"),
    "pipe": (piped, "not a file"),
    "device": (lambda path, whole: linked(path, "/dev/zero"), "not a file"),
    "socket": (bound, "open"),
    "empty": (content(lambda whole: b""), "is empty"),
    "text": (content(lambda whole: b"no model\n" * 100), ""),
    "zeros": (content(lambda whole: bytes(4096)), ""),
    "one byte": (content(lambda whole: whole[:1]), ""),
    "half": (content(lambda whole: whole[:len(whole) // 2]), ""),
    "cut": (content(lambda whole: whole[:-20]), ""),
    "3 GiB": (sparse(3 << 30), ""),
    "1 TiB": (sparse(1 << 40), ""),
}


@pytest.mark.parametrize("defect", OPENED)
@pytest.mark.parametrize("engine, form", FORMS, ids=map("-".join, FORMS))
def test_what_is_no_whole_file(tmp_path, engine, form, defect):
    need(engine)
    make, words = OPENED[defect]
    make(tmp_path / f"model.{form}", source(form, tmp_path))
    refused(engine, tmp_path / f"model.{form}", words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("engine, form", FORMS, ids=map("-".join, FORMS))
def test_what_may_not_be_read(tmp_path, engine, form):
    need(engine)
    unreadable(tmp_path / f"model.{form}", source(form, tmp_path))
    refused(engine, tmp_path / f"model.{form}", "Permission denied")


@pytest.mark.parametrize("engine, form", FORMS, ids=map("-".join, FORMS))
def test_files_of_other_frameworks(tmp_path, engine, form):
    need(engine)
    path = tmp_path / f"model.{form}"
    for other in {"onnx", "pb", "pt", "xml", "tflite"} - {form}:
        path.write_bytes(source(other, tmp_path))
        refused(engine, path)


@pytest.mark.parametrize("name", ["model.onnx", "model.pb", "model"])
def test_pipe_whose_engine_is_to_be_guessed(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert name in start_fails(*LISTEN, "--model", tmp_path / name)


@pytest.mark.parametrize("engine, form", FORMS, ids=map("-".join, FORMS))
def test_file_as_a_folder(tmp_path, engine, form):
    need(engine)
    path = tmp_path / f"model.{form}"
    path.write_bytes(source(form, tmp_path))
    refused(engine, f"{path}/", "Not a directory")
    refused(engine, path / path.name, "Not a directory")


# --- ONNX ---------------------------------------------------------------------------------

def drop(path):
    path.unlink()


def dropped(name):
    return lambda folder: drop(folder / name)


def replaced(name, make):
    def change(folder):
        whole = (folder / name).read_bytes()
        drop(folder / name)
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


def edited(change):
    def make(path):
        model = onnx.load(MODELS / "mlp.onnx")
        change(model)
        onnx.save(model, path)
    return make


def rename_operator(model):
    model.graph.node[0].op_type = "Frob\nnicate\x1b[31m"


def lose_input(model):
    model.graph.node[0].input[0] = "nix"


def lose_output(model):
    model.graph.output[0].name = "nix"


def grow_weights(model):
    model.graph.initializer[0].dims[0] = 1 << 40


def number_type(model):
    model.graph.input[0].type.tensor_type.elem_type = 77


def empty_graph(model):
    del model.graph.node[:]


def far_opset(model):
    model.opset_import[0].version = 99


EDITS = {"operator": (rename_operator, "nicate"), "input": (lose_input, "nix"),
         "output": (lose_output, "nix"), "weights": (grow_weights, ""),
         "type": (number_type, "ype"), "no operators": (empty_graph, '"y"'),
         "opset": (far_opset, "99")}


@pytest.mark.parametrize("defect", EDITS)
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_onnx_graphs_that_cannot_be(tmp_path, engine, defect):
    need(engine)
    if (engine, defect) == ("openvino", "opset"):
        pytest.skip("OpenVINO takes the operators of the newest set that it knows")
    change, word = EDITS[defect]
    edited(change)(tmp_path / "model.onnx")
    refused(engine, tmp_path / "model.onnx", word if engine == "openvino" else word.strip('"'))


LACKING = [
    ("onnx", "unknown_op.onnx", "org.example"), ("onnx", "float8.onnx", '"x" is of type float8e4m3fn'),
    ("onnx", "float8_out.onnx", '"y" is of type float8e4m3fn'),
    ("onnx", "sequence_in.onnx", "is a sequence"), ("onnx", "optional_in.onnx", "optional value"),
    ("openvino", "unknown_op.onnx", "org.example.Frobnicate"),
    ("openvino", "float8.onnx", '"x" is of type f8e4m3'),
    ("openvino", "float8_out.onnx", '"y" is of type f8e4m3'),
    ("openvino", "types.onnx", '"string" is of type string'),
    ("openvino", "scalar.onnx", "dynamic rank"),
    ("openvino", "sequence_in.onnx", "ConcatFromSequence"),
    ("openvino", "tensorflow/types.pb", '"string:0" is of type string'),
    ("openvino", "tensorflow/saved/saved_model.pb", "name the folder"),
    ("tensorflow", "tensorflow/complex_in.pb", '"x:0" is of type complex'),
    ("pytorch", "pytorch/weights.pt", "torch.jit.script"),
    ("pytorch", "pytorch/legacy.pt", "torch.jit.script"),
    ("pytorch", "pytorch/deep.pt", "no deeper"),
    ("pytorch", "pytorch/takes_dict.pt", "Dict[str, Tensor]"),
    ("pytorch", "pytorch/mapped.pt", "outputs"), ("pytorch", "pytorch/listed.pt", "outputs")]


@pytest.mark.parametrize("engine, name, words", LACKING)
def test_what_the_framework_or_the_wire_lacks(engine, name, words):
    need(engine)
    refused(engine, MODELS / name, words)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_operator_of_a_graph_def_that_is_not_there(tmp_path, engine):
    need(engine)
    whole = graph_def() if engine == "openvino" else (MODELS / "tensorflow/conv.pb").read_bytes()
    path = tmp_path / "model.pb"
    path.write_bytes(whole.replace(b"Neg", b"Nix").replace(b"Conv2D", b"Nix2DD"))
    refused(engine, path, "Nix")


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
