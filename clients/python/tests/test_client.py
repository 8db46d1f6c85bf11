"""Calls against the real server."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from harness import MODELS, PROGRAM, Server, eventually, plugin

import graphpipe
from graphpipe import Client

NUMBERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


@pytest.fixture(scope="session")
def client(echo):
    with Client(echo.url) as client:
        yield client


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def some(dtype, shape):
    return np.random.RandomState(7).randint(0, 100, shape).astype(dtype)


# --- arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 1, 1, 1, 5), (), (0,), (0, 4), (2000, 33)],
                         ids=str)
@pytest.mark.parametrize("dtype", [*NUMBERS, "?"])
def test_numbers_come_back(client, dtype, shape):
    array = some(dtype, shape)
    back = client.infer(array)
    assert same(back, array)
    assert back.flags.writeable and back.flags.aligned
    assert back.ctypes.data % 64 == 0 or not back.size


def test_the_order_of_elements_and_bytes_is_the_protocol_s(client):
    array = some("i4", (6, 8))
    for other in (array[::2, ::-3], array.T, array[0, ::-1], array[:, 3], array[:, :0],
                  np.asfortranarray(array), np.broadcast_to(array[:1], (3, 8)),
                  array.astype(">i4"), array.astype(">f8")):
        back = client.infer(other)
        assert np.array_equal(back, other) and back.dtype == other.dtype.newbyteorder("=")


def test_what_is_array_like_is_taken(client):
    class Series:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3)

    class Capsule:
        def __dlpack__(self, **options):
            return np.arange(3).__dlpack__(**options)

        def __dlpack_device__(self):
            return (1, 0)

    for value in [0, 1, 2], (0, 1, 2), range(3), Series(), Capsule():
        assert same(client.infer(value), np.arange(3))
    assert client.infer(2.5) == 2.5 and client.infer(True).dtype == bool
    matrix = np.arange(6).reshape(2, 3).view(np.matrix)
    assert client.infer(matrix).tolist() == [[0, 1, 2], [3, 4, 5]]
    read_only = np.arange(3)
    read_only.flags.writeable = False
    assert client.infer(read_only).flags.writeable


@pytest.mark.parametrize("strings", [
    ["a", "bc", ""], [["x", "y"], ["z", "grüße"]], np.array("scalar"), np.zeros((0, 2), "U3"),
    np.array(["long" * 1000, "nul\0nul", "日本"], object),
    np.array([b"bytes", b"\xff\0\xfe"], object), np.array([b"abc", b"d"]), "one", b"one",
], ids=lambda s: repr(s)[:20])
def test_strings_come_back_as_str(client, strings):
    back, sent = client.infer(strings), np.asarray(strings)
    wanted = [s.decode("utf-8", "surrogateescape") if isinstance(s, bytes) else s
              for s in sent.ravel().tolist()]
    assert back.ravel().tolist() == wanted and back.shape == sent.shape and back.dtype == object
    assert client.infer(back).tolist() == back.tolist()


def test_bfloat16_with_its_package(client):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is missing: tools/setup test")
    array = np.array([1, -2.5, 3e38], ml_dtypes.bfloat16)
    assert same(client.infer(array), array)
    assert same(client.infer(array[::-1]), array[::-1].copy())


def test_bfloat16_without_its_package_is_float32(onnx, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with onnx("types") as server, Client(server.url) as client:
        ios = client.metadata().inputs
        inputs = {io.name: np.full(4, 1.5).astype(
            {"bfloat16": "f4", "string": "U3"}.get(io.type, io.type)) for io in ios}
        back = client.infer(inputs)
    assert back["out_bfloat16"].dtype == np.float32
    for name, array in inputs.items():
        assert back["out_" + name].tolist() == array.tolist()


@pytest.mark.parametrize("value, words", [
    (np.zeros(1, "c8"), 'input "0" has dtype complex64'),
    (np.zeros(1, "M8[s]"), "has dtype datetime64"),
    (np.array(["a", 1], object), "with a int in it"),
    ([[1, 2], [3]], "no array|with a list in it"),
])
def test_what_cannot_be_sent(client, value, words):
    with pytest.raises(graphpipe.InvalidInput, match=words):
        client.infer(value)


def test_messages_end_at_2_gib(client):
    with pytest.raises(graphpipe.InvalidInput, match="messages end at 2147483647"):
        client.infer(np.zeros(1 << 31, "u1"))


# --- names ------------------------------------------------------------------------------

A, B = np.array([1, 2, 3], "f4"), np.array([4, 5, 6], "f4")


def test_dicts_and_arrays(pair):
    with Client(pair.url) as client:
        both = client.infer({"b": B, "a": A})
        assert list(both) == ["sum", "product"]
        assert same(both["sum"], A + B) and same(both["product"], A * B)
        # they stand in one block of memory, each apart
        both["sum"][:] = 0
        assert same(both["product"], A * B)
        assert same(client.infer({"a": A, "b": B}, outputs="product"), A * B)
        back = client.infer({"a": A, "b": B}, outputs=["product"])
        assert list(back) == ["product"] and same(back["product"], A * B)


def test_names_are_those_that_were_asked_for(client):
    back = client.infer({"x": A, "y": B}, outputs=["p", "q"])
    assert list(back) == ["p", "q"] and same(back["q"], B)
    assert list(client.infer(A, outputs=["p"])) == ["p"]


def test_metadata(pair):
    with Client(pair.url) as client:
        metadata = client.metadata()
    assert metadata.name == "pair" and metadata.server.startswith("graphpipe ")
    assert [(io.name, io.type, io.shape) for io in metadata.inputs] == [
        ("a", "float32", (None,)), ("b", "float32", (None,))]
    assert "  product float32[-1]" in str(metadata).splitlines()


def test_models_by_path(onnx):
    server = onnx("pair")
    server.command = [PROGRAM, "serve", f"two={MODELS / 'pair.onnx'}", f"one={MODELS / 'mlp.onnx'}",
                      "--default-model", "two", "--listen", "127.0.0.1:0"]
    x = np.array([[1, 0, 0, 0]], "f4")
    with server, Client(server.url) as client, Client(server.url + "one") as one:
        assert same(client.infer({"a": A, "b": B}, outputs="sum"), A + B)
        assert client.infer(x, model="one").tolist() == [[0, 2, 0]]
        assert client.infer(x, model="one/versions/1").tolist() == [[0, 2, 0]]
        assert one.infer(x).tolist() == [[0, 2, 0]]
        assert [io.name for io in client.metadata("one").outputs] == ["y"]
        with pytest.raises(graphpipe.NotFound, match='"nobody".*one'):
            client.infer(x, model="nobody")


def test_a_model_with_other_outputs_is_noticed(onnx, tmp_path):
    """The names are asked for once, and again after the server refused them."""
    where = f"unix:{tmp_path}/socket"
    with Client(where) as client:
        for name, inputs, output in [("pair", {"a": A, "b": B}, "sum"),
                                     ("mlp", {"x": np.zeros((1, 4), "f4")}, "y")]:
            server = onnx(name)
            server.command[server.command.index("127.0.0.1:0")] = where
            with server:
                if name == "mlp":
                    with pytest.raises(graphpipe.InvalidInput):
                        client.infer(inputs)
                assert output in client.infer(inputs)


# --- errors -----------------------------------------------------------------------------


def test_errors_have_the_server_s_words(pair):
    with Client(pair.url) as client:
        with pytest.raises(graphpipe.InvalidInput, match='"a".*float64.*float32') as caught:
            client.infer({"a": A.astype("f8"), "b": B})
        assert caught.value.code == 1 and isinstance(caught.value, ValueError)
        with pytest.raises(graphpipe.InvalidInput, match="nobody"):
            client.infer({"a": A, "b": B}, outputs=["nobody"])


def test_model_that_fails():
    with Server(engine=plugin("faulty")) as server, Client(server.url) as client:
        with pytest.raises(graphpipe.ModelError):
            client.infer(A, config="fail")
        assert same(client.infer(A), A)


def test_deadline_and_busy(tmp_path):
    gate = tmp_path / "gate"
    held = {"config": f"until={gate}"}
    with Server("--instances", 1, "--max-waiting", 1, engine=plugin("slow")) as server, \
            Client(server.url) as client, ThreadPoolExecutor(2) as threads:
        with pytest.raises(graphpipe.DeadlineExceeded) as caught:
            client.infer(A, timeout=0.2, **held)
        assert isinstance(caught.value, TimeoutError)
        eventually(lambda: server.metrics()["in_flight"] == 1)
        waiting = [threads.submit(client.infer, A, **held) for _ in range(2)]
        eventually(lambda: server.metrics()["waiting"] == 1)
        with pytest.raises(graphpipe.Busy) as caught:
            client.infer(A, **held)
        assert isinstance(caught.value, graphpipe.Unavailable)
        gate.touch()
        assert all(same(future.result(), A) for future in waiting)


def test_no_server(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for address in (f"127.0.0.1:{taken.getsockname()[1]}", f"unix:{tmp_path}/none",
                        "http://nobody.invalid:1", f"unix:/{'x' * 200}"):
            with Client(address) as client, pytest.raises(graphpipe.Unavailable, match="connect"):
                client.infer(A)


@pytest.mark.parametrize("address", ["", "ftp://x", "https://x", "http://", "x:0", "x:65536",
                                     "a:b:c", "user@host", "unix:", "::1", "h\n", "http://x y"])
def test_bad_addresses(address):
    with pytest.raises(graphpipe.InvalidInput, match="address"):
        Client(address)


def test_any_length_of_time_will_do(client):
    for timeout in 1e-9, None, 1e5, 1e300, float("inf"):
        if timeout == 1e-9:
            with pytest.raises(graphpipe.DeadlineExceeded):
                client.infer(A, timeout=timeout)
        else:
            assert same(client.infer(A, timeout=timeout), A)


def test_closed_client_and_bad_options(echo):
    client = Client(echo.url)
    for timeout in 0, -1, float("nan"):
        with pytest.raises(graphpipe.InvalidInput, match="timeout"):
            client.infer(A, timeout=timeout)
    with pytest.raises(graphpipe.InvalidInput, match="headers"):
        Client(echo.url, headers={"X": "a\r\nEvil: b"})
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.infer(A)


# --- connections ------------------------------------------------------------------------


def test_connections_are_kept(echo):
    before = echo.metrics()["accepted_connections_total"]
    with Client(echo.url) as client:
        for _ in range(20):
            client.infer(A)
    assert echo.metrics()["accepted_connections_total"] == before + 2  # one is the question's


def test_threads_share_a_client(echo):
    before = echo.metrics()["accepted_connections_total"]
    with Client(echo.url) as client, ThreadPoolExecutor(8) as threads:
        arrays = [np.full(i, i, "i8") for i in range(200)]
        assert all(map(same, threads.map(client.infer, arrays), arrays))
    assert echo.metrics()["accepted_connections_total"] <= before + 9


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_a_server_that_restarts_between_calls(where, tmp_path):
    listen = "127.0.0.1:0" if where == "tcp" else f"unix:{tmp_path}/socket"
    client = None
    for _ in range(3):
        with Server(listen=[listen]) as server:
            listen = server.addresses[0].replace("http://", "")
            client = client or Client(server.addresses[0])
            assert same(client.infer(A), A)
            assert same(client.infer(B), B)
    with pytest.raises(graphpipe.Unavailable):
        client.infer(A)


def test_unix_socket_with_a_path(tmp_path):
    with Server(listen=[f"unix:{tmp_path}/socket"]):
        for address in f"unix:{tmp_path}/socket", f"unix:{tmp_path}/socket:/echo":
            with Client(address) as client:
                assert same(client.infer(A), A)


def test_a_forked_process_has_connections_of_its_own(echo):
    with Client(echo.url) as client:
        client.infer(A)
        child = os.fork()
        if child == 0:
            os._exit(0 if same(client.infer(B), B) else 1)
        assert same(client.infer(A), A)
        assert os.waitpid(child, 0)[1] == 0
        assert same(client.infer(A), A)


# --- many -------------------------------------------------------------------------------


def test_map_is_in_order_and_bounded(client):
    taken = []

    def batches():
        for i in range(40):
            taken.append(i)
            yield np.full(3, i)

    for i, back in enumerate(client.map(batches(), in_flight=4, progress=True)):
        assert back.tolist() == [i] * 3
        assert len(taken) <= i + 5
    assert i == 39
    assert list(client.map([])) == []


def test_map_ends_with_the_first_error(client):
    results = client.map([A, np.zeros(1, "c8"), B], in_flight=3)
    assert same(next(results), A)
    with pytest.raises(graphpipe.InvalidInput):
        next(results)
    with pytest.raises(ValueError, match="in_flight"):
        next(client.map([A], in_flight=0))
    assert threading.active_count() < 20


