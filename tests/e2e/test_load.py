"""Many idle peers, and peers without end, beside which others are served as if they were alone."""
import pathlib
import re
import resource
import socket
import statistics
import subprocess
import sys
import time

import pytest

from harness import (PATIENCE, SANITIZE, SMALL, Server, Truncated, assert_serves, echoed, encode,
                     eventually, http, settle, uint8)

ENDLESS = pathlib.Path(__file__).with_name("endless.py")


def resident_bytes(server):
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def quantile(values, q):
    return sorted(values)[int(q * len(values))]


@pytest.fixture
def many_descriptors():
    """The most that this process may have, for the time of a test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_idle_connections(many_descriptors):
    """The server raises its own soft limit: it is started with a shell's usual 1024."""
    n = min(10_000, many_descriptors - 300)

    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, many_descriptors))

    with Server(preexec_fn=lower) as server:
        assert_serves(server)
        settle(server)
        before, descriptors = resident_bytes(server), server.descriptors()
        idle = []
        for i in range(n):
            connection = socket.create_connection(server.address, timeout=10 * PATIENCE)
            if i % 2:  # one that has been served; the others have said nothing yet
                connection.sendall(http("GET", "/control/is_alive"))
                assert connection.recv(1000).endswith(b"ok\n")
            idle.append(connection)
        eventually(lambda: server.metrics()["connections"] == n + 1)
        each = (resident_bytes(server) - before) / n
        times = []
        with server.connect() as connection:
            for _ in range(300):
                start = time.monotonic()
                assert echoed(connection.ask("POST", "/", encode(SMALL))) == SMALL.data
                times.append(time.monotonic() - start)
        for connection in idle:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        settle(server)
        eventually(lambda: server.descriptors() <= descriptors)
        print(f"{n} idle connections: {each:.0f} bytes each, "
              f"p50 {1e3 * statistics.median(times):.2f} ms")
        assert each < 2048 or SANITIZE
        assert statistics.median(times) < 0.01 * PATIENCE
        cpu = server.cpu_ticks()
        time.sleep(0.5)
        assert server.cpu_ticks() - cpu <= 2


def probe(servers, n=250):
    """The p99 of n health calls to each in turn, every one on a connection of its own."""
    times = [[] for _ in servers]
    for _ in range(n):
        for server, its in zip(servers, times):
            start = time.monotonic()
            assert server.ask("GET", "/control/is_alive").text == "ok\n"
            its.append(time.monotonic() - start)
        time.sleep(0.005)
    print("health, busy and idle server:", "; ".join(
        f"p50 {1e3 * statistics.median(its):.1f} p99 {1e3 * quantile(its, 0.99):.1f} "
        f"max {1e3 * max(its):.1f} ms" for its in times))
    return [quantile(its, 0.99) for its in times]


def test_health_beside_endless_uploads_and_pipelines():
    """Each client has its share: a probe waits for no more than a few turns of others. What the
    machine adds is seen at a second server, which has nothing else to do, and taken off; of three
    rounds one has to be good."""
    kinds = ["upload", "upload", "pipeline", "pipeline"]
    limit = 0.05 * PATIENCE if SANITIZE else 0.05
    with Server() as server, Server() as idle:
        clients = [subprocess.Popen([sys.executable, "-B", ENDLESS, kind,
                                     *map(str, server.address)]) for kind in kinds]
        try:
            eventually(lambda: server.metrics()["run_seconds_count"] > 1000, 10)
            rounds = []
            while len(rounds) < 3 and not (rounds and rounds[-1] < limit):
                busy, alone = probe([server, idle])
                rounds.append(busy - alone)
            assert all(client.poll() is None for client in clients), "a client has ended"
            assert server.metrics()["connections"] > len(kinds)
        finally:
            for client in clients:
                client.kill()
                client.wait()
        assert min(rounds) < limit, rounds
        assert settle(server)['pool_bytes{state="used"}'] == 0


def test_client_that_never_reads_77_mb():
    """Beside it others are served; it is cut off, and its memory given back."""
    data = bytes(77 << 20)
    with Server("--min-rate", "1GB") as server:
        settle(server)
        descriptors = server.descriptors()
        with server.connect(timeout=30, receive_buffer=4096) as connection:
            connection.send(http("POST", "/", encode(uint8(data))))
            eventually(lambda: server.metrics()["run_seconds_count"] == 1)
            start = time.monotonic()
            while server.metrics()["connections"] > 1:
                assert time.monotonic() - start < 10 + 3 * PATIENCE
                assert server.metrics()['pool_bytes{state="used"}'] <= len(data) + (1 << 20)
                assert_serves(server)
                time.sleep(0.1)
            assert time.monotonic() - start > 9
            with pytest.raises(Truncated):
                connection.answer()
        assert settle(server)['pool_bytes{state="used"}'] == 0
        eventually(lambda: server.descriptors() <= descriptors)
