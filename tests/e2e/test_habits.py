"""What a process inherits and what becomes of its descriptors: closed ones, a log that nobody reads,
signals, and children that nobody waits for."""
import os
import resource
import signal
import subprocess

import pytest

from harness import PROGRAM, SMALL, Connection, Server, echoed, eventually, http, uint8
from python_models import serve, write  # noqa: F401

LONG = "/" + "x" * 8000  # a line of the log over what a pipe takes at once
STALL = 200  # such lines are more than a pipe and the log's buffer hold


# --- descriptors ------------------------------------------------------------------------


class Quiet(Server):
    """A server whose log is not read here: on a unix socket, since nothing says where it listens."""

    def __init__(self, folder, *arguments, prefix=(), **keywords):
        self.path = folder / "socket"
        super().__init__(*arguments, listen=[f"unix:{self.path}"], **keywords)
        self.command[:0] = prefix

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, **self.popen)
        self.pid = self.process.pid
        eventually(lambda: self.path.exists() or self.process.poll() is not None, 10)
        assert self.process.poll() is None
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def address_of(self, index):
        return str(self.path)

    def connect(self, index=0, **keywords):
        return eventually(lambda: self.try_connect(**keywords))

    def try_connect(self, **keywords):
        try:
            return Connection(str(self.path), **keywords)
        except (ConnectionRefusedError, FileNotFoundError):
            return None


@pytest.mark.tsan
@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
def test_closed_descriptors_stay_apart_from_tensors(tmp_path, closing, isolated):
    """A request's tensor lies in the pool while long lines are logged."""
    arguments = ("--verbose", "--pool", "64MiB") + (("--isolate",) if isolated else ())
    shell = ("sh", "-c", f'exec "$@" {closing}', "sh")
    data = b"tensor" * 500  # at the pool's start, where a file that is printed to is written
    with Quiet(tmp_path, *arguments, prefix=shell, engine=plugin("slow"),
               stderr=subprocess.DEVNULL) as server:
        for fd in range(3):
            assert os.readlink(f"/proc/{server.pid}/fd/{fd}") == "/dev/null"
        with server.connect() as connection:
            connection.send(slow("sleep-ms=500", data))
            begun(server, 1)
            for _ in range(20):
                assert server.ask("GET", LONG).status == 200
            assert echoed(connection.answer()) == data
        server.signal()
        assert server.wait(5) == 0


def test_closed_standard_output_is_still_noticed():
    for command in ([PROGRAM, "--help"], [PROGRAM, "serve", "--help"]):
        done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True)
        assert done.returncode == 1
        assert done.stderr.startswith(b"graphpipe: cannot write to standard output")


# --- the log ----------------------------------------------------------------------------


def lost(server):
    return server.metrics()["log_lines_lost_total"]


@pytest.fixture
def pipe():
    """The ends of a log's pipe."""
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        if fd is not None:
            os.close(fd)


def close_end(pipe, end):
    os.close(pipe[end])
    pipe[end] = None


@pytest.mark.tsan
@pytest.mark.parametrize("format", ["text", "json"])
def test_log_reader_that_has_gone(tmp_path, pipe, format):
    with Quiet(tmp_path, "--verbose", "--log-format", format, stderr=pipe[1]) as server:
        assert echoed(server.infer(SMALL)) == b"small"
        assert lost(server) == 0
        close_end(pipe, 0)
        assert server.ask("GET", LONG).status == 200
        eventually(lambda: lost(server) > 0)
        assert echoed(server.infer(SMALL)) == b"small"
        server.signal()
        assert server.wait(5) == 0


@pytest.mark.tsan
@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_log_reader_that_stalls(tmp_path, pipe, blocking):
    os.set_blocking(pipe[1], blocking)
    with Quiet(tmp_path, "--verbose", stderr=pipe[1]) as server:
        with server.connect() as connection:
            for _ in range(STALL):
                assert connection.ask("GET", LONG).status == 200
        assert lost(server) > 0
        assert os.get_blocking(pipe[1]) == blocking  # it belongs to all who share it
        waiting = [server.connect() for _ in range(20)]
        for connection in waiting:
            connection.send(http("GET", LONG))
        assert all(connection.answer().status == 200 for connection in waiting)
        assert echoed(server.infer(SMALL)) == b"small"
        server.signal()
        assert server.wait(5) == 0


def test_log_reader_that_comes_back_gets_whole_lines(tmp_path, pipe):
    with Quiet(tmp_path, "--verbose", stderr=pipe[1]) as server:
        for i in range(STALL):
            assert server.ask("GET", f"{LONG}{i}").status == 200
        n_lost = lost(server)
        read = bytearray()
        while b"GET /control/is_alive" not in read:
            server.ask("GET", "/control/is_alive")
            read += os.read(pipe[0], 1 << 20)
        lines = [line for line in read.split(b"\n") if b" GET /x" in line]
        assert all(line.count(b"x") >= 8000 and b" 200 " in line for line in lines)
        assert len(lines) >= STALL - n_lost > 0


@pytest.mark.tsan
def test_log_file_at_its_limit(tmp_path):
    """SIGXFSZ comes with the write, and the limit may be set for a service that runs."""
    with open(tmp_path / "log", "wb") as log:
        with Quiet(tmp_path, "--verbose", stderr=log) as server:
            eventually(lambda: (tmp_path / "log").stat().st_size)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, 1))
            assert server.ask("GET", LONG).status == 200
            eventually(lambda: lost(server) > 0)
            server.signal()
            assert server.wait(5) == 0
