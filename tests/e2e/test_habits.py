"""What a process inherits and what becomes of its descriptors: closed ones, a log that nobody reads,
signals, and children that nobody waits for."""
import ctypes
import os
import pathlib
import resource
import signal
import subprocess

import pytest

from harness import (PATIENCE, PROGRAM, SMALL, Connection, Server, begun, echoed, encode,
                     eventually, http, plugin, read_all, serve_slow, slow, uint8)
from python_models import PYTHON, refused, serve, strings, words, write  # noqa: F401

LONG = "/?" + "x" * 1500  # a line of the log that is cut, at a KiB of it
STALL = 1200  # such lines are more than a pipe and the log's buffer hold


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


def test_reader_of_standard_output_that_goes_ends_it_without_a_signal():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([PROGRAM, "--help"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 1 and done.stderr == b""


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
        read = bytearray()

        def lines_of_all():
            """Each was read or counted; a worker keeps its last few for a while."""
            server.ask("GET", "/control/is_alive")
            read.extend(os.read(pipe[0], 1 << 20))
            lines = [line for line in read.split(b"\n")[:-1] if b" GET /?x" in line]
            return lines if len(lines) >= STALL - lost(server) > 0 else None

        lines = eventually(lines_of_all)
        assert all(line.count(b"x") >= 1000 and b" 200 " in line for line in lines)


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


@pytest.mark.tsan
@pytest.mark.parametrize("stuck", ["run", "close"])
def test_end_with_a_stalled_log(tmp_path, pipe, stuck):
    """At most a second after the drain limit, whatever does not come back."""
    option = ("--engine-option", "stuck") if stuck == "close" else ()
    with Quiet(tmp_path, "--verbose", "--drain-timeout", "300ms", *option, engine=plugin("slow"),
               stderr=pipe[1]) as server:
        with server.connect() as connection, server.connect() as busy:
            for _ in range(STALL):
                assert connection.ask("GET", LONG).status == 200
            if stuck == "run":
                busy.send(slow("sleep-ms=60000 deaf"))
                begun(server, 1)
            server.signal()
            assert server.wait(3) == 1


def test_end_by_force_says_so():
    with serve_slow("--drain-timeout", "300ms", "--engine-option", "stuck") as server:
        server.expect_status(1)
        server.signal()
        assert server.wait(3) == 1


def test_end_of_a_library_that_hangs():
    with serve_slow("--engine-option", "stuck-exit") as server:
        server.expect_status(-signal.SIGALRM)
        server.signal()
        assert server.wait(10) == -signal.SIGALRM


def test_start_that_fails_with_a_stalled_log(pipe):
    os.set_blocking(pipe[1], False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe[1], b"x" * 4096)
    os.set_blocking(pipe[1], True)
    done = subprocess.run([PROGRAM, "serve", "--engine", "nosuch"], stderr=pipe[1],
                          timeout=10 * PATIENCE)
    assert done.returncode == 1


# --- what children print ----------------------------------------------------------------

PRINTS = """
    import os, sys
    def infer(inputs):
        for i in range(int(inputs["n"][0])):
            print("x" * 1000)
            print("y" * 1000, file=sys.stderr)
        return "done"
"""


def print_much(server, n):
    return words(server.infer(strings(b"%d" % n), input_names=["n"]))


@pytest.mark.tsan
@pytest.mark.parametrize("reader", ["gone", "stalled"])
def test_python_model_that_prints(tmp_path, pipe, reader):
    model = write(tmp_path, PRINTS)
    with Quiet(tmp_path, *PYTHON, "--instances", 2, "--pool", "64MiB", "--verbose", engine="auto",
               model=model, stderr=pipe[1]) as server:
        if reader == "gone":
            close_end(pipe, 0)
        for _ in range(4):
            assert print_much(server, 1000) == "done"
        for _ in range(STALL):
            assert server.ask("GET", LONG).status == 200
        assert print_much(server, 1000) == "done"
        assert lost(server) > 0
        metrics = server.metrics()
        assert metrics['children{state="ready"}'] == 2 and metrics["child_restarts_total"] == 0
        server.signal()
        assert server.wait(5) == 0


def test_what_is_printed_is_cut_counted_and_tamed(serve):
    source = """
        import sys
        def infer(inputs):
            print("\\x1b[2Jforged\\r2026-01-01T00:00:00.000Z error: forged\\x07")
            print("z" * 100000)
            sys.stdout.write("no end of line"); sys.stdout.flush()
            sys.stdout.write(" yet\\n")
            for i in range(1000): print("line", i)
            return "done"
    """
    with serve(source) as server:
        assert words(server.infer()) == "done"
        assert server.logged("lines were left out")
        lines = server.lines
        assert "engine: slot 0: \\x1b[2Jforged" in lines
        assert "engine: slot 0: 2026-01-01T00:00:00.000Z error: forged\\x07" in lines
        assert any(line.endswith("zzz...") and len(line) < 600 for line in lines)
        assert "engine: slot 0: no end of line yet" in lines
        assert "engine: slot 0: line 0" in lines and "engine: slot 0: line 999" not in lines


@pytest.mark.tsan
@pytest.mark.parametrize("reader", ["gone", "stalled"])
def test_isolated_engine_that_prints(tmp_path, pipe, reader):
    with Quiet(tmp_path, "--isolate", "--pool", "64MiB", engine=plugin("wild"),
               stderr=pipe[1]) as server:
        if reader == "gone":
            close_end(pipe, 0)
        text = (b"w" * 99 + b"\n") * 10000
        for _ in range(3):
            answer = server.ask("POST", "/", encode(uint8(text), config="print"))
            assert echoed(answer) == text
        assert server.metrics()["child_restarts_total"] == 0
        server.signal()
        assert server.wait(5) == 0


# --- signals ----------------------------------------------------------------------------


@pytest.mark.tsan
def test_signals_that_do_nothing():
    with Server() as server:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE,
                       signal.SIGXFSZ, signal.SIGCHLD):
            server.signal(number)
            assert echoed(server.infer(SMALL)) == b"small"
        assert server.logged("SIGHUP: looking at the models' files again")


def ignore_and_block():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))


