"""HTTP/1.1 as the server speaks it: methods, connections, pipelining, expectations and bodies."""
import json
import socket
import time

import pytest

from harness import (MESSAGE, PATIENCE, SMALL, Closed, Server, assert_serves, chunked, decode, echoed,
                     encode, http, serve_slow, uint8)


def post(data, **keywords):
    return http("POST", "/", encode(uint8(data)), **keywords)


# --- methods and metadata ---------------------------------------------------------------

def test_get_answers_with_metadata_as_json(echo):
    for target in ("/", "/echo", "/echo/versions/1", "/?x=1", "/echo?x=1"):
        answer = echo.ask("GET", target)
        assert answer.status == 200 and answer.fields["content-type"] == "application/json"
        metadata = json.loads(answer.body)
        assert metadata["name"] == "echo" and metadata["server"].startswith("graphpipe ")
        assert metadata["inputs"] == [{"name": "input0", "type": "null", "shape": [-1]}]
        assert metadata["outputs"] == [{"name": "output0", "type": "null", "shape": [-1]}]


def test_model_is_named_on_the_command_line(onnx):
    with onnx("pair") as server:
        metadata = json.loads(server.ask("GET").body)
    assert metadata["name"] == "pair"
    assert [(i["name"], i["type"], i["shape"]) for i in metadata["inputs"]] == [
        ("a", "float32", [-1]), ("b", "float32", [-1])]
    assert [o["name"] for o in metadata["outputs"]] == ["sum", "product"]


@pytest.mark.tsan
def test_head_is_get_without_the_body(echo):
    with echo.connect() as connection:
        get = connection.ask("GET")
        head = connection.ask("HEAD")
        assert (head.status, head.fields, head.body) == (200, get.fields, b"")
        assert connection.ask("HEAD", "/echo").status == 200
        missing = connection.ask("HEAD", "/v1/models")
        assert missing.status == 404 and missing.body == b""
        assert echoed(connection.ask("POST", "/", encode(SMALL))) == SMALL.data


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused_with_allow(echo, method):
    answer = echo.ask(method)
    assert answer.status == 405
    assert sorted(answer.fields["allow"].split(", ")) == ["GET", "HEAD", "OPTIONS", "POST"]
    assert answer.fields["content-type"].startswith("text/plain")


def test_allow_of_metrics_has_no_post(echo):
    answer = echo.ask("POST", "/metrics")
    assert answer.status == 405
    assert sorted(answer.fields["allow"].split(", ")) == ["GET", "HEAD"]


def test_post_goes_to_the_model(echo):
    for target in ("/", "/?x=y", "/echo", "/echo?x", "/echo/versions/1", "http://example/",
                   "http://example/echo"):
        answer = echo.ask("POST", target, encode(SMALL))
        assert echoed(answer) == SMALL.data, target
    for target in ("/model", "/a/b/c?x=y", "/v10", "/metricsx", "/controls", "/uix"):
        assert echo.ask("POST", target, encode(SMALL)).status == 404, target


def test_answer_is_a_message_only_where_it_is_one(echo):
    answer = echo.ask("POST", "/", encode(SMALL), {"Accept": MESSAGE})
    assert answer.fields["content-type"] == MESSAGE and not decode(answer.body).errors


def test_errors_of_get_follow_accept(echo):
    plain = echo.ask("GET", "/control/reboot")
    assert plain.fields["content-type"].startswith("text/plain")
    assert plain.text.endswith("\n") and plain.text.count("\n") == 1
    answer = echo.ask("GET", "/control/reboot",
                      fields={"Accept": "text/html, application/json;q=0.9"})
    assert answer.status == 404 and answer.fields["content-type"] == "application/json"
    assert json.loads(answer.body)["error"] == plain.text.rstrip("\n")


@pytest.mark.parametrize("target", ["/v1", "/v1/models", "/v2/health/ready", "/ui/", "/ui?x",
                                    "/control", "/control/reboot", "/metrics/x"])
def test_reserved_paths_are_not_found(echo, target):
    with echo.connect() as connection:
        assert connection.ask("GET", target).status == 404
        assert connection.ask("POST", target, encode(SMALL)).status == 404
        assert connection.ask("GET").status == 200


def test_absolute_target_of_a_control_route(echo):
    assert echo.ask("GET", "http://example/control/is_alive").text == "ok\n"


# --- connections ------------------------------------------------------------------------

