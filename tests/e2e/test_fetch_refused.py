"""Models named by a URL: what is refused, what is said of it, and TLS."""
import json
import os
import pty
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness import PROGRAM, SANITIZE, Server, start_fails
from website import BODY, ECHO, Site, cache, kept, model_in, nothing_in, page, site

pytestmark = pytest.mark.skipif("thread" in SANITIZE, reason="libcurl is not instrumented")


# --- what is refused --------------------------------------------------------------------

def test_redirects(site, cache):
    """The name is the first URL's, and what is kept of the head is the last one's."""
    for i in range(10):
        site.answers[f"/{i}.onnx"] = page(b"moved", 302, etag='"no"', location=f"/{i + 1}.onnx")
    site.answers["/10.onnx"] = page(etag='"yes"')
    for _ in range(2):
        with Server(model=site.url + "/0.onnx") as server:
            assert model_in(cache).name == "0.onnx" and model_in(cache).read_bytes() == BODY
    assert server.logged("has not changed") and len(site.asked) == 22
    site.answers["/10.onnx"] = page(b"", 302, location="/11.onnx")
    site.answers["/11.onnx"] = page()
    assert "10" in start_fails(*ECHO, site.url + "/0.onnx?")


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/m.onnx",
                                "gopher://127.0.0.1/", "//"])
def test_redirect_to_elsewhere(site, cache, to):
    site.answers["/m.onnx"] = page(b"", 302, location=to)
    line = start_fails(*ECHO, site.url + "/m.onnx")
    assert to.partition(":")[0] in line and nothing_in(cache)


@pytest.mark.parametrize("status", [204, 300, 302, 401, 403, 404, 410, 500, 503])
def test_statuses(site, cache, status):
    for body in b"", b"a page that says so":
        site.answers["/m.onnx"] = page(body if status != 204 else b"", status)
        line = start_fails(*ECHO, site.url + "/m.onnx")
        assert f"{site.url}/m.onnx: " in line and f"status {status}" in line
        assert nothing_in(cache)


def test_no_bytes(site, cache):
    site.answers["/m.onnx"] = page(b"")
    assert "an empty answer" in start_fails(*ECHO, site.url + "/m.onnx")
    assert nothing_in(cache)


def test_unchanged_though_never_asked(site, cache):
    site.answers["/m.onnx"] = page(b"", 304)
    assert "304" in start_fails(*ECHO, site.url + "/m.onnx")
    assert nothing_in(cache)


def test_model_that_is_too_large(site, cache):
    site.answers["/m.onnx"] = page()
    limit = ("-q", "--max-model", len(BODY) - 1)
    line = start_fails(*ECHO, *limit, site.url + "/m.onnx")
    assert "--max-model" in line and "it has 1.0 MB" in line and nothing_in(cache)
    site.answers["/m.onnx"] = page(length=False)
    line = start_fails(*ECHO, *limit, site.url + "/m.onnx")
    assert "--max-model" in line and nothing_in(cache)
    with Server("--max-model", len(BODY), model=site.url + "/m.onnx"):
        assert model_in(cache).read_bytes() == BODY


def test_body_that_is_cut(site, cache):
    site.answers["/m.onnx"] = page(length=len(BODY) + 1)
    assert "1 bytes remaining" in start_fails(*ECHO, "-q", site.url + "/m.onnx")
    assert nothing_in(cache)


@pytest.mark.parametrize("sent", [b"", b"a few bytes"], ids=["head", "body"])
def test_server_that_stands_still(site, cache, sent):
    stop = threading.Event()

    def silent(to):
        if sent:
            page(sent, length=10**6)(to)
        stop.wait()
    site.answers["/m.onnx"] = silent
    start = time.monotonic()
    line = start_fails(*ECHO, "-q", "--fetch-timeout", "1s", site.url + "/m.onnx")
    stop.set()
    assert "slow" in line and nothing_in(cache)
    assert time.monotonic() - start >= 1


def test_connection_that_does_not_come(cache):
    with socket.socket() as full:  # its queue is full, and nobody accepts
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = "http://127.0.0.1:%d/m.onnx" % full.getsockname()[1]
        with socket.create_connection(full.getsockname()):
            line = start_fails(*ECHO, "--fetch-timeout", "1s", url)
    assert "timed out" in line.lower() or "timeout" in line.lower()


@pytest.mark.parametrize("url", ["http://", "http:///m.onnx", "https://host:port/m.onnx",
                                 "http://[::1/m.onnx", "http://host.invalid/m.onnx"])
def test_url_that_cannot_be(url):
    assert url in start_fails(*ECHO, url)


def test_folder_that_cannot_be(site, tmp_path):
    (tmp_path / "file").write_text("precious")
    site.answers["/m.onnx"] = page()
    for folder, word in {"file": "not a directory", "file/below": "not a directory", "x" * 300: "too long",
                         "long/" * 1000: "too long"}.items():
        line = start_fails(*ECHO, "--cache-dir", tmp_path / folder, site.url + "/m.onnx")
        assert word in line.lower() and site.asked == []
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_may_not_be_written(site, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o500)
    site.answers["/m.onnx"] = page()
    line = start_fails(*ECHO, "--cache-dir", tmp_path / "mine", site.url + "/m.onnx")
    assert "ermission" in line and "--cache-dir" in line


def test_disk_that_is_full(site, cache):
    site.answers["/m.onnx"] = page()
    line = start_fails(*ECHO, "-q", site.url + "/m.onnx", restore_signals=False,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999)))
    assert "cannot write" in line and "too large" in line and nothing_in(cache)


