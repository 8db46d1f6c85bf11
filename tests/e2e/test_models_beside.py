"""Models beside each other: what is short for one of them is not short for the others."""
import contextlib
import json
import os
import pathlib
import re
import resource
import struct

import pytest

from harness import (CORES, SANITIZE, Server, begun, echoed, eventually, held, plugin, slow,
                     start_fails)

N_ASKED = 200


def to(name, request):
    return request.replace(b"POST / ", f"POST /{name} ".encode(), 1)


def ask(server, request):
    with server.connect() as connection:
        connection.send(request)
        return connection.answer()


def serve_two(tmp_path, *arguments, **options):
    """slow and fast, of one slot each unless `options` of both say more."""
    models = {"slow": {"path": "x"}, "fast": {"path": "y"}}
    path = tmp_path / "gp.json"
    path.write_text(json.dumps({"engine": plugin("slow"), "models": {
        name: {"instances": 1} | model | options for name, model in models.items()}}))
    return Server("--config", path, *arguments, engine=plugin("slow"))


@contextlib.contextmanager
def saturated(server, gate, n):
    """n requests to slow, all of which its slots and its queue take; nothing more has a place."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(n)]
        for client in clients:
            client.send(to("slow", held(gate)))
        begun(server, n)
        yield
        gate.touch()
        assert [echoed(client.answer()) for client in clients] == [b"small"] * n


@pytest.mark.tsan
@pytest.mark.parametrize("kind", ["threads of all", "threads of its own", "isolated"])
def test_full_model_leaves_the_other_its_places(tmp_path, gate, kind):
    options = {"threads of all": {}, "threads of its own": {"engine-option": {"pinned": 1}},
               "isolated": {"isolate": True}}[kind]
    with serve_two(tmp_path, "--max-waiting", 3, **options) as server, \
            contextlib.ExitStack() as stack:
        stack.enter_context(saturated(server, gate, 4))
        eventually(lambda: server.metrics()["waiting"] == 3)
        refused = ask(server, to("slow", slow("")))
        assert refused.status == 503 and "3 requests wait already" in refused.text
        with server.connect() as connection:
            for i in range(N_ASKED):
                connection.send(to("fast", slow("", b"%d" % i)))
                assert echoed(connection.answer()) == b"%d" % i
        # its own queue is as long as ever
        other = tmp_path / "other"
        clients = [stack.enter_context(server.connect()) for _ in range(4)]
        for client in clients:
            client.send(to("fast", held(other)))
        eventually(lambda: server.metrics()["waiting"] == 6)
        assert ask(server, to("fast", slow(""))).status == 503
        other.touch()
        assert [echoed(client.answer()) for client in clients] == [b"small"] * 4


def reported(server, name):
    """The runs of a model that have begun and ended."""
    return struct.unpack("<4Q", echoed(ask(server, to(name, slow("report")))))[:2]


@pytest.mark.tsan
def test_there_is_a_thread_for_every_slot_of_every_model(tmp_path, gate):
    """Three runs of each of six models at a time; the fourth slot of each still tells of them."""
    names = [f"m{i}" for i in range(6)]
    with Server(*(f"{name}=x" for name in names), "--instances", 4,
                engine=plugin("slow")) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3 * len(names))]
        for i, client in enumerate(clients):
            client.send(to(names[i % len(names)], held(gate)))
        for name in names:
            eventually(lambda: reported(server, name) == (3, 0))
        gate.touch()
        assert all(echoed(client.answer()) == b"small" for client in clients)


def free_cores(server, name):
    return struct.unpack("<I", echoed(ask(server, to(name, slow("free-cores")))))[0]


@pytest.mark.tsan
@pytest.mark.parametrize("kind", ["here", "isolated"])
def test_runs_are_told_of_cores_that_runs_of_others_use(tmp_path, gate, kind):
    with serve_two(tmp_path, isolate=kind == "isolated") as server:
        n = server.n_cores
        assert free_cores(server, "slow") == free_cores(server, "fast") == n
        with saturated(server, gate, 1):
            eventually(lambda: free_cores(server, "fast") == max(n - 1, 1))
        assert eventually(lambda: free_cores(server, "fast") == n)


# --- opening ----------------------------------------------------------------------------

MEETS = ("--engine-option", "meets=2")


@pytest.mark.skipif(CORES < 2, reason="one core only")
@pytest.mark.tsan
def test_models_open_at_the_same_time():
    """Neither of two is open before the other is being opened."""
    with Server("a=x", "b=y", *MEETS, engine=plugin("slow")) as server:
        for name in ("a", "b"):
            assert echoed(ask(server, to(name, slow("")))) == b"small"


@pytest.mark.skipif(CORES < 2, reason="one core only")
def test_models_of_a_repository_open_at_the_same_time(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "model.onnx").write_bytes(b"x")
    with Server("--repository", tmp_path, *MEETS, engine=plugin("slow")) as server:
        for name in ("a", "b"):
            assert echoed(ask(server, to(name, slow("")))) == b"small"


def test_first_model_that_fails_to_open_is_named(tmp_path):
    path = tmp_path / "gp.json"
    path.write_text(json.dumps({"models": {
        name: {"engine": "echo" if name == "a" else f"{tmp_path}/{name}.so"} for name in "abc"}}))
    said = start_fails("--listen", "127.0.0.1:0", "--config", path)
    assert f'model "b": no engine at {tmp_path}/b.so' in said


# --- threads that cannot be made --------------------------------------------------------

def n_threads_of(server):
    return len(os.listdir(f"/proc/{server.pid}/task"))


def limit_address_space(server, more):
    """By `more` bytes beyond what it has; None: not at all."""
    most = resource.RLIM_INFINITY
    if more is not None:
        status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
        most = int(re.search(r"VmSize:\s*(\d+) kB", status)[1]) * 1024 + more
    resource.prlimit(server.pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


@pytest.mark.skipif(bool(SANITIZE), reason="sanitizers map terabytes")
def test_model_with_more_slots_than_threads_can_be_made(tmp_path):
    """It does not load, says why, and costs the others nothing; once there is room, it does."""
    def add(name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(b"x")

    add("a")
    with Server("--repository", tmp_path, "--instances", 64, engine=plugin("slow")) as server:
        n_threads = n_threads_of(server)
        limit_address_space(server, 32 << 20)
        add("b")
        assert server.logged("b version 1 does not load", within=20)
        refused = ask(server, to("b", slow("")))
        assert refused.status == 503 and "thread" in refused.text
        assert echoed(ask(server, to("a", slow("")))) == b"small"
        limit_address_space(server, None)
        assert server.ask("POST", "/control/models/b/load").status == 200
        assert echoed(ask(server, to("b", slow("")))) == b"small"
        assert n_threads_of(server) >= n_threads + 64
