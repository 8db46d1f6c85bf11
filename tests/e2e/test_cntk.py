"""The cntk engine through the wire, with models that cntk_models.py makes."""
import json
import pathlib
import re
import subprocess

import numpy as np
import pytest

import cntk_models
from cntk_models import (FREE, ROWS, Network, Shape, array_bytes, dictionary_bytes,
                         mlp_answer, mlp_network, recurrent_answer)
from harness import PROGRAM, SANITIZE, Server, start_fails
from isolated import (ask, assert_answers, assert_joins_rows, assert_says_nothing,
                      assert_serves_many_clients, assert_starts_again, rows)
from needs import needs
from test_mxnet import metadata, option
from test_tensorflow import refused, tensor

pytestmark = needs("cntk")


def serve(path, *arguments, **keywords):
    return Server(*arguments, engine="cntk", model=path, **keywords)


def fails(path, *arguments):
    line = start_fails("--engine", "cntk", "--listen", "127.0.0.1:0", "--instances", 1, *arguments,
                       "--model", path)
    assert str(path) in line, line
    return line


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    with serve(cntk_models.mlp(tmp_path_factory.mktemp("mlp"))) as server:
        yield server


# --- what is right ----------------------------------------------------------------------

def test_every_batch(mlp):
    assert_answers(mlp, mlp_answer, *range(1, 12), 64, 1, 200, 3)


def test_describes_itself(mlp):
    about = json.loads(mlp.ask("GET", "/").body)
    assert about["name"] == "mlp" and mlp.logged("mlp  cntk 2.7")
    assert metadata(mlp) == [[("x", [-1, 3])], [("y", [-1, 4])]]


