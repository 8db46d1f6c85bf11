"""The pool: what a request may take is decided before its body comes, and a steady load puts no new
pages in place."""
import pytest

from harness import Server, assert_serves, echoed, encode, http, settle, uint8

MIB = 1 << 20


def pool(server, what):
    return server.metrics()[f'pool_bytes{{state="{what}"}}']


def test_one_client_gets_at_most_a_quarter():
    with Server("--pool", "64MiB") as server:
        answer = server.infer(uint8(bytes(9 * MIB)))  # and as much for the answer
        assert answer.status == 413 and "--pool" in answer.text and "16777216" in answer.text
        assert echoed(server.infer(uint8(bytes(7 * MIB)))) == bytes(7 * MIB)
        metrics = settle(server)
        assert metrics['pool_bytes{state="used"}'] == 0
        assert metrics['pool_bytes{state="reserved"}'] == 0


def test_body_and_answer_are_admitted_together_and_before_the_body():
    """Each takes 7 MiB and reserves as much: the fifth does not fit into 64, and is told so instead
    of `100 Continue`; when one has gone there is room."""
    body = encode(uint8(bytes(7 * MIB - 4096)))
    head, _ = http("POST", "/", body, {"Expect": "100-continue"}).split(b"\r\n\r\n", 1)
    with Server("--pool", "64MiB") as server:
        connections = [server.connect() for _ in range(5)]
        for connection in connections[:4]:
            connection.send(head + b"\r\n\r\n")
            assert connection.answer().status == 100
        assert 27 * MIB < pool(server, "used") < 29 * MIB
        assert 27 * MIB < pool(server, "reserved") < 29 * MIB
        connections[4].send(head + b"\r\n\r\n")
        answer = connections[4].answer()
        assert answer.status == 503 and "--pool" in answer.text
        assert server.metrics()["pool_refused_total"] == 1
        assert_serves(server)
        connections[0].close()
        for connection in connections[1:4]:
            connection.send(body)
            assert connection.answer().status == 200
        for connection in connections[1:]:
            connection.close()
        metrics = settle(server)
        assert metrics['pool_bytes{state="used"}'] == 0
        assert metrics['pool_bytes{state="reserved"}'] == 0


@pytest.mark.tsan
def test_steady_load_touches_no_new_pages():
    with Server() as server, server.connect() as connection:
        touched = []
        for _ in range(12):
            assert connection.ask("POST", "/", encode(uint8(bytes(5 * MIB)))).status == 200
            touched.append(server.metrics()["pool_touched_bytes_total"])
        assert 5 * MIB <= touched[2] and touched[2] == touched[-1]
        assert server.metrics()["pool_taken_total"] >= 12
