"""Who may control a server: a person or a program of this machine, by POST; not a page that a
browser of this machine shows, nor those who come through a proxy on it."""
import json

import pytest

from harness import SMALL, Connection, Server, encode, http

SHUTDOWN = "/control/shutdown"
STATE = [SHUTDOWN]  # the routes that change state
OTHERS = ["/control/is_ready", "/control/is_alive", "/control/client_count", "/metrics", "/"]


def shutdown(host="localhost", fields=(), version="1.1", target=SHUTDOWN, method="POST"):
    fields = list(fields) if host is None else [("Host", host), *fields]
    return http(method, target, fields=fields, version=version)


def ask(server, request, is_head=False):
    with server.connect() as connection:
        connection.send(request)
        return connection.answer(is_head)


def assert_runs(server):
    assert server.ask("GET", "/control/is_ready").text == "ok\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("route", STATE)
def test_state_is_changed_by_post_only(echo, route, method):
    answer = ask(echo, shutdown(target=route, method=method), is_head=method == "HEAD")
    assert (answer.status, answer.fields["allow"]) == (405, "POST")
    assert_runs(echo)


@pytest.mark.parametrize("route, allow", [("/control/is_alive", "GET, HEAD, POST"),
                                          ("/metrics", "GET, HEAD")])
def test_each_route_tells_its_methods(echo, route, allow):
    for method in ("GET", "HEAD", "POST", "PUT"):
        with echo.connect() as connection:
            connection.send(http(method, route))
            answer = connection.answer(is_head=method == "HEAD")
            assert answer.status == (200 if method in allow else 405)
            assert method in allow or answer.fields["allow"] == allow


FIELDS = ["Origin", "origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "SEC-FETCH-DEST",
          "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "x-forwarded-proto",
          "X-Real-IP"]


@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_pages_and_proxies_are_refused(echo, field):
    for value in ("null", "same-origin", ""):
        answer = ask(echo, shutdown(fields=[("Accept", "*/*"), (field, value)]))
        assert answer.status == 403 and f'"{field}"' in answer.text, value
    assert_runs(echo)


def test_those_fields_are_refused_beyond_loopback_and_on_unix_sockets(tmp_path):
    where = ["0.0.0.0:0", f"unix:{tmp_path}/socket"]
    with Server("--allow-remote-control", listen=where) as server:
        for address in (("127.0.0.1", server.port), f"{tmp_path}/socket"):
            with Connection(address) as connection:
                connection.send(shutdown(fields=[("Via", "1.1 proxy")]))
                assert connection.answer().status == 403


def test_a_client_that_is_refused_keeps_its_connection(echo):
    with echo.connect() as connection:
        for _ in range(3):
            connection.send(shutdown(fields=[("Origin", "http://evil.example")]))
            assert connection.answer().status == 403
            assert connection.ask("POST", "/", encode(SMALL)).tensors[0].data == SMALL.data


def test_refused_before_its_body(echo):
    with echo.connect() as connection:
        connection.send(http("POST", SHUTDOWN, fields={"Origin": "x", "Content-Length": 1 << 20}))
        answer = connection.answer()
        assert (answer.status, answer.fields["connection"]) == (403, "close")
    with echo.connect() as connection:
        connection.send(http("POST", "/v2/models", fields={"Content-Length": 1 << 20}))
        assert connection.answer().status == 404


def test_refusal_follows_accept(echo):
    answer = ask(echo, shutdown(fields=[("Accept", "application/json"), ("Origin", "x")]))
    assert json.loads(answer.body)["status"] == "forbidden"


# --- names ------------------------------------------------------------------------------

LOOPBACK = ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "127.1.2.3", "[::1]:{port}"]
FOREIGN = ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example",
           "0.0.0.0:{port}", "10.0.0.1", "[2001:db8::1]:{port}"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_names_may_control(host):
    with Server() as server:
        assert ask(server, shutdown(host.format(port=server.port))).text == "shutdown\n"
        assert server.wait(5) == 0


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_leads_here_does_not_control(echo, host):
    host = host.format(port=echo.port)
    answer = ask(echo, shutdown(host))
    assert answer.status == 403 and f'"{host}"' in answer.text
    assert_runs(echo)


def test_a_name_with_a_user_is_none(echo):
    assert ask(echo, shutdown("localhost@evil.example")).status == 400


@pytest.mark.parametrize("route", OTHERS)
def test_a_proxy_with_its_own_host_is_a_client_of_the_other_routes(echo, route):
    fields = [("Host", "models.example"), ("X-Forwarded-For", "192.0.2.1"), ("Via", "1.1 proxy"),
              ("Forwarded", "for=192.0.2.1"), ("Origin", "https://models.example")]
    assert ask(echo, http("GET", route, fields=fields)).status == 200


@pytest.mark.parametrize("host", [None, "localhost", "127.0.0.1:9000"])
def test_http10_does_not_control(echo, host):
    """nginx asks so where nothing else is said, with our own address as Host and no field that
    tells of its client."""
    answer = ask(echo, shutdown(host, version="1.0"))
    assert answer.status == 403 and "HTTP/1.1" in answer.text
    assert_runs(echo)


@pytest.mark.parametrize("authority, host, status", [
    ("evil.example", "localhost", 403), ("evil.example:9000", "localhost:9000", 403),
    ("user@evil.example", "localhost", 403), ("localhost@evil.example", "localhost", 403),
    ("localhost", "evil.example", 200), ("127.0.0.1:9000", "evil.example", 200), ("", "localhost", 400),
])
@pytest.mark.parametrize("scheme", ["http", "HTTPS"])
def test_the_authority_of_a_target_counts_more_than_host(scheme, authority, host, status):
    with Server() as server:
        answer = ask(server, shutdown(host, target=f"{scheme}://{authority}{SHUTDOWN}"))
        assert answer.status == status
        if status == 200:
            assert server.wait(5) == 0
        else:
            assert_runs(server)


def test_two_hosts_are_refused(echo):
    hosts = [("Host", "localhost"), ("Host", "evil.example")]
    for fields in (hosts, hosts[::-1], hosts[:1] * 2):
        assert ask(echo, http("POST", SHUTDOWN, fields=fields)).status == 400
    assert_runs(echo)


@pytest.mark.parametrize("target", ["/control//shutdown", "//control/shutdown", "/control/./shutdown",
                                    "/control/%73hutdown", "/Control/shutdown", "/control/shutdown/",
                                    "/control/shutdown%00", "/control/shutdown;x"])
def test_no_other_target_leads_there(echo, target):
    assert ask(echo, shutdown(target=target)).status in (400, 404)
    assert_runs(echo)


def test_a_unix_socket_takes_any_name(tmp_path):
    with Server(listen=[f"unix:{tmp_path}/socket"]) as server:
        assert ask(server, shutdown("anything.example")).text == "shutdown\n"
        assert server.wait(5) == 0


@pytest.mark.parametrize("flags, status", [([], 403), (["--allow-remote-control"], 200)])
def test_other_machines_need_a_flag(flags, status):
    with Server(*flags, listen=["0.0.0.0:0"]) as server:
        with Connection(("127.0.0.1", server.port)) as connection:
            connection.send(shutdown("models.example"))
            assert connection.answer().status == status
            assert status == 200 or connection.ask("GET").status == 200


def test_a_mapped_loopback_listener_is_loopback():
    with Server(listen=["[::1]:0"]) as server:
        with Connection(("::1", server.port)) as connection:
            connection.send(shutdown("evil.example"))
            assert connection.answer().status == 403
