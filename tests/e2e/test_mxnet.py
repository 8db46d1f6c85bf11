"""The mxnet engine through the wire, with models that mxnet_models.py writes."""
import json
import pathlib
import re
import struct
import subprocess

import numpy as np
import pytest

import mxnet_models
from harness import (MESSAGE, PROGRAM, SANITIZE, Server, Tensor, decode_metadata,
                     encode_metadata_request, start_fails)
from isolated import (ask, assert_answers, assert_joins_rows, assert_says_nothing,
                      assert_serves_many_clients, assert_starts_again, rows)
from mxnet_models import B, COPIED, MLP, mlp_answer, params_bytes, write
from needs import needs
from test_tensorflow import refused, tensor

pytestmark = needs("mxnet")


def serve(path, *arguments, **keywords):
    return Server(*arguments, engine="mxnet", model=path, **keywords)


def option(text):
    return "--engine-option", text


def fails(path, *arguments):
    line = start_fails("--engine", "mxnet", "--listen", "127.0.0.1:0", "--instances", 1, *arguments,
                       "--model", path)
    assert str(path.parent) in line or "option" in line, line
    return line


def metadata(server):
    found = decode_metadata(server.ask("POST", "/", encode_metadata_request()).body)
    return [[(io["name"], io["shape"]) for io in found[which]] for which in ("inputs", "outputs")]


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    with serve(mxnet_models.mlp(tmp_path_factory.mktemp("mlp"))) as server:
        yield server


# --- what is right ----------------------------------------------------------------------

def test_every_batch(mlp):
    """More of them than there are executors kept, and some again."""
    assert_answers(mlp, mlp_answer, *range(1, 40), 64, 1, 20, 64)


def test_describes_itself_without_shapes(mlp):
    about = json.loads(mlp.ask("GET", "/").body)
    assert about["name"] == "mlp" and mlp.logged("mlp  mxnet 1.9.1")
    assert [io["name"] for io in about["inputs"]] == ["data"]
    assert [io["name"] for io in about["outputs"]] == ["softmax_output"]


