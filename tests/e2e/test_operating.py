"""What an operator has of a server: listeners, health, shutdown, metrics and access lines."""
import json
import re
import socket
import stat

import pytest

from harness import SMALL, Server, assert_serves, echoed, encode, eventually, held, http, plugin, serve_slow


# --- listeners --------------------------------------------------------------------------

def test_unix_socket(tmp_path):
    path = tmp_path / "graphpipe.sock"
    with Server(listen=[f"unix:{path}"]) as server:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert server.address == str(path)
        with server.connect() as connection:
            for _ in range(3):
                assert echoed(connection.ask("POST", "/", encode(SMALL))) == SMALL.data
    assert not path.exists()


def test_socket_file_of_a_dead_server_is_replaced(tmp_path):
    path = tmp_path / "graphpipe.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Server(listen=[f"unix:{path}"]) as server:
        assert_serves(server)


def test_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Server(listen=["[::1]:0"]) as server:
        assert server.addresses[0].startswith("http://[::1]:")
        assert_serves(server)


@pytest.mark.tsan
def test_several_listeners(tmp_path):
    where = ["127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path}/a", f"unix:{tmp_path}/b"]
    with Server(listen=where) as server:
        assert len(set(server.addresses)) == 4
        for index in range(4):
            with server.connect(index) as connection:
                assert echoed(connection.ask("POST", "/", encode(SMALL))) == SMALL.data


# --- control and metrics ----------------------------------------------------------------

@pytest.mark.parametrize("route", ["is_ready", "is_alive"])
def test_health_is_ok_as_text_or_json(echo, route):
    for method in ("GET", "POST"):
        answer = echo.ask(method, f"/control/{route}")
        assert (answer.status, answer.text) == (200, "ok\n")
        assert answer.fields["content-type"].startswith("text/plain")
    answer = echo.ask("GET", f"/control/{route}", fields={"Accept": "application/json"})
    assert answer.fields["content-type"] == "application/json"
    assert json.loads(answer.body) == {"status": "ok"}


def test_client_count_counts_connections(echo):
    eventually(lambda: echo.ask("GET", "/control/client_count").text == "1\n")
    with echo.connect(), echo.connect():
        eventually(lambda: echo.ask("GET", "/control/client_count").text == "3\n")
    eventually(lambda: echo.ask("GET", "/control/client_count").text == "1\n")


@pytest.mark.tsan
def test_shutdown_answers_when_the_others_have_left(gate):
    with serve_slow() as server:
        idle, busy, control = (server.connect() for _ in range(3))
        with idle, busy, control:
            assert idle.ask("GET").status == 200
            busy.send(held(gate))
            eventually(lambda: server.metrics()["in_flight"] == 2)
            control.send(http("POST", "/control/shutdown"))
            assert idle.is_ended()
            gate.touch()
            assert echoed(busy.answer()) == SMALL.data
            busy.close()
            answer = control.answer()
            assert (answer.status, answer.text) == (200, "shutdown\n")
            assert control.is_ended()
        assert server.wait(2) == 0


def test_shutdown_speaks_json():
    with Server() as server:
        answer = server.ask("POST", "/control/shutdown", fields={"Accept": "application/json"})
        assert json.loads(answer.body) == {"status": "shutdown"}
        assert server.wait(2) == 0


def test_two_may_ask_for_shutdown():
    """The second one's head has arrived when the first one's request is complete."""
    with Server() as server, server.connect() as first, server.connect() as second:
        second.send(b"POST /control/shutdown HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
        eventually(lambda: server.metrics()["in_flight"] == 2)
        first.send(http("POST", "/control/shutdown"))
        second.send(b"x")
        assert first.answer().text == second.answer().text == "shutdown\n"
        assert server.wait(2) == 0


@pytest.mark.tsan
def test_metrics_add_up():
    with Server() as server:
        with server.connect() as connection:
            for _ in range(7):
                connection.ask("POST", "/", encode(SMALL))
            for _ in range(2):
                connection.ask("POST", "/", b"bad")
            connection.ask("GET", "/v1")
        server.ask("PUT")
        counts = eventually(lambda: (m := server.metrics()).get('other_requests_total{code="405"}')
                        and m)
        assert counts['requests_total{code="200"}'] == 7
        assert counts['requests_total{code="400"}'] == 2
        assert counts['other_requests_total{kind="other",code="404"}'] == 1
        assert counts['other_requests_total{kind="other",code="405"}'] == 1
        assert counts["request_seconds_count"] == counts["requests_total"] == 9
        assert counts['request_seconds_bucket{le="+Inf"}'] == 9
        assert counts["run_seconds_count"] == 7
        assert counts["received_bytes_total"] == 7 * len(encode(SMALL)) + 2 * 3
        assert counts["accepted_connections_total"] == 3
        assert counts["ready"] == 1 and counts["slots"] >= 1 and counts["waiting"] == 0
        # the request for the metrics itself is in flight
        eventually(lambda: (m := server.metrics())["in_flight"] == m["connections"] == 1)
        assert server.metrics()['pool_bytes{state="used"}'] == 0


# --- access lines -----------------------------------------------------------------------

def ask_what_is_logged(server):
    """Ten requests, some of them with what could break a line."""
    server.infer(SMALL)
    server.infer(SMALL, config="fail")
    server.ask("GET", '/"quoted"\\path')
    server.ask("HEAD", "/metrics")
    server.ask("PUT")
    server.ask("POST", "/", b"bad")
    server.ask("POST", "/", encode(SMALL, input_names=["a\nb", "other\r\n"]))
    with server.connect() as connection:
        connection.send(b"GET /\xff\xfe\x01 HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.answer()
    with server.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        connection.answer()
    with server.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        connection.reset()
    return 10


def test_access_lines_as_text():
    with Server("-v", engine=plugin("faulty")) as server:
        n_start = len(server.lines)
        n = ask_what_is_logged(server)
        eventually(lambda: len(server.lines) >= n_start + n)
        for line in server.lines[n_start:]:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (127\.0\.0\.1:\d+|-) "
                                r"(GET|HEAD|POST|OTHER|-) \S+ \d{3}  in \d+  out \d+ bytes  "
                                r"\d+\.\d{3} ms \(waited [\d.]+, ran [\d.]+\)(  .*)?", line), line
        assert len(server.lines) == n_start + n


def test_access_lines_as_json():
    with Server("-v", "--log-format", "json", engine=plugin("faulty")) as server:
        n_start = len(server.lines)
        n = ask_what_is_logged(server)
        eventually(lambda: len(server.lines) >= n_start + n)
        for line in server.lines[:n_start]:
            assert json.loads(line)["level"] == "info"
        entries = [json.loads(line) for line in server.lines[n_start:]]
    first = next(e for e in entries if (e["method"], e["status"]) == ("POST", 200))
    assert first["target"] == "/" and first["sent_bytes"] > 0
    assert first["received_bytes"] == len(encode(SMALL))
    assert 0 <= first["waited_ms"] <= first["total_ms"] and "error" not in first
    assert 0 <= first["ran_ms"] <= first["total_ms"]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", e["peer"]) for e in entries)
    assert [e["target"] for e in entries if "quoted" in e["target"]] == ['/"quoted"\\path']
    failed = next(e for e in entries if e["status"] == 500)
    assert "it broke" in failed["error"]
    assert any(e["status"] == 499 for e in entries)
