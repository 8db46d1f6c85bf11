"""Deadlines of requests, in the queue and in a run: which one holds, and what it stops."""
import time

import pytest

from harness import (MESSAGE, SMALL, assert_serves, begun, echoed, encode, eventually, held, report,
                     serve_slow, slow)

DEADLINE = 16


def timeout(ms):
    return {"X-GraphPipe-Timeout-Ms": ms, "Accept": MESSAGE}


def assert_deadline(answer):
    assert answer.status == 504 and answer.error[0] == DEADLINE, answer


@pytest.mark.tsan
@pytest.mark.parametrize("flags, fields", [
    ([], timeout(200)),
    (["--timeout", "200ms"], {"Accept": MESSAGE}),
    (["--timeout", "200ms"], timeout(60_000)),
    (["--timeout", "60s"], timeout(200)),
], ids=["request", "server", "capped", "shorter"])
def test_deadline_stops_the_run(flags, fields):
    with serve_slow(*flags) as server, server.connect() as connection:
        start = time.monotonic()
        connection.send(slow("sleep-ms=600000", fields=fields))
        assert_deadline(connection.answer())
        assert time.monotonic() - start >= 0.2
        eventually(lambda: report(server)[:3] == (1, 1, 1))
        assert echoed(connection.ask("POST", "/", encode(SMALL))) == b"small"


def test_deadline_of_a_computing_run():
    with serve_slow() as server, server.connect() as connection:
        connection.send(slow("compute-ms=600000", fields=timeout(200)))
        assert_deadline(connection.answer())


def test_run_that_cannot_be_stopped_is_late_but_not_good():
    with serve_slow() as server, server.connect() as connection:
        connection.send(slow("sleep-ms=300 deaf", fields=timeout(100)))
        assert_deadline(connection.answer())
        assert report(server)[:3] == (1, 1, 0)


@pytest.mark.tsan
def test_deadline_while_waiting(gate):
    with serve_slow() as server, server.connect() as first, server.connect() as second:
        first.send(held(gate))
        begun(server, 1)
        start = time.monotonic()
        second.send(slow("sleep-ms=1", fields=timeout(200)))
        assert_deadline(second.answer())
        assert time.monotonic() - start >= 0.2
        assert server.metrics()["waiting"] == 0
        gate.touch()
        assert echoed(first.answer()) == b"small"
        assert echoed(second.ask("POST", "/", encode(SMALL))) == b"small"
        assert report(server)[0] == 2


@pytest.mark.tsan
def test_deadlines_of_many_that_wait(gate):
    """Some are over while others wait on: the order of the rest is kept."""
    with serve_slow() as server:
        first = server.connect()
        first.send(held(gate))
        begun(server, 1)
        waiting = [server.connect() for _ in range(12)]
        for i, connection in enumerate(waiting):
            fields = timeout(100 + 10 * i) if i % 3 else {"Accept": MESSAGE}
            connection.send(slow("sleep-ms=1", b"%d" % i, fields))
        for i, connection in enumerate(waiting):
            if i % 3:
                assert_deadline(connection.answer())
        gate.touch()
        for i, connection in enumerate(waiting):
            if i % 3 == 0:
                assert echoed(connection.answer()) == b"%d" % i
            connection.close()
        assert echoed(first.answer()) == b"small"
        first.close()


def test_deadline_counts_from_the_head():
    """The time of the body is the client's own."""
    with serve_slow() as server, server.connect() as connection:
        request = slow("sleep-ms=600000", fields=timeout(300))
        connection.send(request[:-10])
        time.sleep(0.4)
        connection.send(request[-10:])
        assert_deadline(connection.answer())
        assert report(server)[0] == 0


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "", "4294967296", "9" * 30])
def test_bad_deadlines_are_refused(echo, value):
    fields = {"X-GraphPipe-Timeout-Ms": value}
    answer = echo.ask("POST", "/", encode(SMALL), fields)
    assert answer.status == 400 and "X-GraphPipe-Timeout-Ms" in answer.text
    assert_serves(echo)


def test_deadline_that_is_kept(echo):
    for ms in ("60000", "4294967295"):
        assert echo.infer(SMALL, fields=timeout(ms)).tensors == [SMALL]
