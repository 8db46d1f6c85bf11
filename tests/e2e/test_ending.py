"""The way to the end: SIGTERM under load and beside idle clients, the drain limit, the second
signal. /control/shutdown is in test_operating.py."""
import signal
import socket
import threading
import time

import pytest

from harness import (PATIENCE, SMALL, Closed, Server, begun, echoed, encode, eventually, held,
                     http, serve_slow, slow)


class Client(threading.Thread):
    """Asks again and again until the server is gone; notes what was answered in part, or not at all
    though it was sent before the end began."""

    def __init__(self, server, request, expected, end):
        super().__init__()
        self.server, self.request, self.expected, self.end = server, request, expected, end
        self.n_answers, self.problem = 0, None

    def run(self):
        try:
            while True:
                with self.server.connect() as connection:
                    self.talk(connection)
        except ConnectionError:
            pass  # refused: it listens no more
        except Exception as error:
            self.problem = error

    def talk(self, connection):
        while True:
            is_late = True
            try:
                connection.send(self.request)
                is_late = self.end.is_set()
                answer = connection.answer()
            except (Closed, BrokenPipeError, ConnectionResetError):
                assert is_late and self.end.is_set(), "no byte of an answer"
                return
            assert echoed(answer) == self.expected
            self.n_answers += 1
            if answer.fields.get("connection") == "close":
                return


@pytest.mark.tsan
@pytest.mark.parametrize("config, size, n_slots", [
    ("", 1000, 4), ("sleep-ms=20", 1000, 2), ("sleep-ms=20", 4_000_000, 2)], ids=["quick", "slow", "large"])
