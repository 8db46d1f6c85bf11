"""A start that fails exits with 1 and says why in one line."""
import re
import shutil
import subprocess

import pytest

from harness import BUILD, MODELS, Server, assert_serves, plugin, start_fails
from needs import needs


def test_port_in_use(server):
    line = start_fails("--engine", "echo", "--listen", f"127.0.0.1:{server.port}")
    assert str(server.port) in line and "in use" in line


def test_one_of_several_ports_in_use(server, tmp_path):
    line = start_fails("--engine", "echo", "--listen", f"unix:{tmp_path}/socket",
                       "--listen", f"127.0.0.1:{server.port}")
    assert str(server.port) in line
    assert not (tmp_path / "socket").exists()


def test_socket_in_use(tmp_path):
    with Server(listen=[f"unix:{tmp_path}/socket"]) as server:
        assert "in use" in start_fails("--engine", "echo", "--listen", f"unix:{tmp_path}/socket")
        assert_serves(server)


def test_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    start_fails("--engine", "echo", "--listen", f"unix:{path}")
    assert path.read_text() == "data"


@pytest.mark.parametrize("where", ["nonsense", "127.0.0.1:x", "127.0.0.1:99999", "unix:",
                                   "host.invalid:1", "unix:/nonexistent/folder/socket"])
def test_address_that_cannot_be(where):
    assert where in start_fails("--engine", "echo", "--listen", where)


LISTEN = ("--listen", "127.0.0.1:0")


@needs("onnx")
@pytest.mark.parametrize("content", [None, b"", b"no model\n" * 100], ids=["missing", "empty",
                                                                           "broken"])
def test_model_that_cannot_be_opened(tmp_path, content):
    """Its engine is guessed; where it is named, test_bad_models.py has more."""
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    assert "model.onnx" in start_fails(*LISTEN, "--model", path)


@needs("onnx")
def test_missing_runtime_library_names_the_remedy():
    line = start_fails("--engine", "onnx", *LISTEN, "--model", MODELS / "mlp.onnx",
                       "--engine-option", "library=/nonexistent")
    assert "/nonexistent" in line and "install" in line


def test_model_of_an_unknown_kind(tmp_path):
    path = tmp_path / "model.xyz"
    path.write_bytes(b"what is this")
    assert "model.xyz" in start_fails(*LISTEN, "--model", path)


def test_option_that_an_engine_lacks():
    for word in "colour=red", "signature=s":
        assert f'echo engine has no option "{word}"' in start_fails(
            "--engine", "echo", *LISTEN, "--engine-option", word)
    assert '"signature=s"' in start_fails("--engine", "echo", *LISTEN, "--signature", "s")


def test_engine_that_is_not_there():
    assert "nosuch" in start_fails("--engine", "nosuch", *LISTEN)


def test_engine_that_is_not_installed(tmp_path):
    """A program beside which only echo's plug-in lies."""
    for part in "bin/graphpipe", "lib/graphpipe/graphpipe-engine-echo.so":
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / part, tmp_path / part)
    program = tmp_path / "bin/graphpipe"
    lines = subprocess.run([program, "engines"], capture_output=True, text=True, check=True).stdout
    for name, suffix in {"onnx": ".onnx", "tensorflow": ".pb", "pytorch": ".pt",
                         "openvino": ".tflite", "mxnet": "-symbol.json", "cntk": ".model",
                         "caffe2": ".predict_net.pb"}.items():
        (tmp_path / f"model{suffix}").write_bytes(b"any")
        served = subprocess.run([program, "serve", *LISTEN, tmp_path / f"model{suffix}"],
                                capture_output=True, text=True, timeout=240)
        wanted = rf"engine \"{name}\" is not installed; .*tools/setup {name}\b.*, then make .*\n"
        assert served.returncode == 1 and re.fullmatch(f"graphpipe: {wanted}", served.stderr)
        assert re.search(rf"^{name} +- +not installed +tools/setup {name}\b.*, then make$", lines,
                         re.M)


@pytest.mark.parametrize("name, words", [("oldabi", ["999"]), ("noentry", ["gp_engine_entry"])])
def test_plugin_that_cannot_be_used(name, words):
    line = start_fails("--engine", plugin(name), *LISTEN)
    assert name in line and all(word in line for word in words)


def test_plugin_that_is_no_library(tmp_path):
    path = tmp_path / "graphpipe-engine-text.so"
    path.write_text("no library")
    assert "graphpipe-engine-text.so" in start_fails("--engine", path, *LISTEN)


@pytest.mark.parametrize("option, words", [("open=fail", "does not open"),
                                           ("describe=fail", "does not describe"),
                                           ("describe=none", "without slots")])
def test_engine_that_cannot_start(option, words):
    assert words in start_fails("--engine", plugin("faulty"), *LISTEN, "--engine-option", option)
