"""Requests that run together: each caller gets its own rows, as if it had run alone, and nobody's
trouble is another's. What a run is made of is in tests/unit/test_batch*.c."""
import concurrent.futures
import contextlib
import random
import struct
import time

import pytest

from harness import MODELS, Server, Tensor, encode, http, start_fails
from python_models import PYTHON, floats, write

N_CLIENTS = 16
N_ASKED = 40


def rows_of(client, turn):
    """1 to 7 rows of 4 numbers that no other request has."""
    rng = random.Random(client * 1000 + turn)
    n = rng.randint(1, 7)
    return Tensor("float32", [n, 4], struct.pack(f"{4 * n}f", *(
        rng.uniform(-9, 9) for _ in range(4 * n))))


def numbers(tensor):
    return struct.unpack(f"{len(tensor.data) // 4}f", tensor.data)


def ask_all(server, client):
    with server.connect() as connection:
        return [connection.ask("POST", "/", encode(rows_of(client, turn))).tensors for turn in range(N_ASKED)]


def ask_together(server):
    with concurrent.futures.ThreadPoolExecutor(N_CLIENTS) as pool:
        return list(pool.map(lambda client: ask_all(server, client), range(N_CLIENTS)))


def serve_model(name, *arguments):
    return Server("--instances", 1, *arguments, engine="auto", model=MODELS / name)


def test_each_gets_its_own_rows():
    with serve_model("mlp.onnx") as server:
        alone = ask_together(server)
    with serve_model("mlp.onnx", "--max-batch", 32) as server:
        together = ask_together(server)
        metrics = server.metrics()
    for client in range(N_CLIENTS):
        for turn in range(N_ASKED):
            (a,), (b,) = alone[client][turn], together[client][turn]
            assert a.shape == b.shape and a.type == b.type
            # a kernel for more rows may add in another order
            assert numbers(b) == pytest.approx(numbers(a), rel=1e-5, abs=1e-6)
    assert metrics["batch_rows_sum"] == metrics["rows_total"]
    assert metrics["batch_rows_count"] < N_CLIENTS * N_ASKED  # some did run together
    assert metrics['batch_rows_bucket{le="+Inf"}'] == metrics["run_seconds_count"]


@pytest.mark.tsan
@pytest.mark.parametrize("arguments", [(), ("--isolate",), ("--batch-sizes", "4,8")])
def test_whatever_is_echoed_is_ones_own(arguments):
    with Server("--instances", 1, "--max-batch", 8, *arguments, engine="echo") as server:
        together = ask_together(server)
    for client in range(N_CLIENTS):
        for turn in range(N_ASKED):
            (echoed,), sent = together[client][turn], rows_of(client, turn)
            assert (echoed.shape, echoed.data) == (sent.shape, sent.data)


@pytest.mark.tsan
def test_requests_wait_for_others_but_not_for_long():
    """The first for nobody; then as many come as run together, long before the time is over."""
    with Server("--instances", 1, "--max-batch", 4, "--max-delay", "300ms",
                engine="echo") as server:
        began = time.monotonic()
        assert server.infer(floats(1)).tensors == [floats(1)]
        assert time.monotonic() - began >= 0.3
    with Server("--instances", 1, "--max-batch", 4, "--max-delay", "9s",
                engine="echo") as server, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(4)]
        for i, connection in enumerate(connections):
            connection.send(http("POST", "/", encode(floats(i))))
        for i, connection in enumerate(connections):
            assert list(numbers(connection.answer().tensors[0])) == [i]
        metrics = server.metrics()
        assert (metrics["batch_rows_sum"], metrics["batch_rows_count"]) == (4, 1)
        assert metrics['batches_total{reason="full"}'] == 1


def test_model_of_two_rows_takes_any():
    with serve_model("fixed.onnx", "--max-batch", 2) as server:
        with server.connect() as connection:
            for n in (0, 1, 2, 3, 7):
                x = [float(i) for i in range(3 * n)]
                sent = Tensor("float32", [n, 3], struct.pack(f"{3 * n}f", *x))
                answer, = connection.ask("POST", "/", encode(sent)).tensors
                assert answer.shape == [n, 3]
                assert list(numbers(answer)) == [-i for i in x]


POISON = """
    import os
    import numpy as np

    def infer(inputs):
        x, = inputs.values()
        if (x == 13).any():
            os._exit(3)
        return {"y": 2 * x}
"""


def test_row_that_ends_the_process_fails_its_caller_only(tmp_path):
    model = write(tmp_path, POISON)
    with Server("--instances", 1, "--max-batch", 16, *PYTHON, engine="auto",
                model=model) as server:
        def ask(i):
            with server.connect() as connection:
                return connection.ask("POST", "/", encode(floats([i])))
        with concurrent.futures.ThreadPoolExecutor(N_CLIENTS) as pool:
            answers = list(pool.map(ask, range(N_CLIENTS)))
    for i, answer in enumerate(answers):
        if i == 13:
            assert answer.status == 503 and "ended" in answer.text
        else:
            assert list(numbers(answer.tensors[0])) == [2 * i], answer


@pytest.mark.parametrize("arguments, words", [
    (("--max-batch", 4), "--max-batch is 4, but the model runs 2 rows at a time"),
    (("--batch-sizes", "1,2"), "--batch-sizes needs --max-batch"),
    (("--max-delay", "1ms"), "--max-delay needs a --max-batch above 1"),
    (("--max-batch", 8, "--batch-sizes", "4,2"), "--batch-sizes has to ascend"),
    (("--max-batch", 8, "--batch-sizes", "4,16"), "--batch-sizes has to ascend")])
def test_bad_options(arguments, words):
    assert words in start_fails(MODELS / "fixed.onnx", *arguments)


def test_model_without_rows_is_refused():
    assert 'input "x" is float32[]' in start_fails(MODELS / "scalar.onnx", "--max-batch", 4)


def test_rows_of_100_megabytes():
    """Strings that are as long as a body may be run together, and each caller gets its own."""
    size = 100_000_000
    large = encode(Tensor("string", [1], [b"A" * size]))
    bodies = [large, large.replace(b"A", b"B"), encode(Tensor("string", [1], [b"CC"]))]
    with Server("--instances", 1, "--max-batch", 3, "--max-delay", "5s", "--pool", "2GiB", engine="echo") as server:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda body: server.ask("POST", "/", body), bodies))
        for answer, data in zip(answers, (b"A" * size, b"B" * size, b"CC")):
            assert answer.status == 200 and answer.body.count(data) == 1
        assert (server.metrics()["batch_rows_sum"], server.metrics()["batch_rows_count"]) == (3, 1)
