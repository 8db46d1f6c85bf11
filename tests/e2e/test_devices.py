"""The option "device": what engines say to it where there is no GPU, which slot runs where, and
that memory is pinned for a driver. No test runs anything on a GPU: the engine "device" only shows
what it was told, and the driver is a stand-in (tests/driver)."""
import concurrent.futures
import os
import re
import signal
import struct

import pytest

from harness import BUILD, MODELS, SANITIZE, Server, eventually, plugin, start_fails, uint8
from needs import need

MIB = 1 << 20
FILES = {"onnx": "mlp.onnx", "pytorch": "pytorch/mlp.pt", "tensorflow": "tensorflow/conv.pb",
         "openvino": "mlp.onnx", "echo": "mlp.onnx"}


def fails(engine, option, *arguments):
    if engine != "echo":
        need(engine)
    if "thread" in SANITIZE and engine != "echo":
        pytest.skip("the framework is not instrumented")
    return start_fails("--engine", engine, "--model", MODELS / FILES[engine], "--listen",
                       "127.0.0.1:0", "--engine-option", option, *arguments)


# --- what is refused --------------------------------------------------------------------

@pytest.mark.parametrize("value", ["gpu", "cuda:", "cuda:1,1", "cuda:x"])
@pytest.mark.parametrize("engine", ["onnx", "pytorch", "tensorflow"])
def test_what_is_no_device(engine, value):
    line = fails(engine, f"device={value}")
    assert f"device={value} " in line and "cpu, cuda, cuda:N or cuda:N,N,..." in line


@pytest.mark.parametrize("engine, words", [
    ("onnx", "has no CUDA provider; pip install onnxruntime-gpu and --engine-option library="),
    ("pytorch", "no CUDA|there is no device cuda:999"),  # of a libtorch that has it
    ("tensorflow", "was built without CUDA; pip install tensorflow and --engine-option library=")])
def test_framework_without_cuda(engine, words):
    assert re.search(words, fails(engine, "device=cuda:999"))


def test_tensorflow_has_one_device_in_a_process():
    assert "--isolate" in fails("tensorflow", "device=cuda:0,1")
    assert "without CUDA" in fails("tensorflow", "device=cuda:0,1", "--isolate", "--instances", 2)


@pytest.mark.parametrize("engine", ["openvino", "echo"])
def test_engine_that_knows_no_devices(engine):
    line = fails(engine, "device=cuda")
    assert f'the {engine} engine has no option "device=cuda"; it has ' in line


@pytest.mark.parametrize("engine", ["onnx", "pytorch", "tensorflow"])
def test_the_cpu_by_name(engine):
    fails(engine, "device=none")  # skips where it is not built
    with Server("--engine-option", "device=cpu", engine=engine,
                model=MODELS / FILES[engine]) as server:
        assert server.logged(f"{engine} ") and server.logged("  cpu  ")


# --- which slot runs where --------------------------------------------------------------

def serve(devices, n, *arguments):
    return Server("--engine-option", f"device={devices}", "--instances", n, *arguments,
                  engine=plugin("device"))


def facts(server, n):
    """{slot: (device, process)} of n slots, all of them asked at a time."""
    def ask(_):
        (tensor,) = server.infer(uint8(b"x")).tensors
        device, slot, process = struct.unpack("<3i", tensor.data)
        return slot, (device, process)

    def look():
        with concurrent.futures.ThreadPoolExecutor(n) as pool:
            seen = dict(pool.map(ask, range(n)))
        return len(seen) == n and seen
    return eventually(look, what=f"runs on {n} slots at a time")


@pytest.mark.parametrize("isolate", [[], ["--isolate"]], ids=["one process", "isolated"])
def test_slots_are_spread(isolate):
    with serve("cuda:4,0", 5, *isolate) as server:
        assert server.logged("cuda:4,0")
        seen = facts(server, 5)
        assert {slot: device for slot, (device, _) in seen.items()} == \
            {0: 4, 1: 0, 2: 4, 3: 0, 4: 4}
        assert len({process for _, process in seen.values()}) == (5 if isolate else 1)


def test_a_process_that_is_started_again_has_the_same_device():
    with serve("cuda:7,8,9", 3, "--isolate") as server:
        _, process = facts(server, 3)[1]
        os.kill(process, signal.SIGKILL)
        eventually(lambda: server.metrics()["child_restarts_total"] == 1)
        device, again = facts(server, 3)[1]
        assert device == 8 and again != process


def test_without_a_device():
    with serve("cpu", 1) as server:
        assert [device for device, _ in facts(server, 1).values()] == [-1]


# --- pinned memory ----------------------------------------------------------------------

@pytest.fixture
def driver(monkeypatch):
    path = BUILD / "lib/graphpipe-test/driver"
    assert (path / "libcuda.so.1").exists()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(path))
    return lambda how: monkeypatch.setenv("FAKE_CUDA", how)


def use(server):
    """A few requests of several sizes; what the driver has pinned."""
    for _ in range(3):
        for size in (100, 600_000, 3 * MIB):
            assert server.infer(uint8(bytes(size))).status == 200
    return server.metrics()["pool_pinned_bytes"]


def test_what_is_large_is_pinned_once(driver):
    with serve("cuda:1,0", 2) as server:
        assert 3 * MIB < use(server) < 8 * MIB
        pins = re.findall(r"cuda: pins (\S+) ", server.stderr)
        assert len(pins) == len(set(pins)) == 2
        assert server.metrics()["pool_unpinned_total"] == 0
    assert sorted(re.findall(r"cuda: unpins (\S+)", server.stderr)) == sorted(pins)


@pytest.mark.parametrize("arguments", [["cpu", 1], ["cuda:0", 1, "--isolate"]],
                         ids=["of the CPU", "isolated"])
def test_what_is_not_pinned(driver, arguments):
    with serve(*arguments) as server:
        assert use(server) == 0
        assert "pins" not in server.stderr


def test_a_driver_that_cannot_pin(driver):
    driver("broken")
    with serve("cuda:0", 1) as server:
        assert use(server) == 0
        assert server.metrics()["pool_unpinned_total"] == 6


def test_a_driver_without_devices(driver):
    driver("none")
    with serve("cuda:0", 1) as server:
        assert use(server) == 0
        assert server.metrics()["pool_unpinned_total"] == 0