def test_connection_is_kept_alive(echo):
    before = echo.metrics()["accepted_connections_total"]
    with echo.connect() as connection:
        for i in range(5):
            assert echoed(connection.ask("POST", "/", encode(uint8(bytes([i]))))) == bytes([i])
            assert connection.ask("GET").fields.get("connection") is None
    assert echo.metrics()["accepted_connections_total"] == before + 2


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close"])
def test_connection_close_is_honoured(echo, value):
    with echo.connect() as connection:
        answer = connection.ask("POST", "/", encode(SMALL), {"Connection": value})
        assert echoed(answer) == SMALL.data and answer.fields["connection"] == "close"
        assert connection.is_ended()


def test_http10_closes(echo):
    with echo.connect() as connection:
        answer = connection.ask("POST", "/", encode(SMALL), version="1.0")
        assert echoed(answer) == SMALL.data and answer.fields["connection"] == "close"
        assert connection.is_ended()


def test_http10_is_kept_alive_when_asked(echo):
    with echo.connect() as connection:
        for _ in range(3):
            answer = connection.ask("POST", "/", encode(SMALL), {"Connection": "keep-alive"},
                                    version="1.0")
            assert echoed(answer) == SMALL.data
            assert answer.fields["connection"].lower() == "keep-alive"


def test_empty_lines_before_a_request_are_skipped(echo):
    with echo.connect() as connection:
        connection.send(b"\r\n\r\n", http("GET"))
        assert connection.answer().status == 200


@pytest.mark.tsan
def test_half_closed_client_gets_its_answer(echo):
    with echo.connect() as connection:
        connection.send(post(b"last"))
        connection.socket.shutdown(socket.SHUT_WR)
        assert echoed(connection.answer()) == b"last"
        assert connection.is_ended()


def test_idle_connection_is_closed():
    with Server("--idle-timeout", "300ms") as server, server.connect() as connection:
        start = time.monotonic()
        assert connection.ask("GET").status == 200
        assert connection.is_ended()
        assert time.monotonic() - start >= 0.3


def test_silent_connection_is_closed_while_others_are_idle():
    """A new connection has the time of a head, however long others may be idle."""
    with Server("--idle-timeout", "1h", "--head-timeout", "300ms") as server:
        with server.connect() as idle:
            assert idle.ask("GET").status == 200
            with server.connect() as silent:
                assert silent.is_ended()
            assert idle.ask("GET").status == 200


@pytest.mark.tsan
def test_beyond_max_connections_an_idle_one_makes_room():
    with Server("--max-connections", 2) as server:
        first, second, third = (server.connect() for _ in range(3))
        with first, second, third:
            assert second.ask("GET").status == third.ask("GET").status == 200
            assert first.answer().status == 503 and first.is_ended()
            with server.connect() as fourth:
                assert fourth.ask("GET").status == 200
                assert [serves_on(second), serves_on(third)].count(True) == 1


def serves_on(connection):
    """False where it was closed, without a word since it has had an answer before."""
    try:
        return connection.ask("GET").status == 200
    except (Closed, ConnectionError):
        return False


# --- pipelining -------------------------------------------------------------------------

@pytest.mark.tsan
@pytest.mark.parametrize("n", [2, 20, 100])
def test_pipelined_requests_are_answered_in_order(echo, n):
    with echo.connect() as connection:
        connection.send(b"".join(http("GET", "/control/is_alive") if i % 3 == 1 else
                                 post(b"%d" % i) for i in range(n)))
        for i in range(n):
            answer = connection.answer()
            if i % 3 == 1:
                assert answer.text == "ok\n"
            else:
                assert echoed(answer) == b"%d" % i
        assert connection.ask("GET").status == 200


def test_pipelined_bodies_larger_than_a_read(echo):
    bodies = [bytes([i]) * (40_000 + i) for i in range(20)]
    with echo.connect() as connection:
        connection.send(b"".join(map(post, bodies)))
        for body in bodies:
            assert echoed(connection.answer()) == body


@pytest.mark.tsan
def test_pipelined_requests_wait_behind_a_slow_one():
    """The slow one pauses where no slot is free, with the next requests already received."""
    with serve_slow() as server, server.connect() as first, server.connect() as second:
        sleep = encode(SMALL, config="sleep-ms=100")
        first.send(http("POST", "/", sleep))
        second.send(http("POST", "/", sleep) + b"".join(post(b"%d" % i) for i in range(30))
                    + http("GET", "/control/is_ready"))
        assert echoed(first.answer()) == SMALL.data
        assert echoed(second.answer()) == SMALL.data
        for i in range(30):
            assert echoed(second.answer()) == b"%d" % i
        assert second.answer().text == "ok\n"


def test_nothing_is_answered_after_connection_close(echo):
    with echo.connect() as connection:
        connection.send(post(b"1"), post(b"2", fields={"Connection": "close"}), post(b"3"))
        assert [echoed(connection.answer()) for _ in range(2)] == [b"1", b"2"]
        with pytest.raises(Closed):
            connection.answer()


