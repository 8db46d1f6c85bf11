"""Connections that end at every moment, and servers that answer whatever they like."""

import contextlib
import re
import resource
import socket
import threading
import time

import numpy as np
import pytest
from golden_bytes import read_golden
from harness import SOURCE
from scripted import Scripted, answer

import graphpipe
from graphpipe import Client, ProtocolError, Unavailable
from graphpipe._http import Connection

ONE = answer(read_golden("resp_float32.bin"))
TWO = answer(read_golden("resp_two.bin"))
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
X = np.zeros(3, "f4")
LARGE = np.zeros(20 << 20, "u1")  # more than sockets hold


def answers(*pieces):
    """A script: whatever is asked is answered by these bytes."""
    def script(peer):
        while peer.request():
            peer.send(*pieces)
    return script


def asked_once(*pieces):
    def script(peer):
        peer.request()
        with contextlib.suppress(ConnectionError):  # the client may have seen enough
            peer.send(*pieces)
    return script


@pytest.fixture(params=["tcp", "unix"])
def where(request, tmp_path):
    return "tcp" if request.param == "tcp" else str(tmp_path / "socket")


# --- requests that are sent again, and those that are not -----------------------------------


def test_a_kept_connection_that_was_closed_is_replaced(where):
    with Scripted(asked_once(ONE), asked_once(ONE), where=where) as server:
        client = Client(server.url)
        for closed in server.closed:
            client.infer(X)
            assert closed.wait(30)
    assert server.n_requests == 2


def test_closed_just_as_the_request_is_sent(where, monkeypatch):
    """The client has looked, and then the server closes: nobody has read the request."""
    monkeypatch.setattr(Connection, "is_fresh", lambda connection: True)
    with Scripted(asked_once(ONE), answers(ONE), where=where) as server:
        with Client(server.url) as client:
            client.infer(X)
            assert server.closed[0].wait(30)
            client.infer(X)
        assert server.n_requests == 2


def test_closed_with_the_request_unread(tmp_path):
    """A unix socket tells the client so."""
    def script(peer):
        peer.request()
        peer.send(ONE)
        peer.sock.recv(1, socket.MSG_PEEK)

    path = str(tmp_path / "socket")
    with Scripted(script, answers(ONE), where=path) as server, Client(server.url) as client:
        client.infer(X)
        client.infer(X)
        client.close()


def test_closed_with_the_request_in_part_unread(where):
    def script(peer):
        peer.request()
        peer.send(ONE)
        peer.head()

    with Scripted(script, answers(ONE), where=where) as server, Client(server.url) as client:
        client.infer(X)
        client.infer(LARGE)
        client.close()
    assert server.n_requests == 2


def test_a_request_that_may_have_run_is_not_sent_again(where):
    def script(peer):
        peer.request()
        peer.send(ONE)
        peer.request()

    with Scripted(script, where=where) as server, Client(server.url) as client:
        client.infer(X)
        with pytest.raises(Unavailable, match="closed the connection without an answer"):
            client.infer(X)
    assert server.n_requests == 2


@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", ONE[:60], ONE[:-1]])
def test_a_request_whose_answer_has_begun_is_not_sent_again(beginning, where):
    def script(peer):
        peer.request()
        peer.send(ONE)
        peer.request()
        peer.send(beginning)

    with Scripted(script, where=where) as server, Client(server.url) as client:
        client.infer(X)
        with pytest.raises(Unavailable, match="in the middle of the answer"):
            client.infer(X)
    assert server.n_requests == 2


def test_a_new_connection_that_is_closed_at_once_is_an_error(where):
    with Scripted(lambda peer: None, where=where) as server, Client(server.url) as client, \
            pytest.raises(Unavailable):
        client.infer(X)


