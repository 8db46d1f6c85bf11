"""Engines in processes of their own: what a broken one takes down, what comes back, and that
everything else is as it is without."""
import os
import pathlib
import signal
import struct
import threading
import time

import pytest

from harness import (REPORT, SANITIZE, SMALL, Server, Tensor, assert_serves, chunked, echoed, encode,
                     eventually, http, plugin, read_all, settle, slow, start_fails, uint8)

pytestmark = pytest.mark.tsan
MIB = 1 << 20


def wild(*arguments, n=2, **keywords):
    return Server("--isolate", "--instances", n, "--pool", "64MiB", *arguments,
                  engine=plugin("wild"), **keywords)


def is_zombie(pid):
    stats = read_all([pathlib.Path(f"/proc/{pid}/stat")]).values()
    return any(stat.rsplit(") ", 1)[1][0] == "Z" for stat in stats)


def ended(server, reason):
    return server.metrics()[f'child_ended_total{{reason="{reason}"}}']


def all_ready(server, n=2):
    """Waits until every child can run, and nothing is held by any."""
    def look():
        m = server.metrics()
        return m['children{state="ready"}'] == n and m['pool_bytes{state="used"}'] == 0 and m
    return eventually(look, what=f"{n} ready children and an empty pool")


def forget_reports(server):
    """Of a child that was told to crash: they are wanted."""
    server.lines = [line for line in server.lines if not REPORT.search(line)]


def ask(server, config, data=b"small", timeout_ms=None, **fields):
    if timeout_ms:
        fields["X-GraphPipe-Timeout-Ms"] = timeout_ms
    return server.ask("POST", "/", encode(uint8(data), config=config), fields)


# --- what is as it is without -----------------------------------------------------------

TENSORS = {
    "nothing": [],
    "a scalar": [Tensor("float64", [], struct.pack("<d", 1.5))],
    "empty": [Tensor("int16", [3, 0], b""), uint8(b"")],
    "every type": [Tensor(name, [2], bytes(range(2 * size))) for name, size in
                   {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4,
                    "uint64": 8, "int64": 8, "float16": 2, "float32": 4, "float64": 8}.items()],
    "strings": [Tensor("string", [2, 2], [b"a", b"", b"\xff\x00", b"x" * 100000])],
    "no strings": [Tensor("string", [0], [])],
    "large": [uint8(os.urandom(5 * MIB)), Tensor("string", [1], [b"between"]), uint8(b"1234567"),
              Tensor("float64", [1000, 100], os.urandom(800000))],
    "many": [uint8(bytes([i % 256])) for i in range(1000)],
}


@pytest.fixture(scope="module")
def isolated():
    with Server("--isolate", "--instances", 2, "--pool", "64MiB") as server:
        yield server
        all_ready(server)


@pytest.mark.parametrize("what", TENSORS)
def test_echo_gives_back_what_it_gets(isolated, echo, what):
    answers = [server.infer(*TENSORS[what]) for server in (isolated, echo)]
    assert (answers[0].status, answers[0].body) == (answers[1].status, answers[1].body)
    if TENSORS[what]:
        assert answers[0].tensors == TENSORS[what]


def test_a_chunked_body_at_any_offset(isolated):
    """Misaligned inputs are copied by the decoder, out of the arena: they have to get back."""
    tensors = [uint8(b"123"), Tensor("float64", [3], struct.pack("<3d", 1, 2, 3)), uint8(b"45")]
    body = encode(*tensors)
    for size in (1, 7, 4096):
        answer = isolated.ask("POST", "/", chunked(body, size), {"Transfer-Encoding": "chunked"})
        assert answer.tensors == tensors


def test_an_engines_own_memory_and_outputs_set_again():
    with wild(n=1) as server:
        for size in (1, 4096, 4097, 3 * MIB):
            data = os.urandom(size)
            for config in ("own", "twice"):
                assert echoed(ask(server, config, data)) == data
        all_ready(server, 1)


def test_the_description_comes_from_the_child():
    with wild() as server:
        about = server.ask("GET", "/").text
        assert '"name": "wild"' in about and '"name": "x"' in about
        assert server.logged("engine: the wild engine opens")
        assert server.logged("wild 1.2  wild")