@pytest.mark.parametrize("suffix", ["model", "dnn", "cntk"])
def test_file_is_guessed(tmp_path, suffix):
    path = cntk_models.mlp(tmp_path).rename(tmp_path / f"net.{suffix}")
    run = subprocess.run([PROGRAM, "inspect", path], capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == "" and "cntk 2.7" in run.stdout


def test_many_clients_with_batches_of_their_own(mlp):
    assert_serves_many_clients(mlp, mlp_answer)


def test_rows_that_run_together(tmp_path):
    with serve(cntk_models.mlp(tmp_path), "--max-batch", 64, "--instances", 1) as server:
        assert_joins_rows(server, mlp_answer)


def test_several_inputs_and_outputs(tmp_path):
    a, b = (np.random.default_rng(i).normal(size=(4, 2, 3)).astype(np.float32) for i in (1, 2))
    with serve(cntk_models.pair(tmp_path)) as server:
        assert metadata(server) == [[("a", [-1, 2, 3]), ("b", [-1, 2, 3])],
                                    [("sum", [-1, 2, 3]), ("product", [-1, 2, 3])]]
        total, product = server.infer(tensor(a), tensor(b)).tensors
        assert total == tensor(a + b) and product == tensor(a * b)
        answer = server.infer(tensor(b), tensor(a), input_names=["b", "a"],
                              output_names=["product"])
        assert answer.tensors == [product]
        refused(server.infer(tensor(a)), "1 tensor", "2 default inputs")
        refused(server.infer(tensor(a), tensor(b[:3])), '"b" has 3 rows', '"a" has 4')
        refused(server.infer(tensor(a), tensor(b), output_names=["nix"]), '"nix"')


@pytest.mark.parametrize("n, steps", [(1, 1), (1, 7), (5, 3)])
def test_sequences(tmp_path, n, steps):
    x = np.random.default_rng(n).normal(size=(n, steps, 3)).astype(np.float32)
    with serve(cntk_models.recurrent(tmp_path)) as server:
        assert metadata(server) == [[("x", [-1, -1, 3])], [("h", [-1, -1, 2])]]
        assert ask(server, x)[0] == pytest.approx(recurrent_answer(x), abs=1e-6)
        assert ask(server, x)[0] == pytest.approx(recurrent_answer(x), abs=1e-6)


# --- made from ONNX by CNTK -------------------------------------------------------------

def test_made_from_onnx(tmp_path):
    with serve(cntk_models.onnx_mlp(tmp_path)) as server:
        assert_answers(server, mlp_answer, 1, 3, 8, 200)


def test_two_inputs_made_from_onnx(tmp_path):
    a, b = rows(5), rows(6)[:5]
    with serve(cntk_models.onnx_pair(tmp_path)) as server:
        assert metadata(server) == [[("a", [-1, 3]), ("b", [-1, 3])],
                                    [("product", [-1, 3]), ("output1", [-1, 4])]]
        product, z = ask(server, a, b)
        assert product == pytest.approx(a * b)
        assert z == pytest.approx((a + b) @ cntk_models.W.T, abs=1e-5)
        assert ask(server, a, b, output_names=["output1"])[0] == pytest.approx(z)


def test_recurrent_made_from_onnx(tmp_path):
    with serve(cntk_models.onnx_recurrent(tmp_path)) as server:
        for steps in 1, 7, 2:
            x = np.random.default_rng(steps).normal(size=(steps, 1, 3)).astype(np.float32)
            h, = ask(server, x)
            assert h.shape == (steps, 1, 1, 2)
            wanted = recurrent_answer(x.transpose(1, 0, 2))[0]
            assert h[:, 0, 0] == pytest.approx(wanted, abs=1e-6)


@needs("onnx")
def test_exported_to_onnx(tmp_path):
    path = cntk_models.convert(cntk_models.onnx_mlp(tmp_path), tmp_path / "exported.onnx")
    with Server(engine="onnx", model=path) as server:
        assert_answers(server, mlp_answer, 1, 3, 8)


# --- files that cannot be ---------------------------------------------------------------

WHOLE = dictionary_bytes(mlp_network().root())


def changed(change):
    network = mlp_network()
    root = network.root()
    change(root, network)
    return dictionary_bytes(root)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return changed(lambda root, network: root.update(more=value))


def claims(shape, data=cntk_models.B):
    """The array of the bias, of four elements, claims a shape."""
    return changed(lambda root, network: network.variables[2].update(
        value=array_bytes(data, shape)))


FILES = {
    "empty": (b"", ["is empty"]),
    "garbage": (b"\xff" * 99, ["no model of CNTK 2"]),
    "text": (b"hello, this is no model\n" * 9, ["no model of CNTK 2"]),
    "cut": (WHOLE[:-1], ["cut or damaged"]),
    "half": (WHOLE[:len(WHOLE) // 2], ["cut or damaged"]),
    "CNTK 1": (b"B\0C\0N\0\0\0" + b"\1" * 90, ["model of CNTK 1", "save"]),
    "arrays apart": (b"ktnc" + WHOLE, ["2 GiB", "ONNX"]),
    "another type": (changed(lambda root, network: root.update(type="Trainer")),
                     ["CompositeFunction"]),
    "too deep": (nested(40), ["more than 24 deep"]),
    "float64": (dictionary_bytes(mlp_network(dtype="float64").root()), ['"x" is float64', "ONNX"]),
    "sparse": (dictionary_bytes(mlp_network(is_sparse=True).root()), ['"x" is sparse', "ONNX"]),
    "an array of too few": (claims((5,)), ['"Parameter2" should have 5 elements, and has 16 bytes']),
    "an array of too many": (claims((3,)), ['"Parameter2" should have 3 elements']),
    "an array of a terabyte": (claims((1 << 38,)), ["274877906944 elements"]),
    "an array of more than that": (claims((1 << 40, 1 << 40)), ["Parameter2"]),
    "an array of nothing": (claims((1 << 38,), cntk_models.B[:0]), ["has 0 bytes"]),
    "no inputs": (changed(lambda root, network: root.pop("inputs")), ["inputs"]),
    "no functions": (changed(lambda root, network: root.update(primitive_functions=[])), []),
    "damaged inside": (WHOLE.replace(b"\6Times0", b"\x7fTimes0", 1), ["damaged within"]),
    "a root that is none": (changed(lambda root, network: root.update(root="nix")),
                            ['the root, "nix"']),
    "a name outside ASCII": (changed(lambda root, network: network.variables[0].update(name="größe")),
                             ["outside ASCII", "cntk.alias"]),
    "an operator with too many inputs": (changed(
        lambda root, network: network.functions[2].update(
            inputs=network.functions[2]["inputs"] * 3)), ["the model failed"]),
    "an unknown operator": (changed(
        lambda root, network: network.functions[0].update(op=999)), ["op", "999"]),
    "an input that is none": (changed(
        lambda root, network: network.functions[1].update(inputs=["nix", "Parameter2"])), ["nix"]),
    "shapes that do not fit": (changed(
        lambda root, network: network.variables[0].update(shape=Shape([7]))), ["7"]),
}


@pytest.mark.parametrize("what", FILES)
def test_files_that_cannot_be(tmp_path, what):
    data, words = FILES[what]
    path = tmp_path / "net.model"
    path.write_bytes(data)
    line = fails(path)
    assert all(word in line for word in words), line


def without_inputs(network):
    network.function("Tanh", [])


def of_any_size(network):
    network.function("Tanh", [network.input("x", (1 << 62, 1 << 62))])


def circle(network):
    h = network.placeholder("Tanh1_Output_0", (3,), (ROWS,))
    network.function("Tanh", [network.function("Plus", [network.input("x", (3,)), h])])


@pytest.mark.skipif(bool(SANITIZE), reason="the framework is not instrumented")
@pytest.mark.parametrize("build", [without_inputs, of_any_size, circle])
def test_files_that_crash_the_framework(tmp_path, build):
    network = Network()
    build(network)
    line = fails(network.write(tmp_path / "net.model"))
    assert re.search(r"process of slot 0 ended \(signal \d+: .*\) when it opened", line), line


def test_names_that_are_the_same(tmp_path):
    network = Network()
    a, b = network.input("", (3,)), network.input("", (3,))
    network.function("Plus", [a, b], "y")
    line = fails(network.write(tmp_path / "net.model"))
    assert "inputs 0 and 1 have the same name" in line and "cntk.alias" in line, line


def test_names_that_are_missing(tmp_path):
    network = Network()
    network.function("Tanh", [network.input("", (3,))])
    with serve(network.write(tmp_path / "net.model")) as server:
        assert metadata(server) == [[("input0", [-1, 3])], [("output0", [-1, 3])]]
        assert ask(server, rows(2))[0] == pytest.approx(np.tanh(rows(2)), abs=1e-6)


def test_sizes_that_are_free(tmp_path):
    network = Network()
    network.function("Tanh", [network.input("x", (FREE, 3), ())], "y")
    with serve(network.write(tmp_path / "net.model")) as server:
        assert metadata(server) == [[("x", [-1, 3])], [("y", [-1, 3])]]
        for n in 1, 5, 2:
            assert ask(server, rows(n))[0] == pytest.approx(np.tanh(rows(n)), abs=1e-6)


@pytest.mark.parametrize("text, words", [
    ("colour=red", ["colour=red", "library=PATH"]),
    ("library=/nonexistent", ["/nonexistent", "tools/setup cntk"])])
def test_options_that_cannot_be(tmp_path, text, words):
    line = start_fails("--engine", "cntk", "--listen", "127.0.0.1:0", *option(text),
                       "--model", cntk_models.mlp(tmp_path))
    assert all(word in line for word in words), line


# --- requests that cannot be, and a process that ends -----------------------------------

def test_requests_that_cannot_be(mlp):
    refused(mlp.infer(tensor(np.zeros((2, 5)))), "float32[2,5]", "float32[-1,3]")
    refused(mlp.infer(tensor(np.zeros((0, 3)))), '"x" has no elements')
    refused(mlp.infer(tensor([[1, 2, 3]], np.int32)), "int32[1,3]", "float32")
    assert ask(mlp, rows(1))[0] == pytest.approx(mlp_answer(rows(1)), abs=1e-6)


def test_process_that_ends_is_started_again(tmp_path):
    with serve(cntk_models.mlp(tmp_path), "--instances", 1) as server:
        assert_starts_again(server, mlp_answer)


@pytest.mark.skipif(bool(SANITIZE), reason="a sanitizer's own memory hides the server's")
def test_runs_leave_nothing_behind(tmp_path):
    """Each row is 1 MiB in and out."""
    network = Network()
    network.function("ReLU", [network.input("x", (1 << 18,), (ROWS,))], "y")
    with serve(network.write(tmp_path / "net.model"), "--instances", 1) as server:
        child, = server.children()
        x = np.ones((4, 1 << 18), np.float32)

        def rss_mib():
            status = pathlib.Path(f"/proc/{child}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) >> 10
        for _ in range(5):
            ask(server, x)
        before = rss_mib()
        for _ in range(50):
            ask(server, x)
        assert rss_mib() < before + 100


def test_nothing_is_said_but_our_own_lines(tmp_path):
    with serve(cntk_models.mlp(tmp_path)) as server:
        assert_says_nothing(server, "mlp  cntk")
