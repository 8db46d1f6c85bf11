"""One client takes all that it can get of what is limited: others are served meanwhile, health checks
are answered, and whoever is refused gets an answer."""
import contextlib
import itertools
import time

import pytest

from harness import (SMALL, Connection, Server, assert_serves, echoed, encode, eventually,
                     http, serve_slow, settle, settle_empty, slow, uint8)

UNFINISHED = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 60_000


def refused(server, what):
    return server.metrics()[f'refused_total{{what="{what}"}}']


def is_healthy(server, source="127.0.0.1"):
    for target in ("/control/is_ready", "/control/is_alive", "/metrics"):
        with server.connect(source=source) as connection:
            assert connection.ask("GET", target).status == 200


def fill_with_heads(server, source, start=UNFINISHED):
    """Sends the starts of heads until there is no room for one more; that one's answer."""
    heads, before = [], refused(server, "head")
    while True:
        heads.append(server.connect(source=source))
        before_it = server.metrics()['pool_bytes{state="used"}']
        heads[-1].send(start)
        eventually(lambda: refused(server, "head") > before
                   or server.metrics()['pool_bytes{state="used"}'] > before_it)
        if refused(server, "head") > before:
            return heads, heads[-1].answer()


# --- connections ------------------------------------------------------------------------

def are_closed(connections):
    for connection in connections:
        assert connection.answer().status == 503 and connection.is_ended()


@pytest.mark.tsan
def test_idle_connections_of_one_address_make_room():
    """It gets three quarters; from then on its own that have idled longest go, and others find
    the last quarter."""
    with Server("--max-connections", 64) as server, server.connect(source="127.0.0.3") as other:
        assert other.ask("GET").status == 200
        flood = [server.connect(source="127.0.0.2") for _ in range(200)]
        eventually(lambda: server.metrics()["evicted_total"] >= 200 - 48)
        are_closed(flood[:200 - 48])
        assert flood[-47].ask("GET").status == other.ask("GET").status == 200
        is_healthy(server)
        assert_serves(server)
        assert refused(server, "connection") == 0
        eventually(lambda: server.metrics()["connections"] <= 64)


@pytest.mark.tsan
def test_connections_of_many_addresses_make_room_for_newcomers():
    """Who has idled longest goes; who is in the middle of something stays."""
    with Server("--max-connections", 16) as server:
        half = server.connect(source="127.0.0.9")
        half.send(b"GET / HTTP/1.1\r\n")
        eventually(lambda: server.metrics()["connections"] == 2)
        flood = [server.connect(source=f"127.0.1.{i + 1}") for i in range(40)]
        for connection in flood[-12:]:
            assert connection.ask("GET").status == 200
        are_closed(flood[:24])
        half.send(b"Host: x\r\n\r\n")
        assert half.answer().status == 200
        is_healthy(server)


def is_refused(connection):
    """Asks for health on a connection that may have been refused."""
    try:
        connection.send(http("GET", "/control/is_ready"))
    except OSError:
        pass
    answer = connection.answer()
    assert answer.status in (200, 503)
    return answer.status == 503


def test_when_no_connection_is_idle_others_are_told_and_health_is_answered():
    with Server("--max-connections", 16, "--head-timeout", "60s") as server:
        busy = [server.connect(source=f"127.0.1.{i + 1}") for i in range(16)]
        for connection in busy:
            connection.send(b"GET / HTTP/1.1\r\n")
        eventually(lambda: "kept for health" in server.ask("GET").text)
        for _ in range(50):
            is_healthy(server)
            with server.connect() as connection:
                answer = connection.ask("POST", "/", encode(SMALL))
                assert answer.status == 503 and int(answer.fields["retry-after"]) >= 1
                assert "health" in answer.text and connection.is_ended()
        silent = [server.connect() for _ in range(30)]  # takes what is kept for health checks
        assert sum(map(is_refused, silent)) >= 30 - 8
        eventually(lambda: not is_refused(server.connect()), what="the end of silent ones")
        assert server.logged("127.0.0.1:") and server.logged("was refused")
        assert server.stderr.count("was refused") < 5
        for connection in busy:
            connection.send(b"Host: x\r\n\r\n")
            assert connection.answer().status == 200
        for connection in busy + silent:
            connection.close()
        assert_serves(server)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_each_listener_counts_the_same_clients(tmp_path, index):
    """One client has no share at each of them; IPv4 is one client through an IPv6 socket too."""
    listen = ("127.0.0.1:0", ":0", f"unix:{tmp_path}/socket")
    with Server("--max-connections", 16, listen=listen) as server:
        port = server.address_of(1)[1]
        flood = []
        for _ in range(20):
            flood.append(server.connect(0, source="127.0.0.2"))
            flood.append(Connection(("127.0.0.2", port), source="127.0.0.2"))
        eventually(lambda: server.metrics()["evicted_total"] >= 40 - 12)
        eventually(lambda: server.metrics()["connections"] <= 13)
        address = (("127.0.0.1", port), ("127.0.0.3", port), server.address_of(2))[index]
        with Connection(address) as connection:
            assert connection.ask("POST", "/", encode(SMALL)).status == 200


