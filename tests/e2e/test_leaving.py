"""Clients that reset or half-close at each point of a request, and SIGTERM at each of them at
once. Nothing is left of the ones that go, and the ones that stay are answered in full."""
import socket
import time

import pytest

from harness import (SMALL, assert_serves, begun, chunked, echoed, encode, eventually, held, http, report,
                     serve_slow, settle, settle_empty, slow, uint8)

BODY = encode(SMALL)
REQUEST = http("POST", "/", BODY)
HEAD_BYTES = len(REQUEST) - len(BODY)
CODED = http("POST", "/", chunked(BODY, 50), {"Transfer-Encoding": "chunked"})
LARGE = http("POST", "/", encode(uint8(bytes(8 << 20))))

# What has been sent, and whether there is an answer to wait for, when the client goes.
POINTS = {
    "nothing": (b"", False),
    "method": (REQUEST[:3], False),
    "fields": (REQUEST[:30], False),
    "end of the head": (REQUEST[:HEAD_BYTES - 2], False),
    "head": (REQUEST[:HEAD_BYTES], False),
    "body": (REQUEST[:-20], False),
    "chunk's size": (CODED[:CODED.index(b"\r\n\r\n") + 5], False),
    "chunk": (CODED[:CODED.index(b"\r\n\r\n") + 20], False),
    "last chunk": (CODED[:-4], False),
    "asked to continue": (http("POST", "/", fields={"Expect": "100-continue",
                                                    "Content-Length": 100}), True),
    "run": (slow("sleep-ms=600000"), False),
    "large answer": (LARGE, True),
    "answer": (REQUEST, True),
    "next request": (REQUEST + REQUEST[:-20], True),
    "many requests": (REQUEST * 50, True),
    "refused": (b"nonsense\r\n\r\n", True),
    "refused, sending": (http("GET", "/", fields={"Content-Length": 1 << 20}) + bytes(5000), True),
    "upload": (LARGE[:4 << 20], False),
}


def leave(connection, way):
    if way == "reset":
        connection.reset()
    elif way == "half":
        connection.socket.shutdown(socket.SHUT_WR)
    else:
        connection.close()


@pytest.fixture(scope="module")
def engine():
    with serve_slow("--instances", 2) as server:
        yield server


@pytest.mark.tsan
@pytest.mark.parametrize("point", POINTS)
def test_reset_at_each_point(engine, point):
    sent, has_answer = POINTS[point]
    settle(engine)
    descriptors = engine.descriptors()
    for way in ("reset", "close", "reset"):
        connection = engine.connect(receive_buffer=4096)
        connection.send(sent)
        if has_answer:
            connection.socket.recv(10)
        elif point == "run":
            begun(engine, 1)
        leave(connection, way)
    settle_empty(engine)
    eventually(lambda: engine.descriptors() <= descriptors)
    assert_serves(engine)


@pytest.mark.parametrize("ms", [0, 1, 2, 5, 10])
def test_reset_while_it_waits_for_a_slot(engine, gate, ms):
    """All slots are taken; the client goes before or after the watcher has looked."""
    busy = [engine.connect() for _ in range(2)]
    for i, connection in enumerate(busy):
        connection.send(held(gate))
        begun(engine, i + 1)
    for _ in range(5):
        waiting = engine.connect()
        waiting.send(slow("sleep-ms=1"))
        time.sleep(ms / 1000)
        waiting.reset()
    gate.touch()
    for connection in busy:
        assert echoed(connection.answer()) == b"small"
        connection.close()
    metrics = settle(engine)
    assert metrics["waiting"] == 0 and metrics['pool_bytes{state="used"}'] == 0


@pytest.mark.tsan
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_client_that_leaves_stops_its_run(leave):
    with serve_slow() as server:
        connection = server.connect()
        connection.send(slow("sleep-ms=600000"))
        begun(server, 1)
        getattr(connection, leave)()
        assert server.infer(SMALL).status == 200  # waits for the slot
        assert report(server)[:3] == (2, 2, 1)
        eventually(lambda: server.metrics().get('requests_total{code="499"}') == 1)


