"""OPTIONS, and what browsers need to let pages of other origins ask: --cors-origin."""
import pytest

from harness import MESSAGE, SMALL, Server, echoed, encode, start_fails

PAGE, OTHER = "https://app.example:8443", "http://localhost:8080"
ALLOW = "GET, HEAD, POST, OPTIONS"
ASKS = {"Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "accept,content-type,x-graphpipe-timeout-ms"}


@pytest.fixture(scope="module")
def open_to_pages():
    with Server("--cors-origin", PAGE, "--cors-origin", OTHER) as server:
        yield server


def cors_of(answer):
    return {name: value for name, value in answer.fields.items()
            if name.startswith("access-control-") or name == "vary"}


# --- OPTIONS ----------------------------------------------------------------------------

@pytest.mark.parametrize("target", ["/", "/echo", "/echo/versions/1", "*", "http://x/"])
def test_options_of_what_there_is(echo, target):
    with echo.connect() as connection:
        answer = connection.ask("OPTIONS", target)
        assert (answer.status, answer.body) == (204, b"") and answer.fields["allow"] == ALLOW
        assert "content-length" not in answer.fields and not cors_of(answer)
        assert echoed(connection.ask("POST", "/", encode(SMALL))) == SMALL.data


def test_options_of_what_there_is_not(echo):
    for target in ("/nobody", "/v2/health/ready", "/control/reboot"):
        assert echo.ask("OPTIONS", target).status == 404, target


def test_options_of_a_balancer(echo):
    """HAProxy's `option httpchk` asks in HTTP/1.0, without a host."""
    with echo.connect() as connection:
        connection.send(b"OPTIONS / HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 204
    assert echo.ask("OPTIONS", "/control/is_ready").text == "ok\n"


def test_options_of_several_models():
    with Server("a=x", "b=x") as server:
        assert server.ask("OPTIONS").status == server.ask("OPTIONS", "/b").status == 204
        assert server.ask("OPTIONS", "/c").status == 404


# --- pages ------------------------------------------------------------------------------

@pytest.mark.parametrize("origin", [PAGE, OTHER])
def test_a_page_asks_whether_it_may_and_then_asks(open_to_pages, origin):
    with open_to_pages.connect() as connection:
        may = connection.ask("OPTIONS", "/", fields={"Origin": origin, **ASKS})
        assert may.status == 204
        assert may.fields["access-control-allow-origin"] == origin
        assert may.fields["access-control-allow-methods"] == "GET, HEAD, POST"
        assert {"accept", "content-type", "x-graphpipe-timeout-ms", "x-graphpipe-cache"} <= set(
            may.fields["access-control-allow-headers"].lower().split(", "))
        assert may.fields["vary"] == "Origin"
        answer = connection.ask("POST", "/", encode(SMALL), {"Accept": MESSAGE, "Origin": origin})
        assert echoed(answer) == SMALL.data
        assert cors_of(answer) == {"access-control-allow-origin": origin, "vary": "Origin",
                                   "access-control-expose-headers": "Retry-After, X-GraphPipe-Cache"}


def test_a_page_hears_that_a_model_is_not_there(open_to_pages):
    may = open_to_pages.ask("OPTIONS", "/nobody", fields={"Origin": PAGE, **ASKS})
    assert may.status == 204 and "access-control-allow-methods" in may.fields


@pytest.mark.parametrize("fields", [{"X-GraphPipe-Cache": "maybe"}, {"X-GraphPipe-Timeout-Ms": "soon"},
                                    {"Expect": "the best"}, {"Content-Length": "99999999999"}])
def test_a_page_reads_what_is_wrong_with_its_fields(open_to_pages, fields):
    answer = open_to_pages.ask("POST", "/", b"", {"Origin": PAGE, **fields})
    assert answer.status in (400, 413, 417) and answer.fields["access-control-allow-origin"] == PAGE


def test_a_page_reads_why_it_was_refused(open_to_pages):
    for method, target, body in ("POST", "/", b"garbage"), ("POST", "/nobody", b""), ("PUT", "/", b""):
        answer = open_to_pages.ask(method, target, body, {"Origin": PAGE})
        assert answer.status in (400, 404, 405)
        assert answer.fields["access-control-allow-origin"] == PAGE, target
        assert answer.text


@pytest.mark.parametrize("origin", ["https://app.example", PAGE + "1", PAGE.upper(), "null", "", "*",
                                    f"{PAGE}, {OTHER}", f" {PAGE}/"])
def test_other_pages_may_not(open_to_pages, origin):
    """Their requests are answered as ever, but no browser gives them the answer."""
    may = open_to_pages.ask("OPTIONS", "/", fields={"Origin": origin, **ASKS})
    assert cors_of(may) == {"vary": "Origin"}
    answer = open_to_pages.ask("POST", "/", encode(SMALL), {"Origin": origin})
    assert answer.status == 200 and cors_of(answer) == {"vary": "Origin"}


def test_answers_without_an_origin_differ_from_those_with_one(open_to_pages):
    assert cors_of(open_to_pages.ask("GET")) == {"vary": "Origin"}


def test_all_pages_may():
    with Server("--cors-origin", "*") as server:
        for fields in {"Origin": PAGE}, {"Origin": "null"}, {}:
            answer = server.ask("POST", "/", encode(SMALL), fields)
            assert echoed(answer) == SMALL.data
            assert answer.fields["access-control-allow-origin"] == "*" and "vary" not in answer.fields
        may = server.ask("OPTIONS", "/echo", fields={"Origin": PAGE, **ASKS})
        assert may.status == 204 and "access-control-allow-methods" in may.fields


def test_no_page_may_control_or_scrape(open_to_pages):
    for target in ("/control/is_ready", "/control/client_count", "/metrics"):
        assert not cors_of(open_to_pages.ask("GET", target, fields={"Origin": PAGE})), target
    answer = open_to_pages.ask("POST", "/control/shutdown", fields={"Origin": PAGE})
    assert answer.status == 403 and not cors_of(answer)
    may = open_to_pages.ask("OPTIONS", "/control/shutdown", fields={"Origin": PAGE, **ASKS})
    assert may.status == 405 and not cors_of(may)


@pytest.mark.parametrize("origin", ["", "app.example", "https://", "://x", "https://app.example/",
                                    "https://app.example/x", "https://a,https://b", "null",
                                    "https://App.example", "https://x y", "https://x\r\nA: b", "https://*"])
def test_what_is_no_origin_is_refused(origin):
    said = start_fails("--engine", "echo", "--listen", "127.0.0.1:0", "--cors-origin", origin)
    assert "--cors-origin is" in said and "https://app.example" in said


def test_origins_in_the_configuration_file(tmp_path):
    file = tmp_path / "gp.json"
    file.write_text('{"cors-origin": ["%s"]}' % PAGE)
    with Server("--config", file) as server:
        assert server.ask("GET", fields={"Origin": PAGE}).fields["access-control-allow-origin"] == PAGE