def test_an_engine_that_asks_to_be_isolated():
    with Server("--instances", 2, engine=plugin("aside")) as server:
        pid, = struct.unpack("<q", server.infer().tensors[0].data)
        assert pid != server.process.pid
        assert pathlib.Path(f"/proc/{pid}").exists()
        all_ready(server)


def test_onnx_gives_the_same(onnx):
    """A few rows, and so many that the outputs lie in the arena: written by the runtime once it has
    seen that their shapes are as the model says."""
    asked = [Tensor("float32", [n, 4], struct.pack(f"<{4 * n}f", *range(4 * n)))
             for n in (2, 20000, 20000, 20000)]
    answers = []
    for arguments in ((), ("--isolate",)):
        with onnx("mlp", "--instances", 1, *arguments) as server:
            answers.append([server.infer(x) for x in asked])
            answers[-1].append(server.ask("GET", "/"))
    assert [a.status for a in answers[0]] == [200] * 5
    assert [a.body for a in answers[0]] == [a.body for a in answers[1]]


def test_sixteen_clients_on_four_slots():
    with Server("--isolate", "--instances", 4, "--pool", "64MiB") as server:
        wrong = []

        def client(number):
            with server.connect() as connection:
                for i in range(30):
                    data = bytes([number, i]) * (5 if i % 3 else 20000)
                    if echoed(connection.ask("POST", "/", encode(uint8(data)))) != data:
                        wrong.append((number, i))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        m = all_ready(server, 4)
        assert m['requests_total{code="200"}'] >= 16 * 30


# --- a child that breaks ----------------------------------------------------------------

ENDS = {
    "null": ("signal 11" if not SANITIZE else "exit status", "signal" if not SANITIZE else "exit"),
    "abort": ("signal 6", "signal"),
    "exit": ("exit status 3", "exit"),
    "input": ("signal 11" if not SANITIZE else "exit status", "signal" if not SANITIZE else "exit"),
    "garbage": ("makes no sense", "protocol"),
    "close": ("signal 9", "signal"),
}


@pytest.mark.parametrize("config", ENDS)
def test_only_its_request_fails(config, gate):
    words, reason = ENDS[config]
    with wild() as server, server.connect() as other:
        other.send(slow(f"until {gate}", b"unharmed"))
        eventually(lambda: server.metrics()["in_flight"] >= 2)
        answer = ask(server, config)
        assert answer.status == 503 and answer.fields["retry-after"] == "1"
        assert "ended (" in answer.text and words in answer.text, answer.text
        gate.touch()
        assert echoed(other.answer()) == b"unharmed"
        m = all_ready(server)
        assert m[f'child_ended_total{{reason="{reason}"}}'] == 1
        assert m["child_restarts_total"] == 1
        assert_serves(server)
        assert not any(map(is_zombie, server.children()))
        forget_reports(server)


def test_what_a_child_says_is_looked_at():
    """tests/unit/test_isolate_lies.c has the many ways; here it is that the server lives on."""
    with wild(n=1) as server:
        kept = struct.pack("<IIxIIqQQ", 1, 0, 1, 1, 3, (1 << 64) - 1, 3) + b"abc"
        answer = ask(server, "say 6", kept[:-1])  # DONE, with a byte too few
        assert answer.status == 503 and "makes no sense" in answer.text
        all_ready(server, 1)
        assert echoed(ask(server, "say 6", kept)) == b"abc"
        assert ended(server, "protocol") == 1


def test_inputs_cannot_be_had_for_writing():
    with wild(n=1) as server:
        assert echoed(ask(server, "inputs", bytes(MIB))) == bytes(MIB)


def test_scribbling_over_the_outputs_harms_no_server():
    """Outputs of others that are being sent may show it; nothing else may."""
    with wild() as server:
        for _ in range(5):
            assert echoed(ask(server, "outputs", b"mine")) == b"mine"
            for tensors in TENSORS.values():
                assert server.infer(*tensors).tensors == tensors
        all_ready(server)


