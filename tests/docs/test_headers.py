"""The examples of the public headers, and the documents' C, compile without a warning, and those
that can run do what they show. What is left out in one ("...") is put in here; the file beside
this one that is named as the header declares what the example takes as given."""
import re
import signal
import subprocess

import numpy as np
import pytest

from examples import ADDRESS, SOURCE, Server, compiled, documents, of_document, of_header
from harness import Tensor

HEADERS = {path.stem: of_header(path) for path in sorted(SOURCE.glob("include/graphpipe/*.h"))}
TRIED = {"client", "engine", "message", "server", "status", "tensor", "text"}
FLOATS = Tensor("float32", [3], np.array([1, 2, 3], np.float32).tobytes())


def replaced(code, *pairs):
    for old, new in pairs:
        assert code.count(old) == 1, f"the example has no {old!r} any more"
        code = code.replace(old, new)
    return code


def run(program, status=0):
    done = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=240)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def test_all_examples_are_tried():
    assert {name for name, code in HEADERS.items() if code} == TRIED


def test_tensor(tmp_path):
    run(compiled("tensor", HEADERS["tensor"], tmp_path))


def test_status(tmp_path):
    _, said = run(compiled("status", HEADERS["status"], tmp_path))
    assert "/nobody/listens" in said and said.endswith(" (input/output)\n")


def test_text(tmp_path):
    said, _ = run(compiled("text", HEADERS["text"], tmp_path))
    assert said == "evil\\r\\n\\x1b[2Jname \\u{202e}\nevil...\n"


def test_message(tmp_path):
    said, _ = run(compiled("message", HEADERS["message"], tmp_path))
    assert said == "7\n"


def test_client(tmp_path):
    with Server() as server:
        code = replaced(HEADERS["client"], (ADDRESS, server.addresses[0]))
        _, said = run(compiled("client", code, tmp_path))
        assert said == ""
        assert server.metrics()['requests_total{code="200"}'] >= 1


def test_readme(tmp_path):
    (code,) = of_document(SOURCE / "README.md", "c")
    with Server() as server:
        run(compiled("readme", replaced(code, (ADDRESS, server.addresses[0])), tmp_path))


def c_blocks():
    """Of all documents, with the frame for each: none for a whole program or plug-in."""
    for path in documents():
        for i, block in enumerate(of_document(path, "c")):
            has_functions = re.search(r"^[a-z].*\)\n\{", block, re.MULTILINE)
            frame = "whole" if has_functions else "fragment"
            yield pytest.param(frame, block, id=f"{path.name}-{i}")


@pytest.mark.parametrize("frame, block", list(c_blocks()))
def test_document(frame, block, tmp_path):
    compiled(frame, block, tmp_path, "-shared", "-fPIC", "-Wno-unused")


def test_engine(tmp_path):
    rest = """    memcpy(y, x->data, x->size_bytes);
    return GP_OK;
"""
    code = replaced(HEADERS["engine"], ("    ...\n", rest),
                    (", ...};", ", .describe = describe_model, .run = run, "
                                ".close = close_model};"))
    plugin = compiled("engine", code, tmp_path, "-shared", "-fPIC", "-fvisibility=hidden")
    with Server(engine=str(plugin)) as server:
        assert server.infer(FLOATS).tensors == [FLOATS]


def test_server(tmp_path):
    code = replaced(HEADERS["server"], ("gp_serve_function(twice, NULL, NULL)",
                                        "gp_serve_function(twice, NULL, &options)"))
    program = compiled("server", code, tmp_path)
    with subprocess.Popen([program], stderr=subprocess.PIPE, text=True) as process:
        try:
            line = next(line for line in process.stderr if "listening on" in line)
            asked = Server()
            asked.addresses = re.findall(r"listening on (\S+)", line)
            (answer,) = asked.infer(FLOATS).tensors
            assert np.frombuffer(answer.data, np.float32).tolist() == [2, 4, 6]
        finally:
            process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(20) == 0