@pytest.mark.tsan
def test_client_that_leaves_the_queue_is_not_run(gate):
    with serve_slow() as server, server.connect() as first:
        first.send(held(gate))
        begun(server, 1)
        for i in range(5):
            with server.connect() as leaving:
                leaving.send(slow("sleep-ms=5000"))
                begun(server, 2 + i)
        eventually(lambda: server.metrics()["waiting"] == 5)
        time.sleep(0.002)  # who waited for less than 1 ms is not asked for
        gate.touch()
        assert echoed(first.answer()) == b"small"
        eventually(lambda: server.metrics()["connections"] == 2)
        assert report(server)[:2] == (1, 1)


# --- half-closed ------------------------------------------------------------------------

@pytest.mark.parametrize("point", ["nothing", "method", "end of the head", "head", "body",
                                   "chunk", "last chunk", "upload"])
def test_half_closed_before_the_request_is_whole(engine, point):
    """There will be no more of it: the connection is closed without an answer."""
    with engine.connect() as connection:
        connection.send(POINTS[point][0])
        leave(connection, "half")
        assert connection.is_ended()
    settle_empty(engine)


@pytest.mark.tsan
def test_half_closed_after_many_requests(engine):
    with engine.connect() as connection:
        connection.send(REQUEST * 40 + CODED * 5)
        leave(connection, "half")
        for _ in range(45):
            assert echoed(connection.answer()) == b"small"
        assert connection.is_ended()


def test_half_closed_while_a_large_answer_is_sent(engine):
    with engine.connect(receive_buffer=4096) as connection:
        connection.send(LARGE)
        leave(connection, "half")
        time.sleep(0.1)
        assert echoed(connection.answer()) == bytes(8 << 20)
        assert connection.is_ended()


def test_half_closed_during_a_long_run_counts_as_gone(engine):
    """TCP cannot tell it from a client that left: the run is stopped, and an answer says so."""
    with engine.connect() as connection:
        connection.send(slow("sleep-ms=600000"))
        begun(engine, 1)
        leave(connection, "half")
        answer = connection.answer()
        assert answer.status == 499 and "client left" in answer.text
        assert connection.is_ended()


def test_half_closed_after_a_refusal(engine):
    """The server is done with it, and still listens to one that was refused before it and has not left."""
    settle(engine)
    with engine.connect() as other, engine.connect() as connection:
        for each in (other, connection):
            each.send(b"nonsense\r\n\r\n")
            assert each.answer().status in (400, 405)
        leave(connection, "half")
        assert connection.is_ended()
        eventually(lambda: engine.metrics()["connections"] == 2)
        for _ in range(10):
            other.send(b"x")  # where nobody listens any more this fails


# --- the end, at each point -------------------------------------------------------------

@pytest.mark.tsan
def test_sigterm_with_requests_in_each_state(gate):
    with serve_slow("--instances", 1) as server:
        names = ("idle", "new", "head", "body", "chunk", "running", "waiting", "sending",
                 "refused", "behind")
        c = {name: server.connect(receive_buffer=4096) for name in names}
        c["sending"].send(LARGE)
        c["sending"].socket.recv(1, socket.MSG_PEEK)
        assert c["idle"].ask("GET").status == 200
        c["refused"].send(b"nonsense\r\n\r\n")
        assert c["refused"].answer().status in (400, 405)
        c["head"].send(REQUEST[:HEAD_BYTES - 2])
        c["body"].send(REQUEST[:-20])
        c["chunk"].send(CODED[:-30])
        begun(server, 3)
        c["running"].send(held(gate))
        begun(server, 4)
        c["waiting"].send(slow("sleep-ms=10"))
        begun(server, 5)
        c["behind"].send(slow("sleep-ms=10") + http("GET", "/control/is_ready"))
        begun(server, 6)
        server.signal()
        for name in ("idle", "new", "head"):
            assert c[name].is_ended(), name
        c["body"].send(REQUEST[-20:])  # so that there is more to do than to answer "behind"
        c["chunk"].send(CODED[-30:])
        gate.touch()
        assert echoed(c["behind"].answer()) == b"small"
        ready = c["behind"].answer()  # received before the end began, so it is answered
        assert ready.status == 503 and ready.text == "draining\n"
        for name in ("body", "chunk", "running", "waiting"):
            answer = c[name].answer()
            assert echoed(answer) == b"small" and answer.fields["connection"] == "close", name
        assert echoed(c["sending"].answer()) == bytes(8 << 20)
        for connection in c.values():
            connection.close()
        assert server.wait(5) == 0
