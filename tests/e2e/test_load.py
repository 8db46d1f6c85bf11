"""Many idle peers, and peers without end, beside which others are served as if they were alone."""
import pathlib
import re
import resource
import socket
import subprocess
import sys
import time

import pytest

from harness import (PATIENCE, SANITIZE, SMALL, Server, Truncated, assert_serves, echoed, encode,
                     eventually, http, settle, settle_empty, uint8)

TURN_REQUESTS = 16  # as src/server/connection.c has it
ENDLESS = pathlib.Path(__file__).with_name("endless.py")


def resident_bytes(server):
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


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
        with server.connect() as connection:
            for _ in range(300):
                assert echoed(connection.ask("POST", "/", encode(SMALL))) == SMALL.data
        server.fall_asleep()
        for connection in idle:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        settle(server)
        eventually(lambda: server.descriptors() <= descriptors)
        print(f"{n} idle connections: {each:.0f} bytes each")
        assert each < 2048 or SANITIZE
        server.fall_asleep()


def answered_between_two_turns(server):
    """How many requests of others the server answers between two turns of one client, who sends more at
    a time than one turn answers: the last of the first turn and the first of the next tell."""
    with server.connect() as connection:
        connection.send(http("GET", "/control/is_alive") * (TURN_REQUESTS - 1)
                        + http("GET", "/metrics") * 2)
        for _ in range(TURN_REQUESTS - 1):
            assert connection.answer().text == "ok\n"
        counts = [int(re.search(r"^graphpipe_request_seconds_count\{[^}]*\} (\d+)",
                                connection.answer().text, re.M)[1]) for _ in range(2)]
    return counts[1] - counts[0]


def test_health_beside_endless_uploads_and_pipelines():
    """Each client has its share: who waits, waits for a turn of each other. The server counts, so that
    no speed matters; the median, since a thread may lose its core in between. How long a health call
    waits is for bench/health.py."""
    kinds = ["upload", "upload", "pipeline", "pipeline"]
    with Server() as server:
        clients = [subprocess.Popen([sys.executable, "-B", ENDLESS, kind,
                                     *map(str, server.address)]) for kind in kinds]
        try:
            eventually(lambda: (m := server.metrics())["run_seconds_count"] > 1000
                       and m["connections"] > len(kinds), 10, "the clients")
            counts = sorted(answered_between_two_turns(server) for _ in range(51))
            assert all(client.poll() is None for client in clients), "a client has ended"
            eventually(lambda: server.metrics()["connections"] > len(kinds))
        finally:
            for client in clients:
                client.kill()
                client.wait()
        print("answered between two turns:", counts)
        assert counts[-1] >= TURN_REQUESTS, "nobody else had a turn"
        assert counts[25] <= 4 * TURN_REQUESTS * len(kinds)
        settle_empty(server)


def test_client_that_never_reads_77_mb():
    """Beside it others are served; it is cut off, and its memory given back."""
    data = bytes(77 << 20)
    with Server("--min-rate", "2MB") as server:
        settle(server)
        descriptors = server.descriptors()
        with server.connect(receive_buffer=4096) as connection:
            start = time.monotonic()
            connection.send(http("POST", "/", encode(uint8(data))))
            eventually(lambda: server.metrics()["run_seconds_count"] == 1)
            while server.metrics()["connections"] > 1:
                assert time.monotonic() - start < 10 + 5 * PATIENCE
                assert server.metrics()['pool_bytes{state="used"}'] <= len(data) + (1 << 20)
                assert_serves(server)
                time.sleep(0.1)
            assert time.monotonic() - start > 9
            with pytest.raises(Truncated):
                connection.answer()
        settle_empty(server)
        eventually(lambda: server.descriptors() <= descriptors)
