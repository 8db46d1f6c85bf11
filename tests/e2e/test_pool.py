"""The pool: what a request may take is decided before its body comes, and a steady load puts no new
pages in place."""
import pytest

from harness import (SMALL, Connection, Server, chunked, echoed, encode, eventually, http, serve_slow,
                     settle, slow, uint8)

MIB = 1 << 20
DATA = bytes(6 * MIB - 4096)
BODY = encode(uint8(DATA))
HEAD = http("POST", "/", BODY, {"Expect": "100-continue"})[:-len(BODY)]


def pool(server, what):
    return server.metrics()[f'pool_bytes{{state="{what}"}}']


def announce(connection):
    """Sends a request's head and waits for what comes instead of an answer to all of it: 100 when
    the body and an answer as large are admitted."""
    connection.send(HEAD)
    return connection.answer().status


def leave_nothing(server, connections):
    for connection in connections:
        connection.close()
    metrics = settle(server)
    assert metrics['pool_bytes{state="used"}'] == 0
    assert metrics['pool_bytes{state="reserved"}'] == 0
    return metrics


def test_one_client_gets_at_most_a_quarter():
    with Server("--pool", "64MiB") as server:
        answer = server.infer(uint8(bytes(9 * MIB)))  # and as much for the answer
        assert answer.status == 413 and "--pool" in answer.text and "16777216" in answer.text
        with server.connect() as connection:  # in chunks: as soon as it cannot become less
            connection.send(http("POST", "/", fields={"Transfer-Encoding": "chunked"}),
                            b"%x\r\n" % (20 * MIB), bytes(9 * MIB))
            assert connection.answer().status == 413
        assert echoed(server.infer(uint8(bytes(7 * MIB)))) == bytes(7 * MIB)
        leave_nothing(server, [])


def test_body_and_answer_are_admitted_together_and_before_the_body():
    """Each takes 6 MiB and reserves as much: the sixth does not fit into 64, and is told so instead
    of `100 Continue`."""
    with Server("--pool", "64MiB") as server:
        connections = [server.connect(source=f"127.0.0.{i}") for i in (1, 1, 1, 1, 2, 3)]
        for connection in connections[:5]:
            assert announce(connection) == 100
        assert 29 * MIB < pool(server, "used") <= 30 * MIB
        assert 29 * MIB < pool(server, "reserved") <= 30 * MIB
        connections[5].send(HEAD)
        answer = connections[5].answer()
        assert answer.status == 503 and "no room" in answer.text and "--pool" in answer.text
        assert server.metrics()["pool_refused_total"] == 1
        with server.connect(source="127.0.0.3") as small:
            assert small.ask("POST", "/", encode(SMALL)).status == 200
        connections[0].close()
        for connection in connections[1:5]:
            connection.send(BODY)
            assert connection.answer().status == 200
        leave_nothing(server, connections)


def test_what_is_promised_for_an_answer_stays_until_it_is_made():
    with serve_slow("--instances", 2) as server, server.connect() as connection:
        connection.send(slow("sleep-ms=30000", DATA))
        eventually(lambda: server.infer(SMALL, config="report").tensors[0].data[0] == 1,
                   what="the run")
        assert 5 * MIB < pool(server, "reserved") <= 6 * MIB


def test_what_is_left_of_it_goes_back_before_the_answer_has_left():
    """The slow engine's outputs are its inputs: it needs no memory for them."""
    with serve_slow() as server, server.connect(receive_buffer=4096) as connection:
        data = bytes(40 * MIB)  # more than the sockets hold
        connection.send(slow("sleep-ms=0", data))
        eventually(lambda: server.metrics()["run_seconds_count"] == 1)
        eventually(lambda: pool(server, "reserved") == 0)
        assert pool(server, "used") > len(data)
        assert echoed(connection.answer()) == data


# --- one peer's share: three quarters, the last one is kept for others ------------------

@pytest.mark.tsan
def test_last_quarter_is_for_others():
    """A peer with many connections gets 48 of 64 MiB; others get through all the same, and it too
    when there is room again."""
    with Server("--pool", "64MiB") as server:
        connections = [server.connect() for _ in range(6)]
        assert [announce(connection) for connection in connections] == 4 * [100] + 2 * [503]
        with server.connect(source="127.0.0.2") as other:
            for _ in range(3):
                assert echoed(other.ask("POST", "/", BODY)) == DATA
                fields = {"Transfer-Encoding": "chunked"}
                assert echoed(other.ask("POST", "/", chunked(BODY), fields)) == DATA
        with server.connect() as connection:
            answer = connection.ask("POST", "/", BODY)
            assert answer.status == 503 and int(answer.fields["retry-after"]) >= 1
            assert "share" in answer.text and "16777216" in answer.text
        with server.connect() as connection:
            connection.send(http("POST", "/", fields={"Transfer-Encoding": "chunked"}),
                            b"%x\r\n" % len(BODY), BODY[:5 * MIB])
            answer = connection.answer()
            assert answer.status == 503 and "share" in answer.text
        metrics = server.metrics()
        assert metrics["pool_over_share_total"] == 4 and metrics["pool_refused_total"] == 0
        connections[0].close()
        eventually(lambda: server.ask("POST", "/", BODY).status == 200)
        leave_nothing(server, connections)


@pytest.mark.tsan
def test_share_of_clients_that_vanish_comes_back():
    """In the head, before the body, in it, in a chunk, with the answer unread."""
    coded = http("POST", "/", chunked(BODY), {"Transfer-Encoding": "chunked"})
    sent = [HEAD[:20], HEAD, HEAD + BODY[:5 * MIB], coded[:3 * MIB], http("POST", "/", BODY)]
    with Server("--pool", "64MiB") as server:
        for round_ in range(6):
            for i, piece in enumerate(sent):
                connection = server.connect(source=f"127.0.0.{1 + (i + round_) % 3}",
                                            receive_buffer=4096)
                try:
                    connection.send(piece)
                except ConnectionError:
                    pass  # refused while it sends
                connection.reset() if round_ % 2 else connection.close()
        metrics = leave_nothing(server, [])
        assert metrics["peers"] == 1
        connections = [server.connect() for _ in range(5)]
        assert [announce(connection) for connection in connections] == 4 * [100] + [503]
        leave_nothing(server, connections)


def test_who_is_one_peer(tmp_path):
    """IPv4 addresses, through an IPv6 socket too; the users of a unix socket."""
    unix = f"unix:{tmp_path}/socket"
    with Server(listen=(":0", unix)) as server:
        port = server.port
        has_ipv6 = server.address[0] == "::"  # then the metrics are asked from ::1
        connections = [Connection((f"127.0.0.{i}", port), source=f"127.0.0.{i}")
                       for i in (1, 1, 2, 3)]
        connections += [Connection(f"{tmp_path}/socket") for _ in range(3)]
        eventually(lambda: server.metrics()["connections"] == 8)
        assert server.metrics()["peers"] == 4 + has_ipv6
        for connection in connections:
            connection.close()
        eventually(lambda: server.metrics()["peers"] == 1)


@pytest.mark.tsan
def test_steady_load_touches_no_new_pages():
    with Server() as server, server.connect() as connection:
        touched = []
        for _ in range(12):
            assert connection.ask("POST", "/", encode(uint8(bytes(5 * MIB)))).status == 200
            touched.append(server.metrics()["pool_touched_bytes_total"])
        assert 5 * MIB <= touched[2] and touched[2] == touched[-1]
        assert server.metrics()["pool_taken_total"] >= 12
