"""Who may control a server: a person or a program of this machine, by POST; not a page that a
browser of this machine shows, nor those who come through a proxy on it."""
import json
import re
import subprocess

import pytest

from harness import PATIENCE, PROGRAM, SMALL, Connection, Server, encode, http, start_fails

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


@pytest.mark.parametrize("route, allow", [("/control/is_alive", "GET, HEAD, POST, OPTIONS"),
                                          ("/metrics", "GET, HEAD")])
def test_each_route_tells_its_methods(echo, route, allow):
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
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


# --- --allow-host -----------------------------------------------------------------------

@pytest.mark.parametrize("route", OTHERS)
def test_allowed_hosts_bind_each_route(route):
    flags = ["--allow-host", "models.example", "--allow-host", "[2001:db8::1]:9000"]
    with Server(*flags) as server:
        for host, status in (("models.example", 200), ("MODELS.example:123", 200),
                             ("[2001:db8::1]:9000", 200), ("[2001:db8::1]:9001", 421),
                             ("localhost", 421), ("127.0.0.1", 421), ("models.example.evil", 421)):
            answer = ask(server, http("GET", route, fields={"Host": host}))
            assert answer.status == status, host
            assert status == 200 or f'"{host}"' in answer.text
        target = f"http://evil.example{route}"
        assert ask(server, http("GET", target, fields={"Host": "models.example"})).status == 421
        assert ask(server, http("GET", route, version="1.0")).status == 421
        fields = {"Host": "evil.example", "Accept": "application/x-graphpipe"}
        answer = ask(server, http("POST", "/", encode(SMALL), fields))
        assert answer.status == 421 and answer.error[0] == 19


def test_allowed_hosts_do_not_widen_control():
    with Server("--allow-host", "models.example", "--allow-host", "localhost") as server:
        assert ask(server, shutdown("models.example")).status == 403
        assert ask(server, shutdown("localhost")).text == "shutdown\n"


@pytest.mark.parametrize("name", ["", "http://models.example", "models.example/", "a b", "u@h", "a,b"])
def test_what_is_no_host_is_refused(name):
    said = start_fails("--engine", "echo", "--listen", "127.0.0.1:0", "--allow-host", name)
    assert "--allow-host" in said


def test_allowed_hosts_come_from_the_environment(tmp_path):
    run = subprocess.run([PROGRAM, "serve", "--print-config"], capture_output=True, text=True,
                         env={"GP_ALLOW_HOST": "a.example,b.example"}, timeout=20 * PATIENCE)
    assert re.search("allow-host = a.example,b.example .*GP_ALLOW_HOST", run.stdout)


def test_a_unix_socket_is_not_asked_for_a_host(tmp_path):
    with Server("--allow-host", "models.example", listen=[f"unix:{tmp_path}/socket"]) as server:
        assert server.ask("GET", "/").status == 200


# --- the warning at start ---------------------------------------------------------------

@pytest.mark.parametrize("listen, flags, wanted", [
    (["127.0.0.1:0"], [], []),
    (["127.0.0.1:0", "0.0.0.0:0", "0.0.0.0:0"], [], ["0.0.0.0", "--allow-host"]),
    (["0.0.0.0:0"], ["--allow-remote-control"], ["shut the server down"]),
    (["0.0.0.0:0"], ["--allow-host", "localhost"], []),
])
def test_open_to_other_machines_is_warned_of(listen, flags, wanted):
    with Server(*flags, listen=listen) as server:
        pass
    lines = [line for line in server.lines if "other machines" in line]
    assert len(lines) == (1 if wanted else 0)
    assert all(word in lines[0] for word in wanted)