def test_a_refusal_is_heard_while_the_request_is_sent(where):
    def script(peer):
        peer.head()
        peer.send(b"HTTP/1.1 102 Wait\r\n\r\n",
                  answer(b"too long: 7\n", "413 Payload Too Large", kind=b"text/plain"))
        heard.wait(30)  # without reading on, so that not all can be sent

    heard = threading.Event()
    with Scripted(script, where=where) as server, Client(server.url) as client:
        with pytest.raises(graphpipe.InvalidInput, match="^too long: 7$"):
            client.infer(LARGE)
        heard.set()


# --- answers ------------------------------------------------------------------------------


def chunked(*sizes):
    body, pieces, at = read_golden("resp_float32.bin"), [], 0
    for size in [*sizes, len(body)]:
        piece = body[at:at + size]
        pieces.append(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) if piece else b"")
        at += size
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    return head + b"".join(pieces) + b"0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize("text, is_kept", [
    (ONE, True),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + ONE, True),
    (chunked(1, 7, 50), True),
    (chunked(1), True),
    (ONE.replace(b"1.1", b"1.0"), False),
    (ONE.replace(b"\r\nContent-Type", b"\r\nConnection: close\r\nContent-Type"), False),
    (ONE + b"H", False),
], ids=["plain", "interim", "chunks", "one chunk", "1.0", "close", "surplus"])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_good_answers(text, is_kept, in_pieces):
    pieces = [text[i:i + 1] for i in range(len(text))] if in_pieces else [text]

    def first(peer):
        peer.request()
        peer.send(*pieces)
        if is_kept:
            answers(*pieces)(peer)
        else:
            peer.until_closed()

    scripts = [first] if is_kept else [first, answers(ONE)]
    with Scripted(*scripts) as server, Client(server.url) as client:
        for _ in range(2):
            assert client.infer(X).dtype == np.float32
        client.close()


@pytest.mark.parametrize("text", [
    b"\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 99 No\r\n\r\n",
    b"HTTP/1.1 101 Switch\r\n\r\n", b"HTTP/1.1 103 Early\r\n\r\n" * 50, OK + b"\r\n",
    OK + b"NoColon\r\n\r\n", OK + b"X: " + b"x" * 100000,
    OK + b"Content-Length: -1\r\n\r\n", OK + b"Content-Length: 1_0\r\n\r\n",
    OK + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\n....",
    OK + b"Content-Length: 2147483648\r\n\r\n", OK + b"Content-Length: 9999999999999999\r\n\r\n",
    OK + b"Transfer-Encoding: gzip\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    CHUNKED + b"-1\r\n", CHUNKED + b"1\r\nab\r\n", CHUNKED + b"FFFFFFFF\r\n",
    CHUNKED + b"1;" + b"x" * 9000, CHUNKED + b"0\r\n" + b"x: y\r\n" * 100,
    answer(b""), answer(b"x" * 100), answer(b"<html>", kind=b"text/html"), TWO,
    answer(b"", kind=b"text/\x1b[31m"), OK + b"\x1b[31m: x\r\n\r\n", b"HTTP/1.1 \x1b[31m\r\n\r\n",
], ids=lambda text: ascii(text[:60]))
def test_broken_answers(text):
    """The client says what is wrong, and goes on over another connection."""
    metadata = answers(answer(read_golden("resp_metadata.bin")))
    with Scripted(asked_once(text), metadata) as server, Client(server.url, timeout=20) as client:
        with pytest.raises((ProtocolError, graphpipe.InvalidInput)) as caught:
            client.infer(X)
        assert client.metadata().inputs
        client.close()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text, kind, words", [
    (answer(read_golden("resp_error.bin"), "503 x"), Unavailable, "."),
    (answer(b"", "404 Not Found"), graphpipe.NotFound, "HTTP 404, without a reason"),
    (answer(b"garbage", "500 x"), graphpipe.ModelError, "HTTP 500, without"),
    (answer(b"two\nlines \x1b[31m\xff\n", "429 x", kind=b"text/plain"), graphpipe.Busy,
     r"^two lines \\x1b\[31m\ufffd$"),
    (answer(b"x" * 4000000, "502 x", kind=b"text/plain"), Unavailable, "without a reason"),
    (b"HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\nlost", graphpipe.InvalidInput, "HTTP 400"),
    (b"HTTP/1.1 504 x\r\n\r\n", graphpipe.DeadlineExceeded, "HTTP 504"),
    (answer(b"", "302 x"), graphpipe.GraphPipeError, "HTTP 302"),
])
def test_errors(text, kind, words):
    def script(peer):
        peer.request()
        with contextlib.suppress(ConnectionError):  # nobody listens to a reason that is too long
            peer.send(text)

    with Scripted(script) as server, Client(server.url) as client, \
            pytest.raises(kind, match=words) as caught:
        client.infer(X)
    assert len(str(caught.value)) < 600


