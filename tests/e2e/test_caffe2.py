"""The caffe2 engine through the wire, with models that caffe2_models.py writes."""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

import caffe2_models
from caffe2_models import (COPIED, MLP, NO_WEIGHTS, SAID, Net, mlp_answer, mlp_net, operator,
                           write)
from harness import (BUILD, MESSAGE, MODELS, PROGRAM, SOURCE, Server, Tensor, encode, eventually,
                     settle_empty, start_fails)
from needs import lacks, need, needs
from test_mxnet import ask, metadata, option, rows
from test_tensorflow import array, refused, tensor

pytestmark = needs("caffe2")


def serve(path, *arguments, **keywords):
    return Server(*arguments, engine="caffe2", model=path, **keywords)


def fails(path, *arguments):
    line = start_fails("--engine", "caffe2", "--listen", "127.0.0.1:0", "--instances", 1,
                       *arguments, "--model", path)
    assert str(path) in line or "option" in line, line
    assert not re.search(r"\.(cc|h):\d|enforce fail", line), line
    return line


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    with serve(caffe2_models.mlp(tmp_path_factory.mktemp("mlp"))) as server:
        yield server


def is_mlp(server, n=2):
    y, = ask(server, rows(n))
    return y == pytest.approx(mlp_answer(rows(n)), abs=1e-6)


def served(folder, predict=None, init=None, said=SAID):
    """The mlp with one of its nets replaced: a Net, or bytes."""
    caffe2_models.mlp(folder, said=said)
    for name, net in ("predict_net.pb", predict), ("init_net.pb", init):
        if net is not None:
            (folder / name).write_bytes(net if isinstance(net, bytes) else net.serialize())
    return folder


def changed(**fields):
    """The mlp's predict net with other inputs or outputs."""
    net = mlp_net()
    net.inputs = ["data", *MLP]
    for name, value in fields.items():
        setattr(net, name, value)
    return net


# --- what is right ----------------------------------------------------------------------

def test_every_batch(mlp):
    assert all(is_mlp(mlp, n) for n in [*range(1, 65), 1, 20, 64])


def test_describes_itself(mlp):
    about = json.loads(mlp.ask("GET", "/").body)
    assert about["name"].startswith("mlp") and mlp.logged("caffe2 1.7.1")
    assert metadata(mlp) == [[("data", [-1, 3])], [("prob", [-1, 4])]]
    assert about["outputs"][0]["type"] == "float32"


def test_files_are_guessed(tmp_path):
    caffe2_models.mlp(tmp_path)
    caffe2_models.mlp(tmp_path, prefix="other.")
    for path, name in (tmp_path, tmp_path.name), (tmp_path / "predict_net.pb", "predict_net"), (
            tmp_path / "other.predict_net.pb", "other"):
        run = subprocess.run([PROGRAM, "inspect", path], capture_output=True, text=True)
        assert run.returncode == 0 and run.stderr == "" and "caffe2 1.7.1" in run.stdout, run
        assert re.search(rf"^model +{name}$", run.stdout, re.M), run.stdout


def test_many_clients_with_batches_of_their_own(mlp):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda n: is_mlp(mlp, n % 16 + 1), range(128)))
    settle_empty(mlp)


def test_rows_that_run_together(tmp_path):
    with serve(caffe2_models.mlp(tmp_path), "--max-batch", 64, "--instances", 1) as server:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert all(pool.map(lambda n: is_mlp(server, n % 7 + 1), range(64)))