# --- the queue --------------------------------------------------------------------------

@pytest.mark.tsan
def test_places_in_the_queue_are_left_for_others():
    with serve_slow("--instances", 1, "--max-waiting", 16) as server:
        flood = [server.connect(source="127.0.0.2") for _ in range(14)]
        flood[0].send(slow("sleep-ms=1000"))
        eventually(lambda: server.metrics()["in_flight"] == 2)
        for i, connection in enumerate(flood[1:13]):
            connection.send(slow("sleep-ms=1"))
            eventually(lambda: server.metrics()["waiting"] == i + 1)
        answer = flood[13].ask("POST", "/", encode(SMALL))
        assert answer.status == 503 and "share" in answer.text and "--max-waiting" in answer.text
        assert refused(server, "waiting") == 1
        assert server.logged("127.0.0.2:") and server.logged("--max-waiting")
        is_healthy(server)
        assert_serves(server)
        for connection in flood[:13]:
            assert connection.answer().status == 200


# --- heads that do not end --------------------------------------------------------------

def test_head_that_there_is_no_room_to_keep_is_answered():
    with Server("--pool", "1MiB") as server:
        heads, answer = fill_with_heads(server, "127.0.0.2")
        assert answer.status == 503 and "--pool" in answer.text
        assert int(answer.fields["retry-after"]) >= 1
        assert heads[-1].is_ended()
        assert server.logged("127.0.0.2:") and server.logged("no room to keep")
        is_healthy(server)
        for head in heads:
            head.close()
        settle_empty(server)
        assert_serves(server)


def test_heads_of_one_address_leave_room_to_others():
    """900 of them would hold 52 of 64 MiB."""
    with Server("--pool", "64MiB", "--head-timeout", "60s") as server:
        heads = [server.connect(source="127.0.0.2") for _ in range(900)]
        for head in heads:
            head.send(UNFINISHED)
        # on a slow machine the first have stalled by then, and make room
        eventually(lambda: refused(server, "head") + server.metrics()["revoked_total"] > 0)
        assert server.metrics()['pool_bytes{state="used"}'] <= 48 << 20
        is_healthy(server)
        for _ in range(5):
            assert_serves(server)
            with server.connect(source="127.0.0.3") as other:
                data = bytes(6 << 20)
                assert echoed(other.ask("POST", "/", encode(uint8(data)))) == data
        for head in heads:
            head.close()


def test_pipelined_requests_that_there_is_no_room_to_keep_are_answered():
    """Behind the answers to those before them, whatever those are."""
    with Server("--pool", "1MiB") as server:
        with server.connect(source="127.0.0.2", receive_buffer=4096) as connection:
            heads = (fill_with_heads(server, "127.0.0.2")[0]
                     + fill_with_heads(server, "127.0.0.2", UNFINISHED[:4000])[0])
            n = 3000  # whose answers are more than the sockets hold
            connection.send(n * http("GET", "/metrics"))
            answers = [connection.answer()]
            while answers[-1].status == 200:
                answers.append(connection.answer())
            assert answers[-1].status == 503 and 1 < len(answers) < n
            assert connection.is_ended()
            for head in heads:
                head.close()
        settle_empty(server)
        assert_serves(server)