@pytest.mark.tsan
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_inherited_dispositions_and_masks(number):
    """As nohup, a background job or a careless parent leaves them."""
    with Server("--isolate", "--pool", "64MiB", engine=plugin("wild"),
                preexec_fn=ignore_and_block) as server:
        refused(server.ask("POST", "/", encode(SMALL, config="exit")), 503, "exit status 3")
        server.signal(number)
        assert server.wait(5) == 0


# --- orphans ----------------------------------------------------------------------------

ORPHANS = """
    import os
    def infer(inputs):
        what = inputs["what"][0].decode()
        if what == "exit": os._exit(7)
        for _ in range(20):
            if os.fork() == 0:
                if os.fork() == 0: pass
                os._exit(0)
            os.wait()
        return "done"
"""


def become_subreaper():
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def pids_of_parent(parent):
    """{pid: state}"""
    found = {}
    for path, stat in read_all(pathlib.Path("/proc").glob("[0-9]*/stat")).items():
        state, its_parent = stat.rsplit(") ", 1)[1].split()[:2]
        if int(its_parent) == parent:
            found[int(path.parent.name)] = state
    return found


def process_1():
    """The words that make a command process 1 of a namespace; none where that is not allowed."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("a namespace of processes needs privileges that are missing")
    return unshare


@pytest.mark.tsan
@pytest.mark.parametrize("how", ["process 1", "subreaper"])
def test_orphans_are_waited_for(tmp_path, how):
    prefix = process_1() if how == "process 1" else ()
    with Quiet(tmp_path, *PYTHON, "--instances", 1, "--pool", "64MiB", prefix=prefix, engine="auto",
               model=write(tmp_path, ORPHANS), stderr=subprocess.PIPE,
               preexec_fn=None if prefix else become_subreaper) as server:
        pid = next(iter(pids_of_parent(server.pid))) if prefix else server.pid
        for _ in range(3):
            assert words(server.infer(strings(b"go"), input_names=["what"])) == "done"
        eventually(lambda: len(pids_of_parent(pid)) == 1, what="one child that lives")
        refused(server.infer(strings(b"exit"), input_names=["what"]), 503, "exit status 7")
        assert eventually(lambda: "Z" not in pids_of_parent(pid).values())
        os.kill(pid, signal.SIGTERM)
        assert server.wait(5) == 0
