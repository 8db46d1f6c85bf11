"""Models that cannot be, for each engine: files that are cut off, of another kind, or no files; weights
that are missing; operators and types that the framework lacks. Each is refused within seconds by exit
status 1 and one line that names the file, without a framework's chatter on stdout or stderr. Models of
several parts are in test_bad_parts.py."""
import json
import os
import re
import socket

import onnx
import pytest

import cntk_models
import mxnet_models
from harness import MODELS, start_fails
from needs import need
from test_openvino import graph_def, write_tflite

LISTEN = ("--listen", "127.0.0.1:0")

# What tells a framework's makers where they are, or sends the reader elsewhere.
NOISE = re.compile(r"\.(cc|cpp|h|hpp):\d|0x[0-9a-f]{6}|ASSERT|https?:|report|ONNXRuntimeError|Frontend\]"
                   r"|Exception|saved_model_cli|\?\?")


def refused(engine, path, *words, flags=()):
    line = start_fails("--engine", engine, *LISTEN, "--model", path, *flags, errors="replace")
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
            "model": lambda: cntk_models.mlp(folder).read_bytes(),
            "json": lambda: json.dumps(mxnet_models.mlp_symbol()).encode(),
            "xml": lambda: (MODELS / "bounded.xml").read_bytes()}[form]()


FORMS = [("onnx", "onnx"), ("tensorflow", "pb"), ("pytorch", "pt"), ("openvino", "onnx"),
         ("openvino", "xml"), ("openvino", "tflite"), ("openvino", "pb"), ("mxnet", "json"),
         ("cntk", "model")]


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


@pytest.mark.parametrize("engine, name, words", {row[0]: row for row in LACKING}.values())
def test_the_same_from_a_process_of_its_own(engine, name, words):
    need(engine)
    refused(engine, MODELS / name, words, flags=["--isolate"])


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_operator_of_a_graph_def_that_is_not_there(tmp_path, engine):
    need(engine)
    whole = graph_def() if engine == "openvino" else (MODELS / "tensorflow/conv.pb").read_bytes()
    path = tmp_path / "model.pb"
    path.write_bytes(whole.replace(b"Neg", b"Nix").replace(b"Conv2D", b"Nix2DD"))
    refused(engine, path, "Nix")