def test_file_is_guessed(tmp_path):
    path = mxnet_models.mlp(tmp_path)
    run = subprocess.run([PROGRAM, "inspect", path], capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == "" and "mxnet 1.9.1" in run.stdout


def test_many_clients_with_batches_of_their_own(mlp):
    assert_serves_many_clients(mlp, mlp_answer)


def test_large_batches_are_not_all_kept(tmp_path):
    """Each of a size of its own; an executor has its input and its output in memory."""
    mib = 1 << 20
    with serve(mxnet_models.relu(tmp_path), "--instances", 1) as server:
        child, = server.children()
        for n in range(24, 40):
            x = Tensor("float32", [n, mib // 4], struct.pack("<f", n) * (n * mib // 4))
            assert server.infer(x).tensors == [x]
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        rss = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
        assert rss < 600 * mib, f"{rss >> 20} MiB"


def test_rows_that_run_together(tmp_path):
    with serve(mxnet_models.mlp(tmp_path), "--max-batch", 64, "--instances", 1) as server:
        assert_joins_rows(server, mlp_answer)


def test_several_inputs_and_outputs(tmp_path):
    a, b, n = (tensor([[1, 2], [3, 4]]), tensor([[5, 6], [7, 8]]), tensor([1, 2], np.int32))
    with serve(mxnet_models.pair(tmp_path)) as server:
        assert metadata(server) == [
            [("a", [-1, 2]), ("b", [-1, 2]), ("n", [-1])],
            [("sum_output", [-1, 2]), ("double_output", [-1]), ("halves_output1", [-1, 1])]]
        total, double, half = server.infer(a, b, n).tensors
        assert total == tensor([[6, 8], [10, 12]]) and half == tensor([[6], [8]])
        assert double == tensor([2, 4], np.int32)
        answer = server.infer(n, b, a, input_names=["n", "b", "a"],
                              output_names=["halves_output1", "sum_output"])
        assert answer.tensors == [half, total]
        refused(server.infer(a, b), "2 tensors", "3 default inputs")
        refused(server.infer(a, b, n, output_names=["nix"]), '"nix"')
        refused(server.infer(a, b, tensor([1, 2])), "float32[2]", "int32[-1]")


def test_auxiliary_states(tmp_path):
    with serve(mxnet_models.normed(tmp_path)) as server:
        x = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.float32)
        assert ask(server, x)[0] == pytest.approx(mxnet_models.normed_answer(x), abs=1e-5)


def test_every_type(tmp_path):
    with serve(mxnet_models.types(tmp_path)) as server:
        inputs = []
        for i, name in enumerate(COPIED):
            data = np.arange(i + 1).astype(bool if name == "bool" else name)
            inputs.append(Tensor(name, [i + 1], data.tobytes()))
        answer = server.infer(*inputs, fields={"Accept": MESSAGE})
        assert answer.tensors == inputs


def test_numpys_shapes(tmp_path):
    with serve(mxnet_models.numpy_shapes(tmp_path)) as server:
        assert server.infer(tensor(1)).tensors == [tensor(2)]
        assert server.infer(tensor(np.zeros((0, 3)))).tensors == [tensor(np.zeros((0, 3)))]
        assert server.infer(tensor([[1], [2]])).tensors == [tensor([[2], [3]])]


# --- shapes that are said ---------------------------------------------------------------

SAID = {"inputs": [{"name": "data", "shape": [-1, 3], "description": "three numbers"}],
        "outputs": [{"description": "of four kinds"}]}


def test_json_beside_the_model(tmp_path):
    path = mxnet_models.mlp(tmp_path)
    (tmp_path / "mlp.json").write_text(json.dumps(SAID))
    with serve(path) as server:
        assert metadata(server) == [[("data", [-1, 3])], [("softmax_output", [-1, 4])]]
        assert "three numbers" in server.ask("GET", "/").text
        refused(server.infer(tensor(np.zeros((1, 5)))), "float32[1,5]", "float32[-1,3]")


def test_options_say_more_than_the_file(tmp_path):
    path = mxnet_models.mlp(tmp_path)
    (tmp_path / "mlp.json").write_text(json.dumps(SAID))
    with serve(path, *option('inputs=[{"shape": [2, 3]}]')) as server:
        assert metadata(server) == [[("data", [2, 3])], [("softmax_output", [2, 4])]]


def test_type_that_is_said(tmp_path):
    with serve(mxnet_models.numpy_shapes(tmp_path),
               *option('inputs=[{"dtype": "float64"}]')) as server:
        assert server.infer(tensor([1], np.float64)).tensors == [tensor([2], np.float64)]


def test_shape_in_the_symbol(tmp_path):
    with serve(mxnet_models.mlp(tmp_path, __shape__=(0, 3))) as server:
        assert metadata(server) == [[("data", [-1, 3])], [("softmax_output", [-1, 4])]]


@pytest.mark.parametrize("text, words", [
    ("{", ["is not JSON"]), ("[]", ["should be an object"]), ('{"input": []}', ["input is not known"]),
    ('{"inputs": {}}', ["inputs should be a list"]), ('{"inputs": [1]}', ["inputs[0] should be an object"]),
    ('{"inputs": [{"name": 1}]}', ["inputs[0].name should be a text"]),
    ('{"inputs": [{"shape": [0.5]}]}', ["inputs[0].shape[0]", "whole number"]),
    ('{"inputs": [{"shape": [-2]}]}', ["inputs[0].shape[0]", "-1 for any size"]),
    ('{"inputs": [{"dtype": "string"}]}', ["inputs[0].dtype", "string", "float32"]),
    ('{"inputs": [{"size": 1}]}', ["inputs[0].size is not known"]),
    ('{"inputs": [{"name": "x"}]}', ['inputs[0], "x"', "is none of the symbol's 1 inputs: data"]),
    ('{"outputs": [{}, {}]}', ["outputs[1]", "softmax_output"]),
    ('{"inputs": [{"shape": [1, 5]}]}', ["fc1", "[4,3]", "(4,5)"])])
def test_json_that_cannot_be(tmp_path, text, words):
    path = mxnet_models.mlp(tmp_path)
    (tmp_path / "mlp.json").write_text(text)
    line = fails(path)
    assert "mlp" in line and all(word in line for word in words), line


# --- params -----------------------------------------------------------------------------

def test_last_epoch_is_taken_or_the_one_that_is_named(tmp_path):
    path = mxnet_models.mlp(tmp_path, {name: a * 0 for name, a in MLP.items()})
    write(tmp_path, "mlp", mxnet_models.mlp_symbol(), MLP, epoch=12)
    write(tmp_path, "mlp-2", mxnet_models.mlp_symbol(), {}, epoch=99)
    with serve(path) as server:
        assert ask(server, rows(2))[0] == pytest.approx(mlp_answer(rows(2)), abs=1e-6)
    with serve(path, *option(f"params={tmp_path}/mlp-0000.params")) as server:
        assert ask(server, rows(2))[0] == pytest.approx(np.full((2, 4), 0.25))


@pytest.mark.parametrize("magic", [0xF993FAC9, 0xF993FACA])
def test_params_of_both_kinds_of_shapes(tmp_path, magic):
    path = mxnet_models.mlp(tmp_path)
    (tmp_path / "mlp-0000.params").write_bytes(params_bytes(MLP, magic))
    with serve(path) as server:
        assert ask(server, rows(2))[0] == pytest.approx(mlp_answer(rows(2)), abs=1e-6)


def old_params(magic):
    """Of releases before 1.0: no kind of storage, and at first the rank in place of a magic number."""
    out = [struct.pack("<QQQ", 0x112, 0, len(MLP))]
    for data in MLP.values():
        if magic:
            out.append(struct.pack(f"<II{data.ndim}q", magic, data.ndim, *data.shape))
        else:
            out.append(struct.pack(f"<I{data.ndim}I", data.ndim, *data.shape))
        out.append(struct.pack("<iii", 1, 0, 0) + data.tobytes())
    names = [struct.pack("<Q", len(name)) + name.encode() for name in MLP]
    return b"".join([*out, struct.pack("<Q", len(MLP)), *names])


@pytest.mark.parametrize("magic", [0, 0xF993FAC8])
def test_params_of_old_releases(tmp_path, magic):
    path = mxnet_models.mlp(tmp_path)
    (tmp_path / "mlp-0000.params").write_bytes(old_params(magic))
    with serve(path) as server:
        assert ask(server, rows(2))[0] == pytest.approx(mlp_answer(rows(2)), abs=1e-6)


WHOLE = params_bytes(MLP)


def changed(at, form, value):
    data = bytearray(WHOLE)
    struct.pack_into(form, data, at, value)
    return bytes(data)


@pytest.mark.parametrize("data, words", [
    (b"", ["is empty"]), (b"PK\3\4" * 9, ["0x112"]), (WHOLE[:16], ["0 arrays"]),
    (WHOLE[:30], ["2 arrays cannot be in 6 bytes"]), (WHOLE[:100], ["array 0", "cut"]),
    (WHOLE[:-50], ["one name for each of the 2 arrays"]), (WHOLE[:-40], ["name of array 0", "cut"]), (WHOLE[:-1], ["name of array 1", "cut"]),
    (changed(16, "<Q", 1 << 60), ["arrays cannot be in"]),
    (changed(16, "<Q", 1 << 18) + bytes(1 << 22), ["262144 arrays are over the limit"]), (changed(16, "<Q", 3), ["array 2"]),
    (changed(28, "<i", 1), ["array 0 is sparse"]), (changed(32, "<I", 33), ["33 dimensions"]),
    (changed(36, "<Q", 1 << 40), ["array 0 has a dimension of 1099511627776"]),
    (changed(36, "<Q", 1 << 30), ["array 0", "cut"]), (changed(60, "<i", 77), ["unknown type 77"]),
    (changed(len(WHOLE) - 20, "<Q", 1 << 62), ["name of array 1"])], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_params_that_cannot_be(tmp_path, data, words):
    path = mxnet_models.mlp(tmp_path)
    (tmp_path / "mlp-0000.params").write_bytes(data)
    line = fails(path)
    assert "mlp-0000.params" in line and all(word in line for word in words), line


def test_params_that_do_not_fit(tmp_path):
    line = fails(mxnet_models.mlp(tmp_path, {**MLP, "arg:fc1_bias": B[:3]}, __shape__=(0, 3)))
    assert "fc1" in line and "shape" in line.lower(), line
    arrays = {name: a for name, a in mxnet_models.NORMED.items() if "moving_var" not in name}
    assert "aux:bn_moving_var" in fails(mxnet_models.normed(tmp_path, arrays))
    assert "nix.params" in fails(mxnet_models.mlp(tmp_path), *option("params=/nix.params"))


# --- symbols that cannot be -------------------------------------------------------------

def broken(change):
    graph = mxnet_models.mlp_symbol()
    change(graph, graph["nodes"])
    return json.dumps(graph)


SYMBOLS = {
    "not JSON": ("{]", ["not JSON", "byte 1"]),
    "a list": ("[1]", ['no list "nodes"']),
    "no heads": (broken(lambda graph, nodes: graph.pop("heads")), ['no list "heads"']),
    "a head that is none": (broken(lambda graph, nodes: graph.update(heads=[[7, 0, 0]])),
                            ["heads[0] is none of the 7 nodes"]),
    "an argument that is none": (broken(lambda graph, nodes: graph.update(arg_nodes=[-1])),
                                 ["arg_nodes[0]"]),
    "a circle": (broken(lambda graph, nodes: nodes[3]["inputs"].append([3, 0, 0])),
                 ["nodes[3], fc1", "no output of a node before it"]),
    "a node without a name": (broken(lambda graph, nodes: nodes[3].pop("name")), ["nodes[3]"]),
    "an unknown operator": (broken(lambda graph, nodes: nodes[4].update(op="Wheel")), ["Wheel"]),
    "a parameter that is no number": (
        broken(lambda graph, nodes: nodes[3].update(attrs={"num_hidden": "many"})), ["num_hidden"]),
    "a control dependency that is none": (
        broken(lambda graph, nodes: nodes[3].update(control_deps=[99])), ["nodes[3], fc1"]),
    "a shape that is none": (broken(lambda graph, nodes: nodes[0].update(
        attrs={"__shape__": "(1, x)"})), ["__shape__", '"data"', "(1, x)"]),
    "a type that is none": (broken(lambda graph, nodes: nodes[0].update(
        attrs={"__dtype__": "99"})), ['"data"', "99"]),
}


@pytest.mark.parametrize("what", SYMBOLS)
def test_symbols_that_cannot_be(tmp_path, what):
    text, words = SYMBOLS[what]
    path = mxnet_models.mlp(tmp_path)
    path.write_text(text)
    line = fails(path)
    assert str(path) in line and all(word in line for word in words), line


@pytest.mark.skipif(bool(SANITIZE), reason="the framework is not instrumented")
def test_symbol_that_crashes_the_framework(tmp_path):
    """An operator has no such output, which MXNet does not notice."""
    path = mxnet_models.mlp(tmp_path)
    path.write_text(broken(lambda graph, nodes: graph.update(heads=[[6, 1 << 20, 0]])))
    line = fails(path)
    assert re.search(r"process of slot 0 ended \(signal \d+: .*\) when it opened", line), line


@pytest.mark.parametrize("text, words", [
    ("colour=red", ["colour=red", "params=FILE"]), ("inputs=[", ["inputs", "not JSON"]),
    ("outputs={}", ["outputs should be a list"]),
    ("library=/nonexistent", ["/nonexistent", "tools/setup mxnet"])])
def test_options_that_cannot_be(tmp_path, text, words):
    line = start_fails("--engine", "mxnet", "--listen", "127.0.0.1:0", *option(text),
                       "--model", mxnet_models.mlp(tmp_path))
    assert all(word in line for word in words), line


# --- requests that cannot be, and a process that ends -----------------------------------

def test_requests_that_cannot_be(mlp):
    refused(mlp.infer(tensor(np.zeros((2, 5)))), "fc1", "[4,3]", "(4,5)")
    refused(mlp.infer(tensor(np.zeros((0, 3)))), '"data" has no elements')
    refused(mlp.infer(tensor(1)), '"data" has no dimensions')
    refused(mlp.infer(tensor([[1, 2, 3]], np.int32)), "int32[1,3]", "float32")
    assert ask(mlp, rows(1))[0] == pytest.approx(mlp_answer(rows(1)), abs=1e-6)


def test_process_that_ends_is_started_again(tmp_path):
    with serve(mxnet_models.mlp(tmp_path), "--instances", 1) as server:
        assert_starts_again(server, mlp_answer)


def test_nothing_is_said_but_our_own_lines(tmp_path):
    with serve(mxnet_models.mlp(tmp_path)) as server:
        assert_says_nothing(server, "mlp  mxnet")