def test_killed_while_idle_it_starts_again_before_anybody_asks():
    with wild() as server:
        before = server.children()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: server.metrics()["child_restarts_total"] == 2)
        all_ready(server)
        assert ended(server, "signal") == 2
        assert not set(server.children()) & set(before)
        for _ in range(10):
            assert_serves(server)
        assert server.metrics().get('requests_total{code="503"}', 0) == 0


def test_many_ends_leave_nothing_behind():
    with wild() as server:
        def crash():
            eventually(lambda: "ended (" in ask(server, "exit", bytes(100000)).text)
        crash()
        all_ready(server)
        settle(server)
        descriptors = server.descriptors()
        for _ in range(4):
            crash()
        m = all_ready(server)
        settle(server)
        assert ended(server, "exit") == 5 and m['pool_bytes{state="reserved"}'] == 0
        eventually(lambda: server.descriptors() <= descriptors)
        assert len(server.children()) == 2 and not any(map(is_zombie, server.children()))


def test_back_off(tmp_path):
    """The first restart is at once; while a child cannot start, requests are refused at once, with
    the reason, and it is tried less and less often."""
    mark = tmp_path / "mark"
    with wild("--engine-option", f"fail-if={mark}", n=1) as server:
        mark.touch()
        began = time.monotonic()
        assert ask(server, "exit").status == 503
        refused = eventually(lambda: (a := ask(server, "x")).status == 503
                             and "does not open" in a.text and a)
        assert refused.fields["retry-after"] == "1" and "start again" in refused.text
        # tried at once, and after 100, 200 and 400 ms more
        eventually(lambda: server.metrics()["child_restarts_total"] >= 4)
        assert time.monotonic() - began >= 0.7
        mark.unlink()
        eventually(lambda: ask(server, "x").status == 200)
        all_ready(server, 1)


def test_who_waits_is_told_when_none_can_start(tmp_path, gate):
    mark = tmp_path / "mark"
    with wild("--engine-option", f"die-if={mark}", n=1) as server:
        with server.connect() as first, server.connect() as second:
            first.send(slow(f"until {gate}"))
            eventually(lambda: server.metrics()["in_flight"] >= 2)
            second.send(slow("x"))
            eventually(lambda: server.metrics()["waiting"] == 1)
            mark.touch()
            os.kill(server.children()[0], signal.SIGKILL)
            assert first.answer().status == 503
            answer = second.answer()
            assert answer.status == 503 and "signal 6" in answer.text
        mark.unlink()
        all_ready(server, 1)
        forget_reports(server)


# --- deadlines --------------------------------------------------------------------------

def test_a_late_child_is_waited_for_and_keeps_its_memory(gate):
    with wild("--hang-timeout", "1h", n=1) as server:
        answer = ask(server, f"until {gate}", bytes(MIB), timeout_ms=1000)
        assert answer.status == 504
        m = server.metrics()
        assert m['children{state="late"}'] == 1 and m['pool_bytes{state="used"}'] >= MIB
        with server.connect() as waiting, server.connect() as hasty:
            waiting.send(slow("x", b"after it"))
            hasty.send(slow("x", fields={"X-GraphPipe-Timeout-Ms": 100}))
            assert hasty.answer().status == 504  # though nothing runs in the server
            gate.touch()
            assert echoed(waiting.answer()) == b"after it"
        m = all_ready(server, 1)
        assert m["child_restarts_total"] == 0


@pytest.mark.parametrize("then", ["goes on", "hangs"])
def test_a_child_that_does_not_read_misses_no_deadline(then):
    """Its request is over what the socket holds. It is stopped as soon as it is read at last."""
    arguments = () if then == "goes on" else ("--hang-timeout", "200ms")
    with wild(*arguments, n=1) as server:
        (child,) = server.children()
        os.kill(child, signal.SIGSTOP)
        answer = ask(server, "until /nowhere/" + "x" * 900_000, timeout_ms=1000)
        assert answer.status == 504 and "deadline" in answer.text
        if then == "goes on":
            os.kill(child, signal.SIGCONT)
        all_ready(server, 1)
        assert (server.children() == [child]) == (then == "goes on")
        assert_serves(server)
        assert ended(server, "hang") == (then == "hangs")


