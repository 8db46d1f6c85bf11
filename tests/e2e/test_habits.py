"""What a process inherits and what becomes of its descriptors: closed ones, a log that nobody reads,
signals, and children that nobody waits for."""
import os
import signal
import subprocess

import pytest

from harness import PROGRAM, Connection, Server, echoed, eventually, uint8
from python_models import serve, write  # noqa: F401

LONG = "/" + "x" * 8000  # a line of the log over what a pipe takes at once


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
