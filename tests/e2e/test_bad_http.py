"""HTTP that is wrong is refused as text, and the connection closed; clients that stall or leave
take nothing with them. After each the server answers a good request on a new connection."""
import time

import pytest

from harness import (MESSAGE, PATIENCE, SMALL, Server, assert_serves, chunked, encode,
                     eventually, http, uint8)


GOOD = encode(SMALL)


def post_with(*lines, body=GOOD, length=True):
    lines = [b"POST / HTTP/1.1", b"Host: x", *lines]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def code_with(*lines, body=chunked(GOOD)):
    return post_with(*lines, body=body, length=False)


BAD_HEADS = {
    "two equal lengths": post_with(b"Content-Length: %d" % len(GOOD)),
    "two lengths": post_with(b"Content-Length: 5"),
    "list of lengths": post_with(b"Content-Length: 5, 5", length=False),
    "negative length": post_with(b"Content-Length: -1", length=False),
    "signed length": post_with(b"Content-Length: +5", length=False),
    "hexadecimal length": post_with(b"Content-Length: 0x10", length=False),
    "empty length": post_with(b"Content-Length:", length=False),
    "length and chunked": post_with(b"Transfer-Encoding: chunked"),
    "chunked and length": code_with(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "gzip": code_with(b"Transfer-Encoding: gzip"),
    "identity": code_with(b"Transfer-Encoding: identity"),
    "gzip, chunked": code_with(b"Transfer-Encoding: gzip, chunked"),
    "chunked, gzip": code_with(b"Transfer-Encoding: chunked, gzip"),
    "chunked, chunked": code_with(b"Transfer-Encoding: chunked, chunked"),
    "chunked twice": code_with(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "xchunked": code_with(b"Transfer-Encoding: xchunked"),
    "empty coding": code_with(b"Transfer-Encoding:"),
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(GOOD),
    "no host": b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "folded with a tab": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "high bytes in the target": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces before the target": b"POST  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tab before the version": b"GET /\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "space before the method": b" GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare LF before the method": b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare CR before the method": b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "fragment": b"GET /#x HTTP/1.1\r\nHost: x\r\n\r\n",
    "target without a host": b"GET http:///metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the host": b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
    "path in the host": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "user in the host": b"GET / HTTP/1.1\r\nHost: x@y\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "relative target": b"GET metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version": b"GET /\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "RTSP": b"GET / RTSP/1.0\r\nHost: x\r\n\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(200)),
    "zeros": bytes(500),
}

BAD_CHUNKS = {
    "no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "longer than it says": b"2\r\nabc\r\n0\r\n\r\n",
    "bare LF": b"3\nabc\n0\n\n",
    "space before the size": b" 3\r\nabc\r\n0\r\n\r\n",
    "long extensions": b"3;" + b"x" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
    "many extensions": b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 400 + b"0\r\n\r\n",
    "long trailers": b"3\r\nabc\r\n0\r\nA: " + b"x" * 5000 + b"\r\n\r\n",
    "bad trailer": b"3\r\nabc\r\n0\r\nA b\r\n\r\n",
}


def refused_as_text(server, request, status=400):
    """The answer is text, and then the connection ends."""
    with server.connect() as connection:
        connection.send(request)
        answer = connection.answer()
        assert answer.status == status, answer
        assert answer.fields["content-type"].startswith("text/plain")
        assert answer.fields["connection"] == "close"
        assert len(answer.text) > 10 and answer.text.endswith("\n")
        assert connection.is_ended()
    return answer.text


@pytest.mark.parametrize("name", BAD_HEADS)
def test_bad_head(server, name):
    request = BAD_HEADS[name].replace(b"\r\n\r\n", b"\r\nAccept: %s\r\n\r\n" % MESSAGE.encode(), 1)
    for bytes_ in (BAD_HEADS[name], request):
        with server.connect() as connection:
            connection.send(bytes_)
            answer = connection.answer()
            assert answer.status in ((400, 405) if name in ("TLS", "zeros") else (400,)), answer
            assert answer.fields["content-type"].startswith("text/plain")
            assert answer.fields["connection"] == "close"
            assert connection.is_ended()


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks(server, name):
    head = http("POST", "/", fields={"Transfer-Encoding": "chunked", "Accept": MESSAGE})
    refused_as_text(server, head + BAD_CHUNKS[name])


@pytest.mark.parametrize("size", [b"40000001", b"7fffffffffffffff", b"ffffffffffffffff",
                                  b"10000000000000000", b"f" * 30])
def test_chunk_that_announces_more_than_the_limit(server, size):
    """It need not be sent to be refused, as a length need not."""
    with server.connect() as connection:
        connection.send(http("POST", "/", fields={"Transfer-Encoding": "chunked"}), size, b"\r\n")
        answer = connection.answer()
        assert answer.status == 413 and answer.fields["connection"] == "close"


def test_head_of_64_kib_is_over_long(server):
    def head(size):
        start = b"GET / HTTP/1.1\r\nHost: x\r\nLong: "
        return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"
    with server.connect() as connection:
        connection.send(head(65536))
        assert connection.answer().status == 200
        connection.send(head(30_000) * 5)
        assert [connection.answer().status for _ in range(5)] == [200] * 5
    assert "65536" in refused_as_text(server, head(65537), 431)
    refused_as_text(server, head(1 << 20), 431)
    refused_as_text(server, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431)


def test_more_than_100_fields(server):
    def head(n):
        return http("GET", "/", fields=[("Host", "x")] + [(f"F{i}", i) for i in range(n - 1)])
    with server.connect() as connection:
        connection.send(head(100))
        assert connection.answer().status == 200
    assert "100" in refused_as_text(server, head(101), 431)


def test_over_2_gib_announced(server):
    for size in (2 ** 31, 2 ** 40, 2 ** 63 - 1):
        head = http("POST", "/", fields={"Content-Length": size})
        text = refused_as_text(server, head, 413)
        assert "2 GiB - 1" in text and str(size) in text
    for size in (2 ** 64, 10 ** 30):
        refused_as_text(server, http("POST", "/", fields={"Content-Length": size}), 413)


def test_over_the_default_limit_announced(server):
    head = http("POST", "/", fields={"Content-Length": 2 ** 30 + 1})
    text = refused_as_text(server, head, 413)
    assert "1073741825" in text and "1073741824" in text and "--max-body" in text


@pytest.mark.parametrize("way", ["length", "one chunk", "chunks"])
@pytest.mark.tsan
def test_refusal_can_be_read_by_a_client_that_is_still_sending(way):
    body = bytes(12 << 20)
    with Server("--max-body", "1MiB") as server, server.connect() as connection:
        if way == "length":
            connection.send(http("POST", "/", body))
        else:
            coded = chunked(body, None if way == "one chunk" else 10_000)
            connection.send(http("POST", "/", coded, {"Transfer-Encoding": "chunked"}))
        answer = connection.answer()
        assert answer.status == 413 and "1048576" in answer.text
        assert connection.is_ended()
        assert_serves(server)


def test_body_of_exactly_the_limit():
    with Server("--max-body", "10000") as server, server.connect() as connection:
        for body, status in ((bytes(10_000), 400), (bytes(10_001), 413)):
            request = http("POST", "/", chunked(body, 999), {"Transfer-Encoding": "chunked"})
            with server.connect() as other:
                other.send(request)
                assert other.answer().status == status
            assert connection.ask("POST", "/", body).status == status


# --- clients that stall or leave --------------------------------------------------------

HALF_A_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le"


@pytest.fixture
def impatient():
    with Server("--head-timeout", "400ms") as server:
        yield server
        assert_serves(server)


@pytest.mark.tsan
def test_stalled_head(impatient):
    start = time.monotonic()
    with impatient.connect() as connection:
        connection.send(HALF_A_HEAD)
        answer = connection.answer()
        assert answer.status == 408 and "400 ms" in answer.text
        assert time.monotonic() - start >= 0.4
        assert connection.is_ended()


def drips_to_its_end(connection, meanwhile=lambda: None):
    """Sends a head byte by byte; true when the server has ended that."""
    end = time.monotonic() + 5 * PATIENCE
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
    connection.socket.settimeout(0.03)
    while time.monotonic() < end:
        try:
            connection.socket.sendall(b"a")
            connection.receive()
            return True
        except TimeoutError:
            meanwhile()
        except ConnectionError:
            return True
    return False


def test_head_that_drips(impatient):
    """The time of a head does not begin anew with each byte."""
    with impatient.connect() as connection:
        assert drips_to_its_end(connection)
        assert b" 408 " in connection.received


def test_head_that_drips_while_others_stall(impatient):
    """Nor when other clients' heads begin after it."""
    others = []

    def stall():
        others.append(impatient.connect())
        others[-1].send(HALF_A_HEAD)

    with impatient.connect() as connection:
        is_ended = drips_to_its_end(connection, stall)
        for other in others:
            other.close()
        assert is_ended, "a head that drips keeps its connection for ever"


def test_a_stalled_head_is_counted(impatient):
    timeouts = 'other_requests_total{kind="other",code="408"}'
    before = impatient.metrics().get(timeouts, 0)
    with impatient.connect() as connection:
        connection.send(HALF_A_HEAD)
        assert connection.answer().status == 408
    eventually(lambda: impatient.metrics().get(timeouts) == before + 1)


@pytest.mark.tsan
@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("part", [
    HALF_A_HEAD,
    http("POST", "/", fields={"Content-Length": 5000}) + b"half",
    http("POST", "/", fields={"Transfer-Encoding": "chunked"}) + b"5\r\nhal",
    http("POST", "/", fields={"Content-Length": 200_000_000}) + bytes(100_000),
], ids=["head", "body", "chunked", "large"])
def test_client_that_leaves_in_mid_request(server, part, leave):
    eventually(lambda: server.metrics()["connections"] == 1)
    descriptors = server.descriptors()
    for _ in range(5):
        connection = server.connect()
        connection.send(part)
        getattr(connection, leave)()
    eventually(lambda: (m := server.metrics())["connections"] == m["in_flight"] == 1)
    assert server.metrics()['pool_bytes{state="used"}'] == 0
    eventually(lambda: server.descriptors() <= descriptors)


@pytest.mark.tsan
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_client_that_leaves_in_mid_answer(server, leave):
    eventually(lambda: server.metrics()["connections"] == 1)
    descriptors = server.descriptors()
    body = encode(uint8(bytes(8 << 20)))
    for _ in range(3):
        connection = server.connect(receive_buffer=4096)
        connection.send(http("POST", "/", body))
        assert connection.receive()
        getattr(connection, leave)()
    eventually(lambda: (m := server.metrics())["connections"] == m["in_flight"] == 1)
    assert server.metrics()['pool_bytes{state="used"}'] == 0
    eventually(lambda: server.descriptors() <= descriptors)
