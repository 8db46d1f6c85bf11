"""Models named by a URL: what is fetched, how it is kept, and what the next start does with it."""
import json
import re
import shutil
import signal
import subprocess
import threading

import pytest

from harness import (BUILD, MODELS, PATIENCE, PROGRAM, SANITIZE, Server, assert_serves,
                     eventually, start_fails)
from needs import needs
from website import BODY, ECHO, LISTEN, cache, kept, model_in, page, site

pytestmark = pytest.mark.skipif("thread" in SANITIZE, reason="libcurl is not instrumented")


def name_of(server):
    return json.loads(server.ask("GET", "/", fields={"Accept": "application/json"}).body)["name"]


# --- what is fetched --------------------------------------------------------------------

@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
def test_model_is_fetched_and_served(site, cache, length):
    site.answers["/some/mobilenet.v2.onnx"] = page(length=length)
    with Server(model=site.url + "/some/mobilenet.v2.onnx") as server:
        assert_serves(server)
        assert name_of(server) == "mobilenet.v2"
        before, after, *_ = server.lines
    path = model_in(cache)
    assert path.name == "mobilenet.v2.onnx" and path.read_bytes() == BODY
    assert path.parent.name.startswith("mobilenet.v2-")
    assert [p.stat().st_mode & 0o777 for p in (cache, path.parent, path)] == [0o700, 0o700, 0o600]
    url = f"{site.url}/some/mobilenet.v2.onnx"
    assert before == f"fetching {url}" + (", 1.0 MB" if length else "")
    assert after == f"fetched {url}, 1.0 MB, into {path}"
    assert ".part" not in kept(cache)
    assert re.fullmatch(r"graphpipe/\d+\.\d+\.\d+", site.asked[0][1]["User-Agent"])


@pytest.mark.parametrize("target, file, name", [
    ("/a%20b%2Fc%0a.onnx?x=/d.onnx", "a b_c_.onnx", "a b_c_"), ("", "model.bin", "model"),
    ("/folder/", "model.bin", "model"), ("/..%2f", "_._", "_"), ("/.lock", "_lock", "_lock"),
    ("/x%zz%", "x%zz%", "x%zz%"), ("/" + "y" * 300 + ".onnx", "y" * 145 + ".onnx", "y" * 145)],
    ids=range(7))
def test_names(site, cache, target, file, name):
    site.answers.update({target.partition("?")[0] or "/": page()})
    with Server(model=site.url + target) as server:
        assert name_of(server) == name
    assert model_in(cache).name == file


def test_name_that_is_given(site):
    site.answers["/a=b.onnx"] = page()
    with Server(model=f"mine={site.url}/a=b.onnx") as server:
        assert name_of(server) == "mine"


def test_urls_have_folders_of_their_own(site, cache):
    for i in "12":
        site.answers[f"/{i}/m.onnx"] = page(b"model " + i.encode())
        with Server(model=f"{site.url}/{i}/m.onnx"):
            pass
    assert sorted(path.read_bytes() for path in cache.glob("*/m.onnx")) == [b"model 1", b"model 2"]


def test_cache_dir(site, tmp_path):
    site.answers["/m.onnx"] = page()
    folder = tmp_path / "made" / "here"
    with Server("--cache-dir", folder, model=site.url + "/m.onnx"):
        assert model_in(folder).read_bytes() == BODY


def test_home(site, tmp_path, monkeypatch):
    site.answers["/m.onnx"] = page()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Server(model=site.url + "/m.onnx"):
        assert model_in(tmp_path / ".cache/graphpipe").read_bytes() == BODY
    monkeypatch.delenv("HOME")
    assert "--cache-dir" in start_fails(*ECHO, "-q", site.url + "/m.onnx")


@needs("onnx")
def test_graphpipe_onnx(site, cache):
    site.answers["/mlp.onnx"] = page((MODELS / "mlp.onnx").read_bytes())
    old_program("graphpipe-onnx", site.url + "/mlp.onnx", cache)


@needs("tensorflow")
def test_graphpipe_tf(site, cache):
    site.answers["/pair.pb"] = page((MODELS / "tensorflow/pair.pb").read_bytes())
    old_program("graphpipe-tf", site.url + "/pair.pb", cache)


def old_program(program, url, cache):
    server = Server()
    server.command = [str(BUILD / "bin" / program), "-m", url, "-d", str(cache / "d"), *LISTEN]
    with server:
        assert name_of(server) == url.rpartition("/")[2].partition(".")[0]
        assert model_in(cache / "d")


# --- the copy of an earlier start -------------------------------------------------------

@pytest.mark.parametrize("said", [{"etag": '"one"'}, {"etag": 'W/"one"'},
                                  {"modified": "Sun, 06 Nov 1994 08:49:37 GMT"}], ids=str)
def test_unchanged_model_is_not_fetched_again(site, cache, said):
    site.answers["/m.onnx"] = page(**said)
    for start in range(3):
        with Server(model=site.url + "/m.onnx") as server:
            path = model_in(cache)
            if start:
                assert path.stat().st_ino == number
                assert server.lines[0] == f"{site.url}/m.onnx has not changed: {path}"
            number = path.stat().st_ino
    site.answers["/m.onnx"] = page(b"newer", etag='"two"')
    for _ in range(2):
        with Server(model=site.url + "/m.onnx"):
            assert path.read_bytes() == b"newer"
    assert site.asked[-1][1]["If-None-Match"] == '"two"'
    assert not site.asked[-1][1]["If-Modified-Since"]