# --- Expect -----------------------------------------------------------------------------

@pytest.mark.tsan
def test_continue_comes_before_the_body(echo):
    body = encode(SMALL)
    head = http("POST", "/", fields={"Expect": "100-continue", "Content-Length": len(body)})
    with echo.connect() as connection:
        for _ in range(2):
            connection.send(head)
            assert connection.answer().status == 100
            connection.send(body)
            assert echoed(connection.answer()) == SMALL.data


def test_continue_comes_before_a_chunked_body(echo):
    with echo.connect() as connection:
        connection.send(http("POST", "/", fields={"Expect": "100-continue",
                                                  "Transfer-Encoding": "chunked"}))
        assert connection.answer().status == 100
        connection.send(chunked(encode(SMALL)))
        assert echoed(connection.answer()) == SMALL.data


def test_no_continue_to_http10(echo):
    body = encode(SMALL)
    with echo.connect() as connection:
        connection.send(http("POST", "/", version="1.0", fields={
            "Expect": "100-continue", "Content-Length": len(body)}))
        connection.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.receive()
        connection.socket.settimeout(10 * PATIENCE)
        connection.send(body)
        assert connection.answer().status == 200


def test_body_that_is_refused_is_not_asked_for():
    with Server("--max-body", "1000") as server:
        answer = server.ask("POST", "/", fields={"Expect": "100-continue",
                                                 "Content-Length": 1001})
        assert answer.status == 413


def test_other_expectations_fail(echo):
    assert echo.ask("POST", "/", encode(SMALL), {"Expect": "200-ok"}).status == 417


# --- bodies -----------------------------------------------------------------------------

BIG = bytes(range(256)) * 12_000  # 3 MB


@pytest.mark.tsan
@pytest.mark.parametrize("data, size, extension, trailers", [
    (b"one chunk", None, b"", b""),
    (b"chunks of one byte", 1, b"", b""),
    (b"extensions" * 10, 7, b';name=value;quoted="a b"', b""),
    (b"trailers" * 10, 50, b"", b"Checksum: 17\r\nX: y\r\n"),
    (bytes(1000) * 200, 1000, b"", b""),
    (BIG, 7919, b"", b""),
    (BIG, 65536, b"", b""),
    (BIG, None, b"", b""),
], ids=["one", "bytes", "extensions", "trailers", "many", "odd", "even", "big"])
def test_chunked_body(echo, data, size, extension, trailers):
    coded = chunked(encode(uint8(data)), size, extension, trailers)
    with echo.connect() as connection:
        for _ in range(2):
            connection.send(http("POST", "/", coded, {"Transfer-Encoding": "chunked"}))
            assert echoed(connection.answer()) == data
        assert connection.ask("GET").status == 200


def test_request_right_behind_a_chunked_body(echo):
    with echo.connect() as connection:
        request = http("POST", "/", chunked(encode(SMALL), 20), {"Transfer-Encoding": "chunked"})
        connection.send((request + post(b"behind")) * 5)
        for _ in range(5):
            assert echoed(connection.answer()) == SMALL.data
            assert echoed(connection.answer()) == b"behind"


@pytest.mark.parametrize("request_bytes", [
    post(b"payload"),
    http("POST", "/", chunked(encode(uint8(b"payload")), 60, b";x", b"T: v\r\n"),
         {"Transfer-Encoding": "chunked"}),
], ids=["length", "chunked"])
def test_request_split_at_every_byte(echo, request_bytes):
    with echo.connect() as connection:
        for at in range(1, len(request_bytes)):
            connection.send(request_bytes[:at])
            time.sleep(0.001)  # so that the server reads it alone
            connection.send(request_bytes[at:])
            assert echoed(connection.answer()) == b"payload", f"split at {at}"


@pytest.mark.tsan
def test_request_in_single_bytes(echo):
    with echo.connect() as connection:
        for byte in post(b"payload"):
            connection.send(bytes([byte]))
            time.sleep(0.0005)
        assert echoed(connection.answer()) == b"payload"


@pytest.mark.parametrize("size", [1, 4096, 64 * 1024])
def test_body_of_a_get_is_dropped(echo, size):
    body = b"x" * size
    with echo.connect() as connection:
        assert connection.ask("GET", "/", body).status == 200
        assert connection.ask("GET", "/control/is_alive", chunked(body),
                              {"Transfer-Encoding": "chunked"}).text == "ok\n"
        assert connection.ask("GET").status == 200


def test_larger_body_of_a_get_is_refused(echo):
    body = b"x" * (64 * 1024 + 1)
    assert echo.ask("GET", "/", body).status == 413
    assert echo.ask("GET", "/", chunked(body), {"Transfer-Encoding": "chunked"}).status == 413
    assert_serves(echo)