def test_libcurl_that_is_not_there(site, tmp_path, monkeypatch):
    (tmp_path / "libcurl.so.4").write_text("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    line = start_fails(*ECHO, site.url + "/m.onnx")
    assert "apt-get install libcurl4" in line


# --- what is said -----------------------------------------------------------------------

def test_secrets_are_not_shown(site, cache):
    url = site.url.replace("//", "//bob:gr%65en@") + "/m.onnx"
    said = start_fails(*ECHO, url + "?token=hidden#part")
    assert said == f"graphpipe: {site.url}/m.onnx?...: the server answered with status 404"
    for answer in (page(etag='"one"'), page(etag='"one"'), page(b"", 500), None):
        site.answers["/m.onnx"] = answer
        if not answer:
            site.close()
        with Server(model=url + "?token=hidden#part") as server:
            said += server.stderr
    assert said.count(f"{site.url}/m.onnx?...") == 6
    assert not re.search("bob|gr%65en|green|token|hidden|part", said)
    assert site.asked[0][0] == "/m.onnx?token=hidden"
    assert site.asked[0][1]["Authorization"] == "Basic Ym9iOmdyZWVu"


def test_secrets_stay_with_their_host(site):
    other = Site()
    other.answers["/m.onnx"] = page()
    site.answers["/m.onnx"] = page(b"", 302, location=other.url + "/m.onnx")
    with Server(model=site.url.replace("//", "//user:secret@") + "/m.onnx"):
        pass
    other.close()
    assert site.asked[0][1]["Authorization"] and not other.asked[0][1]["Authorization"]


def test_json_and_quiet_lines(site):
    site.answers["/m.onnx"] = page()
    with Server("--log-format", "json", model=site.url + "/m.onnx") as server:
        pass
    messages = [json.loads(line)["message"] for line in server.lines]
    assert messages[0].startswith("fetching ") and messages[1].startswith("fetched ")
    done = subprocess.run([PROGRAM, "serve", "-q", "--engine", "echo", "--listen", "127.0.0.1:x",
                           site.url + "/m.onnx"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr


def test_progress_on_a_terminal(site):
    def slow(to):
        to.send_response(200)
        to.send_header("Content-Length", str(len(BODY)))
        to.end_headers()
        for at in range(0, len(BODY), len(BODY) // 4):
            to.wfile.write(BODY[at:at + len(BODY) // 4])
            time.sleep(0.3)
    site.answers["/m.onnx"] = slow
    ours, theirs = pty.openpty()
    process = subprocess.Popen([PROGRAM, "serve", *ECHO, site.url + "/m.onnx"], stderr=theirs)
    said = b""
    try:
        while b"listening" not in said:
            said += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait()
        os.close(ours)
        os.close(theirs)
    percents = re.findall(rb"\r *(\d+)%  \d+\.\d [kM]B  \d+\.\d MB/s\x1b\[K", said)
    assert len(set(percents)) >= 2 and set(percents) <= {b"25", b"50", b"75", b"100"}, said
    assert b"\r\x1b[Kfetched " in said and b"fetching" not in said


# --- TLS --------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A folder with a certificate of 127.0.0.1 that signs itself, under the name by which a folder
    of trusted certificates would have it."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there: tools/setup test")
    folder = tmp_path_factory.mktemp("tls")
    certificate = folder / "own.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", folder / "key.pem", "-out", certificate], check=True,
                   capture_output=True)
    (folder / "trusted").mkdir()
    name = subprocess.check_output(["openssl", "x509", "-hash", "-noout", "-in", certificate],
                                   text=True).strip()
    shutil.copy(certificate, folder / "trusted" / f"{name}.0")
    shutil.copy(certificate, folder / "trusted" / "ca-certificates.crt")
    return folder


@pytest.fixture
def safe(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "own.pem", certificate / "key.pem")
    site = Site(context)
    site.answers["/m.onnx"] = page()
    yield site
    site.close()


def test_certificate_that_nobody_trusts(safe, cache):
    line = start_fails(*ECHO, safe.url + "/m.onnx")
    assert "certificate" in line and safe.asked == [] and nothing_in(cache)


def test_certificate_that_is_trusted(safe, certificate, cache):
    """Where it is one of the system's, in a view of the files that only this program has."""
    script = f'mount --bind {certificate}/trusted /etc/ssl/certs && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "-"]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("this system makes no such view for its users")
    elsewhere = f"https://localhost:{safe.port}/m.onnx"
    done = subprocess.run([*inside, PROGRAM, "serve", *ECHO, elsewhere], capture_output=True,
                          text=True)
    assert done.returncode == 1 and "localhost" in done.stderr and safe.asked == []
    server = Server(model=safe.url + "/m.onnx")
    server.command = inside + server.command
    with server:
        assert server.logged("fetched https://")
    other = Site()
    other.answers["/m.onnx"] = page(b"", 302, location=safe.url + "/m.onnx")
    assert "certificate" in start_fails(*ECHO, other.url + "/m.onnx")
    safe.answers["/m.onnx"] = page(b"", 302, location=other.url + "/m.onnx")
    asked = len(other.asked)
    done = subprocess.run([*inside, PROGRAM, "serve", *ECHO, safe.url + "/m.onnx?"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and '"http" not supported' in done.stderr
    assert len(other.asked) == asked
    other.close()
