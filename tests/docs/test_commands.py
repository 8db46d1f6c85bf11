"""The commands of the documents and of --help are run, against a server where they need one, with
other ports and sockets than they show; Python's and JavaScript's blocks too. Commands that build or take minutes
are only looked at: that make knows the target, CMake the preset."""
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

import numpy as np
import onnx
import pytest

from examples import ADDRESS, BUILD, SOCKET, SOURCE, Server, documents, of_document
from harness import PROGRAM, SMALL, Tensor, encode
from needs import lacks, need

COMMAND = re.compile(r"(make|cmake|ctest|cc|curl|graphpipe[\w-]*|(?:\.ci|tools|bench)/\S+)( |$)")
COMMANDS = "serve infer inspect decode engines check-config check-rows".split()
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GP_")} \
    | {"PATH": f"{os.path.dirname(PROGRAM)}:{os.environ['PATH']}",
       "C_INCLUDE_PATH": str(SOURCE / "include"), "LIBRARY_PATH": str(BUILD / "lib"),
       "LD_LIBRARY_PATH": str(BUILD / "lib")}  # as if it were installed


def run(line, folder=SOURCE):
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=ENVIRONMENT, text=True, timeout=240,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{line}\n{done.stdout}"
    return done.stdout


def blocks():
    """(document, commands) of each block of them. Those of a transcript begin with "$ ", and what
    is no command in a block without a language is a drawing or an output."""
    for path in documents():
        for language in "", "sh", "bash", "console":
            for i, block in enumerate(of_document(path, language)):
                lines = [line for line in block.splitlines() if line.strip()]
                if any(line.startswith("$ ") for line in lines):
                    lines = [line[2:] for line in lines if line.startswith("$ ")]
                elif not language and not COMMAND.match(lines[0]):
                    continue
                yield pytest.param(path, lines, id=f"{path.name}-{language or 'plain'}-{i}")


@pytest.mark.parametrize("path, lines", list(blocks()))
def test_block(path, lines, tmp_path):
    commands = [command for line in lines for command in line.split(" && ")
                if not line.startswith("#")]
    to_run = [command for command in commands if not look_at(command)]
    if to_run:
        serve_and_ask(to_run, path, tmp_path)


# --- what builds ------------------------------------------------------------------------

