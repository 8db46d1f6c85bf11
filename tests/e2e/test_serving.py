"""Many clients at a time: slots and the queue before them, memory and descriptors given back, large
bodies, and peers that are slow. Deadlines are in test_deadlines.py, clients that leave in test_leaving.py."""
import json
import random
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import (CORES, MESSAGE, PATIENCE, SMALL, Closed, Server, Tensor, Truncated, assert_serves,
                     begun, chunked, echoed, encode, eventually, held, http, plugin, report, serve_slow,
                     settle, settle_empty, slow, uint8)

BUSY = 13


# --- slots and the queue ----------------------------------------------------------------

@pytest.mark.tsan
def test_requests_that_wait_are_answered_in_order_of_arrival(gate):
    with serve_slow() as server:
        connections, order = [], []

        def wait_for(i):
            assert echoed(connections[i].answer()) == b"%d" % i
            order.append(i)

        for i in range(4):
            connections.append(server.connect())
            connections[i].send(held(gate, b"%d" % i) if i == 0 else slow("sleep-ms=150", b"%d" % i))
            begun(server, i + 1)
        assert server.metrics()["waiting"] == 3
        gate.touch()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(wait_for, range(4)))
        assert order == [0, 1, 2, 3]
        assert report(server)[:2] == (4, 4) and report(server)[3] == 1
        for connection in connections:
            connection.close()


@pytest.mark.tsan
def test_as_many_runs_at_a_time_as_slots():
    with serve_slow("--instances", 3) as server:
        with ThreadPoolExecutor(9) as pool:
            for answer in pool.map(lambda _: server.infer(SMALL, config="sleep-ms=100"), range(9)):
                assert echoed(answer) == b"small"
        assert report(server) == (9, 9, 0, 3)
        assert server.metrics()["slots"] == 3


@pytest.mark.tsan
@pytest.mark.parametrize("size", [5, 100_000])
def test_engine_that_asks_for_it_runs_each_slot_on_one_thread(size):
    """Before a long answer a thread shares what it has to do: not the next run of its slot."""
    value = b"x" * size
    with Server("--instances", 2, engine=plugin("pinned")) as server:
        with ThreadPoolExecutor(16) as pool:
            for answer in pool.map(lambda _: server.infer(uint8(value)), range(400)):
                assert echoed(answer) == value
        assert server.metrics()["run_seconds_count"] == 400


@pytest.mark.parametrize("work", ["sleep-ms=600000", "compute-ms=600000"])
def test_health_answers_while_every_slot_is_busy(work):
    """Also with fewer pollers than slots: a thread in an engine polls for nobody. How quick the
    answers are is for bench/health.py."""
    with serve_slow("--instances", 2 * CORES, "--pollers", CORES) as server:
        connections = [server.connect() for _ in range(2 * CORES + 2)]
        for connection in connections:
            connection.send(slow(work))
        begun(server, len(connections))
        for _ in range(20):
            assert server.ask("GET", "/control/is_alive").text == "ok\n"
        assert server.metrics()["in_flight"] == len(connections) + 1, "not busy any more"
        for connection in connections:
            connection.close()
        server.signal()
        assert server.wait(8) == 0


@pytest.mark.tsan
def test_beyond_max_waiting_requests_are_refused_at_once(gate):
    with serve_slow("--max-waiting", 2) as server:
        waiting = [server.connect() for _ in range(3)]
        for i, connection in enumerate(waiting):
            connection.send(held(gate))
            begun(server, i + 1)
        with server.connect() as connection:
            answer = connection.ask("POST", "/", encode(SMALL))
            assert answer.status == 503 and int(answer.fields["retry-after"]) >= 1
            assert "--max-waiting" in answer.text
            answer = connection.ask("POST", "/", encode(SMALL), {"Accept": MESSAGE})
            assert answer.status == 503 and answer.error[0] == BUSY
            assert server.metrics()["waiting"] == 2, "no longer full"
            gate.touch()
            for other in waiting:
                assert echoed(other.answer()) == b"small"
                other.close()
            assert echoed(connection.ask("POST", "/", encode(SMALL))) == b"small"


@pytest.mark.tsan
def test_errors_of_the_engine_free_the_slot():
    with Server(engine=plugin("faulty")) as server:
        with ThreadPoolExecutor(8) as pool:
            configs = ["fail", "hole", "good"] * 40
            answers = pool.map(lambda config: server.infer(SMALL, config=config), configs)
            assert [answer.status for answer in answers] == [500, 500, 200] * 40
        assert server.metrics()["waiting"] == 0


# --- what is given back -----------------------------------------------------------------

@pytest.mark.tsan
def test_memory_of_outputs_is_given_back():
    with Server() as server:
        def load(seed):
            dice = random.Random(seed)
            with server.connect() as connection:
                for _ in range(10):
                    data = dice.randbytes(dice.choice([0, 10, 5000, 100_000, 1_000_000]))
                    assert echoed(connection.ask("POST", "/", encode(uint8(data)))) == data
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(load, range(16)))
        settle_empty(server)


