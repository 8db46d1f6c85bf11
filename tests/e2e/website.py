"""A small server on the loopback that models are fetched from, and what is kept of them: the
fixtures `site` and `cache` of the tests that fetch. The echo engine takes any file as a model."""
import contextlib
import http.server
import threading

import pytest

BODY = bytes(range(256)) * 4096  # 1 MiB
LISTEN = ("--listen", "127.0.0.1:0")
ECHO = ("--engine", "echo", *LISTEN)


class Site:
    """A server whose answers are functions, by path; and the heads that it was asked with."""

    def __init__(self, context=None):
        self.answers, self.asked, outer = {}, [], self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.asked.append((self.path, self.headers))
                outer.answers.get(self.path.partition("?")[0], page(b"", 404))(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # who asks may leave
        self.server.daemon_threads, self.server.block_on_close = True, False
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http{'s' if context else ''}://{self.host}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def page(body=BODY, status=200, etag=None, modified=None, location=None, length=True):
    """An answer, 304 when asked for another than this one. Without `length` in chunks."""
    def answer(to):
        known = (etag and to.headers["If-None-Match"] == etag
                 or modified and to.headers["If-Modified-Since"] == modified)
        to.send_response(304 if known else status)
        for name, value in {"ETag": etag, "Last-Modified": modified, "Location": location}.items():
            if value:
                to.send_header(name, value)
        if known:
            return to.end_headers()
        if length:
            to.send_header("Content-Length", str(len(body) if length is True else length))
            to.end_headers()
            to.wfile.write(body)
            to.close_connection = length is not True
        else:
            to.send_header("Transfer-Encoding", "chunked")
            to.end_headers()
            for at in range(0, len(body), 50_000):
                part = body[at:at + 50_000]
                to.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            to.wfile.write(b"0\r\n\r\n")
    return answer


@pytest.fixture
def site():
    site = Site()
    yield site
    site.close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache's folder, and no proxy on the way to the loopback."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "graphpipe"


def kept(cache):
    """{file: bytes} of the only model's folder. A file that is renamed or removed just then is left out."""
    (folder,) = cache.iterdir()
    found = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.read_bytes()
    return found


def model_in(cache):
    """The path of the only model."""
    (path,) = (path for path in cache.glob("*/*") if not path.name.startswith("."))
    return path


def nothing_in(cache):
    return not cache.exists() or set(kept(cache)) == {".lock"}