def look_at(command):
    """Checks a command without running it; false for one that is to be run."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        run(shlex.join(["make", "-n", *words[1:]]))
    elif words[0] in ("cmake", "ctest") and "--preset" in words:
        name = words[words.index("--preset") + 1]
        kind = "build" if "--build" in words else "test" if words[0] == "ctest" else "configure"
        presets = run(f"cmake --list-presets={kind}")
        assert f'"{name}"' in presets, f"{command}: no such preset"
    elif words[0].startswith((".ci/", "tools/", "bench/")):
        assert os.access(SOURCE / words[0], os.X_OK), command
    else:
        return False
    return True


# --- what serves and asks ---------------------------------------------------------------

def fill(folder):
    """The files that the examples name; the model is y = -x, for rows of two."""
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 2])
             for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "negated",
                                   value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[
        onnx.helper.make_opsetid("", 17)]), folder / "model.onnx")
    (folder / "graphpipe.json").write_text('{"models": {"negated": {"path": "model.onnx"}}}')
    for name in "image", "cat", "ids", "mask":
        np.save(folder / f"{name}.npy", np.ones((2, 2), np.float32))
    (folder / "recorded").mkdir()
    for i in range(2):
        row = Tensor("float32", [1, 2], np.float32([i, 7]).tobytes())
        (folder / f"recorded/{i}").write_bytes(encode(row))


def write_sources(path, commands, folder):
    """The C files that the commands name are the document's whole programs, in their order; the
    models that it serves are its blocks marked py with an infer."""
    programs = [block for block in of_document(path, "c") if block.startswith("#include")]
    names = re.findall(r"\b(?<!/)\w+\.c\b", " ".join(commands))
    models = re.findall(r"^graphpipe serve (\w+\.py)$", path.read_text(), re.MULTILINE)
    served = [block for block in of_document(path, "py") if "def infer" in block]
    for name, program in [*zip(dict.fromkeys(names), programs),
                          *zip(models, served, strict=True)]:
        (folder / name).write_text(program)


def serve_and_ask(commands, path, folder):
    """What comes before "graphpipe serve" is run first, what comes after it while it serves."""
    fill(folder)
    write_sources(path, commands, folder)
    port = free_port()
    commands = [command.replace(SOCKET, f"127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
                for command in commands]
    n_before = next((i for i, command in enumerate(commands)
                     if command.startswith("graphpipe serve ")), len(commands))
    for command in commands[:n_before]:
        run(command, folder)
    if n_before == len(commands):
        return
    words = shlex.split(commands[n_before].rstrip("& "), comments=True)
    if "model.onnx" in words:
        need("onnx")
    n_listeners = words.count("--listen") + words.count("-l")
    server = Server(listen=[None] * max(n_listeners, 1), cwd=folder)
    server.command = [PROGRAM, *words[1:]]
    server.command += [] if n_listeners else ["--listen", f"127.0.0.1:{port}"]
    if words[-1].endswith(".py"):
        server.command += ["--engine-option", f"python={sys.executable}"]
    with server:
        for command in commands[n_before + 1:]:
            assert run(command, folder), command


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("path", [path for path in documents() if of_document(path, "python")],
                         ids=lambda path: path.name)
def test_python(path):
    given = "import numpy as np\nimage = np.ones((1, 3, 2, 2), np.float32)\n"
    with Server() as server:
        for code in of_document(path, "python"):
            code = given + code.replace(ADDRESS, server.addresses[0])
            environment = {**ENVIRONMENT, "PYTHONPATH": str(SOURCE / "clients/python/src")}
            done = subprocess.run([sys.executable, "-c", code], text=True, timeout=240,
                                  env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert done.returncode == 0, f"{code}\n{done.stdout}"
        assert server.metrics()['requests_total{code="200"}'] >= 1


@pytest.mark.parametrize("path", [path for path in documents() if of_document(path, "js")],
                         ids=lambda path: path.name)
def test_javascript(path, tmp_path):
    if not shutil.which("node"):
        pytest.skip("Node 20 or newer is missing: tools/setup js")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/graphpipe").symlink_to(SOURCE / "clients/js")
    given = "const image = new Float32Array(4);\n"
    with Server() as server:
        for code in of_document(path, "js"):
            (tmp_path / "example.mjs").write_text(given + code.replace(ADDRESS, server.addresses[0]))
            run("node --preserve-symlinks example.mjs", tmp_path)
        assert server.metrics()['requests_total{code="200"}'] >= 1


def test_torch():
    """What is shown of PyTorch, which is not here, is what the zoo runs in make test-engines."""
    blocks = of_document(SOURCE / "docs/engines.md", "py")
    (shown,) = [block for block in blocks if "torch" in block]
    runs = {line.strip() for line in (SOURCE / "tools/zoo/write_torch.py").read_text().splitlines()}
    lines = {line.partition("#")[0].strip() for line in shown.splitlines()} - {"", "model.eval()"}
    assert len(lines) >= 8 and lines <= runs, lines - runs


# --- what --help shows ------------------------------------------------------------------

def shown(command):
    """The examples of a subcommand's help, without what is said of them further right."""
    text = run(f"graphpipe help {command}").partition("\nExamples:\n")[2]
    return [re.sub(r"  +.*", "", line.strip()) for line in text.splitlines()]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A folder with the files, and a server that gives back what it gets."""
    folder = tmp_path_factory.mktemp("help")
    fill(folder)
    with Server(listen=("127.0.0.1:0", f"unix:{folder}/socket")) as server:
        request = encode(SMALL)
        (folder / "request.bin").write_bytes(request)
        (folder / "captured.bin").write_bytes(request)
        (folder / "answer.bin").write_bytes(server.ask("POST", "/", request).body)
        yield server, folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, asked):
    server, folder = asked
    lines = shown(command)
    assert len(lines) >= 3
    for line in lines:
        if line.endswith("model.onnx") and command != "serve" and lacks("onnx"):
            continue
        if command == "serve":
            run(f"{line} --print-config", folder)
            continue
        line = line.replace("http://127.0.0.1:9000", server.addresses[0])
        line = line.replace("127.0.0.1:9000", server.addresses[0])
        line = line.replace("/run/graphpipe.sock", f"{folder}/socket")
        assert run(line, folder), line