def test_memory_of_engine_outputs_is_given_back(onnx):
    rows = 20_000
    x = Tensor("float32", [rows, 4], bytes(rows * 4 * 4))
    with onnx("mlp") as server:
        with ThreadPoolExecutor(4) as pool:
            for answer in pool.map(lambda _: server.infer(x), range(20)):
                (y,) = answer.tensors
                assert y.shape == [rows, 3]
        settle_empty(server)


@pytest.mark.tsan
def test_descriptors_are_given_back():
    with Server() as server:
        assert_serves(server)
        settle(server)
        before = server.descriptors()
        body = encode(uint8(bytes(300_000)))
        for i in range(200):
            connection = server.connect(receive_buffer=4096)
            if i % 7 == 0:
                assert connection.ask("GET").status == 200
            elif i % 7 == 1:
                connection.send(http("POST", "/", body)[:-5])
            elif i % 7 == 2:
                connection.send(http("POST", "/", body))
            elif i % 7 == 3:
                connection.send(b"nonsense\r\n\r\n")
                connection.answer()
            elif i % 7 == 4:
                connection.send(b"GET / HT")
            elif i % 7 == 5:
                assert echoed(connection.ask("POST", "/", body)) == bytes(300_000)
            if i % 2:
                connection.close()
            else:
                connection.reset()
        metrics = settle(server)
        assert metrics['pool_bytes{state="used"}'] == 0
        eventually(lambda: server.descriptors() <= before)


