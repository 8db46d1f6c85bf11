"""The program as it is called: its subcommands, their help, errors and exit status, against the echo
server. infer and decode are in test_cli_infer.py."""
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from calls import call, fails, serving, succeeds
from harness import BUILD, PROGRAM, SOURCE, Server, begun, eventually, plugin
from needs import need

COMMANDS = ["serve", "infer", "bench", "inspect", "decode", "engines", "check-config",
            "check-rows", "tune", "cache"]


@pytest.fixture(scope="module")
def echo():
    """The address of an echo server."""
    with Server() as server:
        yield server.addresses[0]


# --- the program itself -----------------------------------------------------------------


def test_overview_and_version():
    text = succeeds("--help")
    assert text == succeeds("help") == succeeds("-h")
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", text, re.M)
    assert call().returncode == 2
    assert re.fullmatch(r"graphpipe \d+\.\d+\.\d+\n", succeeds("--version"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    text = succeeds(command, "--help")
    assert text == succeeds("help", command)
    assert text.startswith(f"graphpipe {command} - ")
    assert f"\nUsage: graphpipe {command} [OPTIONS]" in text
    assert "\nExamples:\n" in text
    assert max(map(len, text.splitlines())) <= 100
    for name in re.findall(r"--([a-z-]+)", text.split("\nExamples:")[0]):
        assert name in text


def test_unknown_words():
    assert 'did you mean "serve"?' in fails(2, "sevre")
    assert "did you mean" not in fails(2, "transmogrify")
    assert "no option" in fails(2, "--frobnicate")
    assert "did you mean --max-body?" in fails(2, "serve", "--max-bdy", "1M", "m.onnx")
    assert "unexpected argument" in fails(2, "inspect", "a", "b")
    assert "inspect wants: " in fails(2, "inspect")
    assert "needs a value" in fails(2, "infer", "x", "--config")
    assert "Try: graphpipe serve --help" in fails(2, "serve", "--nonsense")


def test_unwritable_output():
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith(b"graphpipe: cannot write to standard output")


# --- serve ------------------------------------------------------------------------------


def config(*words, env=None):
    lines = succeeds("serve", "--print-config", *words, env=env).splitlines()
    return {k: (v.strip(), w) for k, v, w in
            (re.fullmatch(r"(\S+) = (.*?) +# (.*)", line).groups() for line in lines)}


def test_print_config():
    plain = config()
    assert plain["listen"] == ("127.0.0.1:9000", "default")
    assert plain["max-body"] == ("1GiB", "default")
    assert plain["idle-timeout"] == ("75s", "default")
    assert plain["model"] == ("", "not set")
    env = {"GP_LISTEN": ":1,unix:/s", "GP_MAX_BODY": "2M", "GP_INPUTS": "a,b",
           "GP_MODEL": "m.onnx", "GP_VERBOSE": "1", "GP_LOG_FORMAT": "json"}
    said = config(env=env)
    assert said["listen"] == (":1,unix:/s", "GP_LISTEN")
    assert said["max-body"] == ("2MiB", "GP_MAX_BODY")
    assert said["inputs"] == ("a,b", "GP_INPUTS")
    assert said["verbose"] == ("true", "GP_VERBOSE")
    assert said["log-format"] == ("json", "GP_LOG_FORMAT")
    over = config("--listen", ":2", "--max-body=3k", "n.onnx", env=env)
    assert over["listen"] == (":2", "command line")
    assert over["max-body"] == ("3KiB", "command line")
    assert over["model"][0] == "n.onnx"


def test_every_setting_has_its_variable():
    names = set(config()) - {"print-config", "host", "port"}
    text = "".join((SOURCE / "src/cli" / name).read_text()
                   for name in ("serve_options.c", "serve.h", "engine_flags.h"))
    for name in names:
        assert f'"GP_{name.upper().replace("-", "_")}"' in text, name


def test_serve_misuse():
    assert "which model?" in fails(2, "serve")
    assert 'two models are called "a"' in fails(2, "serve", "-m", "a=x", "a=y")
    assert "--max-body wants a size" in fails(2, "serve", "--max-body", "3GiB", "m")
    assert "GP_IDLE_TIMEOUT wants a duration" in fails(2, "serve", "m",
                                                       env={"GP_IDLE_TIMEOUT": "10x"})
    assert "text or json" in fails(2, "serve", "--log-format", "xml", "m")
    assert "missing.onnx" in fails(1, "serve", "missing.onnx")
    assert "nosuch" in fails(1, "serve", "--engine", "nosuch", "m")
    assert "Try:" not in fails(1, "serve", "missing.onnx")


def test_flags_that_are_engine_options():
    commands = [["serve", "--listen=127.0.0.1:0"], ["inspect"]]
    refuses = ["--engine", plugin("faulty"), "--engine-option", "open=fail", "m"]
    for flag, variable, option in [
            ("--signature=a b", "GP_SIGNATURE=a b", "signature=a b"),
            ("--allow-native-code", "GP_ALLOW_NATIVE_CODE=yes", "allow-native-code=1"),
            ("--python=/p", "GP_PYTHON=/p", "python=/p"),
            ("--device=cuda:0,1", "GP_DEVICE=cuda:0,1", "device=cuda:0,1")]:
        for command in commands:
            for words, env in [([flag], {}), ([], dict([variable.split("=")]))]:
                line = fails(1, *command, *words, *refuses, env=env)
                assert line.endswith(f" open=fail {option}\n")
            line = fails(1, *command, flag, *refuses, "--engine-option", option)
            assert line.count(option) == 1
    for command in commands:
        line = fails(2, *command, "--signature=a", "--engine-option=signature=b", "m")
        assert "--signature=a and --engine-option signature=b contradict" in line
        line = fails(2, *command, "m", "--device=cpu", env={"GP_ENGINE_OPTION": "device=cuda"})
        assert "--device=cpu and GP_ENGINE_OPTION device=cuda contradict" in line


def test_port_in_use(echo):
    text = fails(1, "serve", "--engine", "echo", "--listen", echo.removeprefix("http://"))
    assert len(text.splitlines()) == 1 and "in use" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains(number, tmp_path):
    address = f"unix:{tmp_path}/s.sock"
    with serving("serve", "--engine=echo", "--listen", address) as server:
        assert "[1, 2]" in succeeds("infer", address, "int8[2]:1,2")
        server.signal(number)
        assert server.wait(10) == 0


def test_second_signal_ends_at_once():
    with Server() as server, server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        begun(server, 1)  # the head has arrived: the drain waits for the rest
        server.signal(signal.SIGTERM)
        assert server.logged("draining")
        assert server.process.poll() is None
        server.signal(signal.SIGINT)
        server.expect_status(128 + signal.SIGINT)
        assert server.wait(5) == 128 + signal.SIGINT


def test_access_lines():
    with Server("-v") as server:
        succeeds("infer", server.url, "int8:1")
        eventually(lambda: any("POST" in line for line in server.lines), what="the line")


def test_no_access_lines_without_verbose():
    """At its end the server has written what it held back."""
    with Server() as server:
        succeeds("infer", server.url, "int8:1")
    assert any("listening" in line for line in server.lines)
    assert not any("POST" in line for line in server.lines), server.lines


def test_json_lines():
    with Server("-v", "--log-format", "json") as server:
        succeeds("infer", server.url, "int8:1")
    lines = [json.loads(line) for line in server.lines]
    assert all(isinstance(line, dict) for line in lines)
    line = [line for line in lines if line.get("method") == "POST"][-1]
    host, port = line["peer"].split(":")
    assert host == "127.0.0.1" and 0 < int(port) < 65536
    assert line["status"] == 200 and line["waited_ms"] == 0
    assert line["total_ms"] >= line["ran_ms"] >= 0


# --- the programs of 2018 ---------------------------------------------------------------


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A folder with the two old names."""
    folder = tmp_path_factory.mktemp("old")
    for name in ["graphpipe-onnx", "graphpipe-echo"]:
        (folder / name).symlink_to(os.path.abspath(PROGRAM))
    return folder


def test_old_echo(old):
    with serving("--listen", "127.0.0.1:0", program=old / "graphpipe-echo") as server:
        assert "float32[2]  [1, 2]" in succeeds("infer", server.url, "float32[2]:1,2")
    with serving(program=old / "graphpipe-echo", env=["GP_LISTEN=127.0.0.1:0"]) as server:
        assert "string[]" in succeeds("infer", server.url, "string:x")


def test_old_onnx_flags(old):
    onnx = old / "graphpipe-onnx"
    assert "--value-inputs FILE" in succeeds("--help", program=onnx)
    assert succeeds("-V", program=onnx) == succeeds("--version")
    assert "which model?" in fails(2, program=onnx)
    text = fails(1, "--init-net", "a", "--predict_net", "b", program=onnx)
    assert re.search('"caffe2" is not installed|cannot open the model b', text)
    assert "both --init-net and" in fails(2, program=onnx, env={"GP_INIT_NET": "a"})
    everything = ["-m", "missing.onnx", "-l", "127.0.0.1:0", "-i", "a,b", "-o", "c",
                  "--cache", "-d", "/tmp", "-v", "--disable-cuda", "--profile", "p",
                  "--value_inputs", "v.json", "--engine-count", "2"]
    text = fails(1, *everything, program=onnx)
    assert text.count("graphpipe: warning: ") == 1  # of the profile
    assert re.search("missing.onnx|onnxruntime", text.splitlines()[-1])
    assert fails(1, program=onnx, env={"GP_MODEL": "gone.onnx"})
    assert "unknown option" in fails(2, "--target-url", "x", program=onnx)


# --- inspect, engines -------------------------------------------------------------------


def test_inspect_server(echo):
    text = succeeds("inspect", echo)
    assert text == succeeds("inspect", echo.removeprefix("http://"))
    assert re.search(r"^model +echo$", text, re.M)
    assert re.search(r"^inputs\n  input0 +any\[-1\]$", text, re.M)
    assert re.search(r"^outputs\n  output0 +any\[-1\]$", text, re.M)
    about = json.loads(succeeds("inspect", "--json", echo))
    assert about["inputs"] == [{"name": "input0", "type": "null", "shape": [-1]}]


def test_inspect_file(tmp_path):
    text = succeeds("inspect", "--engine", "echo", "a/b/some.model")
    assert re.search(r"^model +some$", text, re.M)
    assert re.search(r"^server +echo", text, re.M)
    assert "gone.onnx" in fails(1, "inspect", "gone.onnx")
    (tmp_path / "what.bin").write_bytes(b"nothing that an engine knows")
    assert fails(1, "inspect", tmp_path / "what.bin")


def test_engines():
    lines = succeeds("engines").splitlines()
    by_name = {line.split()[0]: line for line in lines}
    assert re.match(r"echo +\S+ +ready +/.*graphpipe-engine-echo\.so$", by_name["echo"])
    missing = "- +(runtime not installed|not installed)"
    assert re.match(rf"onnx +(\d\S* +ready|{missing}) +\S", by_name["onnx"])


def test_framework_that_crashes_takes_its_own_line():
    folder = os.path.dirname(plugin("telling"))
    listed = succeeds("engines", "--engine-dir", folder, "--engine-option", "crash")
    assert re.search(r"^telling +- +cannot be loaded +that ended the process \(signal 6\)$", listed,
                     re.M), listed
    assert re.search(r"^echo +\S+ +ready ", listed, re.M), listed
    listed = succeeds("engines", "--engine-dir", folder)
    assert re.search("^telling +9.9 +ready +/opt/telling$", listed, re.M), listed


@pytest.mark.parametrize("name, remedy", [("onnx", "pip install onnxruntime"),
                                          ("mxnet", "pip install mxnet==1.9.1"),
                                          ("cntk", "--component cntk"),
                                          ("caffe2", "cmake --install BUILD --component caffe2")])
def test_runtime_that_is_not_installed(tmp_path, name, remedy):
    """What installs it helps where there is no source tree too."""
    need(name)
    for part in "bin/graphpipe", f"lib/graphpipe/graphpipe-engine-{name}.so":
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / part, tmp_path / part)
    lines = subprocess.run([tmp_path / "bin/graphpipe", "engines"], capture_output=True, text=True,
                           check=True, env=os.environ | {"PATH": "/nowhere"}).stdout
    assert re.search(rf"^{name} +- +runtime not installed  .*{remedy}", lines, re.M), lines


def test_version_and_completion_as_commands():
    assert succeeds("version") == succeeds("--version")
    assert succeeds("completion", "bash") == succeeds("help", "--completion", "bash")
    assert "bash|zsh|fish" in fails(2, "completion") and "bash|zsh|fish" in fails(2, "completion", "csh")


@pytest.mark.parametrize("words, listen", [
    (["--port", "9005"], "127.0.0.1:9005"), (["--host", "0.0.0.0"], "0.0.0.0:9000"),
    (["--host", "::1", "--port", "0"], "[::1]:0"), (["--host=[::1]", "--port=80"], "[::1]:80"),
    ([], "127.0.0.1:9000")])
def test_host_and_port_are_listen(words, listen):
    printed = succeeds("serve", "--print-config", "--engine", "echo", *words)
    assert re.search(rf"^listen = {re.escape(listen)} ", printed, re.M)


def test_host_and_port_beside_listen():
    assert "leave out --host and --port" in fails(2, "serve", "--port", "1", "--listen", ":2", "m")
    assert "--port wants a number, from 0 to 65535" in fails(2, "serve", "--port", "65536", "m")
    assert "listen = 127.0.0.1:7 " in succeeds("serve", "--print-config", "--port", "7", "m",
                                               env={"GP_LISTEN": ":8"})