@pytest.mark.parametrize("field", ["etag", "modified"])
@pytest.mark.parametrize("value", ['"a\rX-Evil: 1"', '"a\x0bb"', '"a\x1b[2J"', '"a\x7f"'])
def test_what_would_end_a_line_is_not_sent_back(site, cache, field, value):
    site.answers["/m.onnx"] = page(**{field: value})
    for _ in range(2):
        with Server(model=site.url + "/m.onnx"):
            pass
    assert ".conditions" not in kept(cache) or not kept(cache)[".conditions"]
    fields = ("If-None-Match", "If-Modified-Since", "X-Evil")
    assert not any(head[name] for _, head in site.asked for name in fields)


def test_conditions_of_another_release_are_not_trusted(site, cache):
    site.answers["/m.onnx"] = page(etag='"one"')
    with Server(model=site.url + "/m.onnx"):
        pass
    (model_in(cache).parent / ".conditions").write_bytes(b'If-None-Match: "a\rX-Evil: 1"\n')
    with Server(model=site.url + "/m.onnx"):
        pass
    assert [head["If-None-Match"] for _, head in site.asked] == [None, None]
    assert not any(head["X-Evil"] for _, head in site.asked)


@pytest.mark.parametrize("name", ["a%C2%9B%E2%80%AE%FF%D0.onnx", "%D0%B6" * 60 + ".onnx"])
def test_name_of_what_cannot_be_seen(site, cache, name):
    site.answers["/" + name] = page()
    with Server(model=f"{site.url}/{name}") as server:
        assert_serves(server)
    path = model_in(cache)
    assert path.name.isprintable() and re.fullmatch("(a_+|_?.?ж+)[.]onnx", path.name), path.name


def test_model_that_the_server_says_nothing_of_is_fetched_again(site, cache):
    site.answers["/m.onnx"] = page(etag='"one"')
    with Server(model=site.url + "/m.onnx"):
        pass
    for body in (b"second", b"third"):
        site.answers["/m.onnx"] = page(body)
        with Server(model=site.url + "/m.onnx"):
            assert model_in(cache).read_bytes() == body
    assert not site.asked[-1][1]["If-None-Match"]


def test_copy_that_was_deleted_is_fetched_again(site, cache):
    site.answers["/m.onnx"] = page(etag='"one"')
    for _ in range(2):
        with Server(model=site.url + "/m.onnx"):
            model_in(cache).unlink()
    assert not site.asked[1][1]["If-None-Match"]


def test_copy_is_served_when_the_server_is_gone(site, cache):
    site.answers["/m.onnx"] = page()
    with Server(model=site.url + "/m.onnx"):
        pass
    site.close()
    with Server(model=site.url + "/m.onnx") as server:
        assert_serves(server)
        line = server.lines[0]
    assert "warning" in line and "connect" in line and str(model_in(cache)) in line
    shutil.rmtree(cache)
    assert "connect" in start_fails(*ECHO, site.url + "/m.onnx")


@pytest.mark.parametrize("answer", [page(b"", 500), page(b"", 503), page(b"half", length=100)],
                         ids=["500", "503", "cut"])
def test_copy_is_served_when_the_server_fails(site, cache, answer):
    site.answers["/m.onnx"] = page(etag='"one"')
    with Server(model=site.url + "/m.onnx"):
        pass
    site.answers["/m.onnx"] = answer
    with Server(model=site.url + "/m.onnx") as server:
        assert server.logged("warning")
        assert model_in(cache).read_bytes() == BODY and ".part" not in kept(cache)
    site.answers["/m.onnx"] = page(b"another", etag='"one"')  # its conditions are kept as well
    with Server(model=site.url + "/m.onnx") as server:
        assert server.logged("has not changed")


def test_copy_is_not_served_when_the_server_refuses(site, cache):
    site.answers["/m.onnx"] = page()
    with Server(model=site.url + "/m.onnx"):
        pass
    for answer in (page(b"", 404), page(b"", 403), page(BODY * 2, length=False)):
        site.answers["/m.onnx"] = answer
        assert "/m.onnx: " in start_fails(*ECHO, "-q", "--max-model", "1MiB", site.url + "/m.onnx")
        assert model_in(cache).read_bytes() == BODY


def test_two_starts_at_once(site, cache):
    """The second waits for the first, and then asks whether there is a newer one."""
    go = threading.Event()

    def slow(to):
        go.wait(20)
        page(etag='"one"')(to)
    site.answers["/m.onnx"] = slow
    servers = [Server(model=site.url + "/m.onnx") for _ in range(2)]
    threads = [threading.Thread(target=server.__enter__) for server in servers]
    for thread in threads:
        thread.start()
    eventually(lambda: any("waiting for another" in s.stderr for s in servers), what="the wait")
    go.set()
    for thread in threads:
        thread.join(10 * PATIENCE)
    for server in servers:
        assert_serves(server)
        server.__exit__(None)
    assert [head["If-None-Match"] for _, head in site.asked] == [None, '"one"']
    assert model_in(cache).read_bytes() == BODY


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_end_during_the_download(site, cache, number):
    stop = threading.Event()

    def endless(to):
        page(BODY, length=10**9)(to)
        stop.wait()
    site.answers["/m.onnx"] = endless
    process = subprocess.Popen([PROGRAM, "serve", *ECHO, site.url + "/m.onnx"],
                               stderr=subprocess.PIPE, text=True)
    with process:
        eventually(lambda: [p for p in cache.glob("*/.part") if p.stat().st_size > 10_000],
                   what="the download")
        process.send_signal(number)
        assert process.wait(10 * PATIENCE) == (-number if number == signal.SIGKILL else 128 + number)
    stop.set()
    assert not list(cache.glob("*/m.onnx"))
    site.answers["/m.onnx"] = page(b"short")
    with Server(model=site.url + "/m.onnx"):
        assert kept(cache)["m.onnx"] == b"short" and ".part" not in kept(cache)