def test_several_inputs_and_outputs(tmp_path):
    a, b, n = (tensor([[1, 2], [3, 4]]), tensor([[5, 6], [7, 8]]), tensor([1, 2], np.int32))
    with serve(caffe2_models.pair(tmp_path)) as server:
        assert metadata(server) == [[("a", [-1, 2]), ("b", [-1, 2]), ("n", [-1])],
                                    [("sum", [-1, 2]), ("double", [-1]), ("total", []),
                                     ("turned", [2, -1])]]
        total, double, elements, turned = server.infer(a, b, n).tensors
        assert total == tensor([[6, 8], [10, 12]]) and double == tensor([2, 4], np.int32)
        assert array(elements) == 26 and turned == tensor([[5, 7], [6, 8]])
        answer = server.infer(n, b, a, input_names=["n", "b", "a"],
                              output_names=["double", "sum"])
        assert answer.tensors == [double, total]
        refused(server.infer(a, b), "2 tensors", "3 default inputs")
        refused(server.infer(a, b, n, output_names=["nix"]), '"nix"')
        refused(server.infer(a, b, tensor([1, 2])), "float32[2]", "int32[-1]")


def test_every_type(tmp_path):
    with serve(caffe2_models.types(tmp_path)) as server:
        inputs = []
        for i, name in enumerate(COPIED):
            data = np.arange(i + 1).astype(bool if name == "bool" else name)
            inputs.append(Tensor(name, [i + 1], data.tobytes()))
        assert server.infer(*inputs, fields={"Accept": MESSAGE}).tensors == inputs


def test_input_that_is_written_into(tmp_path):
    with serve(caffe2_models.in_place(tmp_path)) as server:
        for _ in range(3):
            assert server.infer(tensor([[-1, 2]])).tensors == [tensor([[0, 2]])]


def test_no_rows(mlp):
    y, = ask(mlp, np.zeros((0, 3)))
    assert y.shape == (0, 4)


def test_answers_as_the_same_network_in_onnx(tmp_path):
    """The operators of SqueezeNet, converted by tools/zoo/caffe2_onnx.py."""
    need("onnx")
    import caffe2_onnx
    folder = caffe2_models.fire(tmp_path, np.random.default_rng(7))
    made = caffe2_onnx.convert(folder / "predict_net.pb", folder / "init_net.pb",
                               folder / "value_inputs.json")
    (folder / "fire.onnx").write_bytes(made.SerializeToString())
    with serve(folder) as server, Server(engine="onnx", model=folder / "fire.onnx") as other:
        for n in 1, 3, 8:
            x = np.random.default_rng(n).normal(size=(n, 3, 23, 23)).astype(np.float32)
            y, = ask(server, x)
            assert y.shape == (n, 10, 1, 1) and y.sum() == pytest.approx(n, abs=1e-4)
            assert y == pytest.approx(ask(other, x)[0], abs=1e-4)


@pytest.mark.parametrize("arguments, words", [
    ({"kernel": 1, "legacy_pad": 2}, "legacy_pad 2"), ({"kernel": 1, "order": "NHWC"}, "first"),
    ({"kernel": 1, "wheel": 3}, "wheel")])
def test_what_is_not_converted_is_refused_by_the_converter(tmp_path, arguments, words):
    import caffe2_onnx
    net = Net("odd", outputs=["y"])
    net.add("MaxPool", "x", "y", **arguments)
    path = write(tmp_path, net, NO_WEIGHTS, {"x": ("float32", [1, 2, 4, 4])})
    with pytest.raises(ValueError, match=words):
        caffe2_onnx.convert(path, tmp_path / "init_net.pb", tmp_path / "value_inputs.json")


# --- files ------------------------------------------------------------------------------

def test_files_of_other_names(tmp_path):
    folder = caffe2_models.mlp(tmp_path)
    for name in "predict_net.pb", "init_net.pb", "value_inputs.json":
        (folder / name).rename(folder / f"my-{name[:4]}")
    path = folder / "my-pred"
    assert "init-net=FILE" in fails(path)
    with serve(path, *option(f"init-net={folder}/my-init"),
               *option(f"value-inputs={folder}/my-valu")) as server:
        assert is_mlp(server) and metadata(server)[0] == [("data", [-1, 3])]