def test_drain_under_load_cuts_no_answer(tmp_path, config, size, n_slots):
    """A client cannot tell a request that is cut off from one that came too late to be read; the engine
    can: every run has been answered."""
    data = bytes(range(250)) * (size // 250)
    config += f" note={tmp_path}/runs"
    with serve_slow("--instances", n_slots) as server:
        end = threading.Event()
        clients = [Client(server, slow(config, data), data, end) for _ in range(8)]
        for client in clients:
            client.start()
        eventually(lambda: all(client.n_answers > 2 for client in clients), 20)
        end.set()
        time.sleep(0.05)  # what was sent before arrives, however busy the kernel is
        server.signal()
        assert server.wait(10) == 0
        for client in clients:
            client.join(10 * PATIENCE)
            assert not client.is_alive() and client.problem is None, repr(client.problem)
    n_runs = (tmp_path / "runs").stat().st_size
    assert n_runs == sum(client.n_answers for client in clients)


@pytest.mark.tsan
def test_drain_finishes_a_request_whose_body_is_on_its_way():
    with Server() as server, server.connect() as connection, server.connect() as code:
        request = http("POST", "/", encode(SMALL))
        connection.send(request[:-10])
        code.send(http("POST", "/", fields={"Transfer-Encoding": "chunked"}))
        begun(server, 2)
        server.signal()
        assert server.logged("draining")
        connection.send(request[-10:])
        answer = connection.answer()
        assert echoed(answer) == b"small" and answer.fields["connection"] == "close"
        body = encode(SMALL)
        code.send(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        assert echoed(code.answer()) == b"small"
        assert server.wait(3) == 0


@pytest.mark.tsan
def test_drain_finishes_what_waits_for_a_slot(gate):
    with serve_slow() as server:
        connections = [server.connect() for _ in range(4)]
        for i, connection in enumerate(connections):
            connection.send(held(gate, b"%d" % i))
            begun(server, i + 1)
        server.signal()
        assert server.logged("draining")
        gate.touch()
        for i, connection in enumerate(connections):
            assert echoed(connection.answer()) == b"%d" % i
            connection.close()
        assert server.wait(3) == 0


@pytest.mark.tsan
def test_idle_clients_do_not_hold_the_end_up():
    with Server("--drain-timeout", "1h") as server:
        idle = [server.connect() for _ in range(20)]
        for connection in idle[:10]:
            assert connection.ask("GET").status == 200
        idle[15].send(b"POST / HTTP/1.1\r\n")  # a head that has not arrived
        server.signal()
        assert server.wait(5) == 0
        for connection in idle:
            assert connection.is_ended()
            connection.close()


def test_client_that_was_refused_does_not_hold_the_end_up():
    """Its answer is sent, and it keeps its side open."""
    with Server("--drain-timeout", "1h") as server, server.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        connection.answer()
        server.signal()
        assert server.wait(5) == 0


def test_no_new_connections_while_draining(tmp_path, gate):
    path = tmp_path / "socket"
    with serve_slow(listen=["127.0.0.1:0", f"unix:{path}"]) as server, server.connect() as busy:
        address = server.address
        busy.send(held(gate))
        begun(server, 1)
        server.signal()
        assert server.logged("draining")
        for family, where in ((socket.AF_INET, address), (socket.AF_UNIX, str(path))):
            with socket.socket(family) as late, pytest.raises(OSError):
                late.connect(where)
        gate.touch()
        assert echoed(busy.answer()) == b"small"
        busy.close()
        assert server.wait(3) == 0


def test_a_successor_keeps_its_socket(tmp_path, gate):
    """It may listen at the same path as soon as the drain has begun."""
    listen = [f"unix:{tmp_path / 'socket'}"]
    with serve_slow(listen=listen) as old, old.connect() as busy:
        busy.send(held(gate))
        begun(old, 1)
        old.signal()
        eventually(lambda: "draining" in old.stderr and not (tmp_path / "socket").exists())
        with Server(listen=listen) as new:
            gate.touch()
            assert echoed(busy.answer()) == b"small"
            busy.close()
            assert old.wait(3) == 0
            assert (tmp_path / "socket").exists()
            assert new.ask("GET", "/control/is_alive").text == "ok\n"


@pytest.mark.tsan
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(number):
    with serve_slow() as server, server.connect() as busy:
        busy.send(slow("sleep-ms=600000 deaf"))
        begun(server, 1)
        server.signal(signal.SIGTERM)
        assert server.logged("draining")
        server.expect_status(128 + number)
        server.signal(number)
        assert server.wait(5) == 128 + number


@pytest.mark.tsan
def test_drain_limit_cuts_off_what_is_left():
    with serve_slow("--drain-timeout", "300ms") as server:
        with server.connect() as running, server.connect() as stalled:
            running.send(slow("sleep-ms=600000"))
            stalled.send(http("POST", "/", fields={"Content-Length": 100}))
            begun(server, 2)
            start = time.monotonic()
            server.signal()
            server.ends(5)
            assert time.monotonic() - start >= 0.3
            assert server.logged("drain limit")


@pytest.mark.tsan
def test_drain_limit_cuts_off_what_waits_for_a_slot():
    """The first request in the queue does not begin when the run before it was stopped."""
    with serve_slow("--drain-timeout", "300ms") as server:
        connections = [server.connect() for _ in range(4)]
        for i, connection in enumerate(connections):
            connection.send(slow("sleep-ms=600000"))
            begun(server, i + 1)
        server.signal()
        server.ends(5)
        for connection in connections:
            connection.close()


@pytest.mark.tsan
def test_run_that_never_comes_back_is_left_behind():
    with serve_slow("--drain-timeout", "300ms") as server, server.connect() as connection:
        connection.send(slow("sleep-ms=600000 deaf"))
        begun(server, 1)
        server.expect_status(1)
        server.signal()
        assert server.wait(5) == 1
        assert server.logged("still running", "did not end within a second")


def test_shutdown_route_is_over_at_the_drain_limit():
    with serve_slow("--drain-timeout", "300ms") as server:
        with server.connect() as running, server.connect() as control:
            running.send(slow("sleep-ms=600000"))
            begun(server, 1)
            control.send(http("POST", "/control/shutdown"))
            assert control.answer().text == "shutdown\n"
            server.ends(3)