# --- promises that nothing comes for ----------------------------------------------------

POOL = 16 << 20
HELD = (POOL // 8) - 8192  # with as much for the answer: a quarter
LARGE = encode(uint8(bytes(HELD - 4096)))


def held(server):
    metrics = server.metrics()
    return metrics['pool_bytes{state="used"}'] + metrics['pool_bytes{state="reserved"}']


def stall(server):
    """From four addresses heads of some 90 bytes that reserve the pool."""
    stalled = [server.connect(source=f"127.0.0.{i + 2}") for i in range(4)]
    for connection in stalled:
        connection.send(http("POST", "/", fields={"Content-Length": HELD}))
    eventually(lambda: held(server) >= 2 * HELD * len(stalled))
    return stalled


@pytest.mark.tsan
def test_promises_that_nothing_comes_for_are_revoked_when_others_need_them():
    """After two seconds, and no more of them than is needed."""
    with Server("--pool", POOL) as server:
        stalled = stall(server)
        answer = server.ask("POST", "/", LARGE)  # two seconds are over on a slow machine
        assert answer.status == 200 or (answer.status == 503 and "--pool" in answer.text)
        is_healthy(server)
        eventually(lambda: server.ask("POST", "/", LARGE).status == 200)
        assert server.metrics()["revoked_total"] == 1
        body = encode(uint8(bytes(HELD - 1000)))[:HELD]
        statuses = []
        for connection in stalled:  # all but one still have theirs
            with contextlib.suppress(ConnectionError):
                connection.send(body + bytes(HELD - len(body)))
            answer = connection.answer()
            statuses.append(answer.status)
            if answer.status == 503:
                assert int(answer.fields["retry-after"]) >= 1
                assert "did not come" in answer.text and connection.is_ended()
        assert statuses.count(503) == 1 and set(statuses) <= {200, 400, 503}
        for connection in stalled:
            connection.close()
        settle(server)
        assert held(server) == 0


@pytest.mark.parametrize("coded", [False, True])
def test_promises_are_revoked_of_bodies_that_drip(coded):
    """They come at less than --min-rate, whether or not something comes in the two seconds."""
    fields = {"Transfer-Encoding": "chunked"} if coded else {"Content-Length": HELD}
    start = (b"%x\r\n" % HELD) + bytes(HELD // 2) if coded else b""
    with Server("--pool", POOL, "--min-rate", "1GB") as server:
        drips = [server.connect(source=f"127.0.0.{i + 2}") for i in range(8 if coded else 4)]
        for connection in drips:
            connection.send(http("POST", "/", fields=fields) + start)
        # all of them first: one that finds no room is refused, and the rest are not too many
        eventually(lambda: held(server) >= (4 * HELD if coded else 8 * HELD))

        pauses = itertools.count(1)

        def drip_and_ask():
            for connection in drips:
                try:
                    connection.send(b"x")
                except ConnectionError:
                    pass
            time.sleep(0.02 * next(pauses))  # bytes that nobody has read yet speak for a client
            status = server.ask("POST", "/", LARGE).status
            return status == 200 and server.metrics()["revoked_total"] >= 1
        eventually(drip_and_ask)
        for connection in drips:
            connection.close()
        assert_serves(server)


def test_starts_of_heads_are_revoked_too():
    with Server("--pool", "1MiB") as server:
        heads = []
        for i in range(16):
            heads.append(server.connect(source=f"127.0.1.{i + 1}"))
            heads[-1].send(UNFINISHED)
        eventually(lambda: server.metrics()['pool_bytes{state="used"}'] > 900_000)
        eventually(lambda: server.ask("POST", "/", encode(uint8(bytes(65_000)))).status == 200)
        n = server.metrics()["revoked_total"]
        assert 1 <= n < 16
        statuses = []
        for head in heads:
            head.send(b"\r\n\r\n")
            statuses.append(head.answer().status)
        assert statuses.count(503) == n and statuses.count(200) == 16 - n
        for head in heads:
            head.close()
        assert_serves(server)
