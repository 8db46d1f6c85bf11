"""What peers do on purpose or by accident: requests hidden in others, bombs, slowness within the
limits, resets and half-closed sides at each point, errors that come early. After each the server
answers, and nothing is left of the peer."""
import socket
import threading
import time

import pytest

from harness import (MESSAGE, PATIENCE, SMALL, Closed, Server, assert_serves, chunked, echoed,
                     encode, eventually, http, settle, settle_empty, uint8)
from test_bad_input import refusal

GOOD = encode(SMALL)
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
CODED = b"Transfer-Encoding: chunked"


def head(*lines):
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: x", *lines]) + b"\r\n\r\n"


# Two readers could disagree on where these end: each is followed by a request that one of them
# would see.
SMUGGLING = {
    "length first": head(b"Content-Length: 5", CODED) + b"0\r\n\r\n",
    "coding first": head(CODED, b"Content-Length: 4") + b"5c\r\n",
    "two lengths": head(b"Content-Length: 0", b"Content-Length: %d" % len(HIDDEN)),
    "two codings": head(CODED, b"Transfer-Encoding: identity") + b"0\r\n\r\n",
    "coding with a space": head(b"Transfer-Encoding : chunked", b"Content-Length: 5") + b"0\r\n",
    "coding folded": head(b"Transfer-Encoding:\r\n chunked", b"Content-Length: 5") + b"0\r\n\r\n",
    "coding after a bare LF": head(b"A: b\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "coding after a bare CR": head(b"A: b\rTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "coding with a tab in it": head(b"Transfer-Encoding: chun\tked") + b"0\r\n\r\n",
    "coding with a vertical tab": head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "coding in quotes": head(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n",
    "coding with a parameter": head(b"Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n",
    "length in two words": head(b"Content-Length: 0 0"),
    "length with an underscore": head(b"Content-Length: 1_0"),
    "length that overflows": head(b"Content-Length: 18446744073709551616"),
    "size that overflows": head(CODED) + b"10000000000000000\r\n",
    "size with a sign": head(CODED) + b"+0\r\n\r\n",
    "size with bare LF": head(CODED) + b"0\n\r\n",
    "size after spaces": head(CODED) + b"0 \r\n\r\n",
    "extension with bare LF": head(CODED) + b"3;x\nabc\r\n0\r\n\r\n",
    "payload without its end": head(CODED) + b"3\r\nabc0\r\n\r\n",
    "name with a NUL": head(b"Content-Length\0: 5"),
}


@pytest.fixture(scope="module")
def logging():
    with Server("-v") as server:
        yield server


@pytest.mark.tsan
@pytest.mark.parametrize("name", SMUGGLING)
def test_no_request_is_smuggled(logging, name):
    for pieces in ([SMUGGLING[name] + HIDDEN], [SMUGGLING[name], HIDDEN]):
        with logging.connect() as connection:
            connection.send(pieces[0])
            time.sleep(0.002 * (len(pieces) - 1))
            try:
                connection.send(*pieces[1:])
            except ConnectionError:
                pass
            answer = connection.answer()
            assert answer.status in (400, 413) and answer.fields["connection"] == "close", answer
            assert connection.is_ended()
    assert_serves(logging)
    assert "hidden" not in logging.stderr


@pytest.mark.parametrize("request_bytes", [
    http("POST", "/", HIDDEN), http("GET", "/", HIDDEN), http("HEAD", "/control/is_alive", HIDDEN),
    http("POST", "/", chunked(HIDDEN, 7), {"Transfer-Encoding": "Chunked"})])
def test_body_is_no_request(logging, request_bytes):
    with logging.connect() as connection:
        connection.send(request_bytes + http("POST", "/", GOOD))
        connection.answer(is_head=request_bytes.startswith(b"HEAD"))
        assert echoed(connection.answer()) == SMALL.data
    assert "hidden" not in logging.stderr


def test_each_bit_of_a_request_flipped(logging):
    """What is answered, if anything is, is HTTP; the server stays."""
    request = http("POST", "/", GOOD, {"Accept": MESSAGE})
    for at in range(8 * len(request)):
        changed = bytearray(request)
        changed[at // 8] ^= 1 << at % 8
        with logging.connect() as connection:
            connection.send(changed)
            connection.socket.shutdown(socket.SHUT_WR)
            try:
                assert connection.answer().status in (200, 400, 404, 405, 413, 417)
            except Closed:
                pass
    assert_serves(logging)


# --- bombs ------------------------------------------------------------------------------

def test_heads_that_do_not_end_hold_64_kib_each(echo):
    settle(echo)
    bombs = [echo.connect() for _ in range(40)]
    for bomb in bombs:
        bomb.send(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 60_000)
    eventually(lambda: echo.metrics()['pool_bytes{state="used"}'] >= 40 * 60_000)
    assert echo.metrics()['pool_bytes{state="used"}'] <= 40 * 80_000
    assert_serves(echo)
    for bomb in bombs:
        bomb.send(b"x" * 6_000)
        assert bomb.answer().status == 431
        bomb.close()
    settle_empty(echo)


def test_names_of_a_message_together(server):
    """They are looked through more than once, so all together are bounded."""
    names = [f"{i:02}" + "n" * 65_000 for i in range(17)]
    assert "1048576" in refusal(server, encode(*[SMALL] * 17, input_names=names), 413)


# --- slow, within the limits ------------------------------------------------------------

def test_slow_peers_within_the_limits_are_served():
    """A head in many pieces, a body and a reader above the least rate."""
    data = bytes(range(256)) * 8192  # 2 MiB
    body = encode(uint8(data))
    with Server() as server:
        with server.connect(receive_buffer=8192) as connection:
            request = http("POST", "/", body)
            for at in range(40):
                connection.send(request[at:at + 1])
                time.sleep(0.02)
            for at in range(40, len(request), 200_000):
                connection.send(request[at:at + 200_000])
                time.sleep(0.05)
            for _ in range(40):
                connection.received += connection.socket.recv(10_000)
                time.sleep(0.02)
            assert echoed(connection.answer()) == data
            assert connection.ask("GET").status == 200


# --- early errors -----------------------------------------------------------------------

@pytest.mark.tsan
@pytest.mark.parametrize("start, status", [
    (http("PUT", "/", fields={"Content-Length": 12 << 20}), 405),
    (http("POST", "/", fields={"Content-Length": 12 << 20, "Expect": "a-wonder"}), 417),
    (http("GET", "/", fields={"Content-Length": 12 << 20}), 413),
    (http("POST", "/", fields={"Content-Length": 12 << 20, "X-GraphPipe-Timeout-Ms": "x"}), 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nA: ", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA b\r\n\r\n", 400),
], ids=["method", "expect", "get", "deadline", "head", "syntax"])
def test_early_error_is_read_by_a_client_that_sends_it_all_first(server, start, status):
    """It is not reset before it has read the answer: we read on and drop what it sends."""
    with server.connect() as connection:
        connection.send(start, bytes(b"x" * (12 << 20)))
        assert connection.answer().status == status
        assert connection.is_ended()


def test_refused_client_that_sends_for_ever_is_cut_off():
    start = time.monotonic()
    with Server("--max-body", "1MiB") as server, server.connect() as connection:
        with pytest.raises(ConnectionError):
            connection.send(http("POST", "/", fields={"Content-Length": 2 << 20}))
            while time.monotonic() < start + 10 * PATIENCE:
                connection.send(bytes(1 << 16))
                time.sleep(0.01)
        assert time.monotonic() - start >= 10
        assert settle(server)["connections"] == 1


def test_body_is_taken_while_the_answer_before_it_is_unread():
    """The answer fills the socket's buffer, which must not keep the body from being read."""
    body = encode(uint8(bytes(24 << 20)))
    with Server() as server:
        for size in (2_000_000, 2_100_000) * 3:
            with server.connect(receive_buffer=4096) as connection:
                connection.send(http("POST", "/", encode(uint8(bytes(size)))))
                eventually(lambda: server.metrics().get('run_seconds_count'))
                time.sleep(0.1)
                before = server.metrics()["received_bytes_total"]
                sender = threading.Thread(target=send_what_it_takes, args=[connection, body])
                sender.start()
                eventually(lambda: server.metrics()["received_bytes_total"]
                           >= before + len(body), what="the second body")
                sender.join()
                connection.reset()


def send_what_it_takes(connection, body):
    try:
        connection.send(http("POST", "/", body))
    except OSError:
        pass
