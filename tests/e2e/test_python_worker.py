"""The worker of the python engine, with this test in the server's place: records that lie, what is
copied, and that its numbers are those of the C headers."""
import mmap
import os
import re
import socket
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from harness import BUILD, PATIENCE, SOURCE

sys.path.insert(0, str(SOURCE / "engines/python"))
from graphpipe_engine_python import link  # noqa: E402
from graphpipe_engine_python.link import text, u32, u64  # noqa: E402

WORKER = BUILD / "lib/graphpipe/graphpipe-engine-python.py"
MIB = 1 << 20


class Worker:
    """A worker that has opened a model, the socket to it, and the two files."""

    def __init__(self, folder, source):
        self.path = folder / "model.py"
        self.path.write_text(textwrap.dedent(source))

    def __enter__(self):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(15 * PATIENCE)  # importing numpy may take long
        files = [os.memfd_create("inputs"), os.memfd_create("outputs"), os.eventfd(0)]
        for fd in files[:2]:
            os.ftruncate(fd, 64 * MIB)
        self.inputs, self.outputs = (mmap.mmap(fd, 64 * MIB) for fd in files[:2])
        fds = [theirs.fileno(), *files]

        def place():
            high = [os.dup2(fd, 50 + i, inheritable=False) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, link.SOCKET + i)
        self.process = subprocess.Popen([sys.executable, str(WORKER), str(os.getpid())],
                                        stdin=subprocess.DEVNULL, close_fds=False,
                                        preexec_fn=place)
        theirs.close()
        for fd in files:
            os.close(fd)
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.kill()
        self.process.wait()

    def send(self, kind, run, body):
        self.socket.sendall(link.HEAD.pack(kind, len(body), run) + body)

    def take(self, n):
        data = b""
        while len(data) < n:
            piece = self.socket.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def read(self):
        """The next record that is no line for the log."""
        while True:
            kind, size, run = link.HEAD.unpack(self.take(link.HEAD.size))
            record = link.Record(kind, run, self.take(size))
            if kind != link.LOG:
                return record

    def open(self, contract=link.CONTRACT):
        self.send(link.OPEN, 0, u32(contract) + text("python") + text("") +
                  text(os.fsencode(self.path)) + u32(1) + u32(0) + u32(1) + u32(1) + u32(0))
        return self.read()

    def status(self):
        """Of FAILED; it is still there, then."""
        record = self.read()
        assert record.kind == link.FAILED, record.body
        return record.u32()


def tensor(dtype, shape, offset, size, name=""):
    return text(name) + u32(link.DTYPES.index(dtype)) + u32(len(shape)) + struct.pack(
        f"<{len(shape)}q", *shape) + u64(offset) + u64(size)


def call(*tensors, outputs=()):
    return u64(0) + u32(1) + text("") + u32(len(outputs)) + b"".join(map(text, outputs)) + u32(
        len(tensors)) + b"".join(tensors)


@pytest.fixture
def echo(tmp_path):
    with Worker(tmp_path, "def infer(inputs): return inputs\n") as worker:
        assert worker.open().kind == link.OPENED
        yield worker


# --- records that lie -------------------------------------------------------------------

GOOD = tensor("float32", [2], 64, 8)
HUGE = (1 << 64) - 1
LIES = {
    "nothing": b"",
    "cut short": call(GOOD)[:-1],
    "type null": call(tensor("null", [2], 0, 0)),
    "type 15": call(GOOD.replace(u32(10), u32(15), 1)),
    "rank 33": call(tensor("uint8", [1] * 33, 0, 1)),
    "a negative size": call(tensor("uint8", [-1], 0, HUGE)),
    "two negative sizes": call(tensor("uint8", [-1, -4], 0, 4)),
    "a size that is not the shape's": call(tensor("float32", [2], 0, 4)),
    "beyond the end": call(tensor("uint8", [65], 64 * MIB - 64, 65)),
    "an offset that wraps": call(tensor("uint8", [16], HUGE - 7, 16)),
    "too many tensors": u64(0) + u32(1) + text("") + u32(0) + u32(4097) + GOOD * 4097,
    "many that do not come": u64(0) + u32(1) + text("") + u32(0) + u32(HUGE & 0xffffffff),
    "many names that do not come": u64(0) + u32(1) + text("") + u32(0xffffffff),
    "a name with a zero": call(GOOD.replace(text(""), u32(2) + b"a\0\0", 1)),
    "a name without an end": call(GOOD.replace(text(""), u32(0) + b"a", 1)),
    "strings beyond the end": call(tensor("string", [1], 64 * MIB - 8, 16)),
    "a string beyond the end": call(tensor("string", [1], 128, 16)),
}


