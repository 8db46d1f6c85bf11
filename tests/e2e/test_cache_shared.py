"""The row cache that servers on several hosts share: what one has computed, another answers, and nothing
waits for a Redis that has gone."""
import contextlib
import shutil
import subprocess

import pytest

from harness import MODELS, eventually, start_fails
from needs import needs
from test_cache_disk import ask, hits, rows, serve

pytestmark = [
    needs("onnx"),
    pytest.mark.skipif(not shutil.which("redis-cli"), reason="Redis is missing: tools/setup test"),
]


class Redis:
    """On a unix socket in the folder. The program is a server by its name, without which it would be
    another one."""

    def __init__(self, folder):
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}?password=geheim"
        self.folder = folder

    def __enter__(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--requirepass", "geheim",
             "--dir", str(self.folder), "--save", ""],
            executable=shutil.which("redis-check-rdb"), stdout=subprocess.DEVNULL)
        eventually(lambda: self.ask("PING") == "PONG", 20, "a Redis")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()

    def ask(self, *words):
        return subprocess.run(["redis-cli", "--no-auth-warning", "-a", "geheim", "-s", str(self.socket), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              errors="replace").stdout.strip()


def shared(folder, redis):
    return serve(folder, "--cache-url", redis.url, "--cache-ttl", "1h")


def finds_row_of_another(folder, redis, value):
    """Whether a server answers what another one has computed; a look may be too late on a busy machine."""
    with shared(folder / f"a{value}", redis) as here, shared(folder / f"b{value}", redis) as there:
        eventually(lambda: redis.ask("CLIENT", "LIST").count("id=") >= 3, 10, "connections")
        answer = ask(here, rows(value))
        with contextlib.suppress(AssertionError):  # it may have been dropped
            eventually(lambda: redis.ask("DBSIZE") != "0", 1, "the row")
        again = ask(there, rows(value))
        assert again.tensors == answer.tensors
    assert redis.ask("DBSIZE") == "0" or redis.ask("RANDOMKEY").startswith("gp:1:")
    assert redis.ask("FLUSHALL") == "OK"
    assert not any("geheim" in line for line in here.lines + there.lines)
    return hits(again) == "1/1"


def test_rows_of_another_host(tmp_path):
    with Redis(tmp_path) as redis:
        assert any(finds_row_of_another(tmp_path, redis, value) for value in range(20))


def test_redis_that_goes(tmp_path):
    with Redis(tmp_path) as redis, shared(tmp_path / "a", redis) as server:
        answer = ask(server, rows(1, 2))
        eventually(lambda: redis.ask("DBSIZE") == "2", 20, "the rows")
        redis.process.kill()
        redis.process.wait()
        for value in range(10, 30):
            assert hits(ask(server, rows(value))) == "0/1"
        eventually(lambda: any("cannot be used" in line for line in server.lines), 20, "the line")
        assert ask(server, rows(1, 2)).tensors == answer.tensors
    assert sum("cannot be used" in line for line in server.lines) == 1
    assert not any("geheim" in line for line in server.lines)


def test_libcurl_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "libcurl.so.4").write_text("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert "the shared cache needs libcurl: apt-get install libcurl4" in start_fails(
        "--cache-url", "redis://host", "--engine", "auto", "--model", str(MODELS / "mlp.onnx"))


def test_bad_url(tmp_path):
    said = start_fails("--cache", "--cache-dir", str(tmp_path), "--cache-url", "redis://:geheim@host:port",
                       "--engine", "auto", "--model", str(MODELS / "mlp.onnx"))
    assert "the URL of the shared cache has a port that is not 1 to 65535" in said
    assert "geheim" not in said
