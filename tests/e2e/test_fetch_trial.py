"""A model that is fetched in the place of another is on trial until it has opened: what is no model,
whatever its server says, costs nobody the copy that was served before."""
import os
import signal
import socket
import subprocess
import threading

import pytest

from harness import PROGRAM, SANITIZE, Server, eventually, start_fails
from python_models import PYTHON
from website import BODY, LISTEN, cache, kept, model_in, page, site  # noqa: F401

pytestmark = pytest.mark.skipif("thread" in SANITIZE, reason="libcurl is not instrumented")

WRONG = b"<html>please log in</html>"


def model(number):
    return b"version = '%d'\ndef infer(inputs):\n    return inputs\n" % number


def serve(url, *arguments):
    return Server(*arguments, *PYTHON, "--instances", 1, engine="auto", model=url)


def served(server):
    return server.ask("GET", "/", fields={"Accept": "application/json"}).text


@pytest.fixture
def url(site, cache):
    """Of a model, a copy of which was served."""
    site.answers["/m.py"] = page(model(1), etag='"1"')
    with serve(site.url + "/m.py") as server:
        assert '"1"' in served(server)
    return site.url + "/m.py"


def assert_copy(cache, number):
    assert kept(cache)["m.py"].rstrip(b"#").endswith(model(number))
    assert not {".last", ".part"} & set(kept(cache))


def test_wrong_page_replaces_no_model(site, cache, url):
    site.answers["/m.py"] = page(WRONG, etag='"2"')
    for warning in "does not open", "still the one that did not open":
        with serve(url) as server:
            assert '"1"' in served(server)
            assert server.logged(warning) and server.logged(str(model_in(cache)))
        assert_copy(cache, 1)
    assert site.asked[-1][1]["If-None-Match"] == '"2"'  # it is not fetched again
    site.answers["/m.py"] = page(model(3), etag='"3"')
    for line in "fetched ", "has not changed":
        with serve(url) as server:
            assert '"3"' in served(server) and server.logged(line)
        assert_copy(cache, 3)


def test_copy_survives_the_server_too(site, cache, url):
    site.answers["/m.py"] = page(WRONG, etag='"2"')
    with serve(url):
        pass
    site.close()
    with serve(url) as server:
        assert '"1"' in served(server)


def test_wrong_page_that_the_server_says_nothing_of(site, cache, url):
    """It cannot be told from another but by fetching it; of the model it is known what to ask."""
    site.answers["/m.py"] = page(WRONG)
    for _ in range(2):
        with serve(url) as server:
            assert '"1"' in served(server) and server.logged("does not open")
        assert_copy(cache, 1)
        assert site.asked[-1][1]["If-None-Match"] == '"1"'
    site.answers["/m.py"] = page(model(1), etag='"1"')
    with serve(url) as server:
        assert server.logged("has not changed")


def test_the_model_is_back_again(site, cache, url):
    site.answers["/m.py"] = page(WRONG, etag='"2"')
    with serve(url):
        pass
    site.answers["/m.py"] = page(model(1), etag='"1"')
    for _ in range(2):
        with serve(url) as server:
            assert '"1"' in served(server)
        assert ".refused" not in kept(cache)
    assert server.logged("has not changed")


def test_wrong_page_without_a_copy(site, cache):
    site.answers["/m.py"] = page(WRONG, etag='"1"')
    for _ in range(2):
        assert "SyntaxError" in start_fails(*PYTHON, *LISTEN, "-q", site.url + "/m.py")
    site.answers["/m.py"] = page(model(2), etag='"2"')
    for _ in range(2):
        with serve(site.url + "/m.py") as server:
            assert '"2"' in served(server)
    assert_copy(cache, 2)


def test_what_is_in_the_way_is_not_the_model(site, cache, url):
    """Then nothing is known of the new one, and the next start tries it."""
    site.answers["/m.py"] = page(model(2), etag='"2"')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = ("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert "in use" in start_fails(*PYTHON, *listen, "-q", url)
    assert_copy(cache, 1)
    with serve(url) as server:
        assert '"2"' in served(server)
    assert_copy(cache, 2)


WAITS = b"import os, time\nwhile not os.path.exists(%r):\n    time.sleep(0.01)\n"


def test_end_during_the_trial(site, cache, url, tmp_path):
    never = str(tmp_path / "never").encode()
    site.answers["/m.py"] = page(WAITS % never + model(2), etag='"2"')
    process = subprocess.Popen([PROGRAM, "serve", *PYTHON, *LISTEN, "--instances", "1", url],
                               stderr=subprocess.DEVNULL)
    eventually(lambda: ".last" in kept(cache), what="the trial")
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert kept(cache)[".last"] == model(1)
    answer, site.answers["/m.py"] = site.answers["/m.py"], page(b"", 503)
    with serve(url) as server:
        assert '"1"' in served(server)
    assert_copy(cache, 1)
    site.answers["/m.py"] = answer  # it was not refused, only not known
    (tmp_path / "never").touch()
    with serve(url) as server:
        assert '"2"' in served(server)
    assert_copy(cache, 2)


def test_another_start_waits_for_the_trial(site, cache, url, tmp_path):
    go = tmp_path / "go"
    site.answers["/m.py"] = page(WAITS % str(go).encode() + model(2), etag='"2"')
    servers = [serve(url) for _ in range(2)]
    threads = [threading.Thread(target=server.__enter__) for server in servers]
    for thread in threads:
        thread.start()
    eventually(lambda: any("waiting for another" in s.stderr for s in servers)
               and ".last" in kept(cache), what="the trial and the wait")
    assert kept(cache)[".last"] == model(1)
    go.touch()
    for thread in threads:
        thread.join()
    for server in servers:
        assert '"2"' in served(server)
        server.__exit__(None)
    assert [head["If-None-Match"] for _, head in site.asked] == [None, '"1"', '"2"']
    assert_copy(cache, 2)


@pytest.mark.parametrize("full", ["the disk", "the folder"])
def test_copy_is_served_when_the_new_one_cannot_be_written(site, cache, url, full):
    site.answers["/m.py"] = page(model(2) + b"#" * len(BODY), etag='"2"')
    part = model_in(cache).parent / ".part"
    if full == "the disk":
        part.symlink_to("/dev/full")
    else:
        part.mkdir()
    with serve(url) as server:
        assert '"1"' in served(server)
        assert server.logged("No space left" if full == "the disk" else "Is a directory")
    if full != "the disk":
        os.rmdir(part)
    assert_copy(cache, 1)
