"""Many clients of a model at a time, each with a shape of its own: what the runtime writes into the
server's memory is right, also where the model says what is not so."""
import random
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Tensor, encode, settle_empty

CLIENTS = 16

pytestmark = pytest.mark.tsan


def floats(shape, values):
    return Tensor("float32", list(shape), struct.pack(f"<{len(values)}f", *values))


def load(server, ask):
    """Each client asks 12 times, on one connection; then no memory is left in use."""
    def client(seed):
        dice = random.Random(seed)
        with server.connect() as connection:
            for _ in range(12):
                ask(connection, dice)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    settle_empty(server)


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_of_all_sizes(onnx, threads):
    columns = [((0, 3, 6, 9), 0), ((1, 4, 7, 10), 1), ((2, 5, 8, 11), -100)]  # of the model

    def ask(connection, dice):
        rows = dice.choice([0, 1, 7, 341, 342, 2000, 20_000])
        x = dice.choices(range(4), k=4)
        row = [max(0, sum(a * w for a, w in zip(x, weights)) + b) for weights, b in columns]
        answer = connection.ask("POST", "/", encode(floats([rows, 4], x * rows)))
        assert answer.tensors == [floats([rows, 3], row * rows)]

    with onnx("mlp", "--instances", 4, "--threads", threads) as server:
        load(server, ask)


def test_shapes_that_are_not_as_the_model_says(onnx):
    def ask(connection, shape, x):
        places = [(i // 3, i % 3) for i in range(6) if x[i]]
        body = encode(floats([2, 3], x), Tensor("int64", [2], struct.pack("<2q", *shape)),
                      input_names=["x", "shape"])
        turned, fixed, found, honest = connection.ask("POST", "/", body).tensors
        assert turned == fixed == floats(shape, x)
        assert honest == floats([2, 3], [-float(value) for value in x])
        assert found == Tensor("int64", [2, len(places)], struct.pack(
            f"<{2 * len(places)}q", *(place[axis] for axis in (0, 1) for place in places)))

    def ask_any(connection, dice):
        ask(connection, dice.choice([[2, 3], [3, 2], [1, 6]]), dice.choices(range(4), k=6))

    with onnx("lies", "--instances", 4) as server:
        with server.connect() as connection:  # which makes it believed
            ask(connection, [2, 3], [1, 0, 0, 0, 2, 3])
        load(server, ask_any)
