"""One client takes all that it can get of what is limited: others are served meanwhile, health checks
are answered, and whoever is refused gets an answer."""
import pytest

from harness import SMALL, Server, assert_serves, encode, eventually, http, serve_slow, settle, slow

UNFINISHED = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 60_000


def refused(server, what):
    return server.metrics()[f'refused_total{{what="{what}"}}']


def is_healthy(server, source="127.0.0.1"):
    for target in ("/control/is_ready", "/control/is_alive", "/metrics"):
        with server.connect(source=source) as connection:
            assert connection.ask("GET", target).status == 200


def fill_with_heads(server, source):
    """Sends the starts of heads until there is no room for one more; that one's answer."""
    heads = []
    while True:
        heads.append(server.connect(source=source))
        held = server.metrics()['pool_bytes{state="used"}']
        heads[-1].send(UNFINISHED)
        eventually(lambda: refused(server, "head")
                   or server.metrics()['pool_bytes{state="used"}'] > held)
        if refused(server, "head"):
            return heads, heads[-1].answer()


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
        assert "127.0.0.2:" in server.stderr and "--max-waiting" in server.stderr
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
        assert "127.0.0.2:" in server.stderr and "no room to keep" in server.stderr
        is_healthy(server)
        for head in heads:
            head.close()
        assert settle(server)['pool_bytes{state="used"}'] == 0
        assert_serves(server)


def test_pipelined_requests_that_there_is_no_room_to_keep_are_answered():
    """Behind the answers to those before them, whatever those are."""
    with Server("--pool", "1MiB") as server:
        with server.connect(source="127.0.0.2", receive_buffer=4096) as connection:
            heads, _ = fill_with_heads(server, "127.0.0.2")
            n = 3000  # whose answers are more than the sockets hold
            connection.send(n * http("GET", "/metrics"))
            answers = [connection.answer()]
            while answers[-1].status == 200:
                answers.append(connection.answer())
            assert answers[-1].status == 503 and 1 < len(answers) < n
            assert connection.is_ended()
            for head in heads:
                head.close()
        assert settle(server)['pool_bytes{state="used"}'] == 0
        assert_serves(server)