def with_descriptors(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("limit", [36, 48, 64])
def test_without_descriptors_idle_connections_make_room(limit):
    """What is allowed is more than there are descriptors for."""
    with Server(preexec_fn=with_descriptors(limit, limit)) as server:
        with server.connect(source="127.0.0.3") as served:
            assert served.ask("GET").status == 200
            many = [server.connect(source="127.0.0.2") for _ in range(80)]
            eventually(lambda: server.metrics()["evicted_total"] > 10)
            for _ in range(5):
                assert served.ask("GET").status == 200
            for connection in many:
                connection.close()
            eventually(lambda: served.ask("GET", "/control/client_count").text == "1\n")


@pytest.mark.parametrize("limit", [28, 32, 48])
def test_without_descriptors_clients_are_told_and_the_others_served(limit):
    """None of them idles; some get what is kept for health checks, for two seconds."""
    with Server("--head-timeout", "60s", preexec_fn=with_descriptors(limit, limit)) as server:
        many = []
        for i in range(80):
            many.append(server.connect(source=f"127.0.1.{i + 1}"))
            send_what_it_takes(many[-1], b"GET / HTTP/1.1\r\n")
        assert server.logged("ulimit -n", "--max-connections")
        eventually(lambda: all(server.ask("GET", "/control/is_ready").status == 200
                               for _ in range(20)))
        server.fall_asleep()  # and does not ask again and again whether there is a descriptor
        statuses = []
        for connection in many:
            send_what_it_takes(connection, b"Host: x\r\n\r\n")
            statuses.append(connection.answer().status)
            connection.close()
        assert {200, 503} <= set(statuses) <= {200, 503, 408}
        eventually(lambda: server.ask("GET", "/control/client_count").text == "1\n")
        assert_serves(server)


def send_what_it_takes(connection, piece):
    try:
        connection.send(piece)
    except ConnectionError:
        pass  # the server has closed it, and said why


@pytest.mark.parametrize("arguments", [(), ("--isolate", "--instances", 2)], ids=["here", "isolated"])
def test_idle_server_is_never_woken(arguments):
    """Whatever it has done before: bodies that grew, runs that were stopped, and what the loader did."""
    with serve_slow(*arguments) as server, server.connect() as idle:
        name = json.loads(idle.ask("GET").text)["name"]
        assert server.infer(SMALL, config="sleep-ms=50").status == 200
        assert server.infer(SMALL, config="sleep-ms=60000",
                            fields={"X-GraphPipe-Timeout-Ms": "50"}).status == 504
        large = http("POST", "/", fields={"Transfer-Encoding": "chunked"})
        with server.connect() as connection:
            connection.send(large, chunked(encode(uint8(bytes(3 << 20))), 64 << 10))
            assert len(echoed(connection.answer())) == 3 << 20
        for what in "unload", "load":
            assert server.ask("POST", f"/control/models/{name}/{what}").status == 200
        server.signal(signal.SIGHUP)
        assert server.logged("SIGHUP")
        server.fall_asleep()  # the watcher does a while after the last run
        before = server.activity()
        time.sleep(2)
        assert server.activity() == before


def test_many_connections_at_a_time(echo):
    connections = [echo.connect() for _ in range(300)]
    for i, connection in enumerate(connections):
        connection.send(http("POST", "/", encode(uint8(b"%d" % i))))
    for i, connection in enumerate(connections):
        assert echoed(connection.answer()) == b"%d" % i
        connection.close()


# --- large and slow ---------------------------------------------------------------------

def exchange_large(server, seed, size=64 << 20):
    block = random.Random(seed).randbytes(1 << 20)
    data = block * (size >> 20)
    body = encode(uint8(data))
    with server.connect(timeout=60) as connection:
        sender = threading.Thread(target=connection.send, args=[http("POST", "/", body)])
        sender.start()
        answer = connection.answer()
        sender.join()
    (tensor,) = answer.tensors
    return tensor.data == data


def test_large_bodies_two_at_a_time():
    with Server() as server:
        with ThreadPoolExecutor(2) as pool:
            results = [pool.submit(exchange_large, server, seed) for seed in (1, 2)]
            while not all(result.done() for result in results):
                assert server.ask("GET", "/control/is_alive").status == 200
            assert all(result.result() for result in results)
        settle_empty(server)


@pytest.mark.tsan
def test_slow_readers_do_not_stop_others():
    """More of them than threads, each with an answer that does not fit its socket."""
    data = bytes(8 << 20)
    with Server() as server:
        readers = [server.connect(receive_buffer=4096) for _ in range(4 * CORES + 4)]
        for reader in readers:
            reader.send(http("POST", "/", encode(uint8(data))))
        for _ in range(10):
            assert_serves(server)
        assert echoed(readers[0].answer()) == data
        for reader in readers:
            reader.close()
        settle_empty(server)


@pytest.mark.tsan
def test_slow_senders_do_not_stop_others():
    request = http("POST", "/", encode(SMALL))
    with Server() as server:
        senders = [server.connect() for _ in range(4 * CORES + 4)]
        for at in range(0, len(request), 20):
            for sender in senders:
                sender.send(request[at:at + 20])
            assert_serves(server)
        for sender in senders:
            assert echoed(sender.answer()) == b"small"
            sender.close()


# --- peers that are too slow: all of these wait for the same ten seconds of grace --------

@pytest.fixture(scope="module")
def stalled():
    """What became of clients that stalled at once, after 10 s and the time of --min-rate."""
    outcomes = {}
    start = time.monotonic()

    def outcome(name, connection):
        try:
            connection.socket.settimeout(20 * PATIENCE)
            outcomes[name] = (connection.answer(), time.monotonic() - start)
        except (Closed, Truncated, TimeoutError) as error:
            outcomes[name] = (error, time.monotonic() - start)

    large = encode(uint8(bytes(8 << 20)))
    rate = ("--min-rate", "100MB")
    with Server(*rate) as server, serve_slow(*rate) as engine:
        connections = {name: server.connect() for name in ("body", "chunked", "drip")}
        connections["body"].send(http("POST", "/", fields={"Content-Length": 1000}) + b"half")
        connections["chunked"].send(http("POST", "/", fields={"Transfer-Encoding": "chunked"}),
                                    b"100\r\nhalf")
        connections["drip"].send(http("POST", "/", fields={"Content-Length": 1000}))
        # an answer that is not read: the socket's buffers hold a part of it
        unread = server.connect(receive_buffer=4096)
        unread.send(http("POST", "/", large))
        # a run that takes longer than the grace, and an answer larger than the buffers
        after = engine.connect(receive_buffer=65536)
        after.send(http("POST", "/", encode(uint8(bytes(8 << 20)), config="sleep-ms=11000")))
        threads = [threading.Thread(target=outcome, args=item) for item in connections.items()]
        for thread in threads:
            thread.start()
        while threads[2].is_alive() and time.monotonic() < start + 20 * PATIENCE:
            try:
                connections["drip"].socket.sendall(b"x")
            except OSError:
                break
            time.sleep(0.25)
        for thread in threads:
            thread.join()
        eventually(lambda: server.metrics()["connections"] == 1, what="the end of the unread answer")
        outcome("unread", unread)
        outcome("after a long run", after)
        assert_serves(server)
        for connection in [*connections.values(), unread, after]:
            connection.close()
    return outcomes


@pytest.mark.parametrize("name", ["body", "chunked", "drip"])
def test_body_that_stalls(stalled, name):
    answer, seconds = stalled[name]
    assert not isinstance(answer, Exception), repr(answer)
    assert answer.status == 408 and "--min-rate" in answer.text
    assert seconds >= 10


def test_answer_that_is_not_read_is_cut_off(stalled):
    assert isinstance(stalled["unread"][0], Truncated)


def test_answer_after_a_long_run_has_its_own_time(stalled):
    """The grace of an answer begins when there is one."""
    answer, _ = stalled["after a long run"]
    assert not isinstance(answer, Exception), repr(answer)
    assert answer.status == 200 and len(answer.body) > 8 << 20