def test_called_as_in_2018(tmp_path):
    folder = caffe2_models.mlp(tmp_path)
    program = tmp_path / "graphpipe-onnx"
    program.symlink_to(os.path.abspath(PROGRAM))
    flags, environment = ["-l", "127.0.0.1:0", "--engine-count", "1"], ["env"]
    for flag, variable, name in (("--init_net", "GP_INIT_NET", "init_net.pb"),
                                 ("--predict-net", "GP_PREDICT_NET", "predict_net.pb"),
                                 ("--value-inputs", "GP_VALUE_INPUTS", "value_inputs.json")):
        file = folder / variable  # a name that says nothing
        (folder / name).rename(file)
        flags += [flag, file]
        environment.append(f"{variable}={file}")
    for command in [program, *flags], [*environment, program, *flags[:4]]:
        server = Server()
        server.command = command
        with server:
            assert is_mlp(server) and metadata(server)[0] == [("data", [-1, 3])]


@pytest.mark.parametrize("flags, status, words", [
    (["--init-net", "i.pb"], 2, ["both --init-net and --predict-net"]),
    (["--init-net", "i.pb", "--predict-net", "http://x/p.pb"], 1, ["http://x/p.pb", "not fetched"]),
    (["--init-net", "i.pb", "--predict-net", "nix.pb"], 1, ["nix.pb"]),
    (["--init-net", "i.pb", "--model", "nix.onnx"], 1, ["do nothing"])])
def test_flags_of_2018_that_cannot_be(tmp_path, flags, status, words):
    program = tmp_path / "graphpipe-onnx"
    program.symlink_to(os.path.abspath(PROGRAM))
    run = subprocess.run([program, "-l", "127.0.0.1:0", *flags], capture_output=True, text=True)
    assert run.returncode == status and all(word in run.stderr for word in words), run


def test_version_of_a_repository(tmp_path):
    (tmp_path / "mlp/3").mkdir(parents=True)
    caffe2_models.mlp(tmp_path / "mlp/3")
    with Server("--repository", tmp_path, engine="auto") as server:
        answer = server.ask("POST", "/mlp/versions/3", encode(tensor(rows(2))))
        assert array(*answer.tensors) == pytest.approx(mlp_answer(rows(2)), abs=1e-6)


# --- value_inputs.json ------------------------------------------------------------------

def test_without_value_inputs(tmp_path):
    """float32 of any shape; the operators check it."""
    with serve(caffe2_models.mlp(tmp_path, said=None)) as server:
        assert is_mlp(server, 1) and is_mlp(server, 5)
        refused(server.infer(tensor(np.zeros((2, 5)))), "(operator FC)")
        refused(server.infer(tensor([[1, 2, 3]], np.int32)), "int32[1,3]", "float32")
        assert is_mlp(server)


def test_filler_of_an_input_is_none(tmp_path):
    """Exporters fill inputs, too, so that their blobs exist."""
    folder = caffe2_models.mlp(tmp_path, {**MLP, "data": np.zeros(1, np.float32)})
    with serve(folder) as server:
        assert is_mlp(server)
    (folder / "value_inputs.json").unlink()
    assert "value_inputs.json says which" in fails(folder)


def test_sizes_that_are_free(tmp_path):
    net = Net("free", outputs=["y"])
    net.add("Relu", "x", "y")
    write(tmp_path, net, NO_WEIGHTS, {"x": ("float32", [5, -1])})
    with serve(tmp_path) as server:
        assert metadata(server)[0] == [("x", [-1, -1])]
        for shape in (1, 2), (3, 4):
            assert server.infer(tensor(np.ones(shape))).tensors == [tensor(np.ones(shape))]


def test_net_that_does_not_run_with_zeros(tmp_path):
    """It is served, and what cannot be known is not described."""
    folder = caffe2_models.mlp(tmp_path, said={"data": ("float32", [1, 5])})
    with serve(folder) as server:
        assert server.logged("a run with zeros fails")
        assert metadata(server) == [[("data", [-1, 5])], [("prob", [])]]
        refused(server.infer(tensor(np.zeros((2, 5)))), "(operator FC)")