def test_a_child_that_hangs_is_ended():
    with wild("--hang-timeout", "300ms", n=2) as server:
        pids = server.children()
        assert ask(server, "hang", bytes(MIB), timeout_ms=1000).status == 504
        assert_serves(server)
        m = all_ready(server)
        assert m['child_ended_total{reason="hang"}'] == 1 and m["child_restarts_total"] == 1
        assert len(set(server.children()) & set(pids)) == 1
        assert server.logged("--hang-timeout")


def test_a_stop_that_was_not_read_is_not_the_next_childs():
    """Which counts its runs from 1 again."""
    with Server("--isolate", "--instances", 1, "--hang-timeout", "200ms",
                engine=plugin("slow")) as server:
        (child,) = server.children()
        os.kill(child, signal.SIGSTOP)
        assert ask(server, "", timeout_ms=500).status == 504
        all_ready(server, 1)
        assert server.children() != [child] and ended(server, "hang") == 1
        for _ in range(3):
            assert echoed(ask(server, "")) == b"small"


def test_a_client_that_leaves_stops_its_run():
    """One that listens ends; one that does not is left with the child, and its thread goes on."""
    with Server("--isolate", "--instances", 1, "--hang-timeout", "500ms",
                engine=plugin("slow")) as server:
        for config in ("sleep-ms=60000", "sleep-ms=60000 deaf"):
            with server.connect() as connection:
                connection.send(slow(config))
                eventually(lambda: server.metrics()["in_flight"] >= 2)
            eventually(lambda: server.metrics()["in_flight"] == 1)
            assert echoed(server.ask("POST", "/", encode(SMALL))) == b"small"
        assert server.metrics()["child_restarts_total"] == 1
        assert ended(server, "hang") == 1


# --- beginning and end ------------------------------------------------------------------

def test_a_model_that_cannot_be_opened(tmp_path):
    mark = tmp_path / "mark"
    mark.touch()
    common = ("--isolate", "--instances", 3, "--engine", plugin("wild"), "--engine-option")
    assert "the wild engine does not open" in start_fails(*common, f"fail-if={mark}")
    if not SANITIZE:  # else the child's report is on standard error too
        line = start_fails(*common, f"die-if={mark}")
        assert "signal 6" in line and "opened the model" in line
    assert "nosuch" in start_fails("--isolate", "--engine", "nosuch")


@pytest.mark.parametrize("limit, status", [("1h", 200), ("1s", 503)], ids=["finished", "hung"])
def test_drain(gate, limit, status):
    """What is in flight is finished within the limit, and a hung child is not waited for after."""
    with wild("--drain-timeout", limit) as server, server.connect() as connection:
        pids = server.children()
        connection.send(slow(f"until {gate}"))
        eventually(lambda: server.metrics()["in_flight"] >= 2)
        server.signal()
        assert server.logged("draining")
        if status == 200:
            gate.touch()
        assert connection.answer().status == status
        server.ends(5)
        assert status == 503 or server.process.returncode == 0
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def test_no_child_outlives_the_server():
    with wild(n=3) as server:
        pids = server.children()
        with server.connect() as connection:
            connection.send(slow("hang"))
            eventually(lambda: server.metrics()["in_flight"] >= 2)
            os.kill(server.pid, signal.SIGKILL)
            eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
        server.wait(5)
        server.expect_status(-signal.SIGKILL)


def test_a_child_has_no_descriptor_that_it_should_not():
    with wild() as server, server.connect() as connection:
        connection.send(http("POST", "/", b"", {"Content-Length": 5}))
        os.kill(server.children()[0], signal.SIGKILL)
        eventually(lambda: (m := server.metrics())['children{state="ready"}'] == 2
                   and m["child_restarts_total"] == 1)
        for pid in server.children():
            assert sorted(map(int, os.listdir(f"/proc/{pid}/fd"))) == [0, 1, 2, 3, 4, 5, 6]
            flags = pathlib.Path(f"/proc/{pid}/fdinfo/4").read_text().split()[3]
            assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY  # the inputs