def test_several_outputs_for_one_array():
    metadata = answer(read_golden("resp_metadata.bin"))

    def script(peer):
        for text in TWO, metadata:
            peer.request()
            peer.send(text)

    with Scripted(script) as server, Client(server.url) as client, \
            pytest.raises(graphpipe.InvalidInput, match="2 outputs; choose with outputs=, of y"):
        client.infer(X)


@pytest.mark.parametrize("announced", [
    OK + b"Content-Length: 2147483647\r\n\r\n", CHUNKED + b"7fffffff\r\n"])
def test_an_answer_that_is_only_announced_takes_no_memory(announced):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Scripted(asked_once(announced, b"x" * 100000)) as server, Client(server.url) as client, \
            pytest.raises(Unavailable, match="in the middle"):
        client.infer(X)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (64 << 10)


def test_limit_of_an_answer():
    with Scripted(asked_once(ONE)) as server, \
            Client(server.url, max_answer_bytes=10) as client, \
            pytest.raises(ProtocolError, match="over the limit of 10"):
        client.infer(X)


# --- time -----------------------------------------------------------------------------------


def test_a_server_that_never_answers():
    def script(peer):
        peer.request()
        peer.until_closed()

    with Scripted(script) as server, Client(server.url, timeout=0.2) as client, \
            pytest.raises(graphpipe.DeadlineExceeded, match="waiting for the answer"):
        client.infer(X)
    assert 0 < int(re.search(r"X-GraphPipe-Timeout-Ms: (\d+)", server.heads[0])[1]) <= 200


def test_a_name_that_is_never_resolved(monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(30))
    with Client("nobody.invalid") as client, \
            pytest.raises(graphpipe.DeadlineExceeded, match="while connecting"):
        client.infer(X, timeout=0.2)
    done.set()


def test_a_server_that_does_not_read():
    def script(peer):
        done.wait(30)

    done = threading.Event()
    with Scripted(script) as server, Client(server.url) as client:
        with pytest.raises(graphpipe.DeadlineExceeded, match="sending the request"):
            client.infer(LARGE, timeout=0.2)
        done.set()


def test_an_answer_that_drips():
    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(ConnectionError):
            while True:
                peer.send(b"x")
                time.sleep(0.01)

    with Scripted(script) as server, Client(server.url, timeout=0.3) as client, \
            pytest.raises(graphpipe.DeadlineExceeded):
        client.infer(X)


# --- what was found by fuzzing the C client -------------------------------------------------


def test_the_corpus_of_the_c_client():
    """Each file is what a server sends; its first two bytes are for the C client's target."""
    paths = sorted((SOURCE / "tests/fuzz/corpus/client").iterdir())
    assert len(paths) > 100

    with Scripted(*[asked_once(path.read_bytes()[2:]) for path in paths]) as server:
        for i in range(len(paths)):
            with Client(server.url, timeout=20) as client:
                try:
                    client.metadata() if i % 2 else client.infer(X, outputs="y")
                except graphpipe.GraphPipeError as error:
                    assert "\n" not in str(error) and "time is up" not in str(error)