@pytest.mark.parametrize("what", LIES)
def test_a_call_that_lies_is_refused(echo, what):
    echo.inputs[128:144] = struct.pack("<2Q", 64 * MIB - 1, 2)
    echo.send(link.RUN, 7, LIES[what])
    assert echo.status() == link.INTERNAL
    echo.inputs[64:72] = struct.pack("<2f", 1.5, 2)
    echo.send(link.RUN, 8, call(GOOD))
    record = echo.read()
    assert (record.kind, record.run) == (link.DONE, 8)
    assert record.body == u32(1) + tensor("float32", [2], link.INLINE, 8) + echo.inputs[64:72]


def test_a_shape_that_is_too_much_for_numpy(echo):
    echo.send(link.RUN, 1, call(tensor("float64", [1 << 62, 1 << 62, 0], 0, 0)))
    assert echo.status() == link.INVALID


@pytest.mark.parametrize("record", [link.HEAD.pack(9, 0, 0), link.HEAD.pack(0, 0, 0),
                                    link.HEAD.pack(link.RUN, (1 << 20) + 1, 0),
                                    link.HEAD.pack(link.DONE, 0, 0)])
def test_what_is_no_record_for_it_ends_it(echo, record):
    echo.socket.sendall(record)
    assert echo.process.wait(5 * PATIENCE) == 1


@pytest.mark.parametrize("reply", [(link.PLACE, u64(64 * MIB)), (link.PLACE, u64(HUGE - 4095)),
                                   (link.PLACE, u64(100)), (link.PLACE, b""), (link.RUN, b"")])
def test_a_place_that_lies_ends_it(echo, reply):
    echo.send(link.RUN, 1, call(tensor("uint8", [8192], 0, 8192)))
    assert echo.read().kind == link.ALLOC
    echo.send(reply[0], 1, reply[1])
    assert echo.process.wait(5 * PATIENCE) == 1


def test_no_memory_is_an_answer(echo):
    echo.send(link.RUN, 1, call(tensor("uint8", [8192], 0, 8192)))
    assert echo.read().u64() == 8192
    echo.send(link.FAILED, 1, u32(link.NO_MEMORY) + text("none"))
    assert echo.status() == link.NO_MEMORY


def test_another_release(tmp_path):
    with Worker(tmp_path, "") as worker:
        record = worker.open(link.CONTRACT + 1)
        assert record.u32() == link.UNSUPPORTED and "another release" in record.text()
        assert worker.process.wait(5 * PATIENCE) == 1


def test_it_ends_with_its_socket_and_closes_the_model(tmp_path):
    with Worker(tmp_path, f"""
            class Other:
                def infer(self, inputs): pass
            class Model(Other):
                def close(self): open({str(tmp_path / 'closed')!r}, "w")
            """) as worker:
        assert worker.open().kind == link.OPENED
        worker.socket.shutdown(socket.SHUT_WR)
        assert worker.process.wait(5 * PATIENCE) == 0
        assert (tmp_path / "closed").exists()


# --- what is copied ---------------------------------------------------------------------

def test_twenty_megabytes_without_a_copy(tmp_path):
    """One buffer is asked for, which is where infer wrote, and the output is at its start."""
    source = """
        import graphpipe, numpy as np
        def infer(inputs):
            x = inputs["x"]
            out = graphpipe.empty(x.shape, x.dtype)
            return {"y": np.negative(x, out=out)}
    """
    n = 20 * MIB // 4
    with Worker(tmp_path, source) as worker:
        assert worker.open().kind == link.OPENED
        x = np.arange(n, dtype="f4")
        worker.inputs[4096:4096 + 4 * n] = x.tobytes()
        for run in (1, 2):
            worker.send(link.RUN, run, call(tensor("float32", [n], 4096, 4 * n, "x")))
            record = worker.read()
            assert record.kind == link.ALLOC and record.u64() == 4 * n
            worker.send(link.PLACE, run, u64(MIB))
            record = worker.read()
            assert record.kind == link.DONE
            assert record.body == u32(1) + tensor("float32", [n], MIB, 4 * n)
            assert worker.outputs[MIB:MIB + 4 * n] == (-x).tobytes()


