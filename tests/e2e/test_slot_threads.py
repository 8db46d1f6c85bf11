"""Engines whose slots have threads of their own: what the watcher does for runs on pollers it
does for these too."""

import contextlib

import pytest

from harness import begun, echoed, eventually, held, serve_slow, slow

DEADLINE = {"X-GraphPipe-Timeout-Ms": 200}


@contextlib.contextmanager
def serve_pinned(*arguments):
    with serve_slow("--engine-option", "pinned", *arguments) as server:
        server.fall_asleep()  # the watcher too
        yield server


def ask(server, *arguments, **keywords):
    with server.connect() as connection:
        connection.send(slow(*arguments, **keywords))
        return connection.answer()


@pytest.mark.tsan
def test_a_deadline_ends_the_wait_for_a_slot(gate):
    with serve_pinned() as server, server.connect() as first:
        first.send(held(gate))
        begun(server, 1)
        assert ask(server, "", fields=DEADLINE).status == 504
        gate.touch()
        assert echoed(first.answer()) == b"small"


@pytest.mark.tsan
def test_a_deadline_stops_a_run():
    with serve_pinned() as server:
        assert ask(server, "sleep-ms=600000", fields=DEADLINE).status == 504


@pytest.mark.tsan
def test_a_client_that_leaves_stops_its_run():
    def n_stopped():
        return int.from_bytes(echoed(ask(server, "report"))[16:24], "little")

    with serve_pinned("--instances", 2) as server:
        with server.connect() as client:
            client.send(slow("sleep-ms=600000"))
            begun(server, 1)
        eventually(lambda: n_stopped() == 1, what="the run to be stopped")
