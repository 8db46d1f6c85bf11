"""The bytes of docs/protocol.md are what the program sends and answers, and its Python reads them."""
import contextlib
import http.client
import io
import re
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler

from examples import SOURCE
from harness import PROGRAM, Server

PAGE = (SOURCE / "docs/protocol.md").read_text()
SECTION = PAGE[PAGE.index("## Byte by byte"):].split("\n## ")[0]
WORDS = re.search(r'infer ADDRESS "(.*?)"', SECTION)[1]


def bytes_of(block):
    """Of lines as "  4  08 00 0c 00   what it is", each of which begins where the last one ended."""
    found = b""
    for line in block.strip("\n").split("\n"):
        at, hex_bytes = re.match(r" *(\d+)  ((?:[0-9a-f]{2} ?)+)(?:  |$)", line).groups()
        assert int(at) == len(found), line
        found += bytes.fromhex(hex_bytes)
    return found


REQUEST, ANSWER = map(bytes_of, re.findall(r"```\n(.*?)```", SECTION, re.DOTALL)[:2])


def test_request_is_what_the_program_sends():
    bodies = []

    class Catch(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Catch) as listener:
        thread = threading.Thread(target=listener.handle_request)
        thread.start()
        subprocess.run([PROGRAM, "infer", "127.0.0.1:%d" % listener.server_address[1], WORDS],
                       capture_output=True, timeout=60)
        thread.join(60)
    assert bodies == [REQUEST]
    assert f"The request, {len(REQUEST)} bytes" in SECTION


def test_answer_is_what_the_server_sends():
    with Server() as server:
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/", REQUEST, {"Accept": "application/x-graphpipe"})
            assert connection.getresponse().read() == ANSWER
    assert f"The answer, {len(ANSWER)} bytes" in SECTION


def test_python_reads_it():
    code = re.search(r"```py\n(.*?)```", SECTION, re.DOTALL)[1]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, {"message": ANSWER})
    assert f"This prints `{said.getvalue().strip()}`" in SECTION
