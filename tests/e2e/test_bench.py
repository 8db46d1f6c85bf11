"""graphpipe bench: what it counts, against servers that are quick, slow, stalled or gone. Runs are
short, and no figure is judged but where the server makes it."""
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from harness import PATIENCE, PROGRAM, Server, chunked, encode, eventually, http, serve_slow, uint8

PLAIN = {k: v for k, v in os.environ.items() if not k.startswith("GP_")}
SHORT = ("--warm-up", "50ms", "--for", "300ms")


def call(*words):
    return subprocess.run([PROGRAM, "bench", *map(str, words)], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=30 * PATIENCE, env=PLAIN, text=True)


def bench(*words):
    """The table."""
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress: this is no terminal
    return done.stdout


def measure(*words, status=0):
    """The result as JSON."""
    done = call(*words, "--json", "-")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def fails(status, *words):
    done = call(*words)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert done.stderr.startswith("graphpipe: "), done.stderr
    return done.stderr


def failures(result):
    """The kinds of errors that there were."""
    errors = dict(result["total"]["errors"])
    kinds = {f"http {status}": n for status, n in errors.pop("http").items()}
    kinds.update((kind, n) for kind, n in errors.items() if n)
    assert sum(kinds.values()) == result["total"]["failed"]
    return kinds


@pytest.fixture(scope="module")
def slow():
    with serve_slow("--instances", 4) as server:
        yield server


class Scripted:
    """A server of a few lines: each connection is given to a function, on a thread."""

    def __init__(self, serve):
        self.serve = serve

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[connection], daemon=True).start()

    def _carry(self, connection):
        with connection:
            try:
                self.serve(connection)
            except OSError:
                pass


