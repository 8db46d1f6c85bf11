"""Text that others wrote reaches a terminal, a log or an answer on one line, with every character
visible, and as whole UTF-8: <graphpipe/text.h>."""
import http.server
import json
import os
import re
import subprocess
import threading
import unicodedata

import pytest

from harness import (PATIENCE, PROGRAM, SMALL, Server, Tensor, encode, encode_metadata_request,
                     eventually, plugin)
from messages import Modules2018, Response, read_metadata, write_metadata, write_response
from python_models import PYTHON
from python_models import write as write_model

CONTROLS = "\x1b[2J\x07\x9b31m\u202e\u2066\u200f\u2028\ufeff"
FORGED = "listening on http://forged.example"
HOSTILE = f"evil{CONTROLS}\n{FORGED}\r"
ESCAPED = (r"evil\x1b[2J\x07\u{9b}31m\u{202e}\u{2066}\u{200f}\u{2028}\u{feff}\n" + FORGED + r"\r")


def assert_visible(raw):
    """UTF-8 without what a terminal obeys or does not show, and no forged line."""
    text = raw.decode()
    for line in text.split("\n"):
        odd = [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cn")]
        assert not odd, line
        assert not line.startswith(FORGED)
    return text


class Raw(Server):
    """A server whose lines are kept as bytes."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.raw = b""

    def _read(self):
        for line in iter(self.process.stderr.buffer.readline, b""):
            self.raw += line
            self.lines.append(line.decode(errors="replace").rstrip("\n"))
            found = re.search(r"listening on (http://127\S+)", self.lines[-1])
            if found:
                self.addresses.append(found[1])


# --- the server -------------------------------------------------------------------------

@pytest.mark.parametrize("flags", [[], ["--isolate"]], ids=["inside", "isolated"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_text_of_an_engine(flags, form):
    with Raw("-v", "--log-format", form, *flags, engine=plugin("faulty")) as server:
        plain = server.infer(SMALL, config="hostile")
        as_json = server.infer(SMALL, config="hostile", fields={"Accept": "application/json"})
        message = server.infer(SMALL, config="hostile", fields={"Accept": "application/x-graphpipe"})
        for answer in (plain, as_json):
            assert_visible(answer.body)
            assert FORGED in answer.text and r"\x1b[2J" in answer.text and r"\n" in answer.text
        assert_visible(message.error[1].encode() if isinstance(message.error[1], str)
                       else message.error[1])
        eventually(lambda: server.raw.count(b"forged.example") >= 6)
    text = assert_visible(server.raw)
    if form == "json":
        assert all(json.loads(line) for line in text.splitlines())
    else:
        said = r"warning: engine: \x1b[2J\x07\u{9b}\u{202e}\xff\xd0\n" + FORGED + r"\r"
        assert text.count(said) == 3


CYRILLIC = "ж" * 400


@pytest.mark.parametrize("shift", range(5))
def test_names_are_cut_at_characters(onnx, shift):
    """A byte of the last letter was left, and so all of them came out as question marks."""
    with onnx("mlp") as server:
        for accept in ("application/x-graphpipe", "application/json", "text/plain"):
            answer = server.infer(SMALL, input_names=["a" * shift + CYRILLIC],
                                  fields={"Accept": accept})
            assert answer.status == 400
            text = answer.body.decode() if "x-graphpipe" not in accept else str(answer.error[1])
            assert "?" not in text and "\ufffd" not in text and r"\x" not in text
            assert f'"{"a" * shift}{"ж" * ((64 - shift) // 2)}"' in text


def test_names_with_controls_are_shown(onnx):
    with onnx("mlp") as server:
        answer = server.infer(SMALL, input_names=[HOSTILE])
        assert_visible(answer.body)
        assert r'"evil\x1b[2J' in answer.text


def test_access_line_is_whole_whatever_the_target():
    """The longest target there may be, one that is cut, and a backslash that forges an escape."""
    with Raw("-v") as server:
        for target in ("/?" + "x" * 60000, "/?" + "y" * 1022, r"/?\x1b"):
            assert server.ask("GET", target).status == 200
        eventually(lambda: server.raw.count(b" GET ") == 3)
    # each thread writes its own lines when it has some, or nothing to do
    forged, long, fits = sorted((line for line in server.lines if " GET " in line),
                                key=lambda line: line.partition(" GET ")[2])
    assert f" /?{'x' * 1022} " in long and len(long) < 1400
    assert f" /?{'y' * 1022} " in fits
    assert r" /?\\x1b " in forged


# --- what others say to the commands ----------------------------------------------------

class Peer:
    """A server that answers what it is told to."""

    def __init__(self, body, status=200, kind="application/x-graphpipe"):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self.url

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def said(*arguments, stdin=b""):
    """Both outputs of a command."""
    run = subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True,
                         timeout=20 * PATIENCE)
    assert_visible(run.stderr)
    return assert_visible(run.stdout), assert_visible(run.stderr)


def io_of(name, description=""):
    return {"name": name, "description": description, "shape": [-1], "type": "uint8"}


METADATA = write_metadata(Modules2018(), {
    "name": HOSTILE, "version": HOSTILE, "server": HOSTILE, "description": HOSTILE,
    "inputs": [io_of(HOSTILE, HOSTILE), io_of("имя"), io_of("x")],
    "outputs": [io_of(HOSTILE, HOSTILE)]})


def test_inspect(tmp_path):
    (tmp_path / "metadata.bin").write_bytes(METADATA)
    with Peer(METADATA) as url:
        for arguments in (["inspect", url], ["decode", tmp_path / "metadata.bin"]):
            out, _ = said(*arguments)
            assert out.count(ESCAPED) == 8
        out, _ = said("inspect", "--json", url)
        about = json.loads(out)
        assert about["name"] == about["inputs"][0]["name"] == HOSTILE
        lines = said("inspect", url)[0].splitlines()
        columns = {line.index("uint8[-1]") for line in lines if "uint8[-1]" in line}
        assert len(columns) == 1  # of characters, not of bytes


@pytest.mark.parametrize("status", [200, 500])
def test_error_of_a_server(status):
    body = write_response(Modules2018(), Response(errors=[(10, HOSTILE)]))
    with Peer(body, status) as url:
        for command in (["infer", url, "uint8[1]:1"], ["inspect", url],
                        ["bench", url, "--requests", "2", "--warm-up", "0s", "uint8[1]:1"]):
            out, err = said(*command)
            assert command[0] == "inspect" or "evil" in out + err
    with Peer(HOSTILE.encode() + b"\xff\xd0", 500, "text/plain") as url:
        assert "evil" in said("infer", url, "uint8[1]:1")[1]


def test_text_of_a_long_answer_is_cut_at_a_character():
    for shift in range(4):
        with Peer(b"a" * shift + "жж名🙂".encode() * 100, 500, "text/plain") as url:
            _, err = said("infer", url, "uint8[1]:1")
            assert "жж名🙂" in err and r"\x" not in err


def test_answer_of_a_server(tmp_path):
    text = Tensor("string", [3], [HOSTILE.encode(), ("ж" * 31 + "\x9b" * 10).encode(), b"\xff"])
    with Server() as server:
        out, _ = said("infer", server.url, f"string[1]:@{write(tmp_path, HOSTILE.encode())}")
        assert r"\u202e" in out
    response = write_response(Modules2018(), Response([text]))
    (tmp_path / "response.bin").write_bytes(response)
    out, _ = said("decode", tmp_path / "response.bin")
    assert f'"{"ж" * 30}"... (82 bytes)' in out and r'"\ufffd"' in out
    message = encode(SMALL, input_names=[HOSTILE], output_names=[HOSTILE], config=HOSTILE)
    (tmp_path / "request.bin").write_bytes(message)
    out, _ = said("decode", tmp_path / "request.bin")
    assert out.count(ESCAPED) == 2


def write(folder, data):
    (folder / "data").write_bytes(data)
    return folder / "data"


def test_saved_outputs_have_names_that_can_be_typed(tmp_path):
    """The name of a file is of what can be seen, too, and whole."""
    with Server() as server:
        for name in (HOSTILE, "a/" + "ж" * 120):
            said("infer", server.url, "uint8[1]:1", "-o", name, "--save-dir", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert_visible(path.name.encode())
    assert sorted(path.name[:7] for path in (tmp_path / "out").iterdir()) == ["a_жжжжж", "evil_x1"]


def test_words_of_the_command_line():
    for arguments in ([HOSTILE], ["inspect", "--" + HOSTILE], ["inspect", HOSTILE],
                      ["infer", "x", HOSTILE], ["serve", "--engine", HOSTILE],
                      ["serve", "--engine", "echo", "--listen", HOSTILE]):
        _, err = said(*arguments)
        assert "evil" in err


# --- models -----------------------------------------------------------------------------

def test_python_model(serve):
    """What a model logs and raises, and how it is named."""
    source = f"""
        import logging
        inputs = {{{HOSTILE!r}: ("uint8", [-1], {HOSTILE!r})}}
        def infer(x):
            logging.getLogger("x").warning({HOSTILE!r})
            print({HOSTILE!r} + "a" + "ж" * 600, flush=True)
            raise ValueError({HOSTILE!r} + "ж" * 600)
    """
    with Raw("--instances", "1", "--pool", "256MiB", *PYTHON, engine="auto",
             model=serve(source)) as server:
        answer = server.infer(SMALL)
        assert answer.status == 500 and "evil" in answer.text
        assert_visible(answer.body)
        assert "?" not in answer.text
        assert_visible(server.ask("GET", "/").body)
        eventually(lambda: b"Traceback" in server.raw)
    text = assert_visible(server.raw)
    assert "Traceback" in text and r"\x1b[2J" in text
    (printed,) = re.findall("^engine: slot 0: (aж+)[.]{3}$", text, re.MULTILINE)
    assert len(printed.encode()) >= 490  # cut at a character, where a line has to be
    assert r"slot 0: evil\x1b[2J" in text and "?" not in text


@pytest.fixture
def serve(tmp_path):
    return lambda source: write_model(tmp_path, source)


@pytest.mark.parametrize("name", [b"caf\xe9.onnx", "имя".encode() * 40 + b".onnx",
                                  "a\u202eb\n.onnx".encode()])
def test_model_is_named_by_any_file(tmp_path, name):
    """A name that was not UTF-8 made the metadata unreadable."""
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb") as file:
        file.write(b"x")
    with Raw(model=os.fsdecode(path)) as server:
        about = read_metadata(Modules2018(), server.ask("POST", "/", encode_metadata_request()).body)
        assert about["name"] and json.loads(server.ask("GET", "/").body)["name"]
        out, _ = said("inspect", server.url)
        assert out.startswith("model ")
    assert_visible(server.raw)
