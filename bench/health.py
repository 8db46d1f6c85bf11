"""How long a health call waits, every one on a connection of its own, beside what keeps the server
busy: each time next to a second server that has nothing else to do.

slots: every slot is in a run of the slow engine (tests/engines), which waits or computes, and there
are fewer pollers than slots. endless: two uploads without end and two clients that pipeline without
waiting for an answer (tests/e2e/endless.py), at a lower priority, since they stand for other
machines. large: two bodies of 64 MiB at a time, again and again. idle: 10 000 idle connections, or as
many as descriptors allow. That others are bounded in turns is a test (tests/e2e/test_load.py); here
it is in time.
"""
import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import Sample

ROUNDS = 5
CALLS = 500
SLOW = harness.BUILD / "lib/graphpipe-test/graphpipe-engine-slow.so"
ENDLESS = harness.ROOT / "tests/e2e/endless.py"
CORES = len(os.sched_getaffinity(0))


def place(address):
    host, port = address.removeprefix("http://").split(":")
    return host, int(port)


def health(address, n):
    """A measurement: the p99 of n calls in microseconds."""
    def measure():
        times = []
        for _ in range(n):
            start = time.perf_counter()
            with socket.create_connection(place(address)) as connection:
                connection.sendall(b"GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(4096).endswith(b"ok\n")
            times.append(1e6 * (time.perf_counter() - start))
            time.sleep(0.002)
        times.sort()
        return Sample(times[99 * n // 100], extra={"p50_us": times[n // 2], "max_us": times[-1]})
    return measure


@contextlib.contextmanager
def busy_slots(address, work):
    with contextlib.ExitStack() as stack:
        request = post(harness.message("uint8:1", "--config", work))
        for _ in range(2 * CORES + 2):
            stack.enter_context(socket.create_connection(place(address))).sendall(request)
        time.sleep(0.2)
        yield


@contextlib.contextmanager
def endless(address, _):
    clients = [subprocess.Popen(["nice", "-n", "5", sys.executable, "-B", ENDLESS, kind,
                                 *map(str, place(address))],
                                env={**os.environ, "GP_SOURCE_DIR": str(harness.ROOT)})
               for kind in ("upload", "upload", "pipeline", "pipeline")]
    time.sleep(1)
    try:
        yield
    finally:
        for client in clients:
            client.kill()
            client.wait()


def post(body):
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@contextlib.contextmanager
def large(address, _):
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        request = harness.message(harness.zeros(folder, 16 << 20))

    def exchange():
        while not stop.is_set():
            harness.answer(address, request)

    threads = [threading.Thread(target=exchange) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def idle(address, _):
    with contextlib.ExitStack() as stack:
        for _ in range(min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300)):
            stack.enter_context(socket.create_connection(place(address)))
        yield


ROWS = [("sleep", "beside runs that wait in every slot", SLOW, busy_slots, "sleep-ms=600000"),
        ("compute", "beside runs that compute in every slot", SLOW, busy_slots, "compute-ms=600000"),
        ("endless", "beside endless uploads and pipelines", "echo", endless, None),
        ("large", "beside two bodies of 64 MiB at a time", "echo", large, None),
        ("idle", "beside idle connections", "echo", idle, None)]


def main(smoke):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    result = harness.Result("health", "Health calls beside other work", smoke)
    n = 50 if smoke else CALLS
    for row, what, engine, busy, work in ROWS:
        slots = ["--instances", 2 * CORES, "--pollers", CORES]
        with (harness.graphpipe(engine, *slots) as (address, _),
              harness.graphpipe(engine, *slots) as (other, _), busy(address, work)):
            result.compare(row, f"a health call {what}, p99", "us",
                           {"graphpipe": health(address, n), "nothing else to do": health(other, n)},
                           rounds=1 if smoke else ROUNDS, better="lower")
    result.save()
