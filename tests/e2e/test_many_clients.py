"""Sixteen clients of each engine at a time, each with inputs and batches of its own: what they get is byte
for byte what one client alone gets, beside runs whose client leaves, and runs with a deadline of a
millisecond. Afterwards nothing of them is left."""
import math
import os
import random
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import caffe2_models
import cntk_models
import mxnet_models
from harness import MODELS, Server, Tensor, encode, eventually, http, settle
from needs import need

CLIENTS, TURNS, PASSES = 16, 12, 3
ROWS = [1, 1, 2, 7, 33, 500]
LONG_S = 0.005  # of a request that there is time to leave, and that a millisecond is not enough for

# Engine, flags, model, shape of a row.
SERVERS = [("onnx", [], "mlp.onnx", [4]), ("onnx", ["--isolate"], "mlp.onnx", [4]),
           ("tensorflow", [], "tensorflow/conv.pb", [2, 6, 7]),
           ("tensorflow", ["--isolate"], "tensorflow/saved", [2]),
           ("pytorch", [], "pytorch/mlp.pt", [3]), ("pytorch", ["--isolate"], "pytorch/mlp.pt", [3]),
           ("openvino", [], "mlp.onnx", [4]), ("openvino", ["--isolate"], "mlp.onnx", [4]),
           ("mxnet", [], "mlp-symbol.json", [3]), ("cntk", [], "mlp.model", [3]),
           ("caffe2", [], "predict_net.pb", [3])]
WRITERS = {"mxnet": mxnet_models.mlp, "cntk": cntk_models.mlp, "caffe2": caffe2_models.mlp}


def batch(rows, row_shape, dice):
    """Small whole numbers: no order of adding them up makes a difference."""
    values = dice.choices(range(-3, 4), k=rows * math.prod(row_shape))
    return encode(Tensor("float32", [rows, *row_shape], struct.pack(f"<{len(values)}f", *values)))


def long_batch(server, row_shape, dice):
    rows = 10_000
    while True:
        body = batch(rows, row_shape, dice)
        server.ask("POST", "/", body)  # the first of a size may take longer
        start = time.monotonic()
        server.ask("POST", "/", body)
        if time.monotonic() - start > LONG_S:
            return body
        rows *= 2


def threads(server):
    return len(os.listdir(f"/proc/{server.pid}/task"))


def client(server, known, long, seed):
    """Its turns on one connection; how many of them were too late."""
    dice = random.Random(seed)
    n_late = 0
    with server.connect() as connection:
        for _ in range(TURNS):
            kind = dice.choice(["ask", "ask", "leave", "late"])
            if kind == "ask":
                body, expected = dice.choice(known)
                answer = connection.ask("POST", "/", body)
                assert answer.status == 200 and answer.body == expected, answer.status
            elif kind == "leave":
                with server.connect() as other:
                    other.send(http("POST", "/", long[0]))
                    time.sleep(dice.choice([0, 0.001, 0.01]))
                    other.reset()
            else:
                answer = connection.ask("POST", "/", long[0], {"X-GraphPipe-Timeout-Ms": "1"})
                assert answer.status == 504 or answer.body == long[1], answer.status
                n_late += answer.status == 504
    return n_late


@pytest.mark.tsan
@pytest.mark.parametrize("engine, flags, model, row_shape", SERVERS,
                         ids=[" ".join([e, *f]) for e, f, _, _ in SERVERS])
def test_sixteen_clients(tmp_path, engine, flags, model, row_shape):
    need(engine)
    dice = random.Random(model)
    path = WRITERS[engine](tmp_path) if engine in WRITERS else MODELS / model
    bodies = [batch(rows, row_shape, dice) for rows in ROWS * 8]
    with Server("--instances", 2, *flags, engine=engine, model=path) as server:
        bodies.insert(0, long_batch(server, row_shape, dice))
        alone = [server.ask("POST", "/", body) for body in bodies]
        assert all(answer.status == 200 for answer in alone)
        long, *known = [(body, answer.body) for body, answer in zip(bodies, alone)]
        left, n_late = [], 0
        for n in range(PASSES):
            with ThreadPoolExecutor(CLIENTS) as pool:
                n_late += sum(pool.map(lambda i: client(server, known, long, f"{n} {i}"),
                                       range(CLIENTS)))
            settle(server)
            eventually(lambda: server.metrics()['pool_bytes{state="used"}'] == 0,
                       what="the end of runs that nobody waits for")
            left.append((server.descriptors(), threads(server)))
        assert n_late > 0
        for counts in zip(*left):  # what leaks is more after each pass
            assert not all(a < b for a, b in zip(counts, counts[1:])), left
        assert all(server.ask("POST", "/", body).body == answer for body, answer in known)