def test_other_arrays_are_copied_once(tmp_path):
    source = """
        import graphpipe, numpy as np
        def infer(inputs):
            out = graphpipe.empty(10000, "u1")
            out[:] = 5
            return {"from_one_on": out[1:], "place": out, "again": out, "own": out + 1}
    """
    with Worker(tmp_path, source) as worker:
        assert worker.open().kind == link.OPENED
        worker.send(link.RUN, 1, call())
        offsets = []
        record = worker.read()
        while record.kind == link.ALLOC:
            assert record.u64() <= 10000
            offsets.append((len(offsets) + 1) * MIB)
            worker.send(link.PLACE, 1, u64(offsets[-1]))
            record = worker.read()
        assert len(offsets) == 4 and record.kind == link.DONE
        assert record.body == u32(4) + b"".join(
            tensor("uint8", [n], (i + 1) * MIB, n)
            for i, n in ((1, 9999), (0, 10000), (2, 10000), (3, 10000)))


# --- the numbers of the headers ---------------------------------------------------------

def header(path):
    return (SOURCE / path).read_text()


def numbers(path, pattern):
    return {name: int(value, 0) for name, value in re.findall(pattern, header(path))}


def test_numbers_are_those_of_the_headers():
    record = header("src/engine/record.h")
    assert f"RECORD_CONTRACT = {link.CONTRACT}, RECORD_MAX_BYTES = 1 << 20" in record
    kinds = re.search(r"enum record_type \{(.*?)\}", record, re.S)[1]
    for i, name in enumerate(re.findall(r"RECORD_(\w+)", kinds), 1):
        assert getattr(link, name) == i
    statuses = numbers("include/graphpipe/status.h", r"X\(GP_(\w+), (\d+),")
    for name in ("INVALID", "NOT_FOUND", "TOO_LARGE", "INTERNAL", "ENGINE", "UNSUPPORTED",
                 "NO_MEMORY", "UNAVAILABLE"):
        assert getattr(link, name) == statuses[name]
    tensors = header("include/graphpipe/tensor.h")
    strides = [0 if name == "string" else n for name, n in zip(link.DTYPES, link.STRIDES)]
    assert re.findall(r"X\(GP_\w+, (\d+), \"(\w+)\", (\d+)\)", tensors) == [
        (str(i), name, str(n)) for i, (name, n) in enumerate(zip(link.DTYPES, strides))]
    assert f"GP_MAX_RANK {link.MAX_RANK}u" in tensors
    assert f"GP_MAX_TENSORS {link.MAX_TENSORS}u" in tensors
    assert "GP_IO_ANY_RANK = 1u << 1" in tensors and link.ANY_RANK == 1 << 1
    flags = numbers("include/graphpipe/engine.h", r"GP_(ANY_\w+|WRITES_OUTPUTS) = 1u << (\d)")
    assert {name: 1 << bit for name, bit in flags.items()} == {
        "ANY_INPUTS": link.ANY_INPUTS, "ANY_OUTPUT": link.ANY_OUTPUT,
        "WRITES_OUTPUTS": link.WRITES_OUTPUTS}
    levels = numbers("include/graphpipe/engine.h", r"GP_(LOG_\w+) = (\d)")
    assert all(getattr(link, name) == level for name, level in levels.items())
    assert f"ENGINE_SMALL_BYTES = {link.SMALL_BYTES}" in header("src/engine/engine.h")
    first = re.search(r"CHILD_SOCKET = (\d), CHILD_INPUTS, CHILD_OUTPUTS, CHILD_CANCEL,",
                      header("src/engine/isolate_child.h"))
    assert int(first[1]) == link.SOCKET and link.CANCEL == link.SOCKET + 3