def test_operators_of_another_device_run_on_the_cpu(tmp_path):
    """What was trained on a GPU, and in another kind of net, is served as in 2018."""
    cuda = 1
    net = changed(operators=[operator("FC", ["data", *MLP], ["fc1"], device=cuda)])
    net.add("Relu", "fc1", "fc1")
    net.add("Softmax", "fc1", "prob", device=cuda)
    whole = net.serialize() + b"\x1a\x10async_scheduling" + b"\x2a\x02\x08\x01"
    with serve(served(tmp_path, whole)) as server:
        assert is_mlp(server)


# --- requests that cannot be, and a process that ends -----------------------------------

def test_requests_that_cannot_be(mlp):
    refused(mlp.infer(tensor(np.zeros((2, 5)))), "float32[2,5]", "float32[-1,3]")
    refused(mlp.infer(tensor(1)), "float32[]", "float32[-1,3]")
    refused(mlp.infer(tensor([[1, 2, 3]], np.int32)), "int32[1,3]", "float32")
    assert is_mlp(mlp)


def test_process_that_ends_is_started_again(tmp_path):
    with serve(caffe2_models.mlp(tmp_path), "--instances", 1) as server:
        child, = server.children()
        os.kill(child, signal.SIGKILL)
        y = eventually(lambda: (answer := server.infer(tensor(rows(3)))).status == 200 and answer,
                       what="an answer after the end of the process").tensors
        assert array(*y) == pytest.approx(mlp_answer(rows(3)), abs=1e-6)


def test_nothing_is_said_but_our_own_lines(tmp_path):
    with serve(caffe2_models.mlp(tmp_path, prefix="mlp.") / "mlp.predict_net.pb") as server:
        server.infer(tensor(rows(1)))
        server.signal()
        server.wait(10)
        ours = "mlp  caffe2", server.place, "listening on", "draining"
        assert not [line for line in server.lines if not line.startswith(ours)], server.stderr


# --- beside PyTorch ---------------------------------------------------------------------

def test_beside_pytorch(tmp_path):
    """Libraries of the same names: the server has PyTorch's, Caffe2's are in processes of their own."""
    need("pytorch")
    folder = caffe2_models.mlp(tmp_path)
    with Server(f"c={folder}", f"p={MODELS}/pytorch/mlp.pt", engine="auto") as server:
        for _ in range(3):
            answer = server.ask("POST", "/c", encode(tensor(rows(2))))
            assert array(*answer.tensors) == pytest.approx(mlp_answer(rows(2)), abs=1e-6)
            assert server.ask("POST", "/p", encode(tensor(rows(2)))).status == 200
        mapped = pathlib.Path(f"/proc/{server.pid}/maps").read_text()
        assert ".deps/pytorch" in mapped and ".deps/caffe2" not in mapped


@pytest.mark.skipif(bool(lacks("pytorch")), reason=lacks("pytorch") or "")
def test_not_in_a_process_with_pytorch(tmp_path):
    options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    run = subprocess.run([PROGRAM, "engines"], capture_output=True, text=True,
                         env=os.environ | {"LD_PRELOAD": str(SOURCE / ".deps/pytorch/lib/libc10.so"),
                                           "ASAN_OPTIONS": options})
    assert re.search(r"^caffe2 .*a process without PyTorch", run.stdout, re.M), run


def test_engines_lists_both():
    listed = subprocess.run([PROGRAM, "engines"], capture_output=True, text=True).stdout
    assert re.search(r"^caffe2 +1\.7\.1 +ready +/.*libtorch_cpu\.so$", listed, re.M), listed
    if not lacks("pytorch"):
        assert re.search(r"^pytorch +2\.\S+ +ready ", listed, re.M), listed


def test_bridge_that_is_missing(tmp_path):
    for part in "bin/graphpipe", "lib/graphpipe/graphpipe-engine-caffe2.so":
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / part, tmp_path / part)
    run = subprocess.run([tmp_path / "bin/graphpipe", "engines", "--engine-option",
                          f"library={SOURCE}/.deps/caffe2/lib"], capture_output=True, text=True)
    assert re.search(r"^caffe2 .*graphpipe-caffe2-bridge.so.*tools/setup caffe2", run.stdout,
                     re.M), run