def receive(connection):
    """A request, head and body; None at the end."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    size = int(re.search(rb"Content-Length: (\d+)", head)[1])
    while len(body) < size:
        body += connection.recv(65536)
    return body


def once_asked(server, n, action):
    """Does it on a thread, when the server has run n more times."""
    wanted = server.metrics()["run_seconds_count"] + n

    def wait():
        eventually(lambda: server.metrics()["run_seconds_count"] >= wanted)
        action()

    threading.Thread(target=wait, daemon=True).start()


@pytest.fixture(scope="module")
def good_answer(echo):
    return echo.infer(uint8(b"x" * 100)).body


# --- the loops --------------------------------------------------------------------------

def test_table(echo):
    text = bench(echo.addresses[0], *SHORT, "--shape", "256")
    first, *lines = text.splitlines()
    assert first == f"{echo.addresses[0]}  1 in flight, for 0.3 s after 0.05 s of warm-up"
    rows = dict(re.split(r" {2,}", line, maxsplit=1) for line in lines)
    assert rows["request"].startswith("input0 float32[256]  ")
    assert re.fullmatch(r"\d+ in 0\.30 s, [\d.]+/s", rows["requests"])
    assert re.fullmatch(r"[\d.]+/s", rows["rows"])
    assert re.fullmatch(r"[\d.]+ MB/s out, [\d.]+ MB/s in", rows["bytes"])
    assert rows["errors"] == "0"
    assert rows["latency"].split() == ["min", "mean", "p50", "p90", "p99", "p99.9", "max"]
    assert len(re.findall(r"[\d.]+ (?:us|ms|s)\b", rows[""])) == 7
    for who in ("server CPU", "client CPU"):
        assert re.fullmatch(r"[\d.]+ (us|ms) a request, \d\.\d\d cores", rows[who])


def test_closed_loop_of_a_slow_server(slow):
    result = measure(slow.addresses[0], "--config", "sleep-ms=5", "--warm-up", "50ms",
                     "--for", "1s")
    total = result["total"]
    assert 0 < total["requests"] <= 200
    assert 5000 <= total["latency_us"]["min"] <= total["latency_us"]["p50"]
    assert total["latency_us"]["n"] in (total["requests"], total["requests"] + 1)
    assert failures(result) == {} and total["seconds"] == 1


@pytest.mark.parametrize("n", [1, 4])
def test_in_flight(n):
    with serve_slow("--instances", 8) as server:
        result = measure(server.addresses[0], "--config", "sleep-ms=50", "--requests", 12 * n,
                         "--warm-up", "0s", "--in-flight", n)
        (report,) = server.infer(uint8(b"x"), config="report").tensors
    assert result["settings"]["connections"] == n
    assert struct.unpack("<4Q", report.data)[3] == n  # the most that ran at a time


def test_exactly_so_many_requests(echo):
    before = echo.metrics().get('requests_total{code="200"}', 0)
    result = measure(echo.addresses[0], "--requests", 1234, "--warm-up", "0s", "--in-flight", 16,
                     "float32[2,3]:1,2,3,4,5,6")
    assert result["total"]["requests"] == result["total"]["latency_us"]["n"] == 1234
    assert result["request"]["rows"] == 2
    assert echo.metrics()['requests_total{code="200"}'] - before == 1234
    assert measure(echo.addresses[0], "--requests", 3, "--in-flight", 16)["total"]["requests"] == 3


def n_due(result):
    """The requests that were due, and of these on a machine with other work some may never leave."""
    assert failures(result).keys() <= {"never sent"}
    return result["total"]["latency_us"]["n"] + failures(result).get("never sent", 0)


@pytest.mark.parametrize("poisson", [(), ("--poisson",)])
def test_open_loop_keeps_its_rate(echo, poisson):
    result = measure(echo.addresses[0], "--rate", "200/s", *poisson, "--for", "1s",
                     "--warm-up", "100ms")
    due = n_due(result)
    assert due == 200 or (poisson and 130 < due < 270), due


def test_poisson_repeats_with_its_seed(echo):
    counts = [n_due(measure(echo.addresses[0], "--rate", "300", "--poisson", "--seed", seed, "--for",
                            "500ms", "--warm-up", "0s")) for seed in (1, 1, 2, 3)]
    assert counts[0] == counts[1] and len(set(counts)) > 1


def test_a_stall_is_felt_by_all_that_were_due():
    """The server stands still for 500 ms: those that were due meanwhile have waited 250 ms in the
    mean, though each is answered at once when it leaves."""
    with Server() as server:
        def stall():
            server.signal(signal.SIGSTOP)
            time.sleep(0.5)
            server.signal(signal.SIGCONT)

        once_asked(server, 5, stall)
        result = measure(server.addresses[0], "--rate", "100/s", "--for", "1500ms", "--warm-up",
                         "0s", "--connections", 1)
    assert n_due(result) == 150
    assert result["total"]["latency_us"]["p99"] > 400_000
    n_slow = sum(n for us, n in result["histogram_us"] if us > 100_000)
    assert n_slow >= 30
    assert result["total"]["late"] >= 30


def test_what_never_left_is_an_error(slow):
    result = measure(slow.addresses[0], "--config", "sleep-ms=50", "--rate", "200", "--for", "500ms",
                     "--warm-up", "0s", "--connections", 1)
    assert failures(result).keys() == {"never sent"}
    assert failures(result)["never sent"] + result["total"]["latency_us"]["n"] == 100
    text = bench(slow.addresses[0], "--config", "sleep-ms=50", "--rate", "200", "--for", "300ms",
                 "--connections", 1)
    assert "the server does not keep up with 200/s over 1 connections" in text


# --- errors -----------------------------------------------------------------------------

def test_statuses_are_counted():
    with serve_slow("--instances", 1, "--max-waiting", 1) as server:
        result = measure(server.addresses[0], "--config", "sleep-ms=20", *SHORT, "--in-flight", 8)
    ((kind, n),) = failures(result).items()
    assert kind in ("http 429", "http 503") and n > 0
    assert result["total"]["requests"] > 0


def test_timeouts_are_counted(slow):
    done = call(slow.addresses[0], "--config", "sleep-ms=300", *SHORT, "--timeout", "30ms",
                "--json", "-")
    assert done.returncode == 1 and "no request succeeded" in done.stderr
    kinds = failures(json.loads(done.stdout))  # whoever gives up first
    assert kinds and kinds.keys() <= {"timeout", "http 504"}


def test_lost_connections_are_counted(good_answer):
    def serve(connection):
        receive(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(good_answer)
                           + good_answer)
        receive(connection)

    with Scripted(serve) as server:
        result = measure(server.url, *SHORT, "float32:1")
    assert failures(result).keys() == {"connection lost"}
    assert result["total"]["requests"] > 0
    assert "server_cpu_us" in result["total"]


def test_a_server_that_goes_away():
    with Server() as server:
        once_asked(server, 20, server.process.kill)
        server.expect_status(-signal.SIGKILL)
        result = measure(server.addresses[0], "--for", "2s", "--warm-up", "0s")
    assert result["total"]["requests"] > 0
    assert "not connected" in failures(result)


def test_refusals_end_it_at_once(echo, slow):
    assert "2 outputs were asked for" in fails(1, echo.addresses[0], "-o", "a", "-o", "b",
                                               "--for", "1h")
    assert "is the server running?" in fails(1, "127.0.0.1:1", "float32:1")

    def nonsense(connection):
        while receive(connection) is not None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with Scripted(nonsense) as server:
        fails(1, server.url, "float32:1", "--for", "1h")


@pytest.mark.parametrize("shape", ["known", "pieces", "chunked", "until the end", "interim",
                                   "closed each time"])
def test_answers_of_all_shapes(shape, good_answer):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-graphpipe\r\n"
    length = b"Content-Length: %d\r\n" % len(good_answer)

    def serve(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while receive(connection) is not None:
            if shape == "chunked":
                connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
                connection.sendall(chunked(good_answer, 7))
            elif shape == "pieces":
                whole = head + length + b"\r\n" + good_answer
                for at in range(0, len(whole), 40):
                    connection.sendall(whole[at:at + 40])
                    time.sleep(0.0005)
            elif shape == "until the end":
                connection.sendall(head + b"\r\n" + good_answer)
                return
            elif shape == "closed each time":
                connection.sendall(head + length + b"Connection: close\r\n\r\n" + good_answer)
                return
            else:
                interim = b"HTTP/1.1 100 Continue\r\n\r\n" if shape == "interim" else b""
                connection.sendall(interim + head + length + b"\r\n" + good_answer)

    with Scripted(serve) as server:
        result = measure(server.url, *SHORT, "float32:1", "--in-flight", 2)
    assert failures(result) == {} and result["total"]["requests"] > 2


def test_large_messages(echo):
    result = measure(echo.addresses[0], "--warm-up", "0s", "--for", "300ms", "--in-flight", 2,
                     "--shape", "4000000")
    total = result["total"]
    assert failures(result) == {} and total["latency_us"]["n"] > 0
    if total["requests"]:
        assert total["received_bytes_per_s"] / total["requests_per_s"] > 15.9e6
        assert total["sent_bytes_per_s"] / total["requests_per_s"] > 15.9e6


# --- requests ---------------------------------------------------------------------------

def test_recorded_requests(echo, tmp_path):
    plain, captured = tmp_path / "plain.bin", tmp_path / "captured.bin"
    plain.write_bytes(encode(uint8(b"abc")))
    captured.write_bytes(http("POST", "/", encode(uint8(b"abcd"))))
    result = measure(echo.addresses[0], *SHORT, "--record", plain, "--record", captured)
    assert result["request"] | {"bytes": 0} == {"about": "uint8[3]", "messages": 2, "rows": 3,
                                                "bytes": 0}
    assert result["total"]["rows_per_s"] == pytest.approx(
        3.5 * result["total"]["requests_per_s"], rel=0.01)
    plain.write_bytes(b"no message")
    assert "plain.bin: " in fails(1, echo.addresses[0], "--record", plain)


def test_made_up_inputs_suit_the_model(onnx):
    with onnx("types") as server:
        text = bench(server.addresses[0], *SHORT)
        assert "errors      0" in text
        assert "the model has no such input" in fails(1, server.addresses[0], "--shape", "no=1")
    with onnx("mlp") as server:
        result = measure(server.addresses[0], *SHORT, "--rows", 5, "--distinct", 3)
        assert result["request"]["rows"] == 5 and result["request"]["messages"] == 3
        assert failures(result) == {}


def test_unix_socket_and_pid(tmp_path):
    path = tmp_path / "bench.sock"
    with Server(listen=[f"unix:{path}"]) as server:
        found = measure(f"unix:{path}", *SHORT)["total"]["server_cpu_us"]
        said = measure(f"unix:{path}", *SHORT, "--pid", server.pid)["total"]["server_cpu_us"]
    assert found > 0 and said > 0


# --- results ----------------------------------------------------------------------------

def test_slices_add_up(echo):
    result = measure(echo.addresses[0], *SHORT, "--in-flight", 4)
    assert len(result["slices"]) == 10
    assert sum(s["requests"] for s in result["slices"]) == result["total"]["requests"]
    assert sum(n for _, n in result["histogram_us"]) == result["total"]["latency_us"]["n"]
    assert sum(s["seconds"] for s in result["slices"]) == pytest.approx(0.3)


def test_compare(echo, slow, tmp_path):
    quick, late = tmp_path / "quick.json", tmp_path / "late.json"
    assert "latency" in bench(echo.addresses[0], *SHORT, "--json", quick)
    bench(slow.addresses[0], "--config", "sleep-ms=20", "--warm-up", "0s", "--for", "1s",
          "--json", late)
    rows = {line[:16].strip(): line[16:] for line in bench("--compare", quick, late).splitlines()}
    a, b, ratio, low, high = re.search(
        r"([\d.]+)\s+([\d.]+)\s+([\d.]+)   ([\d.]+) to ([\d.]+)", rows["requests/s"]).groups()
    assert float(a) > float(b) and float(low) <= float(ratio) <= float(high) < 1
    assert "within the spread" not in rows["requests/s"]
    assert rows["errors"].split() == ["0", "0"]
    assert "note: settings." in "".join(rows)
    same = bench("--compare", quick, quick)
    assert same.count("within the spread") == 5 and "note" not in same
    assert "wants two" in fails(2, "--compare", quick)
    quick.write_text('{"a":1}')
    assert "not a result of graphpipe bench" in fails(1, "--compare", quick, late)
    quick.write_text("{")
    assert "quick.json:1: no JSON" in fails(1, "--compare", quick, late)


def test_progress_on_a_terminal(echo):
    ours, theirs = pty.openpty()
    with subprocess.Popen([PROGRAM, "bench", echo.addresses[0], "--for", "1500ms", "--warm-up",
                           "0s"], stderr=theirs, stdout=subprocess.DEVNULL, env=PLAIN):
        os.close(theirs)
        text = b""
        while select.select([ours], [], [], 10 * PATIENCE)[0]:
            try:
                text += os.read(ours, 4096)
            except OSError:
                break
    os.close(ours)
    assert re.search(rb"\r +1 s  [\d.]+/s  p50 .* p99 .* 0 errors\x1b\[K", text)
    assert text.endswith(b"\r\x1b[K")


def test_an_interrupted_run_says_what_it_has(echo):
    with subprocess.Popen([PROGRAM, "bench", echo.addresses[0], "--warm-up", "0s", "--for", "1h"],
                          stdout=subprocess.PIPE, env=PLAIN, text=True) as process:
        once_asked(echo, 100, lambda: process.send_signal(signal.SIGINT))
        text, _ = process.communicate(timeout=10 * PATIENCE)
    assert process.returncode == 0
    assert text.endswith("interrupted\n") and "latency" in text


def test_misuse(echo):
    address = echo.addresses[0]
    assert "give one" in fails(2, address, "--rate", "5", "--in-flight", "2")
    assert "give one" in fails(2, address, "--requests", "5", "--for", "2s")
    assert "--rate" in fails(2, address, "--poisson")
    assert "generated" in fails(2, address, "float32:1", "--rows", "2")
    assert "recorded" in fails(2, address, "--record", "x", "-o", "y")
    for rate in ("fast", "0", "-1", "5/m", "1e99", "nan"):
        assert "--rate wants" in fails(2, address, "--rate", rate)
    assert "--shape wants sizes" in fails(1, address, "--shape", "1,x")
