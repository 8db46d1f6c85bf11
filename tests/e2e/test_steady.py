"""A steady load neither allocates memory for tensors nor faults pages in: after the first requests all
of them live in what is there. Counted from outside, by a library before libc's malloc and mmap
(tests/preload/allocations.c), and by the kernel's count of page faults."""
import contextlib
import pathlib
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass

import pytest

from harness import BUILD, MODELS, SANITIZE, Server, Tensor, begun, encode, http, uint8
from needs import need

pytestmark = pytest.mark.skipif(bool(SANITIZE), reason="sanitizers have a malloc of their own")

MIB = 1 << 20
N_CLIENTS = 4
N_REQUESTS = 200


@dataclass
class Counts:
    small: int        # allocations of less than 4 KiB
    large: int
    large_bytes: int
    mapped: int       # calls of mmap
    faults: int       # pages put in place

    def __sub__(self, other):
        return Counts(*(a - b for a, b in zip(astuple(self), astuple(other))))


class Counted:
    """A server whose allocations are counted."""

    def __init__(self, server, file):
        self.server = server
        self.file = file
        assert self.look().small > 0, "nothing is counted"

    def look(self):
        stat = pathlib.Path(f"/proc/{self.server.pid}/stat").read_text().rsplit(") ", 1)[1]
        return Counts(*struct.unpack("<4Q", self.file.read_bytes()), int(stat.split()[7]))

    def touched(self):
        return self.server.metrics()["pool_touched_bytes_total"]

    def warm_up(self, request):
        """As many bodies at a time as there will ever be bodies and outputs."""
        clients = [self.server.connect() for _ in range(2 * N_CLIENTS)]
        for client in clients:
            client.send(request[:-1])
        begun(self.server, len(clients))
        for client in clients:
            client.send(request[-1:])
            assert client.answer().status == 200
            client.close()

    def load(self, clients, request, n):
        """n requests of each client, all at a time."""
        def ask(client):
            for _ in range(n):
                client.send(request)
                assert client.answer().status == 200

        with ThreadPoolExecutor(len(clients)) as threads:
            list(threads.map(ask, clients))

    def grown(self, body):
        """What N_REQUESTS take after the first ones."""
        request = http("POST", "/", body)
        self.warm_up(request)
        clients = [self.server.connect() for _ in range(N_CLIENTS)]
        self.load(clients, request, 5)
        touched = self.touched()
        before = self.look()
        self.load(clients, request, N_REQUESTS // N_CLIENTS)
        grown = self.look() - before
        print(f"{N_REQUESTS} requests of {len(body)} bytes: {grown}")
        assert self.touched() == touched
        return grown


@contextlib.contextmanager
def counted(tmp_path, monkeypatch, **options):
    file = tmp_path / "counts"
    file.write_bytes(bytes(32))
    monkeypatch.setenv("ALLOCATIONS", str(file))
    monkeypatch.setenv("LD_PRELOAD", str(BUILD / "lib/graphpipe-test/allocations.so"))
    with Server(*options.pop("arguments", ()), **options) as server:
        monkeypatch.delenv("LD_PRELOAD")
        yield Counted(server, file)


def is_steady(grown):
    """No memory for tensors, and no more than what threads that first come to work need."""
    return grown.large_bytes < 16_384 and grown.mapped == 0 and grown.faults < N_REQUESTS / 4


@pytest.mark.parametrize("size", [1000, 5 * MIB])
def test_echo_allocates_nothing(tmp_path, monkeypatch, size):
    with counted(tmp_path, monkeypatch) as server:
        grown = server.grown(encode(uint8(bytes(size))))
        assert is_steady(grown) and grown.small == 0, grown


def test_onnx_allocates_no_tensors(tmp_path, monkeypatch):
    """Inputs of 6 MiB, outputs of 4.5. ONNX Runtime makes some small objects for each run (35 in
    1.32.0); what lies between its operators stays in an arena of its own."""
    need("onnx")
    rows = 6 * MIB // 16
    with counted(tmp_path, monkeypatch, engine="onnx", model=MODELS / "mlp.onnx",
                 arguments=["--instances", 1]) as server:
        grown = server.grown(encode(Tensor("float32", [rows, 4], bytes(rows * 16))))
        assert is_steady(grown) and grown.small < 50 * N_REQUESTS, grown
