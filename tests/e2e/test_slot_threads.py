"""Engines whose slots have threads of their own: what the watcher does for runs on pollers it
does for these too."""

import contextlib
import json

import pytest

from harness import Server, begun, echoed, eventually, held, plugin, serve_slow, slow

DEADLINE = {"X-GraphPipe-Timeout-Ms": 200}


@contextlib.contextmanager
def serve_pinned(*arguments):
    with serve_slow("--engine-option", "pinned", *arguments) as server:
        server.fall_asleep()  # the watcher too
        yield server


def ask_raw(server, request):
    with server.connect() as connection:
        connection.send(request)
        return connection.answer()


def ask(server, *arguments, **keywords):
    return ask_raw(server, slow(*arguments, **keywords))


def to(name, request):
    return request.replace(b"POST / ", f"POST /{name} ".encode(), 1)


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


@pytest.mark.tsan
def test_a_long_answer_leaves_the_next_run_on_its_thread(gate):
    """The slow engine fails a run that comes by another one."""
    long = b"x" * 200_000
    with serve_pinned() as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(5)]
        for client in clients:
            client.send(held(gate, long))
        begun(server, 5)
        gate.touch()
        assert all(echoed(client.answer()) == long for client in clients)


@pytest.mark.tsan
def test_a_slots_thread_runs_nothing_else(gate, tmp_path):
    """A request to another model that comes behind one to this does not take its thread."""
    path = tmp_path / "gp.json"
    path.write_text(json.dumps({"engine": plugin("slow"), "instances": 1, "models": {
        "pinned": {"path": "x", "engine-option": {"pinned": 1}}, "other": {"path": "y"}}}))
    with Server("--config", path, engine=plugin("slow")) as server, server.connect() as both:
        both.send(to("pinned", slow("")) + to("other", held(gate)))
        assert echoed(both.answer()) == b"small"
        begun(server, 1)
        assert echoed(ask_raw(server, to("pinned", slow("")))) == b"small"
        gate.touch()
        assert echoed(both.answer()) == b"small"
